"""Relatives are told by record or, without one, by their weights."""

import math

import pytest
import torch

from stylealign.checkpoints import (
    is_related,
    load_model,
    require_related,
    save_model,
    weight_distance,
)
from stylealign.checkpoints.lineage import RELATED_DISTANCE, find_relation
from stylealign.errors import LineageError
from stylealign.models import Latents, Model, ModelConfig
from tests.tiny import tiny_model


def small_model(seed: int, width: int = 8, parent: ModelConfig | None = None) -> Model:
    lineage = {}
    if parent is not None:
        lineage = {"parent_id": parent.id, "root_id": parent.root_id, "lineage": "trained"}
    return tiny_model(seed, channels={4: width, 8: width, 16: width}, **lineage)


def fine_tuned(seed: int, num_steps: int) -> Model:
    """The model of `seed` after Adam steps towards a meaningless goal."""
    model = small_model(seed)
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.generator.parameters(), lr=1e-2)
    target = torch.randn(8, 3, 16, 16, generator=rng)
    for _ in range(num_steps):
        images = model.generator(torch.randn(8, 8, generator=rng))
        optimizer.zero_grad()
        (images - target).square().mean().backward()
        optimizer.step()
    return model


@pytest.fixture
def family(tmp_path):
    parent = save_model(small_model(0), tmp_path / "parent")
    child = save_model(small_model(1, parent=parent), tmp_path / "child")
    sibling = save_model(small_model(2, parent=parent), tmp_path / "sibling")
    stranger = save_model(small_model(3), tmp_path / "stranger")
    return parent, child, sibling, stranger


def test_a_new_child_starts_from_its_parents_weights_and_names_it(family, tmp_path):
    _, config, *_ = family
    grandparent, parent = (load_model(tmp_path / name) for name in ("parent", "child"))

    child = parent.new_child("cats", data_hash="abc")

    assert (child.config.domain, child.config.data_hash) == ("cats", "abc")
    assert (child.config.parent_id, child.config.root_id) == (config.id, grandparent.config.id)
    for name, weight in child.generator.state_dict().items():
        own = parent.generator.state_dict()[name]
        assert torch.equal(weight, own)
        assert weight.data_ptr() != own.data_ptr()


def test_a_model_without_id_has_no_children():
    with pytest.raises(LineageError, match="save it first"):
        small_model(0).new_child("cats")


def test_parent_child_and_siblings_are_related_either_way_round(family):
    parent, child, sibling, _ = family

    pairs = [(parent, child), (child, parent), (child, sibling)]

    assert [find_relation(a, b) for a, b in pairs] == ["lineage"] * 3
    assert find_relation(parent, parent) == "same"


def test_a_stranger_is_refused_unless_forced(family):
    parent, _, _, stranger = family

    with pytest.raises(LineageError, match=r"not related.*--force \(force=True in Python\)"):
        require_related(parent, stranger)

    require_related(parent, stranger, force=True)


def test_codes_are_related_to_their_model_and_its_family(family):
    parent, child, sibling, stranger = family
    latents = Latents(torch.zeros(1, 8), "z", child.id, child.root_id)

    related = [is_related(latents, other) for other in (child, parent, sibling, stranger)]

    assert related == [True, True, True, False]
    assert is_related(Latents(torch.zeros(1, 8), "z", parent.id), child)


@pytest.mark.parametrize("width", [4, 8, 32])
def test_unrelated_networks_are_about_one_apart(width):
    models = [small_model(seed, width) for seed in range(5)]

    distances = [weight_distance(a, b) for a in models for b in models if a is not b]

    assert all(abs(distance - 1) < 0.05 for distance in distances)


def test_a_fine_tuned_network_stays_far_nearer_than_a_stranger():
    child, parent = fine_tuned(0, num_steps=60), small_model(0)

    distance = weight_distance(parent, child)

    assert 0.02 < distance < RELATED_DISTANCE / 2
    assert find_relation(parent, child) == "measured"


def test_unrelated_trained_networks_are_still_told_apart():
    a, b = fine_tuned(0, num_steps=60), fine_tuned(1, num_steps=60)

    with pytest.raises(LineageError, match="weights are"):
        require_related(a, b)


def test_other_architectures_are_never_related_by_weight():
    assert weight_distance(small_model(0, 4), small_model(0, 8)) == math.inf


def test_models_without_an_id_are_not_the_same():
    assert not is_related(small_model(0).config, small_model(1).config)
