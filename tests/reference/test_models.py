"""Our networks against the numbers of the implementations whose checkpoints they read.

Images may differ by 5e-5, a few times the rounding between two formulations of the reference
itself; logits and codes by 1e-5; gradients by 1e-4 of their size.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from stylealign.checkpoints import load_model
from stylealign.checkpoints.nvidia import RENAMED, RENAMED_IN_D, rename
from stylealign.training.losses import path_length_penalty, path_lengths, r1_penalty

FOLDER = Path(__file__).parent
ADA_LIKE = ("ada_r32_uncond", "tf_ada_r32_uncond")


def numbers(name: str) -> dict:
    arrays = np.load(FOLDER / f"{name}.npz")
    return {key: arrays[key] for key in arrays.files}


@cache
def model(file: str):
    return load_model(FOLDER / file)


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

    w_plus = model(f"{name}.pkl").generator.mapping(torch.tensor(expected["z"]), **options)

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

    logits = model(f"{name}.pkl").discriminator(torch.tensor(expected["G_ema/img_const_psi1"]))

    assert near(logits, expected["G_ema/logits"], 1e-5)


def test_the_generator_as_trained_is_read_beside_its_average():
    expected = numbers("ada_r32_uncond")

    w_plus = model("ada_r32_uncond.pkl").raw_generator.mapping(torch.tensor(expected["z"]))

    assert near(w_plus, expected["G/w_psi1"], 1e-5)


def test_r1_and_its_gradients_agree():
    expected = numbers("ada_r32_uncond")
    discriminator = load_model(FOLDER / "ada_r32_uncond.pkl").discriminator
    real = torch.tensor(expected["r1/real"], requires_grad=True)

    penalty = r1_penalty(real, discriminator(real))
    (penalty * 5).mean().backward()

    assert near(penalty / torch.tensor(expected["r1/penalty"]), 1.0, 1e-4)
    check_gradients(discriminator, RENAMED_IN_D, expected, "r1")


def test_path_lengths_and_their_gradients_agree():
    expected = numbers("ada_r32_uncond")
    generator = load_model(FOLDER / "ada_r32_uncond.pkl").raw_generator
    w_plus = generator.mapping(torch.tensor(expected["z"][:4]))

    lengths = path_lengths(generator.synthesis(w_plus), w_plus, torch.tensor(expected["ppl/y"]))
    penalty, mean = path_length_penalty(lengths, torch.zeros([]), 0.01)
    (penalty * 2).mean().backward()

    assert near(lengths / torch.tensor(expected["ppl/lengths"]), 1.0, 1e-4)
    assert near(penalty / torch.tensor(expected["ppl/penalty"]), 1.0, 1e-4)
    assert near(mean / torch.tensor(expected["ppl/pl_mean_after"]), 1.0, 1e-4)
    check_gradients(generator, RENAMED, expected, "ppl")


def check_gradients(network, renamed, expected, prefix):
    parameters = dict(network.named_parameters())
    names, norms = expected[f"{prefix}/param_names"], expected[f"{prefix}/param_grad_norms"]
    for name, norm in zip(names, norms, strict=True):
        gradient = parameters[rename(str(name), renamed)].grad
        ours = 0.0 if gradient is None else float(gradient.norm())
        assert ours == pytest.approx(float(norm), rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("which", ["g_ema", "g"])
def test_rosinality_models_agree(which):
    expected, loaded = numbers("rosinality_32"), model("rosinality_32.pt")
    generator = loaded.generator if which == "g_ema" else loaded.raw_generator

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
    assert near(loaded.discriminator(images), expected["g_ema/logits"], 1e-5)


def test_stylegan3_styles_images_and_logits_agree():
    expected, loaded = numbers("sg3t_r32"), model("sg3t_r32.pkl")
    w_plus = loaded.generator.mapping(torch.tensor(expected["z"]))

    styles, images = loaded.generator.styles(w_plus), loaded.generator.synthesis(w_plus)

    assert near(w_plus, expected["w_psi1"], 1e-5)
    assert all(near(s, expected[f"style/{name}.affine"], 1e-5) for name, s in styles.items())
    assert near(images, expected["img_psi1"], 5e-5)
    assert near(loaded.discriminator(images), expected["logits"], 1e-5)


def test_stylegan3_images_agree_under_truncation_and_a_users_transform():
    expected = numbers("sg3t_r32")
    generator = load_model(FOLDER / "sg3t_r32.pkl").generator

    truncated = generator(torch.tensor(expected["z"]), truncation_psi=0.7)
    generator.synthesis.input.transform.copy_(torch.tensor(expected["transform"]))
    transformed = generator(torch.tensor(expected["z"]))

    assert near(truncated, expected["img_psi0.7"], 5e-5)
    assert near(transformed, expected["img_psi1_transformed"], 5e-5)
