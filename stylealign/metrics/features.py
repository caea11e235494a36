"""Named feature extractors, each with a hash of everything that decides its numbers."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from stylealign.errors import ParamsError
from stylealign.images import PixelBatch
from stylealign.metrics.inception import RESOLUTION as INCEPTION_PX
from stylealign.metrics.inception import load_inception
from stylealign.metrics.lite2 import WEIGHTS_SHA256, load_lite2
from stylealign.metrics.published import WeightsFile
from stylealign.metrics.vgg16 import RESOLUTION as VGG16_PX
from stylealign.metrics.vgg16 import load_vgg16
from stylealign.networks import on_device
from stylealign.portions import Portions
from stylealign.tensors import to_float

EXTRACTORS: Final = ("lite2", "inception", "vgg16")
PUBLISHED_RESOLUTIONS: Final = {"inception": INCEPTION_PX, "vgg16": VGG16_PX}
"""The one size in pixels that the published figures of an extractor are defined at."""


@runtime_checkable
class Named(Protocol):
    """What gives a metric its name."""

    @property
    def name(self) -> str:
        """The name that metrics carry, such as `lite2`."""
        ...


@runtime_checkable
class Extractor(Named, Protocol):
    """What turns images into rows of features."""

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
        network = on_device(load_lite2(), images.device)
        return network(resize(images, self.resolution))


@dataclass(frozen=True, kw_only=True)
class InceptionExtractor:
    """Pooled features of the FID's Inception network; `fd` of these is the standard FID.

    Images are brought to 299 pixels as the PyTorch port of the FID does, bilinear and without
    antialiasing, so images larger than that alias as they do there.
    """

    weights: WeightsFile

    @property
    def name(self) -> str:
        """The name that metrics carry."""
        return "inception"

    @property
    def hash(self) -> str:
        """A hash of weights and preprocessing."""
        recipe = f"inception {self.weights.sha256} bilinear {INCEPTION_PX}"
        return hashlib.sha256(recipe.encode()).hexdigest()

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N F"]:
        """Return features of images with pixels in [-1, 1].

        Shapes: images [N, 3, H, W]; returns [N, 2048].
        Raises: CheckpointError if the weights are not those of the network.
        """
        network = on_device(load_inception(self.weights), images.device)
        size = (INCEPTION_PX, INCEPTION_PX)
        return network(functional.interpolate(images, size, mode="bilinear"))


@dataclass(frozen=True, kw_only=True)
class Vgg16Extractor:
    """The 4096 features before VGG16's last layer, after an antialiased resize to 224 pixels."""

    weights: WeightsFile

    @property
    def name(self) -> str:
        """The name that metrics carry."""
        return "vgg16"

    @property
    def hash(self) -> str:
        """A hash of weights and preprocessing."""
        recipe = f"vgg16 {self.weights.sha256} antialiased bicubic {VGG16_PX}"
        return hashlib.sha256(recipe.encode()).hexdigest()

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N F"]:
        """Return features of images with pixels in [-1, 1].

        Shapes: images [N, 3, H, W]; returns [N, 4096].
        Raises: CheckpointError if the weights are not those of the network.
        """
        network = on_device(load_vgg16(self.weights), images.device)
        return network(resize(images, VGG16_PX))


def load_extractor(name: str, *, resolution: int, weights: WeightsFile | None = None) -> Extractor:
    """Load an extractor by its name; `inception` and `vgg16` need weights of the user's own.

    Raises: ParamsError if there is no extractor of this name, it cannot see images at this
        resolution, or weights are given where none are needed, or not where they are;
        CheckpointError if the weights are not those of the network.
    """
    if name not in EXTRACTORS:
        raise ParamsError(f"feature extractor is {name!r}, expected one of {EXTRACTORS!r}")
    if name == "lite2":
        return _load_lite2(resolution, weights)
    if weights is None:
        message = f"feature extractor {name!r} needs weights of your own"
        raise ParamsError(f"{message}: give the path of their file and its sha256")
    if resolution != PUBLISHED_RESOLUTIONS[name]:
        expected = PUBLISHED_RESOLUTIONS[name]
        message = f"resolution of extractor {name!r} is {resolution!r}, expected {expected!r}"
        raise ParamsError(f"{message}, at which its figures are defined")
    if name == "inception":
        load_inception(weights)
        return InceptionExtractor(weights=weights)
    load_vgg16(weights)
    return Vgg16Extractor(weights=weights)


def _load_lite2(resolution: int, weights: WeightsFile | None) -> Lite2Extractor:
    if weights is not None:
        raise ParamsError("feature extractor 'lite2' has weights of its own: give none")
    if resolution < 32:
        message = f"resolution of extractor 'lite2' is {resolution!r}, expected at least 32"
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
    """Yield the features of one batch of images after the other; a batch that was seen is let go.

    Shapes: each batch [B, H, W, 3]; yields [B, F].
    """
    return map(partial(extract_features, extractor=extractor, device=device), batches)


def collect_features(
    batches: Iterable[UInt8[np.ndarray, "_ _ _ 3"]], extractor: Extractor, *, device: str = "cpu"
) -> Float32[np.ndarray, "N F"]:
    """Return the features of images that stream by, for measures that compare every two rows.

    Shapes: each batch [B, H, W, 3]; returns [N, F].
    """
    return np.concatenate(list(iterate_features(batches, extractor, device=device)))


def extract_features(
    images: PixelBatch, extractor: Extractor, *, batch_size: int = 64, device: str = "cpu"
) -> Float32[np.ndarray, "N F"]:
    """Return the features of images that fit into memory.

    A batch that the device does not hold is halved.

    Shapes: images [N, H, W, 3]; returns [N, F].
    """

    def features_of(rows: slice) -> np.ndarray:
        return _features(images[rows], extractor, device)

    return np.concatenate(Portions(batch_size).map(len(images), features_of))


@torch.inference_mode()
def _features(images: PixelBatch, extractor: Extractor, device: str) -> np.ndarray:
    return extractor(to_float(images).to(device)).float().cpu().numpy()


def metric_name(kind: str, extractor: Named, num_images: int) -> str:
    """Name a metric by its kind, extractor and sample count: `fd_lite2_1k`, `kid_lite2_1500`."""
    is_whole = num_images >= 1000 and num_images % 1000 == 0
    count = f"{num_images // 1000}k" if is_whole else str(num_images)
    return f"{kind}_{extractor.name}_{count}"
