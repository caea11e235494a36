"""Which weights keep their parent's values."""

import torch

from stylealign.errors import ParamsError
from stylealign.models import Discriminator, Generator
from stylealign.recipe import Component


def component_of(parameter_name: str) -> Component | str:
    """Which part of a generator a parameter belongs to."""
    if parameter_name.startswith("mapping."):
        return "mapping"
    for component in ("affine", "torgb", "const"):
        if f".{component}" in parameter_name:
            return component
    return "conv"


def freeze_generator(
    generator: Generator, average: Generator, components: tuple[Component, ...]
) -> None:
    """Let the named components keep the weights of `average`; affine includes those of tRGB.

    A parent is used by its average. Weights of the generator that it was trained with are others,
    and the child's average would move towards them.

    Raises: ParamsError if the generator has none of one component's weights.
    """
    present = {name: component_of(name) for name, _ in generator.named_parameters()}
    missing = [component for component in components if component not in present.values()]
    if missing:
        message = f"freeze names {missing[0]!r}, of which this generator has no weights"
        raise ParamsError(f"{message}: it has {sorted({*present.values()})!r}")
    averages = dict(average.named_parameters())
    for name, parameter in generator.named_parameters():
        is_frozen = present[name] in components
        parameter.requires_grad_(not is_frozen)
        if is_frozen:
            with torch.no_grad():
                parameter.copy_(averages[name])


def freeze_discriminator(discriminator: Discriminator, num_blocks: int) -> None:
    """Let the first blocks, highest resolution first, keep their weights (Freeze-D).

    Raises: ParamsError if there are not so many.
    Source: Mo et al., arXiv:2002.10964.
    """
    if num_blocks > len(discriminator.blocks):
        message = f"freeze_d_layers is {num_blocks}, and the discriminator has"
        raise ParamsError(f"{message} {len(discriminator.blocks)} blocks: give that many at most")
    discriminator.requires_grad_(True)
    for block in list(discriminator.blocks.values())[:num_blocks]:
        block.requires_grad_(False)
