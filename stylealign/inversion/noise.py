"""Noise inputs of an inversion: the model's own constants, or drawn from a seed."""

from collections.abc import Iterable

import torch
from torch import Tensor

from stylealign.models import Generator
from stylealign.models.layers import StyledConv

NoiseMaps = dict[str, Tensor]
"""Noise inputs by layer name, each [1 or N, 1, R, R]; empty for a model without any."""


def draw_noise_maps(generator: Generator, noise_seed: int | None) -> NoiseMaps:
    """One map per noise input, shared by all images.

    With `noise_seed` None the maps are the model's own constants.
    """
    rng = None if noise_seed is None else torch.Generator().manual_seed(noise_seed)
    maps: NoiseMaps = {}
    for name, layer in generator.synthesis.named_modules():
        if not isinstance(layer, StyledConv) or layer.noise_strength is None:
            continue
        noise = layer.noise_const
        if rng is not None:
            noise = torch.randn(noise.shape, generator=rng).to(noise.device)
        maps[name.removeprefix("blocks.")] = noise[None, None].clone()
    return maps


def normalize_noise_(noise_maps: Iterable[Tensor]) -> None:
    """Give every map of every image zero mean and unit variance again, in place."""
    for noise in noise_maps:
        noise -= noise.mean(dim=(2, 3), keepdim=True)
        noise *= (noise.square().mean(dim=(2, 3), keepdim=True) + 1e-8).rsqrt()
