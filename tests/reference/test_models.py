"""Our networks against the numbers of the implementations whose checkpoints they read.

Images may differ by 5e-5, a few times the rounding between two formulations of the reference
itself; logits and codes by 1e-5; gradients by 1e-4 of their size.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.checkpoints.nvidia import RENAMED, RENAMED_IN_D, rename
from stylealign.training.losses import path_length_penalty, path_lengths, r1_penalty

FOLDER = Path(__file__).parent
ADA = ("ada_r32_uncond", "ada_r16_cond3", "ada_r16_orig")
ADA_LIKE = (*ADA, "tf_ada_r32_uncond")
STYLEGAN3 = ("sg3t_r32", "sg3r_r16", "sg3_r16_cond3")


def numbers(name: str) -> dict[str, Any]:
    arrays = np.load(FOLDER / f"{name}.npz")
    return {key: arrays[key] for key in arrays.files}


def present(network):
    """A network that this checkpoint is known to hold."""
    assert network is not None
    return network


@cache
def model(file: str):
    return load_model(FOLDER / file)


def codes_and_classes(expected: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    z, c = torch.tensor(expected["z"]), torch.tensor(expected["c"])
    return z, c if c.shape[1] else None


def near(actual, expected, tolerance: float) -> bool:
    return bool((actual - torch.as_tensor(expected)).abs().max() <= tolerance)


@pytest.mark.parametrize("name", ADA_LIKE)
@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("w_psi1", {}),
        ("w_psi0.7", {"truncation_psi": 0.7}),
        ("w_psi0.5_cutoff4", {"truncation_psi": 0.5, "truncation_cutoff": 4}),
    ],
)
def test_mapping_agrees_at_every_truncation(name, key, options):
    expected = numbers(name)

    w_plus = model(f"{name}.pkl").generator.mapping(*codes_and_classes(expected), **options)

    assert near(w_plus, expected[f"G_ema/{key}"], 1e-5)


@pytest.mark.parametrize("name", ADA_LIKE)
def test_styles_are_the_raw_outputs_of_the_affine_layers(name):
    expected = numbers(name)

    styles = model(f"{name}.pkl").generator.styles(torch.tensor(expected["G_ema/w_psi1"]))

    assert {f"G_ema/style/{layer}" for layer in styles} == {k for k in expected if "style" in k}
    assert all(near(s, expected[f"G_ema/style/{layer}"], 1e-5) for layer, s in styles.items())


@pytest.mark.parametrize("name", ADA_LIKE)
@pytest.mark.parametrize(
    ("codes", "noise", "key"),
    [
        ("w_psi1", "const", "img_const_psi1"),
        ("w_psi1", "none", "img_none_psi1"),
        ("w_psi0.7", "const", "img_const_psi0.7"),
        ("w_plus", "const", "img_const_wplus"),
    ],
)
def test_images_agree_with_and_without_noise(name, codes, noise, key):
    expected = numbers(name)
    w_plus = torch.tensor(expected[f"G_ema/{codes}"])

    images = model(f"{name}.pkl").generator.synthesis(w_plus, noise=noise)

    assert near(images, expected[f"G_ema/{key}"], 5e-5)


@pytest.mark.parametrize("name", ADA_LIKE)
def test_logits_agree_in_the_order_of_the_batch(name):
    expected = numbers(name)
    images, (_, c) = torch.tensor(expected["G_ema/img_const_psi1"]), codes_and_classes(expected)

    logits = present(model(f"{name}.pkl").discriminator)(images, c)

    assert near(logits, expected["G_ema/logits"], 1e-5)
    assert not near(logits.roll(1, dims=0), expected["G_ema/logits"], 1e-5)


@pytest.mark.parametrize("name", ADA)
def test_the_generator_as_trained_is_read_beside_its_average(name):
    expected = numbers(name)

    w_plus = present(model(f"{name}.pkl").raw_generator).mapping(*codes_and_classes(expected))

    assert near(w_plus, expected["G/w_psi1"], 1e-5)


@pytest.mark.parametrize("name", ADA)
def test_r1_and_its_gradients_agree(name):
    expected = numbers(name)
    discriminator = present(load_model(FOLDER / f"{name}.pkl").discriminator)
    real, (_, c) = (
        torch.tensor(expected["r1/real"], requires_grad=True),
        codes_and_classes(expected),
    )

    logits = discriminator(real, c)
    (slope,) = torch.autograd.grad(logits.sum(), real, retain_graph=True)
    penalty = r1_penalty(real, logits)
    (penalty * 5).mean().backward()

    assert near(logits, expected["r1/logits"], 1e-5)
    assert near(slope, expected["r1/grad_image"], 1e-4 * abs(expected["r1/grad_image"]).max())
    assert near(penalty / torch.tensor(expected["r1/penalty"]), 1.0, 1e-4)
    check_gradients(discriminator, RENAMED_IN_D, expected, "r1")


@pytest.mark.parametrize("name", ADA)
def test_path_lengths_and_their_gradients_agree(name):
    expected = numbers(name)
    generator = present(load_model(FOLDER / f"{name}.pkl").raw_generator)
    z, c = codes_and_classes(expected)
    w_plus = generator.mapping(z[:4], None if c is None else c[:4])

    lengths = path_lengths(generator.synthesis(w_plus), w_plus, torch.tensor(expected["ppl/y"]))
    penalty, mean = path_length_penalty(lengths, torch.zeros([]), 0.01)
    (penalty * 2).mean().backward()

    assert near(lengths / torch.tensor(expected["ppl/lengths"]), 1.0, 1e-4)
    assert near(penalty / torch.tensor(expected["ppl/penalty"]), 1.0, 1e-4)
    assert near(mean / torch.tensor(expected["ppl/pl_mean_after"]), 1.0, 1e-4)
    check_gradients(generator, RENAMED, expected, "ppl")


def check_gradients(network, renamed, expected, prefix):
    parameters = dict(network.named_parameters())
    assert len(parameters) == len(expected[f"{prefix}/param_names"])
    names, norms = expected[f"{prefix}/param_names"], expected[f"{prefix}/param_grad_norms"]
    for name, norm in zip(names, norms, strict=True):
        gradient = parameters[rename(str(name), renamed)].grad
        ours = 0.0 if gradient is None else float(gradient.norm())
        assert ours == pytest.approx(float(norm), rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("which", ["g_ema", "g"])
def test_rosinality_models_agree(which):
    expected, loaded = numbers("rosinality_32"), model("rosinality_32.pt")
    generator = loaded.generator if which == "g_ema" else present(loaded.raw_generator)

    w_plus = generator.mapping(torch.tensor(expected["z"]))
    images = generator.synthesis(w_plus)

    assert near(w_plus[:, 0], expected[f"{which}/w"], 1e-5)
    assert near(images, expected[f"{which}/img_psi1"], 5e-5)


def test_rosinality_truncation_styles_and_logits_agree():
    expected, loaded = numbers("rosinality_32"), model("rosinality_32.pt")
    images = torch.tensor(expected["g_ema/img_psi1"])

    truncated = loaded.generator(torch.tensor(expected["z"]), truncation_psi=0.7)
    free = loaded.generator.synthesis(torch.tensor(expected["g_ema/w_plus"]))

    assert near(truncated, expected["g_ema/img_psi0.7"], 5e-5)
    assert near(free, expected["g_ema/img_wplus"], 5e-5)
    assert near(present(loaded.discriminator)(images), expected["g_ema/logits"], 1e-5)


@pytest.mark.parametrize("name", STYLEGAN3)
def test_styles_images_and_logits_of_the_stylegan3_repository_agree(name):
    expected, loaded = numbers(name), model(f"{name}.pkl")
    z, c = codes_and_classes(expected)
    w_plus = loaded.generator.mapping(z, c)

    styles, images = loaded.generator.styles(w_plus), loaded.generator.synthesis(w_plus)

    assert near(w_plus, expected["w_psi1"], 1e-5)
    assert {f"style/{layer}.affine" for layer in styles} == {k for k in expected if "style" in k}
    assert all(near(s, expected[f"style/{layer}.affine"], 1e-5) for layer, s in styles.items())
    assert near(images, expected["img_psi1"], 5e-5)
    assert near(present(loaded.discriminator)(images, c), expected["logits"], 1e-5)


@pytest.mark.parametrize("name", STYLEGAN3)
def test_images_of_the_stylegan3_repository_agree_under_truncation(name):
    expected = numbers(name)

    images = model(f"{name}.pkl").generator(*codes_and_classes(expected), truncation_psi=0.7)

    assert near(images, expected["img_psi0.7"], 5e-5)


@pytest.mark.parametrize("name", ["sg3t_r32", "sg3r_r16"])
def test_alias_free_images_agree_under_a_users_transform(name):
    expected = numbers(name)
    generator = load_model(FOLDER / f"{name}.pkl").generator

    transform = generator.get_buffer("synthesis.input.transform")
    transform.copy_(torch.tensor(expected["transform"]))
    images = generator(*codes_and_classes(expected))

    assert near(images, expected["img_psi1_transformed"], 5e-5)
    assert not near(images, expected["img_psi1"], 5e-3)


@pytest.mark.parametrize(
    "file", [*(f"{name}.pkl" for name in (*ADA_LIKE, *STYLEGAN3)), "rosinality_32.pt"]
)
def test_every_kind_of_model_is_saved_and_loaded_bit_for_bit(file, tmp_path):
    imported = model(file)

    save_model(imported, tmp_path / "model")
    loaded = load_model(tmp_path / "model")

    assert loaded.config == imported.config
    for name in ("generator", "raw_generator", "discriminator"):
        ours, theirs = getattr(loaded, name), getattr(imported, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            pairs = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
            assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)
