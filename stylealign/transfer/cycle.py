"""The cycle: what a parent-domain reader finds in a child image that was led back to the parent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from stylealign.alignment.agreement import LabelReader
from stylealign.checkpoints import require_related
from stylealign.images import PixelBatch
from stylealign.inversion import Encoder, invert
from stylealign.models import Latents, Model
from stylealign.models.latents import Images
from stylealign.portions import Portions
from stylealign.tensors import to_float, to_uint8


@dataclass(frozen=True)
class LedBack:
    """Images of the child's domain as the parent draws them."""

    images: PixelBatch
    psnr: Float[np.ndarray, " N"]
    """How well the child drew its own image again, in dB."""


@dataclass(frozen=True)
class Cycle:
    """Readings of images that went from the child back to the parent."""

    readings: pd.DataFrame
    psnr: Float[np.ndarray, " N"]
    """How well the child drew its own image again, in dB."""


def lead_back(
    images: PixelBatch,
    child: Model,
    parent: Model,
    encoder: Encoder,
    *,
    seeds: Sequence[int],
    num_steps: int = 10,
    pixel_noise: float = 0.05,
    batch_size: int = 64,
) -> LedBack:
    """Encode child images from their pixels, and draw the codes with the parent.

    A code that made an image is never used: it would tell what the parent meant, not what the
    child drew. Noise on the pixels covers traces that no eye, and no model trained on the
    images, would see; photographs need none.

    Shapes: images uint8 [N, R, R, 3]; seeds [N], one per image, for the noise.
    Units:  pixel_noise is a standard deviation of pixels in [-1, 1].
    Raises: LineageError if child and parent are not related; DataError if images do not fit.
    """
    require_related(child, parent)

    def lead(rows: slice) -> tuple[PixelBatch, np.ndarray]:
        noisy = _add_noise(to_float(images[rows]), seeds[rows], pixel_noise)
        found = invert(
            noisy,
            child,
            space=encoder.space,
            start=encoder.predict(noisy),
            num_steps=num_steps,
            seeds=seeds[rows],
            batch_size=batch_size,
        )
        return _draw(found.latents, parent), found.psnr.cpu().numpy()

    # as numbers the whole set would take sixteen times the memory of its pixels
    drawn, psnr = zip(*Portions(batch_size).map(len(images), lead), strict=True)
    return LedBack(images=np.concatenate(drawn), psnr=np.concatenate(psnr))


def read_cycle(
    images: PixelBatch,
    child: Model,
    parent: Model,
    encoder: Encoder,
    reader: LabelReader,
    *,
    seeds: Sequence[int],
    num_steps: int = 10,
    pixel_noise: float = 0.05,
    batch_size: int = 64,
) -> Cycle:
    """Lead child images back to the parent and read the labels there, as `lead_back` says.

    With `child` the parent itself, this is the cycle that confidence is calibrated on.

    Shapes: images uint8 [N, R, R, 3]; seeds [N], one per image, for the noise.
    Units:  pixel_noise is a standard deviation of pixels in [-1, 1].
    Raises: LineageError if child and parent are not related; DataError if images do not fit.
    """
    back = lead_back(
        images, child, parent, encoder,
        seeds=seeds, num_steps=num_steps, pixel_noise=pixel_noise, batch_size=batch_size,
    )  # fmt: skip
    return Cycle(readings=reader.predict(back.images), psnr=back.psnr)


@torch.no_grad()
def _draw(latents: Latents, model: Model) -> PixelBatch:
    generator = model.generator
    return to_uint8(generator.synthesis(generator.to_w_plus(latents.codes, latents.space)))


def _add_noise(images: Images, seeds: Sequence[int], pixel_noise: float) -> Images:
    rows = [
        torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return images + pixel_noise * torch.stack(rows)
