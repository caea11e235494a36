"""Files of every format that were valid once: each is refused by name, in bounded memory."""

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.checkpoints.weights import check_config
from stylealign.errors import CheckpointError
from stylealign.models import Model, ModelConfig
from stylealign.models.bands import AliasFreeConfig
from tests.reference import tensorflow_era as era
from tests.unit.checkpoints.limits import grows_less_than, run_limited
from tests.unit.checkpoints.test_folder import edit_config
from tests.unit.checkpoints.test_hostile_files import (
    LEGACY_START,
    PAYLOADS,
    REFERENCE,
    START,
    STOP,
    call,
    old_call,
    refuse,
    short_bytes,
    text,
)

NVIDIA = REFERENCE / "ada_r16_orig.pkl"
MORE_PAYLOADS = {
    "os.system in protocol 0": b"cos\nsystem\n(S'mkdir canary'\ntR",
    "a call inside a call's arguments": call("dnnlib.util", "EasyDict", call("os", "getcwd")),
    "a state that calls": call("dnnlib.tflib.network", "Network")
    + b"}" + text("variables") + call("os", "listdir") + b"sb",
    "a state that is code": call("dnnlib.tflib.network", "Network") + text("__class__") + b"b",
    "a four-byte extension code": b"\x84\x01\x00\x00\x00",
    "a text persistent id": b"Pos.system\n",
    "copy_reg": old_call("copy_reg", "_reconstructor"),
    "a code object": call("types", "CodeType"),
    "a name that looks alike": call("\u043es", "system", text("true")),
    "a name with a line break": call("os\nsystem", "x"),
    "a class's method": call("collections", "OrderedDict.fromkeys"),
    "numpy's pickled buffers": call("numpy._core.numeric", "_frombuffer"),
    "a subclass tensor": call("torch._tensor", "_rebuild_from_type_v2"),
    "a scripted module": call("torch.jit._pickle", "build_intlist"),
    "a lambda's maker": call("cloudpickle.cloudpickle", "_make_function"),
    "an out-of-band buffer": b"\x97",
    "text of 4 GB": b"X\xff\xff\xff\xffx",
    "an integer of a million digits": b"I" + b"9" * 1_000_000 + b"\n",
    "a memo of itself": b"]\x94h\x00a" * 1000,
    "a storage of nothing": call("torch.storage", "_load_from_bytes", short_bytes(LEGACY_START)),
}  # fmt: skip


@pytest.mark.parametrize("payload", MORE_PAYLOADS.values(), ids=MORE_PAYLOADS.keys())
def test_a_hostile_pickle_is_refused_unexecuted(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pkl").write_bytes(START + payload + STOP)

    message = refuse(tmp_path / "model.pkl")

    assert len(message) < 1000
    assert [file.name for file in tmp_path.iterdir()] == ["model.pkl"]


WATCHED = """
import resource, sys
from pathlib import Path

from stylealign.checkpoints import load_model
from stylealign.errors import CheckpointError

folder = Path(sys.argv[1])
load_model(folder / "valid.pkl")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seen = []


def watch(event, arguments):
    is_write = event == "open" and arguments[1] not in ("r", "rb", None)
    if is_write or event.startswith(("os.", "subprocess.", "socket.", "pickle.", "ctypes.")):
        seen.append((event, arguments))
    if event in ("exec", "compile", "import"):
        seen.append((event, str(arguments)[:200]))


for path in sorted(folder.glob("*.bad")):
    file = path.with_suffix(".pkl")
    path.rename(file)
    watching = [True]
    sys.addaudithook(lambda *event, watching=watching: watching[0] and watch(*event))
    try:
        load_model(file)
        seen.append(("loaded", file))
    except CheckpointError as error:
        assert str(file) in str(error)
    watching[0] = False
assert not seen, seen
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 200 * 1024, f"{grown} KiB more"
"""


def test_the_whole_corpus_runs_nothing_and_needs_little_memory(tmp_path):
    (tmp_path / "valid.pkl").write_bytes(NVIDIA.read_bytes())
    for i, payload in enumerate({**PAYLOADS, **MORE_PAYLOADS}.values()):
        (tmp_path / f"{i:03}.bad").write_bytes(START + payload + STOP)

    done = run_limited(WATCHED, str(tmp_path), cpu_sec=100)

    assert done.returncode == 0, done.stderr


def weight_bytes() -> bytes:
    """The first layer of the averaged generator's mapping network, as the file holds it."""
    weight = load_model(NVIDIA).generator.mapping.network.get_parameter("layers.0.weight")
    return weight.detach().numpy().tobytes()


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("sg3_r16_cond3", b"\x0bnoise_const", b"\x0bnoise_cinst", "noise_const"),
        ("ada_r16_orig", b"\x0bOrderedDict", b"\x0bOrderedDirt", "collections.OrderedDirt"),
        ("ada_r16_orig", b"\x0b_parameters", b"\x0b_paramaters", "lacks tensor"),
    ],
)
def test_a_byte_changed_in_a_snapshot_is_refused_by_name(name, old, new, words, tmp_path):
    data = (REFERENCE / f"{name}.pkl").read_bytes()
    assert old in data
    (tmp_path / "model.pkl").write_bytes(data.replace(old, new))

    assert words in refuse(tmp_path / "model.pkl")


def test_weights_of_a_snapshot_that_are_not_finite_are_refused_by_name(tmp_path):
    data, weight = NVIDIA.read_bytes(), weight_bytes()
    assert weight in data
    broken = struct.pack("<f", float("nan")) + weight[4:]
    (tmp_path / "model.pkl").write_bytes(data.replace(weight, broken))

    assert "'G_ema.mapping.network.layers.0.weight' holds NaN" in refuse(tmp_path / "model.pkl")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("4x4/Conv/weight", np.zeros((3, 3, 1, 1), np.float32), "shape"),
        ("8x8/Conv0_up/weight", np.zeros(3, np.float32), "conv0.weight' has shape [3]"),
        ("8x8/Conv0_up/weight", np.zeros((), np.float32), "conv0.weight' has shape []"),
        ("4x4/Conv/bias", np.full(12, np.nan, np.float32), "NaN"),
        ("4x4/Conv/mystery", np.zeros(3, np.float32), "unknown variable '4x4/Conv/mystery'"),
        ("elsewhere", np.zeros(3, np.float32), "elsewhere"),
        ("4x4/Conv/noise_strength", np.array(["text"]), "allowed"),
    ],
)
def test_a_variable_that_does_not_fit_is_refused_by_name(name, value, words, tmp_path, monkeypatch):
    from tests.reference.test_tensorflow_era import Case, networks

    states, _ = networks(Case(), seed=0)
    states[2]["components"]["synthesis"]["variables"][name] = value
    path = era.write_snapshot(tmp_path / "model.pkl", states, monkeypatch)

    assert words in refuse(path)


@pytest.mark.parametrize(
    ("index", "component", "prefix", "name"),
    [
        (2, "mapping", "Dense1/", "G_ema.mapping.network.layers.1.weight"),
        (1, None, "Mapping1/", "D.mapping.layers.1.weight"),
    ],
)
def test_a_last_layer_that_is_absent_is_missed(
    index, component, prefix, name, tmp_path, monkeypatch
):
    from tests.reference.test_tensorflow_era import Case, networks

    states, _ = networks(Case(labels=3, layers_of_d=2), seed=0)
    state = states[index]["components"][component] if component else states[index]
    for variable in [name for name in state["variables"] if name.startswith(prefix)]:
        del state["variables"][variable]
    path = era.write_snapshot(tmp_path / "model.pkl", states, monkeypatch)

    assert f"lacks tensor '{name}'" in refuse(path)


def test_mapping_layers_are_counted_where_a_generator_does_not_say_it(tmp_path, monkeypatch):
    from tests.reference.test_tensorflow_era import Case, networks

    states, _ = networks(Case(), seed=0)
    for state in states:
        state["static_kwargs"].pop("mapping_layers", None)
    path = era.write_snapshot(tmp_path / "model.pkl", states, monkeypatch)

    assert load_model(path).config.num_mapping_layers == 2


def test_noise_that_a_generator_says_it_has_is_missed(tmp_path, monkeypatch):
    from tests.reference.test_tensorflow_era import Case, networks

    states, _ = networks(Case(kwargs={"use_noise": True}), seed=0)
    for state in (states[0], states[2]):
        variables = state["components"]["synthesis"]["variables"]
        for name in [name for name in variables if "noise" in name]:
            del variables[name]
    path = era.write_snapshot(tmp_path / "model.pkl", states, monkeypatch)

    assert "noise" in refuse(path)


def test_one_array_under_many_names_does_not_fill_memory(tmp_path, monkeypatch):
    from tests.reference.test_tensorflow_era import Case, networks

    states, _ = networks(Case(), seed=0)
    shared = np.zeros(1_000_000, np.uint8)
    many = {f"{i}x{i}/Conv/weight": shared for i in range(3000)}
    states[2]["components"]["synthesis"]["variables"] |= many
    path = era.write_snapshot(tmp_path / "model.pkl", states, monkeypatch)

    with grows_less_than(200):
        assert "more numbers than it has bytes" in refuse(path)


@pytest.mark.parametrize("position", range(0, 1000, 90))
def test_a_torch_file_with_a_flipped_bit_is_refused_or_holds_finite_weights(position, tmp_path):
    data = bytearray((REFERENCE / "rosinality_32.pt").read_bytes())
    data[position * len(data) // 1000] ^= 0x40
    (tmp_path / "model.pt").write_bytes(data)

    refuse(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("offset", "new"),
    [(4, b"\xff"), (6, b"\x01\x00"), (16, b"\xff\xff\xff\x7f"), (-6, b"\x00\x00\x00\x7f")],
    ids=["version", "encrypted", "sizes", "directory"],
)
def test_a_torch_archive_with_a_damaged_directory_is_refused(offset, new, tmp_path):
    data = bytearray((REFERENCE / "rosinality_32.pt").read_bytes())
    data[offset : offset + len(new) or None] = new
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 8 : directory + 10] = b"\x01\x08"  # encrypted, with a name in UTF-8
    data[directory + 46] = 0xFF
    (tmp_path / "model.pt").write_bytes(data)

    refuse(tmp_path / "model.pt")


def test_a_torch_archive_that_points_outside_itself_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../data.pkl", START + MORE_PAYLOADS["a code object"] + STOP)

    assert "types.CodeType" in refuse(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def save_alias_free(folder: Path) -> Path:
    """A model folder of a small StyleGAN3 with a discriminator."""
    torch.manual_seed(0)
    config = ModelConfig(
        architecture="stylegan3-t", resolution=16, z_dim=8, w_dim=8, num_mapping_layers=2,
        alias_free=AliasFreeConfig(channels=(8, 8, 6, 6, 3)), noise=False,
        discriminator_channels={4: 8, 8: 8, 16: 8},
    )  # fmt: skip
    save_model(Model.new(config), folder)
    return folder


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_stopband", 1e-9),
        ("first_cutoff", 1e-300),
        ("filter_size", 10**9),
        ("lrelu_upsampling", 10**9),
        ("margin_size", 10**9),
        ("channels", [8] * 1000),
        ("channels", [8, 8, 8, 10**12, 3]),
        ("conv_kernel", 10**6),
    ],
)
def test_absurd_bands_in_a_config_are_refused_by_field(field, value, tmp_path):
    folder = save_alias_free(tmp_path / "model")
    record = json.loads((folder / "config.json").read_text())

    edit_config(folder, alias_free=record["alias_free"] | {field: value})

    assert field.split("_")[0] in refuse(folder)


def test_a_discriminator_of_unknown_widths_is_refused(tmp_path):
    folder = save_alias_free(tmp_path / "model")

    edit_config(folder, discriminator_channels={})

    assert "unknown tensor 'D." in refuse(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("z_dim", 10**12), ("w_dim", -1), ("c_dim", 10**12), ("resolution", 2**40),
        ("mapping_hidden_dim", 10**9), ("discriminator_fc_dim", -5), ("mbstd_num_channels", 10**9),
        ("discriminator_cmap_dim", 10**30), ("conv_clamp", -1), ("kimg", float("nan")),
        ("img_channels", 10**6), ("discriminator_mapping_layers", 10**6),
    ],
)  # fmt: skip
def test_absurd_numbers_in_a_config_are_refused_by_field(field, value, tmp_path):
    folder: Path = tmp_path / "model"
    save_model(small(), folder)
    edit_config(folder, **{field: value})

    assert field in refuse(folder)


@pytest.mark.parametrize("field", ModelConfig.model_fields)
def test_a_gigantic_number_is_refused_in_every_field_of_a_config(field):
    fields = small().config.model_dump(mode="json") | {field: 10**5000}

    with pytest.raises(CheckpointError, match=f"field '{field}'") as caught:
        check_config(fields, "model.pkl")

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("field", AliasFreeConfig.model_fields)
def test_a_gigantic_number_is_refused_in_every_setting_of_bands(field):
    bands = {"channels": [8, 8, 3], "num_critical": 1, field: 10**5000}
    fields = {"architecture": "stylegan3-t", "resolution": 16, "alias_free": bands}

    with pytest.raises(CheckpointError, match=rf"field 'alias_free\.{field}'") as caught:
        check_config(fields, "model.pkl")

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("channels", [{4: 8, 8: 10**5000}, {4: 8, 8: 8, 10**5000: 8}])
def test_a_gigantic_width_or_resolution_is_refused(channels):
    fields = small().config.model_dump(mode="json") | {"channels": channels}

    with pytest.raises(CheckpointError, match="field 'channels") as caught:
        check_config(fields, "model.pkl")

    assert len(str(caught.value)) < 1000


def small() -> Model:
    torch.manual_seed(0)
    return Model.new(
        ModelConfig(resolution=8, z_dim=8, w_dim=8, num_mapping_layers=2, channels={4: 8, 8: 8})
    )


@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_a_mean_of_squares_that_is_not_above_zero_is_refused_by_name(value, tmp_path):
    folder = save_alias_free(tmp_path / "model")
    model = load_model(folder)
    for name, buffer in model.generator.named_buffers():
        if name.endswith("magnitude_ema"):
            buffer.fill_(value)
    save_model(model, folder)

    assert "magnitude_ema' is the mean of squares and not above 0" in refuse(folder)
