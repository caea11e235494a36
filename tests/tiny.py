"""Models so small that a test may train, invert or compare them, and images to train on."""

import copy
from typing import Any, NamedTuple

import torch

from stylealign.models import Model, ModelConfig

WIDTHS = {4: 8, 8: 8, 16: 8}


def tiny_model(seed: int = 0, **changes) -> Model:
    """An untrained model of 16 pixels, whose codes have 8 numbers; equal seeds, equal weights."""
    fields: dict[str, Any] = {
        "resolution": 16, "z_dim": 8, "w_dim": 8, "num_mapping_layers": 2, "channels": WIDTHS,
    } | changes  # fmt: skip
    torch.manual_seed(seed)
    return Model.new(ModelConfig(**fields))


def moved_child(parent: Model) -> Model:
    """A child whose weights all lie a little beside its parent's; global randomness decides how."""
    config = parent.config.model_copy(update={"id": "child", "parent_id": parent.config.id})
    generator = copy.deepcopy(parent.generator)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Model(generator, config)


class Batch(NamedTuple):
    """Real images as training takes them, without labels."""

    images: torch.Tensor


class NoiseBatches:
    """Real images that are noise, in an order that follows from the position."""

    def __init__(self, scale: float = 1.0, shape: tuple[int, int, int] = (3, 8, 8)) -> None:
        self.position, self.scale, self.shape = 0, scale, shape

    def __next__(self) -> Batch:
        rng = torch.Generator().manual_seed(self.position)
        self.position += 1
        return Batch(torch.randn(4, *self.shape, generator=rng) * self.scale)

    def state_dict(self) -> dict[str, int]:
        """The position alone."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a position."""
        self.position = state["position"]
