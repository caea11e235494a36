"""Component groups of a generator, and how far fine-tuning moved the weights of each."""

import torch
from torch import Tensor

from stylealign.errors import DataError
from stylealign.models import Generator, Model


def group_of(name: str) -> str:
    """Component group of a tensor of the generator, by its name in the state dict.

    `mapping` (with w_avg), `const` (or the Fourier input), `affine` (of all layers), `torgb`, and
    `conv.<block>` with the biases and noise of the block's layers.
    """
    if name.startswith("mapping."):
        return "mapping"
    if ".affine." in name:
        return "affine"
    if ".torgb." in name:
        return "torgb"
    if name.endswith(".const") or name.startswith("synthesis.input."):
        return "const"
    return f"conv.{name.split('.')[2]}"  # of synthesis.blocks.b8.conv0.weight


def list_groups(generator: Generator) -> tuple[str, ...]:
    """Component groups of a generator, from the code to the pixels."""
    return tuple(dict.fromkeys(group_of(name) for name in generator.state_dict()))


@torch.no_grad()
def weight_distances(parent: Model, child: Model) -> dict[str, float]:
    """Distance of each group's weights, ||p - c|| / sqrt(||p||^2 + ||c||^2).

    0 for equal weights, about 1 for independent ones, whatever their scale. Buffers and noise
    are no learned features and do not count.

    Raises: DataError if the two architectures differ.
    Source: normalised as in `checkpoints.weight_distance`, by group as in arXiv:2110.11323,
        section 4.
    """
    require_same_architecture(parent, child)
    others = dict(child.generator.named_parameters())
    sums: dict[str, Tensor] = {}
    for name, weight in parent.generator.named_parameters():
        if name.endswith("noise_strength"):
            continue
        other = others[name].to(weight)
        terms = torch.stack(
            [
                (weight - other).square().sum(),
                weight.square().sum() + other.square().sum(),
            ]
        )
        group = group_of(name)
        sums[group] = sums[group] + terms if group in sums else terms
    return {
        group: float((terms[0] / terms[1].clamp(min=1e-12)).sqrt()) for group, terms in sums.items()
    }


def require_same_architecture(parent: Model, child: Model) -> None:
    """Raise DataError unless weights of one model fit the other."""
    if not parent.config.has_same_architecture(child.config):
        raise DataError("the two models differ in architecture, their weights do not compare")
