"""The door of the inversion: images, seeds and starting codes are checked once."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from stylealign.errors import DataError, LineageError
from stylealign.images import PixelBatch
from stylealign.inversion.start import code_shape
from stylealign.models import SPACES, Latents, Model, ModelConfig, Space
from stylealign.models.latents import Images
from stylealign.tensors import to_float


def check_images(images: Images | PixelBatch, config: ModelConfig, like: Tensor) -> Images:
    """The images as float, on the device of `like`.

    Raises: DataError if there are none, or size, range or type is not the model's.
    """
    floats = to_float(images) if isinstance(images, np.ndarray) else images
    expected = (config.img_channels, config.resolution, config.resolution)
    if len(floats) == 0 or tuple(floats.shape[1:]) != expected:
        message = f"images have shape {tuple(floats.shape)}, expected [N, *{expected}], N >= 1"
        raise DataError(f"{message}; resize them to the model's resolution")
    if not floats.is_floating_point() or (floats.min() >= 0 and floats.max() > 16):
        raise DataError("images look like pixels of 0 to 255, expected [-1, 1]; use to_float")
    if not floats.isfinite().all():
        raise DataError("images hold NaN or infinite pixels")
    return floats.to(like)


def check_space(space: str) -> None:
    """Raise DataError unless this is a latent space."""
    if space not in SPACES:
        raise DataError(f"latent space is {space!r}, expected one of {SPACES!r}")


def check_seeds(seeds: Sequence[int] | None, seed: int, num_images: int) -> list[int]:
    """One seed per image; all the same where none are given.

    Raises: DataError if the counts differ.
    """
    if seeds is None:
        return [seed] * num_images
    if len(seeds) != num_images:
        raise DataError(f"got {len(seeds)} seeds for {num_images} images, expected one each")
    return [int(value) for value in seeds]


def check_start(start: Latents, model: Model, space: Space, num_images: int) -> Tensor:
    """The codes to start from.

    Raises: LineageError if they are another model's; DataError if space or shape differ.
    """
    if start.model_id != model.config.id:
        message = f"start codes belong to model {start.model_id!r}, not {model.config.id!r}"
        raise LineageError(f"{message}; use an encoder fitted on this model")
    if start.space != space or len(start) != num_images:
        message = f"got {len(start)} start codes in {start.space!r}"
        raise DataError(f"{message}, expected {num_images} in {space!r}")
    return check_codes(start, model)


def check_codes(latents: Latents, model: Model) -> Tensor:
    """The codes, on the model's device.

    Raises: DataError if there are none, their shape is not that of the model's space, or they are
        not finite.
    """
    check_space(latents.space)
    expected = code_shape(model.generator, latents.space)
    if len(latents) == 0 or tuple(latents.codes.shape[1:]) != expected:
        message = f"codes in {latents.space!r} have shape {tuple(latents.codes.shape)}"
        raise DataError(f"{message}, expected [N, *{expected}] with N >= 1")
    if not latents.codes.isfinite().all():
        raise DataError(f"codes in {latents.space!r} hold NaN or infinity")
    return latents.codes.to(model.generator.w_avg)


def check_labels(c: Tensor | None, model: Model, num_images: int) -> Tensor | None:
    """Classes of a conditional model, on its device.

    Raises: DataError if a conditional model gets none, or their shape is not [N, c_dim].
    """
    c_dim = model.config.c_dim
    if c_dim == 0:
        return None
    if c is None or tuple(c.shape) != (num_images, c_dim):
        got = None if c is None else tuple(c.shape)
        raise DataError(f"this model is conditional: c is {got}, expected {(num_images, c_dim)}")
    return c.to(model.generator.w_avg)


def require_no_classes(config: ModelConfig) -> None:
    """Refuse a conditional model where nothing tells the class of an image.

    Raises: DataError that says what to do.
    """
    if config.c_dim:
        raise DataError(
            f"the model {config.id[:12]!r} draws by class (c_dim {config.c_dim}), and here nothing "
            "tells which class an image has: take a model without classes (trained without "
            "recipe.classes), or invert in Python, where sa.invert and sa.translate take c"
        )
