"""Resampling, convolutions and activations against the reference implementation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.models import resampling
from stylealign.models.activations import bias_act
from stylealign.models.layers import EqualizedConv
from stylealign.models.operators import blur_kernel, downsample, upsample
from stylealign.models.resampling import conv2d_resample, setup_filter, upfirdn2d

FOLDER = Path(__file__).parent


def cases(operator: str) -> list[dict[str, Any]]:
    return json.loads((FOLDER / f"{operator}_cases.json").read_text())


CASES = [case for case in cases("upfirdn2d") if "func" not in case]
CENTRED = [case for case in cases("upfirdn2d") if "func" in case]


def numbers(file: str) -> dict[str, torch.Tensor]:
    arrays = np.load(FOLDER / file)
    return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def of(case: dict[str, Any], *without: str) -> dict[str, Any]:
    """The arguments of a case, as the reference takes them."""
    return {key: value for key, value in case.items() if key not in {"id", *without}}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_every_combination_of_up_down_padding_and_filter_agrees(case):
    known = numbers("upfirdn2d.npz")

    y = upfirdn2d(known["x"], known.get(f"filter/{case['filter']}"), **of(case, "filter"))

    torch.testing.assert_close(y, known[f"case{case['id']:02d}/y"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CENTRED, ids=lambda case: str(case["id"]))
def test_doubling_halving_and_filtering_keep_the_image_centred(case):
    known = numbers("upfirdn2d.npz")
    function = getattr(resampling, case["func"])

    y = function(known["x"], known[f"filter/{case['filter']}"], padding=case["padding"])

    torch.testing.assert_close(y, known[f"case{case['id']:02d}/y"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("taps", "filter_name"), [([1, 3, 3, 1], "1331"), (torch.tensor([1.0, 2.0, 1.0]), "121")]
)
def test_filters_are_set_up_as_the_reference_does(taps, filter_name):
    square, line = setup_filter(taps), setup_filter(taps, separable=True, gain=4.0)

    torch.testing.assert_close(square, numbers("upfirdn2d.npz")[f"filter/{filter_name}"])
    torch.testing.assert_close(torch.outer(line, line), 4 * square)
    assert setup_filter(None).tolist() == [[1.0]]
    assert setup_filter(range(1, 9)).ndim == 1


@pytest.mark.parametrize("case", cases("conv2d_resample"), ids=lambda case: str(case["id"]))
def test_convolutions_with_resampling_agree(case):
    known = numbers("conv2d_resample.npz")

    y = conv2d_resample(known["x"], known[case["w"]], known["f"], **of(case, "w"))

    torch.testing.assert_close(y, known[f"case{case['id']:02d}/y"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", cases("bias_act"), ids=lambda case: str(case["id"]))
def test_every_activation_agrees(case):
    known = numbers("bias_act.npz")

    y = bias_act(known["x"], known["b"], **of(case))

    torch.testing.assert_close(y, known[f"case{case['id']:02d}/y"], atol=1e-5, rtol=1e-5)


def test_a_bias_is_added_along_the_axis_that_is_named_and_other_activations_are_refused():
    x, b = torch.zeros(2, 3), torch.tensor([1.0, -1.0])

    y = bias_act(x, b, dim=0, act="relu", gain=2.0)

    assert y.tolist() == [[2.0] * 3, [0.0] * 3]
    with pytest.raises(ValueError, match="'gelu'"):
        bias_act(x, act="gelu")


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


@pytest.mark.parametrize("up", [1, 2])
def test_one_side_may_lose_more_than_the_image_had_before_the_other_grew(up, rng):
    x, taps = torch.randn(1, 2, 1, 5, generator=rng), setup_filter([1, 3, 3, 1])

    y = upfirdn2d(x, taps, up=up, padding=(4, -3, -5, 9))

    whole = upfirdn2d(x, taps, up=up, padding=(4, 0, 0, 9))
    torch.testing.assert_close(y, whole[:, :, 5:, :-3])


@pytest.mark.parametrize(("up", "down"), [(1, 2), (2, 1), (2, 2)])
def test_it_can_be_differentiated_twice(up, down, rng):
    x = torch.randn(1, 2, 5, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(4, generator=rng, dtype=torch.float64)

    def squared(x):
        return upfirdn2d(x, taps, up=up, down=down, padding=(2, 1, 1, 2)).square()

    assert torch.autograd.gradgradcheck(squared, x)
