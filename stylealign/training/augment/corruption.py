"""Augmentations of pixels where they are: filtered frequencies, noise, a piece cut out."""

import torch
from torch import Tensor
from torch.nn import functional as F

from stylealign.models.latents import Images
from stylealign.training.augment.draws import Draws
from stylealign.training.augment.wavelets import NUM_BANDS, band_filters

FILTER_STD = 1.0
NOISE_STD = 0.1
CUTOUT_SIZE = 0.5

BAND_POWER = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13
"""Share of an image's power that is expected in each band: it falls with frequency."""


def draw_gains(draws: Draws) -> Tensor:
    """Amplification of each band that keeps the power which an image is expected to have.

    Shapes: returns [N, NUM_BANDS].
    Source: arXiv:2006.06676, appendix B.
    """
    gains = torch.ones(draws.batch, NUM_BANDS)
    for band in range(NUM_BANDS):
        own = torch.ones(draws.batch, NUM_BANDS)
        own[:, band : band + 1] = torch.exp2(draws.normal() * FILTER_STD * draws.choose())
        gains = gains * own / (own.square() * BAND_POWER).sum(dim=1, keepdim=True).sqrt()
    return gains


def filter_bands(images: Images, gains: Tensor) -> Images:
    """Amplify or weaken bands of frequencies, horizontally and vertically.

    Shapes: images [N, C, H, W], gains [N, NUM_BANDS].
    """
    batch, channels, height, width = images.shape
    taps = (gains @ band_filters()).to(images).repeat_interleave(channels, dim=0)
    reach = taps.shape[1] // 2
    planes = images.reshape(1, batch * channels, height, width)
    planes = F.pad(planes, (reach,) * 4, mode="reflect")
    planes = F.conv2d(planes, taps[:, None, None, :], groups=batch * channels)
    planes = F.conv2d(planes, taps[:, None, :, None], groups=batch * channels)
    return planes.reshape(images.shape)


def draw_noise(draws: Draws, shape: tuple[int, int, int]) -> Tensor:
    """What to add to every pixel and channel, as strong as each image draws: [N, C, H, W]."""
    strength = draws.half_normal() * NOISE_STD * draws.choose()
    return draws.pixels(shape) * strength[:, :, None, None]


def draw_windows(draws: Draws) -> Tensor:
    """Centre x, centre y and side of the square to cut out, as shares of the image: [N, 3]."""
    side = CUTOUT_SIZE * draws.choose()
    return torch.cat([draws.uniform(2), side], dim=1)


def cut_out(images: Images, windows: Tensor) -> Images:
    """Set a square to zero; one of no side cuts nothing.

    Shapes: images [N, C, H, W], windows [N, 3].
    """
    center_x, center_y, side = windows[:, :, None].unbind(dim=1)
    columns = _is_within(images.shape[3], center_x, side)
    rows = _is_within(images.shape[2], center_y, side)
    is_kept = ~(rows[:, None, :, None] & columns[:, None, None, :])
    return images * is_kept.to(images)


def _is_within(length: int, center: Tensor, side: Tensor) -> Tensor:
    """Which pixels of an axis lie in a window, given as shares of its length: bool [N, length]."""
    places = (torch.arange(length) + 0.5) / length
    return (places - center).abs() < side / 2
