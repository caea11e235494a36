"""Augmentations against the reference implementation's debugging mode."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stylealign.training.augment import KINDS, Augmentation
from stylealign.training.augment.draws import PercentileDraws
from stylealign.training.augment.wavelets import band_filters, lowpass

PATH = Path(__file__).parent / "ada_augment.npz"
with np.load(PATH) as _file:
    CASES = [name for name in _file.files if "/p" in name]


@pytest.fixture(scope="module")
def golden():
    with np.load(PATH) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def transforms_of(case: str) -> tuple[str, ...]:
    if case.startswith("only_"):
        return (case.removeprefix("only_").replace("imgfilter", "filter"),)
    return KINDS[case.removesuffix("_gray")]


@pytest.mark.parametrize("case", CASES)
def test_every_transform_agrees_at_every_percentile(case, golden):
    name, percentile = case.split("/p")
    images = golden["x"][:, :1] if name.endswith("_gray") else golden["x"]
    augmentation = Augmentation(transforms_of(name), tuple(images.shape[1:]))

    drawn = augmentation.draw_from(PercentileDraws(len(images), float(percentile)))

    torch.testing.assert_close(drawn.apply(images), golden[case], atol=2e-5, rtol=0)


def test_the_wavelets_are_those_of_the_reference(golden):
    torch.testing.assert_close(lowpass(), golden["Hz_geom"], atol=1e-7, rtol=0)
    torch.testing.assert_close(band_filters(), golden["Hz_fbank"], atol=1e-7, rtol=0)
