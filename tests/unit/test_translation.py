"""Laws of translation."""

import copy

import pytest
import torch

from stylealign.errors import DataError, LineageError
from stylealign.models import SPACES, Latents, Model
from stylealign.translation import translate
from tests.full_device import full_above
from tests.tiny import moved_child, tiny_model

N = 5


@pytest.fixture(scope="module")
def parent():
    return tiny_model(0, id="parent", root_id="parent", noise=False)


@pytest.fixture(scope="module")
def child(parent):
    return moved_child(parent)


def draw_codes(model, space):
    rng = torch.Generator().manual_seed(1)
    dim = model.config.z_dim
    shape = (N, model.config.num_ws, dim) if space.endswith("_plus") else (N, dim)
    return Latents(torch.randn(shape, generator=rng), space, model.config.id, model.config.root_id)


@pytest.mark.parametrize("space", SPACES)
def test_translating_to_itself_redraws_the_same_image(parent, space):
    latents = draw_codes(parent, space)
    with torch.no_grad():
        w_plus = parent.generator.to_w_plus(latents.codes, space)
        drawn = parent.generator.synthesis(w_plus)

    translated = translate(latents, parent)

    assert torch.equal(translated, drawn)


def test_a_device_that_holds_few_images_draws_the_same(parent, child):
    latents, model = draw_codes(parent, "z_plus"), copy.deepcopy(child)

    model.generator.synthesis.register_forward_pre_hook(full_above(2))

    torch.testing.assert_close(translate(latents, model), translate(latents, child))


@pytest.mark.parametrize("space", ["z", "z_plus"])
def test_z_codes_pass_through_the_childs_own_mapping(parent, child, space):
    latents = draw_codes(parent, space)
    other = Model(copy.deepcopy(child.generator), child.config)
    other.generator.mapping.load_state_dict(parent.generator.mapping.state_dict())

    translated = translate(latents, child)

    assert not torch.allclose(translated, translate(latents, other), atol=1e-3)


@pytest.mark.parametrize("space", ["w", "w_plus"])
def test_w_codes_skip_the_childs_mapping(parent, child, space):
    latents = draw_codes(parent, space)
    other = Model(copy.deepcopy(child.generator), child.config)
    other.generator.mapping.load_state_dict(parent.generator.mapping.state_dict())

    translated = translate(latents, child)

    assert torch.equal(translated, translate(latents, other))


@pytest.mark.parametrize("space", SPACES)
def test_truncation_to_zero_makes_all_images_equal(parent, child, space):
    latents = draw_codes(parent, space)

    images = translate(latents, child, truncation_psi=0.0)

    torch.testing.assert_close(images, images[:1].expand_as(images))


def test_the_batch_size_does_not_matter(parent, child):
    latents = draw_codes(parent, "z_plus")

    whole, parts = (translate(latents, child, batch_size=size) for size in (64, 2))

    torch.testing.assert_close(whole, parts)


def test_siblings_and_the_way_back_are_allowed(parent, child):
    codes = draw_codes(parent, "z").codes
    sibling = Model(parent.generator, parent.config.model_copy(update={"id": "sibling"}))

    back = translate(Latents(codes, "z", "child", "parent"), parent)
    across = translate(Latents(codes, "z", "child", "parent"), sibling)

    assert torch.equal(back, across)


def test_an_unrelated_model_is_refused_unless_forced(parent):
    stranger = tiny_model(1, id="stranger", root_id="stranger", noise=False)
    latents = draw_codes(parent, "z")

    with pytest.raises(LineageError, match="not related"):
        translate(latents, stranger)

    assert translate(latents, stranger, force=True).shape == (N, 3, 16, 16)


def test_codes_of_another_size_are_refused(parent):
    latents = Latents(torch.zeros(2, 9), "z", "parent", "parent")

    with pytest.raises(DataError, match="expected"):
        translate(latents, parent)
