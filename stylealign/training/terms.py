"""What a child's drawing of codes owes to its parent's, as the recipe weighs it."""

import torch
from torch import Tensor

from stylealign.training.codes import Codes, Drawing, draw
from stylealign.training.kinship import correspondence_distance, style_distance
from stylealign.training.state import Training
from stylealign.training.structure import feature_distance, joint_variances, layout_distance


def parent_terms(
    training: Training, codes: Codes, child: Drawing, variances: dict[str, Tensor]
) -> dict[str, tuple[float, Tensor]]:
    """Distances of the child's drawing to the parent's by name, each with its weight.

    `variances` are those of the parent's maps over a joint batch that the codes are a part of;
    empty for a whole batch.
    """
    recipe = training.recipe
    if training.parent is None or not training.has_parent_terms:
        return {}
    with torch.no_grad():
        parent = draw(training.parent, codes, training.lower_precision())
    terms: dict[str, tuple[float, Tensor]] = {}
    if recipe.layout_weight:
        distance = layout_distance(child.images, parent.images, recipe.layout_resolution)
        terms["layout"] = (recipe.layout_weight, distance)
    if recipe.feature_weight:
        distance = feature_distance(
            child.taps, parent.taps, recipe.feature_max_resolution, variances or None
        )
        terms["features"] = (recipe.feature_weight, distance)
    if recipe.style_weight:
        distance = style_distance(child.styles, parent.styles, training.style_variances)
        terms["styles"] = (recipe.style_weight, distance)
    if recipe.correspondence_weight:
        distance = correspondence_distance(child.taps, parent.taps, recipe.correspondence_group)
        terms["correspondence"] = (recipe.correspondence_weight, distance)
    return terms


@torch.no_grad()
def parent_variances(training: Training, joint: Codes, batch: int) -> dict[str, Tensor]:
    """Variance of the parent's maps over the joint batch, for a batch in parts."""
    parent, split = training.parent, training.split
    if parent is None:
        return {}
    taps = (
        draw(parent, joint.part(part), training.lower_precision()).taps
        for part in split.parts(batch)
    )
    return joint_variances(taps, split)
