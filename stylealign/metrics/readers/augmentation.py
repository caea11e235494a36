"""Augmentation of labelled images that keeps their labels true."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stylealign.data.encoding import EncodedLabels, flip_labels
from stylealign.data.labels import LabelSchema

Images = Float[Tensor, "N 3 H W"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far training images are changed; the defaults keep every label of every domain true."""

    use_flip: bool = True
    """Mirror half of the images, and their labels as the schema says."""
    shift: float = 1 / 16
    """Largest shift, as a fraction of the image side."""
    color_jitter: float = 0.0
    """Strength in [0, 1] of changes of brightness, contrast, saturation and tint.

    It makes labels of tone or colour untrue and is off unless asked for.
    """

    def apply(
        self, images: Images, labels: EncodedLabels, schema: LabelSchema, rng: torch.Generator
    ) -> tuple[Images, EncodedLabels]:
        """Return changed images and the labels that hold for them.

        Shapes: images [N, 3, H, W]; labels as `encode_labels` gives them.
        """
        if self.use_flip:
            is_flipped = torch.rand(len(images), generator=rng) < 0.5
            images = torch.where(is_flipped[:, None, None, None], images.flip(3), images)
            labels = flip_labels(labels, schema, is_flipped.numpy())
        max_shift = round(self.shift * images.shape[-1])
        if max_shift > 0:
            images = _shift(images, max_shift, rng)
        if self.color_jitter > 0:
            images = _jitter_colors(images, self.color_jitter, rng)
        return images, labels


def select_labels(labels: EncodedLabels, rows: np.ndarray) -> EncodedLabels:
    """Return the labels of some rows."""
    return {name: values[rows] for name, values in labels.items()}


def _shift(images: Tensor, max_shift: int, rng: torch.Generator) -> Tensor:
    """Move each image by whole pixels, repeating its border."""
    num_images, _, height, width = images.shape
    offsets = torch.randint(-max_shift, max_shift + 1, (2, num_images, 1), generator=rng)
    rows = (torch.arange(height) + offsets[0]).clamp_(0, height - 1)
    columns = (torch.arange(width) + offsets[1]).clamp_(0, width - 1)
    moved = images.gather(2, rows[:, None, :, None].expand(-1, 3, -1, width))
    return moved.gather(3, columns[:, None, None, :].expand(-1, 3, height, -1))


def _jitter_colors(images: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    def draw(num_channels: int) -> Tensor:
        uniform = torch.rand((len(images), num_channels, 1, 1), generator=rng)
        return strength * (2.0 * uniform - 1.0)

    brightness, contrast, saturation, tint = draw(1), draw(1), draw(1), draw(3)
    grey = images.mean(1, keepdim=True)
    images = grey + (1.0 + saturation) * (images - grey)
    images = (1.0 + 0.5 * contrast) * images + 0.5 * brightness + 0.25 * tint
    return images.clamp(-1.0, 1.0)
