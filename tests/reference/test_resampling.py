"""`upfirdn2d` against the reference implementation and under two derivatives."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stylealign.models.resampling import upfirdn2d

FOLDER = Path(__file__).parent
CASES = [
    case for case in json.loads((FOLDER / "upfirdn2d_cases.json").read_text()) if "func" not in case
]


def pair(value):
    return tuple(value) if isinstance(value, list) else (value, value)


def four(padding):
    if isinstance(padding, int):
        return (padding,) * 4
    x, y = padding if len(padding) == 2 else (None, None)
    return (x, x, y, y) if len(padding) == 2 else tuple(padding)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_every_combination_of_up_down_padding_and_filter_agrees(case):
    numbers = np.load(FOLDER / "upfirdn2d.npz")
    name = case["filter"]
    taps = torch.ones(1, 1) if name == "none" else torch.from_numpy(numbers[f"filter/{name}"])

    y = upfirdn2d(
        torch.from_numpy(numbers["x"]),
        taps,
        up=pair(case["up"]),
        down=pair(case["down"]),
        padding=four(case["padding"]),
        gain=float(case["gain"]),
        is_flipped=case["flip_filter"],
    )

    expected = torch.from_numpy(numbers[f"case{case['id']:02d}/y"])
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("up", "down"), [(1, 2), (2, 1), (2, 2)])
def test_it_can_be_differentiated_twice(up, down, rng):
    x = torch.randn(1, 2, 5, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(4, generator=rng, dtype=torch.float64)

    def squared(x):
        return upfirdn2d(x, taps, up=up, down=down, padding=(2, 1, 1, 2)).square()

    assert torch.autograd.gradgradcheck(squared, x)
