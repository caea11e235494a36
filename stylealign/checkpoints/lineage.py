"""Who is related to whom: only relatives read a latent code the same way."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from stylealign.errors import LineageError
from stylealign.models import Latents, Model, ModelConfig

Relation: TypeAlias = Literal["same", "lineage", "measured"]

RELATED_DISTANCE = 0.8
"""Weight distance below which two models without a common record count as relatives.

Unrelated weights are orthogonal up to 1/sqrt(size), so their distance is 1 within a few per cent
even for the smallest networks; that of a fine-tuned child grows from 0 with training. 0.8 is a
cosine of 0.36: dozens of standard deviations from chance for every usable layer size.
"""


def require_related(
    a: Model | ModelConfig | Latents, b: Model | ModelConfig | Latents, *, force: bool = False
) -> None:
    """Refuse to mix models that do not share an ancestor.

    The record decides first: equal ids, equal roots, or one the parent of the other, be it
    trained or declared. Without a record the weights decide, which takes two whole models.
    With `force` everything passes: for control experiments.

    Raises: LineageError if they are not related, or nothing shows that they are.
    """
    if force or find_relation(a, b) is not None:
        return
    reason = "no common ancestor is on record"
    if isinstance(a, Model) and isinstance(b, Model):
        reason += f", and their weights are {weight_distance(a, b):.2f} apart"
        reason += f" where relatives are below {RELATED_DISTANCE}"
    message = (
        f"models {_describe(a)} and {_describe(b)} are not related: {reason}; "
        "declare the parent (`stylealign convert --parent`), or for a control go on with --force "
        "(force=True in Python)"
    )
    raise LineageError(message)


def is_related(a: Model | ModelConfig | Latents, b: Model | ModelConfig | Latents) -> bool:
    """Whether `require_related` lets them pass."""
    return find_relation(a, b) is not None


def find_relation(
    a: Model | ModelConfig | Latents, b: Model | ModelConfig | Latents
) -> Relation | None:
    """How two models, or codes of them, are known to be related; None if they are not."""
    own_a, ancestors_a = _ids(a)
    own_b, ancestors_b = _ids(b)
    if own_a and own_a == own_b:
        return "same"
    if ancestors_a & ancestors_b:
        return "lineage"
    if isinstance(a, Model) and isinstance(b, Model) and weight_distance(a, b) < RELATED_DISTANCE:
        return "measured"
    return None


@torch.no_grad()
def weight_distance(a: Model, b: Model) -> float:
    """Mean normalised distance of the synthesis convolutions, ||a - b|| / sqrt(||a||² + ||b||²).

    0 for equal weights, about 1 for independent ones, infinite for other architectures.
    Convolutions are what fine-tuning moves most, so a child that passes here passes everywhere.
    """
    weights_a, weights_b = _conv_weights(a), _conv_weights(b)
    shapes_a = {name: weight.shape for name, weight in weights_a.items()}
    if shapes_a != {name: weight.shape for name, weight in weights_b.items()}:
        return math.inf
    distances = [
        (weight - weights_b[name]).norm() / torch.hypot(weight.norm(), weights_b[name].norm())
        for name, weight in weights_a.items()
    ]
    return float(torch.stack(distances).mean())


def _conv_weights(model: Model) -> dict[str, Tensor]:
    return {
        name: weight.detach().cpu()
        for name, weight in model.generator.synthesis.named_parameters()
        if weight.ndim == 4 and ".torgb." not in name
    }


def _ids(item: Model | ModelConfig | Latents) -> tuple[str, set[str]]:
    """Own id, and the ids by which relatives can be told: own, parent's and root's."""
    if isinstance(item, Latents):
        own, known = item.model_id, (item.model_id, item.root_id)
    else:
        config = item.config if isinstance(item, Model) else item
        own, known = config.id, (config.id, config.parent_id, config.root_id)
    return own, {model_id for model_id in known if model_id}


def _describe(item: Model | ModelConfig | Latents) -> str:
    own, _ = _ids(item)
    return repr(own[:12] or "without id")
