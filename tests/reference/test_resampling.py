"""Resampling, convolutions and activations against the reference implementation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.models.layers import EqualizedConv
from stylealign.models.operators import blur_kernel, downsample, upsample
from stylealign.models.resampling import upfirdn2d

FOLDER = Path(__file__).parent


def cases(operator: str) -> list[dict[str, Any]]:
    return json.loads((FOLDER / f"{operator}_cases.json").read_text())


CASES = [case for case in cases("upfirdn2d") if "func" not in case]
CENTRED = [case for case in cases("upfirdn2d") if "func" in case]


def pair(value):
    return tuple(value) if isinstance(value, list) else (value, value)


def four(padding):
    if isinstance(padding, int):
        return padding, padding, padding, padding
    left, right, top, bottom = np.repeat(padding, 2) if len(padding) == 2 else padding
    return int(left), int(right), int(top), int(bottom)


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


@pytest.mark.parametrize("case", CENTRED, ids=lambda case: str(case["id"]))
def test_doubling_halving_and_filtering_keep_the_image_centred(case):
    numbers = np.load(FOLDER / "upfirdn2d.npz")
    taps, extra = torch.from_numpy(numbers[f"filter/{case['filter']}"]), case["padding"]
    up, down = {"upsample2d": (2, 1), "downsample2d": (1, 2), "filter2d": (1, 1)}[case["func"]]

    padding = []
    for size in (taps.shape[-1], taps.shape[0]):
        low = size // 2 if up == down else (size + 1) // 2 if up == 2 else (size - 1) // 2
        high = (size - 1) // 2 if up == down else (size - 2) // 2
        padding += [low + extra, high + extra]
    y = upfirdn2d(
        torch.from_numpy(numbers["x"]),
        taps,
        up=up,
        down=down,
        padding=tuple(padding),
        gain=float(up**2),
    )

    expected = torch.from_numpy(numbers[f"case{case['id']:02d}/y"])
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_the_operators_of_the_blocks_double_and_halve_as_the_reference_does():
    numbers = np.load(FOLDER / "upfirdn2d.npz")
    x = torch.from_numpy(numbers["x"])
    by_name = {case["func"]: case["id"] for case in reversed(CENTRED) if case["filter"] == "1331"}

    doubled, halved = upsample(x, blur_kernel(gain=4.0)), downsample(x, blur_kernel())

    for y, name in ((doubled, "upsample2d"), (halved, "downsample2d")):
        expected = torch.from_numpy(numbers[f"case{by_name[name]:02d}/y"])
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weight_name", ["w1", "w3"])
@pytest.mark.parametrize("down", [1, 2])
def test_convolutions_of_the_discriminator_agree(weight_name, down):
    numbers = np.load(FOLDER / "conv2d_resample.npz")
    weight = torch.from_numpy(numbers[weight_name])
    (case,) = (
        case
        for case in cases("conv2d_resample")
        if (case["w"], case["up"], case["down"], case["flip_weight"])
        == (weight_name, 1, down, True)
    )
    layer = EqualizedConv(6, 4, weight.shape[-1], is_down=down == 2, is_activated=False)
    layer.weight.data = weight / layer.weight_gain

    y = layer(torch.from_numpy(numbers["x"]))

    expected = torch.from_numpy(numbers[f"case{case['id']:02d}/y"])
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("clamp", [None, 1.0])
def test_bias_and_leaky_relu_agree(clamp):
    numbers = np.load(FOLDER / "bias_act.npz")
    (case,) = (
        case
        for case in cases("bias_act")
        if (case["act"], case["alpha"], case["clamp"]) == ("lrelu", None, clamp)
    )
    layer = EqualizedConv(5, 5, 1, clamp=clamp)
    layer.weight.data = torch.eye(5)[:, :, None, None] * 5**0.5
    assert layer.bias is not None
    layer.bias.data = torch.from_numpy(numbers["b"])

    y = layer(torch.from_numpy(numbers["x"]))

    expected = torch.from_numpy(numbers[f"case{case['id']:02d}/y"])
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("up", "down"), [(1, 2), (2, 1), (2, 2)])
def test_it_can_be_differentiated_twice(up, down, rng):
    x = torch.randn(1, 2, 5, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(4, generator=rng, dtype=torch.float64)

    def squared(x):
        return upfirdn2d(x, taps, up=up, down=down, padding=(2, 1, 1, 2)).square()

    assert torch.autograd.gradgradcheck(squared, x)
