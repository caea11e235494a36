"""Foreign files made of our own networks, of kinds without golden numbers, draw what they drew."""

import re
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stylealign.checkpoints import load_model
from stylealign.checkpoints.arrays import Storage, StoredTensor
from stylealign.checkpoints.nvidia import import_nvidia, rename
from stylealign.checkpoints.unpickle import Record
from stylealign.models import Model, ModelConfig

THEIRS = tuple(
    (re.compile(ours), theirs)
    for ours, theirs in (
        (r"^synthesis\.blocks\.(b\d+)\.", r"synthesis.\1."),
        (r"^mapping\.network\.layers\.(\d+)\.", r"mapping.fc\1."),
        (r"^blocks\.(b\d+)\.", r"\1."),
        (r"^(conv|fc|out|fromrgb)\.", r"b4.\1."),
    )
)


def random_model(channels: dict[int, int], **fields: Any) -> Model:
    torch.manual_seed(0)
    model = Model.new(
        ModelConfig(
            resolution=max(channels), z_dim=8, w_dim=8, num_mapping_layers=2,
            channels=channels, **fields,
        )
    )  # fmt: skip
    for network in networks(model).values():
        for tensor in network.state_dict().values():
            tensor.add_(0.1 * torch.randn(tensor.shape))
    return model


def networks(model: Model) -> dict[str, nn.Module]:
    assert model.raw_generator is not None
    assert model.discriminator is not None
    return {"G_ema": model.generator, "G": model.raw_generator, "D": model.discriminator}


def stored(tensor: Tensor) -> StoredTensor:
    storage = Storage(tensor.dtype, tensor.numel(), tensor.contiguous().numpy().tobytes())
    return StoredTensor(storage, 0, tuple(tensor.shape), tensor.contiguous().stride())


def as_record(network: nn.Module, attributes: dict[str, dict[str, Any]], kind: str) -> Record:
    """The modules of a network under their names of that era, tensors as members of that kind."""
    root = Record("Network")

    def state_of(path: str) -> dict[str, Any]:
        record = root
        for part in filter(None, path.split(".")):
            record = record.state.setdefault("_modules", {}).setdefault(part, Record("Module"))
        return record.state

    for name, tensor in network.state_dict().items():
        path, _, leaf = rename(name, THEIRS).rpartition(".")
        state_of(path).setdefault(kind, {})[leaf] = stored(tensor)
    for path, values in attributes.items():
        state_of(path).update(values)
    return root


def as_snapshot(model: Model, kind: str) -> dict[str, Record]:
    config = model.config
    of_generator = {
        "": {
            "img_resolution": config.resolution, "z_dim": config.z_dim, "w_dim": config.w_dim,
            "c_dim": config.c_dim, "img_channels": config.img_channels,
        },
        "mapping.fc0": {"bias_gain": config.mapping_lr_multiplier},
        "synthesis.b8": {"architecture": config.generator_architecture},
    }  # fmt: skip
    of_discriminator: dict[str, dict[str, Any]] = {
        "b4": {"architecture": config.discriminator_architecture},
    }
    if config.mbstd_num_channels:
        group = {"group_size": config.mbstd_group_size, "num_channels": config.mbstd_num_channels}
        of_discriminator["b4.mbstd"] = group
    return {
        name: as_record(network, of_discriminator if name == "D" else of_generator, kind)
        for name, network in networks(model).items()
    }


@pytest.mark.parametrize("kind", ["_parameters", "_buffers"])
@pytest.mark.parametrize(
    "fields",
    [
        {"generator_architecture": "skip"},
        {"generator_architecture": "resnet"},
        {"generator_architecture": "orig"},
        {"discriminator_architecture": "orig"},
        {"discriminator_architecture": "skip"},
        {"mbstd_num_channels": 0},
        {"mbstd_num_channels": 2, "mbstd_group_size": 2},
    ],
    ids=lambda fields: " ".join(map(str, fields.values())),
)
def test_a_snapshot_draws_and_judges_as_the_networks_in_it(fields, kind, rng):
    model = random_model({4: 8, 8: 8, 16: 4}, **fields)

    imported = import_nvidia(as_snapshot(model, kind), "model.pkl", 10**6)

    z = torch.randn(4, 8, generator=rng)
    images = model.generator(z)
    assert torch.equal(imported.generator(z), images)
    assert imported.raw_generator is not None
    assert model.raw_generator is not None
    assert torch.equal(imported.raw_generator(z), model.raw_generator(z))
    assert imported.discriminator is not None
    assert model.discriminator is not None
    assert torch.equal(imported.discriminator(images), model.discriminator(images))
    assert all(p.requires_grad for p in imported.discriminator.parameters())


def reconstruct(meta: dict[str, Any]) -> None:
    """Stands for the function of this name in NVIDIA's repository; a reader must not call it."""
    raise AssertionError(meta)


class Persistent:
    """An object that pickles as a network of NVIDIA's."""

    def __init__(self, record: Record) -> None:
        self.state = {name: live(value) for name, value in record.state.items()}
        self.class_name = record.class_name

    def __reduce__(self) -> tuple[Any, ...]:
        kept = {"class_name": self.class_name, "module_src": "raise SystemExit"}
        return reconstruct, (kept | {"state": self.state},)


def live(value: object) -> object:
    """Plain data that a reader made, as what it was before."""
    if isinstance(value, Record):
        return Persistent(value)
    if isinstance(value, StoredTensor):
        return nn.Parameter(value.load())
    if isinstance(value, dict):
        return {name: live(entry) for name, entry in value.items()}
    return value


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("is_alone", [True, False])
def test_networks_of_nvidia_that_torch_saved_draw_what_they_drew(
    is_alone, is_zip, tmp_path, monkeypatch, rng
):
    theirs = types.ModuleType("torch_utils.persistence")
    monkeypatch.setattr(theirs, "_reconstruct_persistent_obj", reconstruct, raising=False)
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", theirs)
    monkeypatch.setattr(reconstruct, "__module__", theirs.__name__)
    monkeypatch.setattr(reconstruct, "__qualname__", "_reconstruct_persistent_obj")
    model = random_model({4: 8, 8: 8, 16: 4})
    content = {
        name: Persistent(record) for name, record in as_snapshot(model, "_parameters").items()
    }
    content["G_ema"].state |= {"seen": {1, 2}, "mean": np.float64(0.5), "raw": b"\xff"}
    saved = content["G_ema"] if is_alone else content
    torch.save(saved, tmp_path / "model.pt", _use_new_zipfile_serialization=is_zip)
    monkeypatch.undo()

    loaded = load_model(tmp_path / "model.pt")

    z = torch.randn(2, 8, generator=rng)
    assert torch.equal(loaded.generator(z), model.generator(z))
    assert (loaded.discriminator is None) == is_alone


def as_rosinality(model: Model) -> dict[str, Any]:
    """A 64-pixel generator under the names and with the axes of that repository."""
    tensors = model.generator.state_dict()
    blocks = [f"synthesis.blocks.b{resolution}" for resolution in (4, 8, 16, 32, 64)]
    layers = {"conv1": f"{blocks[0]}.conv1"}
    layers |= {f"convs.{i}": f"{blocks[1 + i // 2]}.conv{i % 2}" for i in range(8)}
    to_rgbs = {"to_rgb1": blocks[0], **{f"to_rgbs.{i}": blocks[1 + i] for i in range(4)}}
    state = {"input.input": tensors[f"{blocks[0]}.const"][None]}
    for i in range(2):
        for leaf in ("weight", "bias"):
            state[f"style.{i + 1}.{leaf}"] = tensors[f"mapping.network.layers.{i}.{leaf}"]
    for i, (theirs, ours) in enumerate(layers.items()):
        state[f"noises.noise_{i}"] = tensors[f"{ours}.noise_const"][None, None]
        state[f"{theirs}.noise.weight"] = tensors[f"{ours}.noise_strength"].reshape(1)
        state[f"{theirs}.activate.bias"] = tensors[f"{ours}.bias"]
    for theirs, block in to_rgbs.items():
        state[f"{theirs}.bias"] = tensors[f"{block}.torgb.bias"].reshape(1, 3, 1, 1)
    places = layers | {theirs: f"{block}.torgb" for theirs, block in to_rgbs.items()}
    for theirs, ours in places.items():
        state[f"{theirs}.conv.weight"] = tensors[f"{ours}.weight"][None]
        for leaf in ("weight", "bias"):
            state[f"{theirs}.conv.modulation.{leaf}"] = tensors[f"{ours}.affine.{leaf}"]
    return {"g_ema": state, "latent_avg": tensors["mapping.w_avg"]}


def test_a_rosinality_generator_of_64_pixels_draws_what_it_drew(tmp_path, rng):
    model = random_model({4: 8, 8: 8, 16: 8, 32: 6, 64: 4})
    torch.save(as_rosinality(model), tmp_path / "model.pt")

    loaded = load_model(tmp_path / "model.pt")

    z = torch.randn(2, 8, generator=rng)
    images = model.generator(z, truncation_psi=0.7)
    assert torch.equal(loaded.generator(z, truncation_psi=0.7), images)
    assert loaded.config.channels == model.config.channels
