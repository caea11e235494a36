"""The frequency bands of an alias-free generator: what each layer may contain, and its filters."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor


class AliasFreeConfig(BaseModel):
    """What a StyleGAN3 generator has beside a StyleGAN2 one.

    Units:  cutoffs and stopbands in cycles per image; sizes in pixels.
    Source: Karras et al., arXiv:2106.12423, section 3.2 and appendix G.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = Field(min_length=2, max_length=65)
    """Width of each layer's output, tRGB last."""
    num_critical: int = Field(default=2, ge=0, le=64)
    """Last layers before tRGB that are critically sampled, cutoff at the Nyquist limit."""
    first_cutoff: float = Field(default=2.0, ge=0.5, le=4096)
    first_stopband: float = Field(default=2**2.1, ge=0.5, le=8192)
    last_stopband_rel: float = Field(default=2**0.3, ge=1, le=16)
    margin_size: int = Field(default=10, ge=0, le=256)
    """Pixels around the image that layers compute so that borders give nothing away."""
    output_scale: float = Field(default=0.25, gt=0, allow_inf_nan=False)
    conv_kernel: int = Field(default=3, ge=1, le=7)
    """3 for translation equivariance (T), 1 for rotation as well (R)."""
    is_radial: bool = False
    """Whether downsampling filters are radially symmetric (R)."""
    filter_size: int = Field(default=6, ge=2, le=32)
    lrelu_upsampling: int = Field(default=2, ge=1, le=8)

    @model_validator(mode="after")
    def _has_layers_before_critical_ones(self) -> "AliasFreeConfig":
        if self.num_critical >= self.num_layers:
            message = f"num_critical {self.num_critical} must be below {self.num_layers} layers"
            raise ValueError(message)
        if not all(1 <= width <= 65536 for width in self.channels):
            message = "channels: a layer's width is outside 1..65536"
            raise ValueError(message)
        return self

    @property
    def num_layers(self) -> int:
        """Layers without Fourier features and tRGB."""
        return len(self.channels) - 1


@dataclass(frozen=True)
class Band:
    """What signals at one layer's output contain, and the grid that they live on."""

    cutoff: float
    half_width: float
    sampling_rate: int
    size: int
    channels: int
    is_critical: bool


def plan_bands(config: AliasFreeConfig, resolution: int) -> list[Band]:
    """Bands of all layers, tRGB last: cutoffs grow geometrically up to the image's own limit.

    Source: arXiv:2106.12423, section 3.2, "flexible layer specifications".
    """
    num_layers = config.num_layers
    last_cutoff = resolution / 2
    last_stopband = last_cutoff * config.last_stopband_rel
    bands: list[Band] = []
    for index, channels in enumerate(config.channels):
        progress = min(index / (num_layers - config.num_critical), 1.0)
        cutoff = config.first_cutoff * (last_cutoff / config.first_cutoff) ** progress
        stopband = config.first_stopband * (last_stopband / config.first_stopband) ** progress
        rate = 2 ** math.ceil(math.log2(min(stopband * 2, resolution)))
        has_margin = index < num_layers - 1
        bands.append(
            Band(
                cutoff=cutoff,
                half_width=max(stopband, rate / 2) - cutoff,
                sampling_rate=rate,
                size=rate + 2 * config.margin_size if has_margin else resolution,
                channels=channels,
                is_critical=index >= num_layers - config.num_critical,
            )
        )
    return bands


def design_low_pass(num_taps: int, band: Band, sampling_rate: int) -> Tensor:
    """A Kaiser-windowed sinc of unit gain that ends a band at its cutoff.

    Shapes: returns [num_taps]; one tap lets everything pass.
    Source: Kaiser 1974; arXiv:2106.12423, appendix C.1.
    """
    if num_taps == 1:
        return torch.ones(1, device="cpu")
    position = np.arange(num_taps) - (num_taps - 1) / 2
    relative_cutoff = band.cutoff / (sampling_rate / 2)
    taps = np.sinc(relative_cutoff * position) * _kaiser_window(num_taps, band, sampling_rate)
    return torch.from_numpy((taps / taps.sum()).astype(np.float32))


def design_radial_low_pass(num_taps: int, band: Band, sampling_rate: int) -> Tensor:
    """The same for all directions: a jinc, J1(2 pi f r) / (pi r), under a square Kaiser window.

    Shapes: returns [num_taps, num_taps].
    Source: arXiv:2106.12423, appendix C.2.
    """
    position = (np.arange(num_taps) - (num_taps - 1) / 2) / sampling_rate
    radius = math.pi * np.hypot(position[:, None], position[None, :])
    bessel = torch.special.bessel_j1(torch.from_numpy(2 * band.cutoff * radius)).numpy()
    at_center = radius == 0
    taps = np.where(at_center, band.cutoff, bessel / np.where(at_center, 1.0, radius))
    window = _kaiser_window(num_taps, band, sampling_rate)
    taps = taps * np.outer(window, window)
    return torch.from_numpy((taps / taps.sum()).astype(np.float32))


def _kaiser_window(num_taps: int, band: Band, sampling_rate: int) -> np.ndarray:
    """The window whose transition is as wide as the band's.

    Source: Kaiser's formulas for attenuation and beta.
    """
    transition = 2 * band.half_width / (sampling_rate / 2)
    attenuation = 2.285 * (num_taps - 1) * math.pi * transition + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    return np.kaiser(num_taps, beta)
