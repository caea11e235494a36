"""Laws of the StyleGAN2 networks: shapes, truncation, conditioning, exports, refusals."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.models import Model, ModelConfig, Space
from tests.tiny import tiny_model


@pytest.fixture
def z(rng):
    return torch.randn(4, 8, generator=rng)


def test_new_weights_follow_from_the_seed_and_differ_from_model_to_model():
    first = torch.nn.utils.parameters_to_vector(tiny_model().generator.parameters())
    again = torch.nn.utils.parameters_to_vector(tiny_model().generator.parameters())
    config = tiny_model().config
    other = torch.nn.utils.parameters_to_vector(Model.new(config).generator.parameters())

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_codes_of_a_seed_are_like_all_others_to_the_model_of_that_seed():
    torch.manual_seed(0)
    mapping = Model.new(
        ModelConfig(resolution=8, z_dim=64, w_dim=64, channels={4: 8, 8: 8})
    ).generator.mapping

    lengths = [
        mapping(torch.randn(64, 64, generator=torch.Generator().manual_seed(seed)))
        .norm(dim=-1)
        .mean()
        .item()
        for seed in (0, 1)
    ]

    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)


def test_psi_0_makes_all_images_equal(z):
    generator = tiny_model().generator

    images = generator(z, truncation_psi=0.0)

    assert torch.allclose(images, images[:1].expand_as(images), atol=1e-6)


def test_a_cutoff_leaves_later_layers_alone(z):
    mapping = tiny_model().generator.mapping

    w_plus, cut = mapping(z), mapping(z, truncation_psi=0.5, truncation_cutoff=2)

    assert torch.equal(cut[:, 2:], w_plus[:, 2:])
    assert torch.allclose(cut[:, :2], w_plus[:, :2] * 0.5)


def test_const_noise_repeats_and_random_noise_does_not(z):
    generator = tiny_model().generator
    with torch.no_grad():
        generator.get_parameter("synthesis.blocks.b16.conv1.noise_strength").fill_(1.0)
    w_plus = generator.mapping(z)

    const = [generator.synthesis(w_plus) for _ in range(2)]
    random = [generator.synthesis(w_plus, noise="random") for _ in range(2)]

    assert torch.equal(*const)
    assert not torch.equal(*random)
    assert not torch.equal(const[0], generator.synthesis(w_plus, noise="none"))


def test_every_space_leads_to_the_same_image(z):
    generator = tiny_model().generator
    w_plus = generator.mapping(z)
    z_plus = z[:, None].repeat(1, generator.mapping.num_ws, 1)
    w = w_plus[:, 0]

    codes: dict[Space, torch.Tensor] = {"z": z, "z_plus": z_plus, "w": w, "w_plus": w_plus}

    for space, code in codes.items():
        assert torch.allclose(generator.to_w_plus(code, space), w_plus, atol=1e-6), space


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_codes_of_another_type_are_drawn_and_truncated_as_what_they_are(dtype, z):
    generator = tiny_model().generator
    w_plus = generator.mapping(z).to(dtype)

    image = generator.synthesis(w_plus)
    truncated = generator.to_w_plus(w_plus, "w_plus", truncation_psi=0.5)

    assert image.dtype == truncated.dtype == torch.float32
    assert torch.equal(image, generator.synthesis(w_plus.float()))
    assert torch.equal(truncated, generator.mapping.truncate(w_plus.float(), 0.5))


def test_drawing_styles_is_drawing_their_codes(z):
    generator = tiny_model().generator
    w_plus = generator.mapping(z)

    drawn = generator.synthesis.draw(generator.styles(w_plus))

    assert torch.equal(drawn, generator.synthesis(w_plus))


def test_the_class_changes_image_and_logit(z):
    model = tiny_model(c_dim=3)
    discriminator = model.discriminator
    assert discriminator is not None
    classes = torch.eye(3)[[0, 0, 1, 2]]
    others = classes.roll(1, dims=1)

    images = model.generator(z, classes)
    logits = discriminator(images, classes)

    assert not torch.allclose(images, model.generator(z, others))
    assert not torch.allclose(logits, discriminator(images, others))


@pytest.mark.parametrize(("architecture", "num_drawing"), [("skip", 3), ("resnet", 1), ("orig", 1)])
def test_every_generator_reads_each_code_and_comes_back(architecture, num_drawing, z, tmp_path):
    model = tiny_model(generator_architecture=architecture)
    save_model(model, tmp_path / "model")
    w_plus = model.generator.mapping(z[:1]).detach().requires_grad_()

    image = model.generator.synthesis(w_plus)
    (slope,) = torch.autograd.grad(image.square().sum(), w_plus)

    assert (slope.abs().amax(dim=(0, 2)) > 0).all()
    assert sum(name.endswith("torgb") for name in model.generator.styles(w_plus)) == num_drawing
    with torch.no_grad():  # a frozen network takes other kernels where gradients are wanted
        again = load_model(tmp_path / "model").generator.synthesis(w_plus)
        assert torch.equal(again, model.generator.synthesis(w_plus))


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_every_discriminator_gives_one_logit_per_image(architecture, rng):
    discriminator = tiny_model(discriminator_architecture=architecture).discriminator
    assert discriminator is not None

    logits = discriminator(torch.randn(4, 3, 16, 16, generator=rng))

    assert logits.shape == (4, 1)


def test_clamping_bounds_every_activation(z):
    generator = tiny_model(conv_clamp=0.01).generator
    taps: dict[str, torch.Tensor] = {}

    generator.synthesis(generator.mapping(z), taps=taps)

    assert max(features.detach().abs().max().item() for features in taps.values()) <= 0.01 + 1e-7


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model, z: model.generator.mapping(z[:, :5]), "expected z"),
        (lambda model, _: model.generator.synthesis(torch.zeros(1, 3, 8)), "expected w_plus"),
        (lambda model, _: model.discriminator(torch.zeros(4, 3, 8, 8)), "expected images"),
        (lambda _, z: tiny_model(c_dim=2).generator(z), "conditional"),
        (lambda model, _: model.discriminator(torch.zeros(0, 3, 16, 16)), "batch of 0 is not"),
    ],
)
def test_wrong_shapes_are_refused_in_words(call, words, z):
    with pytest.raises(ValueError, match=words):
        call(tiny_model(), z)


EXPORT = """
import sys
from pathlib import Path

import torch

import stylealign as sa

for name in ("ada_r16_cond3", "sg3r_r16", "ada_r32_uncond"):
    model = sa.load_model(Path(sys.argv[1]) / f"{name}.pkl")
    programs = sa.export_generator(model.generator, truncation_psi=0.7)
    mapping, synthesis = programs.mapping.module(), programs.synthesis.module()
    for batch in (1, 3):
        z = torch.randn(batch, model.config.z_dim)
        inputs = (z, torch.eye(3)[[0, 2, 1][:batch]]) if model.config.c_dim else (z,)
        w_plus = model.generator.mapping(*inputs, truncation_psi=0.7)
        assert torch.equal(mapping(*inputs), w_plus), name
        assert torch.equal(synthesis(w_plus), model.generator.synthesis(w_plus)), name

generator = model.generator.double()
programs = sa.export_generator(generator)
w_plus = programs.mapping.module()(z.double())
assert w_plus.dtype == torch.float64
assert torch.equal(programs.synthesis.module()(w_plus), generator.synthesis(w_plus))
"""


@pytest.mark.slow
def test_exported_programs_draw_equal_images_for_any_batch():
    # In a process of its own: the shape checks that tests switch on fix the batch size.
    command = [sys.executable, "-c", EXPORT, str(Path(__file__).parents[2] / "reference")]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr


def wide_model(resolution: int = 32) -> Model:
    torch.manual_seed(0)
    channels: dict[int, int] = dict.fromkeys((4, 8, 16, 32), 128)
    model = Model.new(ModelConfig(resolution=resolution, z_dim=16, w_dim=16, channels=channels))
    with torch.no_grad():
        for name, parameter in model.generator.synthesis.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
    return model


@pytest.mark.parametrize("noise", ["const", "none", "maps"])
def test_layers_of_another_memory_order_add_the_same_noise(noise, rng, monkeypatch):
    """Wide layers hand on channels-last activations; the noise must land on its own pixels."""
    synthesis = wide_model().generator.synthesis
    w_plus = torch.randn(2, 8, 16, generator=rng)
    options = {"noise": noise}
    if noise == "maps":
        maps = {"b32.conv1": torch.randn(2, 1, 32, 32, generator=rng)}
        options = {"noise_maps": maps}

    with torch.no_grad():
        images = synthesis(w_plus, **options)
        monkeypatch.setattr("stylealign.models.convolution._MIN_CHANNELS", 10**6)
        expected = synthesis(w_plus, **options)

    assert not torch.equal(images, expected)
    assert (images - expected).abs().max() < 5e-5


def test_bfloat16_draws_the_same_image_but_for_its_rounding(rng):
    synthesis = wide_model().generator.synthesis
    w_plus = torch.randn(4, 8, 16, generator=rng)

    with torch.no_grad():
        exact, rounded = synthesis(w_plus), synthesis(w_plus, precision="bfloat16")

    assert rounded.dtype == torch.float32
    error = (rounded - exact).square().mean().sqrt() / exact.std()
    assert 1e-4 < error < 0.02
