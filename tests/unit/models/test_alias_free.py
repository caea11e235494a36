"""StyleGAN3: images turn and move with their input, and filters end where bands do."""

from typing import Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import signal, special

from stylealign.checkpoints import load_model, save_model
from stylealign.models import Model, ModelConfig
from stylealign.models.bands import (
    AliasFreeConfig,
    Band,
    design_low_pass,
    design_radial_low_pass,
    plan_bands,
)

Architecture = Literal["stylegan3-t", "stylegan3-r"]


def small_config(architecture: Architecture, **settings) -> ModelConfig:
    is_r = architecture == "stylegan3-r"
    alias_free = {
        "channels": (8, 8, 6, 6, 3),
        "conv_kernel": 1 if is_r else 3,
        "is_radial": is_r,
        **settings,
    }
    return ModelConfig(
        architecture=architecture, resolution=16, z_dim=8, w_dim=8, num_mapping_layers=2,
        alias_free=AliasFreeConfig.model_validate(alias_free), noise=False, conv_clamp=256.0,
        discriminator_channels={4: 8, 8: 8, 16: 8},
    )  # fmt: skip


def small_generator(architecture: Architecture):
    torch.manual_seed(0)
    generator = Model.new(small_config(architecture)).generator
    with torch.no_grad():
        generator.get_buffer("synthesis.input.freqs").mul_(1.5)
        affine = generator.get_submodule("synthesis.input.affine")
        affine.get_parameter("bias").copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        affine.get_parameter("weight").zero_()
    return generator


def turned(generator, z, transform):
    with torch.no_grad():
        generator.synthesis.input.transform.copy_(torch.tensor(transform))
        return generator(z)


IDENTITY = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
QUARTER_TURN = [[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]


def test_a_model_without_discriminator_comes_back(tmp_path, rng):
    torch.manual_seed(0)
    model = Model.new(small_config("stylegan3-r"))
    config = model.config.model_copy(update={"discriminator_channels": {}})
    alone, z = Model(model.generator, config), torch.randn(2, 8, generator=rng)

    save_model(alone, tmp_path / "model")
    loaded = load_model(tmp_path / "model")

    assert torch.equal(loaded.generator(z), model.generator(z))
    assert loaded.discriminator is None


def test_a_quarter_turn_of_the_input_turns_the_images_of_r(rng):
    generator, z = small_generator("stylegan3-r"), torch.randn(2, 8, generator=rng)

    upright = turned(generator, z, IDENTITY)
    sideways = turned(generator, z, QUARTER_TURN)

    assert upright.std() > 1e-3
    candidates = [torch.rot90(upright, k, dims=(2, 3)) for k in (1, -1)]
    assert min((sideways - c).abs().max() for c in candidates) < 1e-4 * upright.abs().max()


def test_the_filters_of_t_are_those_of_scipy():
    band = Band(
        cutoff=4.0, half_width=3.0, sampling_rate=16, size=36, channels=8, is_critical=False
    )

    taps = design_low_pass(12, band, 32)

    expected = signal.firwin(12, cutoff=4.0, width=6.0, fs=32)
    np.testing.assert_allclose(taps.numpy(), expected, atol=1e-6)


def test_radial_filters_are_jincs_under_a_square_kaiser_window():
    band = Band(
        cutoff=4.0, half_width=3.0, sampling_rate=16, size=36, channels=8, is_critical=False
    )

    taps = design_radial_low_pass(12, band, 32)

    x = (np.arange(12) - 5.5) / 32
    r = np.hypot(*np.meshgrid(x, x)) * np.pi
    window = np.kaiser(12, signal.kaiser_beta(signal.kaiser_atten(12, 6.0 / 16)))
    jinc = special.j1(2 * 4.0 * r) / r * np.outer(window, window)
    np.testing.assert_allclose(taps.numpy(), jinc / jinc.sum(), atol=1e-6)
    assert torch.allclose(taps, taps.T, atol=1e-8)


def test_bands_grow_up_to_the_resolution_of_the_image():
    bands = plan_bands(small_config("stylegan3-t").require_alias_free(), 16)

    assert [band.cutoff for band in bands] == sorted(band.cutoff for band in bands)
    assert bands[-1].cutoff == 8
    assert [band.size for band in bands[-2:]] == [16, 16]


@pytest.mark.parametrize("architecture", ["stylegan3-t", "stylegan3-r"])
def test_save_then_load_draws_the_same_image(architecture, tmp_path, rng):
    torch.manual_seed(0)
    model, z = Model.new(small_config(architecture)), torch.randn(2, 8, generator=rng)

    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")

    assert loaded.config == model.config
    assert torch.equal(loaded.generator(z), model.generator(z))


def test_images_and_styles_have_the_shapes_that_the_config_promises(rng):
    model = Model.new(small_config("stylegan3-t"))
    w_plus = model.generator.mapping(torch.randn(2, 8, generator=rng))

    styles, images = model.generator.styles(w_plus), model.generator.synthesis(w_plus)

    assert w_plus.shape == (2, model.config.num_ws, 8)
    assert len(styles) == model.config.num_ws
    assert images.shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    "settings", [{"num_critical": 4}, {"channels": (8, 0, 3)}, {"conv_kernel": 99}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        small_config("stylegan3-t", **settings)
