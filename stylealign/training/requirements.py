"""What model, parent, images and recipe must be for one another, asked before anything is done."""

import torch
from torch import Tensor, nn

from stylealign.errors import CheckpointError, DataError, ParamsError
from stylealign.models import ModelConfig
from stylealign.recipe import Recipe
from stylealign.training.classes import Classes

PARENT_TERMS = ("layout_weight", "feature_weight", "style_weight", "correspondence_weight")
"""Fields whose term compares the child's drawing with its parent's."""
CHANNELS = 3
"""Colours of the images in a prepared data set."""
MAX_PIXEL = 10.0
"""Values beyond it are no image in [-1, 1], not even a noisy one: they are 0 to 255."""


def require_stylegan2(config: ModelConfig) -> None:
    """Refuse a model whose training is another: StyleGAN3's layers track how large their input is.

    Raises: ParamsError that says what can be done with it.
    """
    if config.architecture != "stylegan2":
        message = (
            f"a model of architecture {config.architecture!r} cannot be trained or fine-tuned, "
            "only used: for inversion, translation and morphing between models that were trained "
            "elsewhere; take a StyleGAN2 model to train"
        )
        raise ParamsError(message)


def require_colours(config: ModelConfig) -> None:
    """Refuse a model of other channels than prepared images have.

    Raises: DataError that names both.
    """
    if config.img_channels != CHANNELS:
        raise DataError(
            f"the images have {CHANNELS} channels, the parent draws {config.img_channels}: take a "
            "parent that draws colour images"
        )


def require_classes(c_dim: int, classes: Classes | None, label: str) -> None:
    """Check that a conditional model, and no other, is given as many classes as it knows.

    Raises: ParamsError that names both numbers, or the label whose classes nobody gave.
    """
    if label and classes is None:
        message = f"recipe.classes is {label!r} and no classes are given"
        raise ParamsError(f"{message}: pass classes=find_classes(dataset, {label!r})")
    num_classes = 0 if classes is None else len(classes.shares)
    if num_classes != c_dim:
        message = (
            f"the model expects {c_dim} classes and recipe.classes gives {num_classes}: "
            "name a label with as many values, or none for a model without classes"
        )
        raise ParamsError(message)


def require_parent(recipe: Recipe, own: nn.Module, parent: nn.Module | None) -> None:
    """Check that there is a parent where the loss compares with one, and that it is comparable.

    Raises: ParamsError that names the terms; CheckpointError that names the first tensor which
        parent and child do not both have in the same shape.
    """
    terms = [name for name in PARENT_TERMS if getattr(recipe, name)]
    if parent is None:
        if terms:
            message = f"{', '.join(terms)}: a model that is trained from scratch has no parent"
            raise ParamsError(f"{message} to be kept near; set to 0")
        return
    shapes, others = (
        {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        for network in (own, parent)
    )
    for name in (*shapes, *others):
        if shapes.get(name) != others.get(name):
            message = (
                f"the parent is of another architecture: its tensor {name!r} has shape "
                f"{others.get(name)}, that of the model to train {shapes.get(name)}; start the "
                "child from the parent's own weights"
            )
            raise CheckpointError(message)


def require_layout(recipe: Recipe, resolution: int) -> None:
    """Check that layouts are compared at a resolution that the images have.

    Raises: ParamsError that names both.
    """
    if recipe.layout_weight and recipe.layout_resolution > resolution:
        message = f"layout_resolution is {recipe.layout_resolution}, the model's is {resolution}"
        raise ParamsError(f"{message}: set it to {resolution} or less, 8 is usual")


def require_whole_groups(part_size: int, group: int) -> None:
    """Check that a part holds the images that are compared with one another.

    Raises: ParamsError that says how many.
    """
    if part_size < group:
        message = f"part_size is {part_size}, and groups of {group} images are compared"
        raise ParamsError(f"{message} with one another: set it to {group} or more")


def require_mirrored(recipe: Recipe, *, is_mirrored: bool) -> None:
    """Check that images are x-flipped where the recipe says so, and nowhere else.

    Raises: ParamsError that says what to pass.
    """
    if is_mirrored != recipe.mirror:
        message = f"recipe.mirror is {recipe.mirror} and the batches have mirror={is_mirrored}"
        raise ParamsError(f"{message}: pass mirror=recipe.mirror to both")


def require_batch(images: Tensor, shape: tuple[int, int, int], num_images: int) -> None:
    """Check real images before a step is made with them.

    Raises: DataError if they are not those that the model draws, or not so many.
    """
    if tuple(images.shape[1:]) != shape:
        message = (
            f"images have shape {list(images.shape[1:])}, the model draws {list(shape)} "
            "(channels, height, width): prepare them at the model's resolution and channels"
        )
        raise DataError(message)
    if images.dtype != torch.float32:
        message = f"images are {images.dtype}, expected torch.float32 with pixels in [-1, 1]"
        raise DataError(message)
    if len(images) != num_images:
        message = (
            f"a batch has {len(images)} images, expected {num_images}, this process's share of "
            "batch_size; all batches have to be of one size, that of the last of a pass too"
        )
        raise DataError(message)


def require_pixels(largest: float, kimg: float) -> None:
    """Check the largest absolute value of all pixels since the last tick.

    Raises: DataError that says by which kimg it was seen.
    """
    if largest <= MAX_PIXEL:
        return
    is_finite = largest < float("inf")
    what = f"values up to {largest:g}" if is_finite else "values that are not finite"
    mend = "divide by 127.5 and subtract 1" if is_finite else "find and remove these images"
    message = f"real images by {kimg:.3f} kimg hold {what}; expected numbers in [-1, 1]: {mend}"
    raise DataError(message)
