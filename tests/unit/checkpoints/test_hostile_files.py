"""Malicious and broken files are refused by a sentence, quickly, and nothing of them is run."""

import io
import pickle
import struct
import time
import zipfile
from collections import defaultdict
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.checkpoints.containers import LEGACY_MAGIC
from stylealign.errors import CheckpointError
from tests.unit.checkpoints.test_folder import small_model

REFERENCE = Path(__file__).parents[2] / "reference"
CANARY = "canary"

START, STOP = b"\x80\x04", b"."
LEGACY_START = b"\x80\x02" + LEGACY_MAGIC


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + data


def short_bytes(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def old_call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def sizes(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage_bytes(num_floats: int) -> bytes:
    buffer = io.BytesIO()
    tensor = torch.zeros(num_floats).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=tensor, dtype=torch.float32, _internal=True)
    torch.save(typed, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def storage(num_floats: int) -> bytes:
    return call("torch.storage", "_load_from_bytes", short_bytes(storage_bytes(num_floats)))


def tensor(num_floats: int, offset: int, size: bytes, stride: bytes) -> bytes:
    return call(
        "torch._utils", "_rebuild_tensor_v2",
        storage(num_floats), number(offset), size, stride, b"\x89", b"}",
    )  # fmt: skip


def dtype(code: str) -> bytes:
    return call("numpy", "dtype", text(code), b"\x89", b"\x88")


def array(code: str, shape: bytes, data: bytes) -> bytes:
    empty = call(
        "numpy.core.multiarray", "_reconstruct",
        named("numpy", "ndarray"), sizes(0), short_bytes(b"b"),
    )  # fmt: skip
    return empty + b"(" + number(1) + shape + dtype(code) + b"\x89" + short_bytes(data) + b"tb"


MKDIR = text(CANARY)
DOUBLED = b")" + b"q\x00h\x00\x86" * 40
"""A tuple of 2^40 ends: twice itself, forty times over."""
PAYLOADS: dict[str, bytes] = {
    "a call to os.mkdir": call("os", "mkdir", MKDIR),
    "the same in an old protocol": old_call("os", "mkdir", MKDIR),
    "posix instead of os": call("posix", "system", text(f"mkdir {CANARY}")),
    "subprocess": call("subprocess", "call", text(f"mkdir {CANARY}")),
    "builtins eval": call("builtins", "eval", text(f"__import__('os').mkdir('{CANARY}')")),
    "python 2 builtins": old_call("__builtin__", "eval", text("1")),
    "exec": call("builtins", "exec", text("import os")),
    "a getattr chain": call("builtins", "getattr", named("os", "path"), text("join")),
    "a dotted name": call("os", "path.join", text("a")),
    "a dotted name on a listed module": call("torch.storage", "_load_from_bytes.__globals__"),
    "a listed name in another module": call("torch", "_load_from_bytes", short_bytes(b"")),
    "importlib": call("importlib", "import_module", text("os")),
    "torch.load": call("torch", "load", text("file")),
    "torch.hub": call("torch.hub", "load", text("repository")),
    "pickle inside pickle": call("pickle", "loads", short_bytes(pickle.dumps(1))),
    "codecs": call("_codecs", "encode", text("a"), text("rot13")),
    "functools.partial": call("functools", "partial", named("os", "mkdir"), MKDIR),
    "operator.methodcaller": call("operator", "methodcaller", text("mkdir"), MKDIR),
    "INST": b"(" + MKDIR + b"ios\nmkdir\n",
    "OBJ": b"(" + named("os", "mkdir") + MKDIR + b"o",
    "NEWOBJ of a foreign class": named("io", "FileIO") + b"(" + MKDIR + b"t\x81",
    "NEWOBJ_EX": named("dnnlib.util", "EasyDict") + b")}\x92",
    "an extension code": b"\x82\x01",
    "a two-byte extension code": b"\x83\x01\x00",
    "a persistent id": text("file") + b"Q",
    "BUILD on a list": b"]}b",
    "BUILD on a listed function": named("torch.storage", "_load_from_bytes") + b"}b",
    "a call of a string": text("os.mkdir") + b"(" + MKDIR + b"tR",
    "a call of a record": call("dnnlib.tflib.network", "Network") + b")R",
    "arguments that are a list": named("dnnlib.util", "EasyDict") + b"]R",
    "a global with a number for a name": number(1) + number(2) + b"\x93",
    "strides that leave the storage": tensor(4, 0, sizes(2, 2), sizes(2**20, 1)),
    "an offset that leaves the storage": tensor(4, 2**30, sizes(1), sizes(1)),
    "a negative stride": tensor(4, 3, sizes(4), sizes(-1)),
    "a negative offset": tensor(4, -1, sizes(4), sizes(1)),
    "a giant tensor of one number": tensor(1, 0, sizes(2**30, 2**9), sizes(0, 0)),
    "more sizes than strides": tensor(4, 0, sizes(2, 2), sizes(1)),
    "inner bytes that are a pickle": call(
        "torch.storage", "_load_from_bytes",
        short_bytes(START + call("os", "mkdir", MKDIR) + STOP),
    ),
    "a storage with an inner call": call(
        "torch.storage", "_load_from_bytes",
        short_bytes(
            LEGACY_START + b"\x80\x02M\xe9\x03." + START + call("os", "mkdir", MKDIR) + STOP
        ),
    ),
    "an object array": array("O8", sizes(1), b"\0" * 8),
    "a void array": array("V8", sizes(1), b"\0" * 8),
    "an array of more numbers than bytes": array("f4", sizes(2**39), b"\0" * 8),
    "a buffer of more numbers than bytes": call(
        "numpy._core.numeric", "_frombuffer",
        b"\x96" + struct.pack("<Q", 8) + b"\0" * 8, dtype("f4"), sizes(2**39), text("C"),
    ),
    "a set of a number": call("builtins", "set", number(1)),
    "a set of nests": call("builtins", "set", b"]" + DOUBLED + b"a"),
    "bytes of a gigantic length": b"\x8e" + struct.pack("<Q", 2**62) + b"x",
    "text of a gigantic length": b"\x8d" + struct.pack("<Q", 2**40) + b"x",
    "a gigantic memo index": number(1) + b"r" + struct.pack("<I", 2**32 - 1) + b"0h\x01",
    "a gigantic integer": b"\x8b" + struct.pack("<I", 10_000) + b"\x7f" * 10_000,
    "deep nesting of tuples": b")" + b"\x85" * 150_000,
    "deep nesting of lists": b"]" * 100_000 + b"a" * 99_999,
    "endless opcodes": b"N0" * 400_000 + b"N",
    "a key of exponential hash": b"}" + DOUBLED + b"Ns",
    "a list as a key": b"}]Ns",
    "an empty stack": b"0",
    "a mark that is not there": b"t",
    "nothing but a number": number(1),
    "a dict of nothing": b"}",
    "a network that is a number": b"}" + text("G_ema") + number(1) + b"s",
    "a tuple of numbers": number(1) + number(2) + number(3) + b"\x87",
}  # fmt: skip


def refuse(path: Path) -> str:
    """The sentence that refuses the file, in less than ten seconds of this process's time."""
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert time.process_time() - start < 10
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_hostile_pickle_is_refused_unexecuted(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pkl"
    path.write_bytes(START + payload + STOP)

    message = refuse(path)

    assert len(message) < 1000
    assert [file.name for file in tmp_path.iterdir()] == ["model.pkl"]


def test_a_refused_global_is_named(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(START + PAYLOADS["a call to os.mkdir"] + STOP)

    assert "'os.mkdir'" in refuse(path)


def test_hostile_source_text_in_a_valid_file_loads_unexecuted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = (REFERENCE / "ada_r32_uncond.pkl").read_bytes()
    harmless, hostile = b"# source text removed\n", b"import os;os.abort() #"
    assert harmless in data
    (tmp_path / "model.pkl").write_bytes(data.replace(harmless, hostile))

    model = load_model(tmp_path / "model.pkl")

    assert model.config.resolution == 32
    assert [file.name for file in tmp_path.iterdir()] == ["model.pkl"]


@pytest.mark.parametrize(
    "name", ["ada_r32_uncond.pkl", "tf_ada_r32_uncond.pkl", "rosinality_32.pt"]
)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(name, share, tmp_path):
    data = (REFERENCE / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])

    refuse(path)


def test_a_flipped_bit_in_a_torch_archive_is_refused(tmp_path):
    data = bytearray((REFERENCE / "rosinality_32.pt").read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "model.pt"
    path.write_bytes(data)

    refuse(path)


@pytest.mark.parametrize(
    ("name", "other"), [("ada_r32_uncond.pkl", "model.pt"), ("rosinality_32.pt", "model.pkl")]
)
def test_a_wrong_extension_is_named(name, other, tmp_path):
    path = tmp_path / other
    path.write_bytes((REFERENCE / name).read_bytes())

    assert path.suffix in refuse(path)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n", b"hello", b"PK\x03\x04", b"PK\x03\x04" * 99])
def test_a_file_that_is_no_checkpoint_is_refused(data, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(data)

    refuse(path)


def test_a_torch_archive_with_a_call_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", START + call("os", "mkdir", MKDIR) + STOP)

    assert "'os.mkdir'" in refuse(path)
    assert not (tmp_path / CANARY).exists()


def test_a_zip_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N" * 10_000_000)

    assert "compressed" in refuse(path)


def test_a_pickle_smuggled_into_a_legacy_file_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(LEGACY_START + START + call("os", "mkdir", MKDIR) + STOP)

    assert "'os.mkdir'" in refuse(path)


def saved_rosinality(path: Path, change) -> Path:
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    change(checkpoint["g_ema"])
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("convs.2.conv.weight"), "convs.2.conv.weight"),
        (lambda state: state.pop("noises.noise_3"), "noise_const"),
        (lambda state: state.update({"convs.9.x": torch.zeros(1)}), "convs.9.x"),
        (lambda state: state.update({"style.3.weight": torch.zeros(2, 2)}), "shape"),
        (lambda state: state["style.3.bias"].fill_(float("nan")), "NaN"),
        (lambda state: state["conv1.conv.weight"][0, 0].fill_(float("inf")), "NaN or infinite"),
        (lambda state: state.update({"convs.0.conv.blur.kernel": torch.eye(4)}), "kernel"),
        (lambda state: state.update({"input.input": torch.zeros(1).expand(9)}), "leaves"),
        (lambda state: state.update(dict.fromkeys("abcdefghijkl", torch.zeros(2**18))), "more num"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_by_tensor(change, words, tmp_path):
    path = saved_rosinality(tmp_path / "model.pt", change)

    assert words in refuse(path)


@pytest.mark.parametrize("protocol", [2, 4])
def test_foreign_files_keep_training_extras_that_are_plain(protocol, tmp_path):
    from argparse import Namespace

    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    checkpoint["args"] = Namespace(size=32, path="x")
    checkpoint["mean"] = np.float64(0.5), np.arange(3.0)
    checkpoint["places"] = Path("a/b"), PureWindowsPath("c:/d"), torch.device("cuda:0")
    checkpoint["kinds"] = torch.float32, torch.bfloat16, {"dtype": torch.int64}
    checkpoint["shape"] = torch.Size([1, 2])
    checkpoint["lists"] = defaultdict(list, {"a": [1]}), defaultdict(dict), defaultdict(None)
    checkpoint["g_optim"] = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}}
    torch.save(checkpoint, tmp_path / "model.pt", pickle_protocol=protocol)

    assert load_model(tmp_path / "model.pt").config.resolution == 32


@pytest.mark.parametrize(
    "payload",
    [
        call("torch", "float32", number(1)),
        call("builtins", "list", b"]"),
        call("torch", "Size", number(1)),
        call("torch", "device", text("cpu")) + text("state") + b"b",
        named("torch", "float32") + b"}b",
        b"}" + named("torch", "float32") + b"Ns",
        named("torch", "float32"),
    ],
)
def test_what_goes_unread_is_neither_called_nor_changed(payload, tmp_path):
    (tmp_path / "model.pkl").write_bytes(START + payload + STOP)

    refuse(tmp_path / "model.pkl")


@pytest.mark.parametrize("key", ["g_ema", "latent_avg", "state_dict"])
def test_a_type_in_the_place_of_weights_is_refused(key, tmp_path):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    if key == "state_dict":
        del checkpoint["g_ema"], checkpoint["g"]
    torch.save(checkpoint | {key: torch.float32}, tmp_path / "model.pt")

    assert "is a Global, not a" in refuse(tmp_path / "model.pt")


def test_nothing_is_written_where_conversion_fails(tmp_path):
    model = small_model()
    model.generator.w_avg.fill_(np.nan)
    save_model(model, tmp_path / "broken")

    with pytest.raises(CheckpointError, match="w_avg"):
        load_model(tmp_path / "broken")
