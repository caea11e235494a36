"""Named feature extractors, each with a hash of everything that decides its numbers."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from stylealign.errors import ParamsError
from stylealign.images import PixelBatch, to_float
from stylealign.metrics.lite2 import WEIGHTS_SHA256, load_lite2

EXTRACTORS: Final = ("lite2",)


@runtime_checkable
class Extractor(Protocol):
    """What turns images into rows of features."""

    @property
    def name(self) -> str:
        """The name that metrics carry, such as `lite2`."""
        ...

    @property
    def hash(self) -> str:
        """A hash of weights and preprocessing: features of equal hashes can be compared."""
        ...

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N F"]:
        """Return features of images with pixels in [-1, 1]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Lite2Extractor:
    """Pooled penultimate features of EfficientNet-Lite2 after an antialiased resize."""

    resolution: int
    """Side in pixels at which the network sees every image."""

    @property
    def name(self) -> str:
        """The name that metrics carry."""
        return "lite2"

    @property
    def hash(self) -> str:
        """A hash of weights and preprocessing."""
        recipe = f"lite2 {WEIGHTS_SHA256} antialiased bicubic {self.resolution}"
        return hashlib.sha256(recipe.encode()).hexdigest()

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N F"]:
        """Return features of images with pixels in [-1, 1].

        Shapes: images [N, 3, H, W]; returns [N, 1280].
        """
        network = load_lite2().to(images.device)
        return network(resize(images, self.resolution))


def load_extractor(name: str, *, resolution: int) -> Extractor:
    """Load an extractor by its name.

    Raises: ParamsError if there is no extractor of this name, or the resolution is under 32.
    """
    if name not in EXTRACTORS:
        raise ParamsError(f"feature extractor is {name!r}, expected one of {EXTRACTORS!r}")
    if resolution < 32:
        message = f"resolution of extractor {name!r} is {resolution!r}, expected at least 32"
        raise ParamsError(message)
    return Lite2Extractor(resolution=resolution)


def resize(images: Float[Tensor, "N 3 H W"], resolution: int) -> Float[Tensor, "N 3 R R"]:
    """Resize images with an antialiasing bicubic filter, as Pillow does.

    Shapes: images [N, 3, H, W]; returns [N, 3, resolution, resolution].
    Source: Parmar et al., arXiv:2104.11222: without antialiasing the distances mean little.
    """
    if images.shape[-2:] == (resolution, resolution):
        return images
    size = (resolution, resolution)
    resized = functional.interpolate(images, size, mode="bicubic", antialias=True)
    return resized.clamp(-1.0, 1.0)


def iterate_features(
    batches: Iterable[UInt8[np.ndarray, "_ _ _ 3"]], extractor: Extractor, *, device: str = "cpu"
) -> Iterator[Float32[np.ndarray, "_ _"]]:
    """Yield the features of one batch of images after the other.

    Shapes: each batch [B, H, W, 3]; yields [B, F].
    """
    for batch in batches:
        with torch.inference_mode():
            features = extractor(to_float(batch).to(device))
            rows = features.float().cpu().numpy()
        yield rows


def extract_features(
    images: PixelBatch, extractor: Extractor, *, batch_size: int = 64, device: str = "cpu"
) -> Float32[np.ndarray, "N F"]:
    """Return the features of images that fit into memory.

    Shapes: images [N, H, W, 3]; returns [N, F].
    """
    starts = range(0, len(images), batch_size)
    batches = (images[start : start + batch_size] for start in starts)
    return np.concatenate(list(iterate_features(batches, extractor, device=device)))


def metric_name(kind: str, extractor: Extractor, num_images: int) -> str:
    """Name a metric by its kind, extractor and sample count: `fd_lite2_1k`, `kid_lite2_1500`."""
    is_whole = num_images >= 1000 and num_images % 1000 == 0
    count = f"{num_images // 1000}k" if is_whole else str(num_images)
    return f"{kind}_{extractor.name}_{count}"
