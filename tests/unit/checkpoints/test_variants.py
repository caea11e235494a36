"""Files as people have them: parts that are absent are made up for, other networks are refused."""

import pickle
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from stylealign.checkpoints import compute_model_id, load_model, save_model
from stylealign.checkpoints.containers import read_snapshot
from stylealign.checkpoints.nvidia import import_nvidia
from stylealign.checkpoints.unpickle import Record
from stylealign.errors import CheckpointError
from tests.unit.checkpoints.test_snapshots import stored

REFERENCE = Path(__file__).parents[2] / "reference"


def snapshot(name: str) -> tuple[dict[str, Any], int]:
    data = (REFERENCE / name).read_bytes()
    content: Any = read_snapshot(data, name)
    return content, len(data)


def module(record: Any, path: str) -> dict[str, Any]:
    for part in filter(None, path.split(".")):
        record = record.state["_modules"][part]
    return record.state


@pytest.mark.parametrize("name", ["ada_r16_cond3.pkl", "sg3t_r32.pkl"])
def test_a_mapping_network_that_tracked_no_mean_has_it_measured(name):
    content, num_bytes = snapshot(name)
    for network in ("G", "G_ema"):
        del module(content[network], "mapping")["_buffers"]["w_avg"]

    model = import_nvidia(content, name, num_bytes)

    z = torch.randn(2000, model.config.z_dim)
    c = torch.eye(model.config.c_dim).repeat(2000, 1)[:2000] if model.config.c_dim else None
    w = model.generator.mapping(z, c)[:, 0]
    error = (model.generator.w_avg - w.mean(dim=0)).square().mean().sqrt()
    assert error < 0.1 * w.std(dim=0).square().mean().sqrt()
    assert model.raw_generator is not None
    assert torch.equal(model.raw_generator.w_avg, model.generator.w_avg)


@pytest.mark.parametrize(
    ("network", "path", "activation"),
    [
        ("G", "synthesis.b8.conv0", "swish"),
        ("G_ema", "mapping.fc0", "relu"),
        ("G_ema", "synthesis.b8.conv0.affine", "lrelu"),
        ("D", "b16.conv0", "relu"),
        ("D", "b4.fc", "linear"),
    ],
)
def test_other_activations_are_refused_by_name(network, path, activation):
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    assert module(content[network], path)["activation"] in {"lrelu", "linear"}
    module(content[network], path)["activation"] = activation

    with pytest.raises(CheckpointError, match=rf"{network}: activation '{activation}' of '{path}'"):
        import_nvidia(content, "model.pkl", num_bytes)


@pytest.mark.parametrize(
    ("network", "path", "name"),
    [
        ("G_ema", "mapping", "fc3"),
        ("G", "mapping", "fc3"),
        ("D", "mapping", "fc7"),
        ("G_ema", "synthesis.b4.conv1", "noise_strength"),
    ],
)
def test_a_last_layer_that_is_absent_is_missed(network, path, name):
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    members = module(content[network], path)
    kind = "_modules" if name in members["_modules"] else "_parameters"
    del members[kind][name]

    with pytest.raises(CheckpointError, match=rf"lacks tensor '{network}\."):
        import_nvidia(content, "model.pkl", num_bytes)


def test_layers_are_counted_where_a_snapshot_does_not_say_how_many():
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    expected = import_nvidia(content, "model.pkl", num_bytes).config
    for network in content.values():
        if isinstance(network, Record) and "mapping" in network.state["_modules"]:
            module(network, "mapping").pop("num_layers", None)
    for network in ("G", "G_ema"):
        del module(content[network], "synthesis.b4.conv1")["use_noise"]

    config = import_nvidia(content, "model.pkl", num_bytes).config

    assert config == expected


class Persistent:
    """An object of NVIDIA's file that is pickled as it was unpickled, by the name of that era."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@pytest.fixture
def _their_modules(monkeypatch):
    """What pickle asks for to read a snapshot of NVIDIA's and to write it again."""

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Persistent:
        return Persistent(meta)

    members: dict[str, Any] = {
        "torch_utils.persistence": _reconstruct_persistent_obj,
        "dnnlib.util": type("EasyDict", (dict,), {}),
    }
    for name, member in members.items():
        member.__module__, member.__qualname__ = name, member.__name__
        module = ModuleType(name)
        setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, name.partition(".")[0], ModuleType("package"))
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("_their_modules")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["ada_r16_cond3.pkl", "sg3t_r32.pkl"])
def test_snapshots_of_every_python_are_read(name, protocol, tmp_path):
    content = pickle.loads((REFERENCE / name).read_bytes())
    (tmp_path / name).write_bytes(pickle.dumps(content, protocol))

    model = load_model(tmp_path / name)

    expected = load_model(REFERENCE / name)
    assert model.config == expected.config
    assert compute_model_id(model.generator) == compute_model_id(expected.generator)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_and_sets_are_read_in_every_protocol(protocol, order):
    array = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], order=order)

    content: Any = read_snapshot(pickle.dumps([{"a", "b"}, array], protocol), "model.pkl")

    names, record = content
    assert names == {"a", "b"}
    assert np.array_equal(record.array, array)


@pytest.mark.parametrize("taps", [[1, 2, 1], [1, 1, 1, 1], [1, 3, 3, 1, 0, 0, 0, 0]])
@pytest.mark.parametrize("is_turned", [False, True])
def test_another_resampling_filter_is_refused_along_either_axis(taps, is_turned):
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    kernel = torch.outer(torch.tensor(taps) / sum(taps), torch.tensor([1, 3, 3, 1]) / 8)
    kernel = stored(kernel.t() if is_turned else kernel)
    module(content["G_ema"], "synthesis.b8.conv0")["_buffers"]["resample_filter"] = kernel

    with pytest.raises(CheckpointError, match=r"conv0.resample_filter' is not \[1, 3, 3, 1\]"):
        import_nvidia(content, "model.pkl", num_bytes)


def test_networks_that_share_their_storages_in_the_file_come_apart(tmp_path):
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    content["G"] = content["G_ema"]

    model = import_nvidia(content, "model.pkl", num_bytes)

    assert model.raw_generator is not None
    averaged = model.generator.state_dict()
    for name, tensor in model.raw_generator.state_dict().items():
        assert torch.equal(tensor, averaged[name]), name
        assert tensor.data_ptr() != averaged[name].data_ptr(), name
    assert save_model(model, tmp_path / "model").id


def test_kernels_that_were_stored_channels_last_lie_as_torchs_own():
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    weights = module(content["D"], "b16.fromrgb")["_parameters"]
    weights["weight"] = replace(weights["weight"], stride=(3, 1, 3, 3))

    discriminator = import_nvidia(content, "model.pkl", num_bytes).discriminator

    assert discriminator is not None
    for name, tensor in discriminator.state_dict().items():
        assert tensor.stride() == torch.empty(tensor.shape).stride(), name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_old_container_is_told_in_every_protocol(protocol, tmp_path):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    torch.save(
        checkpoint, tmp_path / "model.pt",
        pickle_protocol=protocol, _use_new_zipfile_serialization=False,
    )  # fmt: skip

    generator = load_model(tmp_path / "model.pt").generator

    assert compute_model_id(generator) == compute_model_id(
        load_model(REFERENCE / "rosinality_32.pt").generator
    )


def test_early_rosinality_files_without_noise_maps_get_the_same_ones_each_time(tmp_path, rng):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    del checkpoint["latent_avg"]
    for network in ("g", "g_ema"):
        checkpoint[network] = {k: v for k, v in checkpoint[network].items() if "noises" not in k}
    torch.save(checkpoint, tmp_path / "model.pt")

    first, again = (load_model(tmp_path / "model.pt").generator for _ in range(2))

    z = torch.randn(2, 64, generator=rng)
    whole = load_model(REFERENCE / "rosinality_32.pt").generator
    w_plus = whole.mapping(z)
    assert torch.equal(first(z), again(z))
    assert not torch.equal(first.synthesis(w_plus), whole.synthesis(w_plus))
    assert torch.equal(first.synthesis(w_plus, noise="none"), whole.synthesis(w_plus, noise="none"))


@pytest.mark.parametrize("others", [{}, {"d": None, "g_ema": None, "latent_avg": None}])
def test_the_generator_as_trained_is_read_where_no_other_is_there(others, tmp_path, rng):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    torch.save({"g": checkpoint["g"]} | others, tmp_path / "style.pt")
    torch.save({"g_ema": checkpoint["g"]}, tmp_path / "model.pt")

    style, model = load_model(tmp_path / "style.pt"), load_model(tmp_path / "model.pt")

    z = torch.randn(2, 64, generator=rng)
    assert torch.equal(style.generator(z), model.generator(z))
    assert style.raw_generator is None
    assert style.discriminator is None


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: tensor for name, tensor in state.items()}


def in_an_encoder(checkpoint: dict[str, Any]) -> dict[str, Any]:
    decoder = prefixed(checkpoint["g_ema"], "decoder.")
    return {
        "state_dict": {"encoder.input_layer.0.weight": torch.zeros(4, 3, 3, 3), **decoder},
        "latent_avg": checkpoint["latent_avg"].repeat(8, 1),
        "opts": Namespace(output_size=32, device="cuda:0"),
    }


def with_noise_for_64_pixels(checkpoint: dict[str, Any]) -> dict[str, Any]:
    more = {f"noises.noise_{i}": torch.zeros(1, 1, 64, 64) for i in (7, 8)}
    return checkpoint | {"g_ema": checkpoint["g_ema"] | more}


LAYOUTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "in an encoder": in_an_encoder,
    "in DataParallel": lambda c: {
        name: prefixed(state, "module.") if isinstance(state, dict) else state
        for name, state in c.items()
    },
    "with more noise maps": with_noise_for_64_pixels,
    "alone": lambda c: c["g_ema"],
    "alone, in DataParallel": lambda c: prefixed(c["g_ema"], "module."),
    "as generator": lambda c: {"generator": c["g_ema"]},
    "as params_ema": lambda c: {"params_ema": c["g_ema"], "latent_avg": c["latent_avg"]},
    "with a mean of numpy": lambda c: c | {"latent_avg": c["latent_avg"].numpy()},
    "with a mean of numpy in float64": lambda c: c | {
        "latent_avg": c["latent_avg"].double().numpy()
    },
}  # fmt: skip


@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_generator_is_found_wherever_people_keep_it(change, tmp_path):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    torch.save(change(checkpoint), tmp_path / "model.pt")

    found = load_model(tmp_path / "model.pt").generator.state_dict()

    expected = load_model(REFERENCE / "rosinality_32.pt").generator.state_dict()
    if "latent_avg" not in change(checkpoint):
        assert found["mapping.w_avg"].any()
        expected["mapping.w_avg"] = found["mapping.w_avg"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: {"state_dict": prefixed(c["g_ema"], "encoder.")}, "no state dict 'g_ema'"),
        (lambda c: {"state_dict": [c]}, "state_dict' is a list, not a state dict"),
        (lambda c: {"generator": c["g_ema"]["input.input"]}, "not a state dict"),
        (lambda c: c | {"latent_avg": torch.eye(8, 64)}, r"w_avg' has shape \[8, 64\]"),
    ],
)
def test_what_holds_no_generator_or_several_means_is_refused(change, words, tmp_path):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    torch.save(change(checkpoint), tmp_path / "model.pt")

    with pytest.raises(CheckpointError, match=words):
        load_model(tmp_path / "model.pt")


def test_a_mean_w_that_kept_its_batch_axis_is_read(tmp_path):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    mean = checkpoint["latent_avg"]
    torch.save(checkpoint | {"latent_avg": mean[None]}, tmp_path / "model.pt")

    assert torch.equal(load_model(tmp_path / "model.pt").generator.w_avg, mean)


@pytest.mark.parametrize(
    "file",
    [*sorted(REFERENCE.glob("*.p[kt]*")), REFERENCE.parents[1] / "models/people32"],
    ids=lambda file: file.name,
)
def test_weights_begin_where_torch_puts_its_own_whatever_file_they_came_from(file):
    model = load_model(file)

    starts = [tensor.data_ptr() for tensor in model.generator.state_dict().values()]

    assert starts
    assert not any(start % 64 for start in starts)
