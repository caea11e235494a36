"""TensorFlow-era snapshots, conditional ones and the original StyleGAN2's, against float64."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.checkpoints import load_model
from stylealign.checkpoints.containers import read_snapshot
from stylealign.errors import CheckpointError
from tests.reference import tensorflow_era as era

FOLDER = Path(__file__).parent
WIDTHS = {4: 12, 8: 12, 16: 8}


@dataclass(frozen=True)
class Case:
    """What a snapshot's networks are; `group` is what minibatch stddev does when none is given."""

    functions: tuple[str, str, str] = ("G_main", "G_synthesis", "D_main")
    labels: int = 0
    layers_of_d: int = 0
    architecture: str = "skip"
    architecture_of_d: str = "resnet"
    z_dim: int = 16
    hidden_dim: int = 16
    clamp: float | None = None
    group: int | None = None
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])


CASES = {
    "ADA": Case(kwargs={"dtype": "float32", "fmap_min": 1, "fused_modconv": False}),
    "ADA with classes": Case(labels=3, clamp=0.8, kwargs={"num_fp16_res": 2}),
    "ADA with mapped classes": Case(labels=3, layers_of_d=2, z_dim=10, hidden_dim=20),
    "ADA for CIFAR-10": Case(labels=10, architecture_of_d="orig"),
    "ADA with a skip discriminator": Case(architecture_of_d="skip"),
    "the original": Case(("G_main", "G_synthesis_stylegan2", "D_stylegan2"), group=4),
    "a residual generator": Case(architecture="resnet", clamp=0.8),
    "a plain generator": Case(
        ("G_main", "G_synthesis_stylegan2", "D_stylegan2"),
        architecture="orig",
        architecture_of_d="orig",
        group=4,
    ),
}


def networks(case: Case, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """States of (G, D, Gs), and the variables of D and Gs for the evaluation."""
    rng = np.random.default_rng(seed)
    kwargs = {
        "num_channels": 3, "resolution": 16, "label_size": case.labels, "fmap_base": 64,
        "fmap_max": 12, "mapping_layers": 2, "conv_clamp": case.clamp, **case.kwargs,
    }  # fmt: skip
    if case.clamp is None:
        del kwargs["conv_clamp"]
    main, synthesis, discriminator = case.functions

    def state(
        function: str, variables: era.Variables, arguments: dict[str, Any], **components
    ) -> dict[str, Any]:
        return {
            "name": function, "static_kwargs": arguments, "build_func_name": function,
            "variables": variables, "components": components,
        }  # fmt: skip

    generators, parts = [], []
    of_g = kwargs | {
        "latent_size": case.z_dim,
        "dlatent_size": 16,
        "mapping_fmaps": case.hidden_dim,
    }
    if case.architecture != "skip":
        of_g["architecture"] = case.architecture
    for _ in range(2):
        shapes = era.mapping_shapes(case.z_dim, 16, case.labels, 2, case.hidden_dim)
        mapped = era.random_variables(shapes, rng)
        # Weights of the mapping network are stored divided by its learning rate multiplier.
        mapped |= {k: v * 100 for k, v in mapped.items() if k.startswith("Dense")}
        drawn = era.random_variables(era.synthesis_shapes(WIDTHS, 16, case.architecture), rng)
        own = {"lod": np.zeros([], np.float32)} if case.group else {}
        own |= {"dlatent_avg": np.asarray(rng.normal(size=16) * 0.3, np.float32)}
        generators.append(
            state(
                main, own, of_g,
                synthesis=state(synthesis, drawn, of_g),
                mapping=state("G_mapping", mapped, of_g | {"dlatent_broadcast": 6}),
            )
        )  # fmt: skip
        parts.append({"own": own, "mapping": mapped, "synthesis": drawn})
    of_d = kwargs | {"architecture": case.architecture_of_d, "mapping_layers": case.layers_of_d}
    shapes = era.discriminator_shapes(
        WIDTHS, 12, case.labels, case.layers_of_d, case.architecture_of_d
    )
    judged = era.random_variables(shapes, rng)
    judged |= {k: v * 10 for k, v in judged.items() if k.startswith("Mapping")}
    return [generators[0], state(discriminator, judged, of_d), generators[1]], [judged, parts[1]]


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def snapshot(request, tmp_path, monkeypatch):
    case = request.param
    states, parts = networks(case, seed=len(case.functions[1]) + case.labels)
    path = era.write_snapshot(tmp_path / "network.pkl", states, monkeypatch)
    return case, load_model(path), parts


def classes(case: Case, num: int) -> np.ndarray | None:
    return np.eye(case.labels)[np.arange(num) % case.labels] if case.labels else None


def near(actual, expected, tolerance: float) -> bool:
    return bool(np.abs(actual.detach().numpy() - expected).max() <= tolerance)


def test_every_network_of_a_snapshot_computes_what_the_format_says(snapshot):
    case, model, (judged, parts) = snapshot
    z, c = np.random.default_rng(0).normal(size=(8, case.z_dim)), classes(case, 8)
    labels = None if c is None else torch.tensor(c, dtype=torch.float32)

    w = era.mapping(parts["mapping"], z, c)
    w_avg = parts["own"]["dlatent_avg"]
    w_plus = np.repeat(w[:, None], 6, axis=1)
    image = era.synthesis(parts["synthesis"], w_plus, clamp=case.clamp)
    quiet = era.synthesis(parts["synthesis"], w_plus, has_noise=False, clamp=case.clamp)
    logits = era.discriminator(judged, image, c, group=case.group, clamp=case.clamp)

    codes = torch.tensor(z, dtype=torch.float32)
    given = torch.tensor(w_plus, dtype=torch.float32)
    truncated = model.generator.mapping(codes, labels, truncation_psi=0.7)
    assert near(model.generator.mapping(codes, labels), w_plus, 1e-5)
    assert near(truncated, w_avg + 0.7 * (w_plus - w_avg), 1e-5)
    assert near(model.generator.synthesis(given), image, 5e-5)
    assert near(model.generator.synthesis(given, noise="none"), quiet, 5e-5)
    assert np.abs(image - quiet).max() > 0.01
    ours = model.discriminator(torch.tensor(image, dtype=torch.float32), labels)
    assert near(ours, logits, 1e-5)


def test_the_evaluation_itself_agrees_with_the_reference_numbers():
    path = FOLDER / "tf_ada_r32_uncond.pkl"
    expected = np.load(FOLDER / "tf_ada_r32_uncond.npz")
    networks: Any = read_snapshot(path.read_bytes(), str(path))
    _, discriminator, generator = networks
    mapping, synthesis = (generator.state["components"][k] for k in ("mapping", "synthesis"))
    numbers = [
        {k: np.asarray(getattr(v, "array", v)) for k, v in network.state["variables"]}
        for network in (mapping, synthesis, discriminator)
    ]

    w = era.mapping(numbers[0], expected["z"], None)
    image = era.synthesis(numbers[1], expected["G_ema/w_psi1"])
    logits = era.discriminator(numbers[2], image, None, group=None)

    assert np.abs(w - expected["G_ema/w_psi1"][:, 0]).max() < 1e-5
    assert np.abs(image - expected["G_ema/img_const_psi1"]).max() < 2e-5
    assert np.abs(logits - expected["G_ema/logits"]).max() < 1e-5


def test_sizes_come_from_the_arrays_where_the_arguments_are_silent(tmp_path, monkeypatch):
    states, _ = networks(Case(labels=3, z_dim=10), seed=0)
    for state in states:
        for part in (state, *state["components"].values()):
            for name in ("num_channels", "resolution", "label_size", "latent_size"):
                part["static_kwargs"].pop(name, None)

    config = load_model(era.write_snapshot(tmp_path / "network.pkl", states, monkeypatch)).config

    assert (config.resolution, config.img_channels, config.c_dim, config.z_dim) == (16, 3, 3, 10)


def test_arguments_that_change_nothing_in_inference_are_read_over(tmp_path, monkeypatch):
    extra = {
        "structure": "auto", "conditioning": None, "w_avg_beta": 0.9, "resolution_w": 16,
        "resolution_h": 16,
    }  # fmt: skip
    ids = [
        load_model(era.write_snapshot(tmp_path / f"{i}.pkl", states, monkeypatch)).config
        for i, (states, _) in enumerate(
            networks(Case(kwargs=kwargs), seed=0) for kwargs in ({}, extra)
        )
    ]

    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mystery": 1}, "mystery"),
        ({"resample_kernel": None}, "resample_kernel"),
        ({"resample_kernel": [1, 2, 1]}, "resample_kernel"),
        ({"nonlinearity": "relu"}, "nonlinearity"),
        ({"use_spectral_norm": True}, "use_spectral_norm"),
        ({"resolution_w": 8}, "resolution_w"),
    ],
)
def test_arguments_that_change_the_computation_are_refused_by_name(
    change, words, tmp_path, monkeypatch
):
    states, _ = networks(Case(kwargs=change), seed=0)
    path = era.write_snapshot(tmp_path / "network.pkl", states, monkeypatch)

    with pytest.raises(CheckpointError, match=words):
        load_model(path)
