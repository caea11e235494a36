"""Laws of the inversion."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

from stylealign.errors import DataError, DivergenceError, LineageError, ParamsError
from stylealign.inversion import invert
from stylealign.inversion.descent import rate_at
from stylealign.inversion.noise import draw_noise_maps
from stylealign.models import SPACES, Latents
from stylealign.tensors import to_uint8
from tests.full_device import full_above
from tests.tiny import tiny_model


def draw(model, latents, noise_maps=None):
    with torch.no_grad():
        w_plus = model.generator.to_w_plus(latents.codes, latents.space)
        return model.generator.synthesis(w_plus, noise_maps=noise_maps)


@pytest.mark.parametrize("space", SPACES)
def test_inversion_of_the_models_own_images_leaves_a_small_error(parent, samples, space):
    before = invert(samples, parent, space=space, num_steps=0)

    after = invert(samples, parent, space=space, num_steps=60)

    assert after.mse.mean() < 0.35 * before.mse.mean()
    assert after.psnr.min() > 18


@pytest.mark.parametrize("space", SPACES)
def test_figures_are_those_of_the_codes_returned(parent, samples, space):
    result = invert(samples, parent, space=space, num_steps=5)

    redrawn = draw(parent, result.latents)

    error = (redrawn - samples).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(result.mse, error)
    torch.testing.assert_close(result.psnr, 10 * torch.log10(4 / error))


@pytest.mark.parametrize("space", ["z_plus", "w_plus"])
def test_an_image_gets_the_same_code_in_any_company(parent, samples, space):
    seeds = [11, 12, 13, 14, 15, 16]
    steps = partial(invert, space=space, num_steps=8, code_noise=0.05)
    together = steps(samples, parent, seeds=seeds)

    alone = steps(samples[4:5], parent, seeds=seeds[4:5])
    in_small_batches = steps(samples, parent, seeds=seeds, batch_size=4)

    torch.testing.assert_close(alone.latents.codes[0], together.latents.codes[4], atol=2e-3, rtol=0)
    torch.testing.assert_close(
        in_small_batches.latents.codes, together.latents.codes, atol=2e-3, rtol=0
    )


def test_a_device_that_holds_few_images_finds_the_same_codes(parent, samples):
    steps = partial(invert, space="w_plus", num_steps=8, seeds=range(6), code_noise=0.05)
    expected, model = steps(samples, parent), copy.deepcopy(parent)

    model.generator.synthesis.register_forward_pre_hook(full_above(2))
    found = steps(samples, model)

    torch.testing.assert_close(found.latents.codes, expected.latents.codes, atol=2e-3, rtol=0)
    model.generator.synthesis.register_forward_pre_hook(full_above(0))
    with pytest.raises(ParamsError, match="out of memory with 1 images"):
        steps(samples, model)


def test_the_same_seed_gives_the_same_bytes(parent, samples):
    first = invert(samples, parent, num_steps=6, code_noise=0.05, seed=3)

    second = invert(samples, parent, num_steps=6, code_noise=0.05, seed=3)
    other = invert(samples, parent, num_steps=6, code_noise=0.05, seed=4)

    assert torch.equal(first.latents.codes, second.latents.codes)
    assert not torch.equal(first.latents.codes, other.latents.codes)


def test_more_steps_never_make_an_image_worse_than_its_start(parent, samples):
    start = invert(samples, parent, space="w_plus", num_steps=0).latents
    by_pixels = partial(
        invert, space="w_plus", perceptual_weight=0.0, spread_weight=0.0, prior_weight=0.0
    )

    wild = by_pixels(samples, parent, start=start, num_steps=3, learning_rate=50.0)

    still = by_pixels(samples, parent, start=start, num_steps=0)
    assert (wild.mse <= still.mse + 1e-6).all()


@pytest.mark.parametrize("space", ["z", "z_plus"])
def test_z_codes_stay_on_the_sphere(parent, samples, space):
    codes = invert(samples, parent, space=space, num_steps=4).latents.codes

    norms = codes.square().mean(dim=-1)

    torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-4, rtol=0)


@pytest.mark.parametrize("space", ["z_plus", "w_plus"])
def test_a_spread_penalty_holds_the_layers_together(parent, samples, space):
    start = invert(samples, parent, space=space, num_steps=0).latents

    loose = invert(samples, parent, space=space, start=start, num_steps=30, spread_weight=0.0)
    tight = invert(samples, parent, space=space, start=start, num_steps=30, spread_weight=10.0)

    deviation = [r.latents.codes.std(dim=1).mean() for r in (loose, tight)]
    assert deviation[1] < 0.7 * deviation[0]


def test_w_codes_shrink_to_the_mean_under_a_strong_prior(parent, samples):
    free = invert(samples, parent, space="w", num_steps=30, prior_weight=0.0)

    held = invert(samples, parent, space="w", num_steps=30, prior_weight=10.0)

    center = parent.generator.w_avg
    assert (held.latents.codes - center).norm() < 0.7 * (free.latents.codes - center).norm()


def test_the_model_is_left_as_it_was(parent, samples):
    before = {name: value.clone() for name, value in parent.generator.state_dict().items()}
    parent.generator.mapping.requires_grad_(requires_grad=False)
    flags = [p.requires_grad for p in parent.generator.parameters()]

    invert(samples, parent, num_steps=2)

    assert [p.requires_grad for p in parent.generator.parameters()] == flags
    assert all(p.grad is None for p in parent.generator.parameters())
    after = parent.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    parent.generator.requires_grad_(requires_grad=True)


def test_inversion_works_where_the_caller_switched_gradients_off(parent, samples):
    outside = invert(samples, parent, num_steps=3)

    with torch.inference_mode():
        inside = invert(samples * 1.0, parent, num_steps=3)

    assert torch.equal(inside.latents.codes, outside.latents.codes)


def test_uint8_images_are_taken_too(parent, samples):
    pixels = to_uint8(samples)

    result = invert(pixels, parent, num_steps=2)

    assert result.latents.codes.shape == (6, parent.config.num_ws, 8)
    assert result.latents.model_id == "parent"


def test_noise_from_a_seed_is_recorded_and_redraws_the_image(noisy_parent, samples):
    result = invert(samples, noisy_parent, num_steps=3, noise_seed=9)

    maps = draw_noise_maps(noisy_parent.generator, result.noise_seed)
    error = (draw(noisy_parent, result.latents, maps) - samples).square()
    torch.testing.assert_close(result.mse, error.mean(dim=(1, 2, 3)))


def test_optimized_noise_improves_the_drawing_and_stays_white(noisy_parent, samples):
    fixed = invert(samples, noisy_parent, num_steps=20)

    free = invert(samples, noisy_parent, num_steps=20, use_noise_optimization=True)

    assert free.mse.mean() < fixed.mse.mean()
    for noise in free.noise_maps.values():
        assert len(noise) == len(samples)
        torch.testing.assert_close(noise.mean((1, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0)
        torch.testing.assert_close(noise.square().mean((1, 2, 3)), torch.ones(6), atol=1e-3, rtol=0)


@pytest.mark.parametrize("space", ["z_plus", "w_plus"])
def test_a_conditional_model_inverts_each_image_with_its_own_class(samples, space):
    model = tiny_model(1, c_dim=2, noise=False)
    c = torch.eye(2)[[0, 1, 0, 1, 0, 1]]
    with torch.no_grad():  # one class spreads much further than the other
        model.generator.get_parameter("mapping.network.embed.weight")[:, 1] *= 20

    together = invert(samples, model, c, space=space, num_steps=3)
    alone = invert(samples[1:2], model, c[1:2], space=space, num_steps=3)

    torch.testing.assert_close(alone.latents.codes[0], together.latents.codes[1], atol=2e-3, rtol=0)
    with pytest.raises(DataError, match="conditional"):
        invert(samples, model)


def test_an_image_converges_only_if_it_is_good_and_settled(parent, samples):
    lenient = invert(samples, parent, num_steps=0, min_psnr=0.0)

    strict = invert(samples, parent, num_steps=0, min_psnr=200.0)
    hasty = invert(samples, parent, num_steps=1, min_psnr=0.0, learning_rate=0.05)

    assert lenient.converged.all()
    assert not strict.converged.any()
    assert not hasty.converged.all()


def test_every_step_of_every_batch_is_reported(parent, samples):
    seen = []

    invert(samples, parent, num_steps=2, batch_size=4, on_step=lambda *at: seen.append(at))

    assert seen == [(0, 0), (0, 1), (4, 0), (4, 1)]


def test_no_more_images_are_drawn_at_once_than_asked_for(parent, samples):
    sizes = []
    hook = parent.generator.synthesis.register_forward_pre_hook(
        lambda _, inputs: sizes.append(len(inputs[0]))
    )

    invert(samples, parent, num_steps=1, num_candidates=100, batch_size=4)

    hook.remove()
    assert max(sizes) == 4


def test_the_learning_rate_warms_up_and_comes_down():
    rates = [rate_at(step, 100) for step in range(100)]

    assert rates[0] < 0.25
    assert rates[10:70] == [1.0] * 60
    assert rates[-1] < 0.01
    assert all(math.isfinite(rate_at(0, n)) and rate_at(0, n) > 0 for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": torch.zeros(2, 3, 32, 32)}, DataError, "resize"),
        ({"images": torch.zeros(0, 3, 16, 16)}, DataError, "N >= 1"),
        ({"images": torch.full((2, 3, 16, 16), 255.0)}, DataError, "0 to 255"),
        ({"images": torch.full((2, 3, 16, 16), torch.nan)}, DataError, "NaN"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, DataError, "resize"),
        ({"seeds": [1]}, DataError, "1 seeds for 2 images"),
        ({"start": Latents(torch.zeros(2, 6, 8), "z_plus", "stranger")}, LineageError, "stranger"),
        ({"start": Latents(torch.zeros(2, 8), "z", "parent")}, DataError, "in 'z'"),
        (
            {"start": Latents(torch.full((2, 6, 8), torch.nan), "z_plus", "parent")},
            DataError,
            "NaN",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_at_the_door(parent, change, error, message):
    arguments = {"images": torch.zeros(2, 3, 16, 16), "num_steps": 1} | change

    with pytest.raises(error, match=message):
        invert(model=parent, **arguments)


def test_a_generator_that_draws_nan_is_reported(samples):
    broken = tiny_model(num_mapping_layers=1)
    with torch.no_grad():
        broken.generator.get_parameter("synthesis.blocks.b16.torgb.bias").fill_(torch.nan)

    with pytest.raises(DivergenceError, match="not finite"):
        invert(samples, broken, num_steps=1)


def test_a_descent_in_bfloat16_ends_as_near_and_reports_what_float32_draws(parent):
    with torch.no_grad():
        z = torch.randn(48, 8, generator=torch.Generator().manual_seed(5))
        samples = parent.generator(z)

    exact, rounded = (
        invert(samples, parent, space="w_plus", num_steps=40, precision=precision)
        for precision in ("float32", "bfloat16")
    )

    with torch.no_grad():
        error = parent.generator.synthesis(rounded.latents.codes) - samples

    assert not torch.equal(exact.latents.codes, rounded.latents.codes)
    assert (rounded.psnr - exact.psnr).mean() > -0.5
    assert torch.allclose(rounded.mse, error.square().mean(dim=(1, 2, 3)), rtol=1e-3)
