"""Laws of morphing."""

import copy
from itertools import pairwise

import pytest
import torch

from stylealign.errors import DataError, LineageError
from stylealign.models import SPACES, Latents
from stylealign.morphing import morph, slerp
from stylealign.translation import translate
from tests.tiny import moved_child, tiny_model


@pytest.fixture(scope="module")
def parent():
    return tiny_model(0, id="parent", root_id="parent")


@pytest.fixture(scope="module")
def child(parent):
    return moved_child(parent)


def draw_codes(model, space, seed):
    rng = torch.Generator().manual_seed(seed)
    shape = (2, model.config.num_ws, 8) if space.endswith("_plus") else (2, 8)
    return Latents(torch.randn(shape, generator=rng), space, model.config.id, model.config.root_id)


@pytest.mark.parametrize("space", SPACES)
def test_both_ends_of_a_morph_equal_their_models(parent, child, space):
    latents_a, latents_b = draw_codes(parent, space, 1), draw_codes(child, space, 2)

    frames = list(morph(latents_a, parent, latents_b, child, num_frames=4))

    assert len(frames) == 4
    assert torch.equal(frames[0], translate(latents_a, parent))
    assert torch.equal(frames[-1], translate(latents_b, child))


def test_a_morph_moves_in_small_steps(parent, child):
    latents_a, latents_b = draw_codes(parent, "z", 1), draw_codes(child, "z", 2)

    frames = list(morph(latents_a, parent, latents_b, child, num_frames=21))

    whole = (frames[-1] - frames[0]).norm()
    steps = [(b - a).norm() for a, b in pairwise(frames)]
    assert max(steps) < 0.3 * whole


def test_a_morph_leaves_both_models_as_they_were(parent, child):
    before = [copy.deepcopy(model.generator.state_dict()) for model in (parent, child)]

    list(morph(draw_codes(parent, "z", 1), parent, draw_codes(child, "z", 2), child, num_frames=3))

    for state, model in zip(before, (parent, child), strict=True):
        after = model.generator.state_dict()
        assert all(torch.equal(state[name], after[name]) for name in state)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_slerp_of_parallel_vectors_is_finite(factor):
    first = torch.tensor([[1.0, 2.0, 3.0]])

    between = slerp(first, factor * first, 0.25)

    torch.testing.assert_close(between, first.lerp(factor * first, 0.25))


def test_slerp_stays_on_the_sphere_and_halves_the_angle(rng):
    first, second = torch.randn(2, 4, 6, generator=rng)
    first, second = (x / x.norm(dim=1, keepdim=True) for x in (first, second))

    middle = slerp(first, second, 0.5)

    torch.testing.assert_close(middle.norm(dim=1), torch.ones(4))
    torch.testing.assert_close((middle * first).sum(1), (middle * second).sum(1))


def test_unrelated_models_are_not_morphed_unless_forced(parent):
    stranger = tiny_model(1, id="stranger", root_id="stranger")
    codes = draw_codes(parent, "z", 1), draw_codes(stranger, "z", 2)

    with pytest.raises(LineageError, match="not related"):
        morph(codes[0], parent, codes[1], stranger)

    assert len(list(morph(codes[0], parent, codes[1], stranger, num_frames=2, force=True))) == 2


def test_codes_that_do_not_pair_are_refused(parent, child):
    with pytest.raises(DataError, match="one space"):
        morph(draw_codes(parent, "z", 1), parent, draw_codes(child, "w", 1), child)
    with pytest.raises(DataError, match="at least the 2 ends"):
        morph(draw_codes(parent, "z", 1), parent, draw_codes(child, "z", 1), child, num_frames=1)
