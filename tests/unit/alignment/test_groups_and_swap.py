"""Laws of weight distances and of resetting component groups."""

import pytest
import torch

from stylealign.alignment import group_of, list_groups, reset_groups, weight_distances
from stylealign.errors import DataError
from stylealign.models import Model

GROUPS = ("mapping", "const", "conv.b4", "affine", "torgb", "conv.b8", "conv.b16")


def draw(model: Model):
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.generator(z)


def test_every_tensor_belongs_to_a_group(parent):
    groups = list_groups(parent.generator)

    assert sorted(groups) == sorted(GROUPS)
    assert group_of("synthesis.blocks.b8.conv0.affine.weight") == "affine"
    assert group_of("mapping.w_avg") == "mapping"


def test_a_model_is_at_no_distance_from_itself(parent):
    distances = weight_distances(parent, parent)

    assert set(distances) == set(GROUPS)
    assert all(distance == 0 for distance in distances.values())


def test_distance_shows_in_the_groups_that_moved(parent, child, stranger):
    near, far = weight_distances(parent, child), weight_distances(parent, stranger)

    assert near["mapping"] == near["affine"] == near["torgb"] == 0
    for group in ("conv.b4", "conv.b8", "conv.b16"):
        assert 0 < near[group] < 0.2
        assert 0.8 < far[group] < 1.2


def test_distance_does_not_depend_on_the_order_of_the_models(parent, child):
    there, back = weight_distances(parent, child), weight_distances(child, parent)

    assert there == pytest.approx(back)


def test_resetting_every_group_restores_the_parent(parent, child):
    restored = reset_groups(child, parent, list_groups(child.generator))

    assert torch.equal(draw(restored), draw(parent))
    assert not torch.equal(draw(child), draw(parent))


def test_resetting_nothing_keeps_the_child(parent, child):
    kept = reset_groups(child, parent, ())

    assert torch.equal(draw(kept), draw(child))


def test_resetting_a_group_moves_that_group_alone(parent, child):
    reset = reset_groups(child, parent, ["conv.b8"])

    distances = weight_distances(parent, reset)
    assert distances["conv.b8"] == 0
    assert distances["conv.b16"] == weight_distances(parent, child)["conv.b16"]
    assert reset.config.id != child.config.id


def test_an_unknown_group_is_refused(parent, child):
    with pytest.raises(DataError, match="do not exist"):
        reset_groups(child, parent, ["conv.b99"])
