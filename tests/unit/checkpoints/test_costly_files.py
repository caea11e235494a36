"""Small files that ask for much: what they share in a few bytes is neither copied nor unrolled."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.checkpoints.nvidia import import_nvidia
from stylealign.errors import CheckpointError
from tests.unit.checkpoints.limits import grows_less_than, run_limited
from tests.unit.checkpoints.test_folder import small_model
from tests.unit.checkpoints.test_hostile_files import (
    DOUBLED,
    REFERENCE,
    START,
    STOP,
    array,
    call,
    named,
    number,
    refuse,
    short_bytes,
    sizes,
    storage_bytes,
    tensor,
    text,
)
from tests.unit.checkpoints.test_variants import module, snapshot


def members(**values: bytes) -> bytes:
    """A dict of these names."""
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


def put(index: int) -> bytes:
    """The item on top of the stack is also at this place of the memo."""
    return b"q" + bytes([index])


def get(index: int) -> bytes:
    return b"h" + bytes([index])


def persistent(**meta: bytes) -> bytes:
    return call("torch_utils.persistence", "_reconstruct_persistent_obj", members(**meta))


def network(**state: bytes) -> bytes:
    return call("dnnlib.tflib.network", "Network") + members(**state) + b"b"


def names(num: int, value: bytes = b"N") -> dict[str, bytes]:
    return {f"name{i}": value for i in range(num)}


def snapshot_of_tensorflow(function: bytes, arguments: bytes = b"}") -> bytes:
    parts = members(mapping=network(a=b"N"), synthesis=network(a=b"N"))
    state = {"components": parts, "build_func_name": function, "static_kwargs": arguments}
    return network(**state) * 3 + b"\x87"


DEEP = b"]" * 5000 + b"a" * 4999
A_NETWORK = named("dnnlib.tflib.network", "Network")
A_DICT = named("collections", "OrderedDict")
A_CLASS = named("torch_utils.persistence", "_reconstruct_persistent_obj")
PAIRS = b"](" + b"".join(text(name) + b"N\x86" for name in names(5000)) + b"e"
SHARED_NAMES = members(**names(3000, get(2)))
A_MODULE = (
    get(0) + b"}(" + text("class_name") + text("Layer")
    + text("state") + members(_parameters=get(1)) + b"u\x85R"
)  # fmt: skip
VERSION = b"\x80\x02M\xe9\x03.\x80\x02"
LONG_STORAGE = storage_bytes(1).replace(VERSION, VERSION + b"N0" * 45_000)
COSTLY: dict[str, tuple[bytes, str]] = {
    "a class name that nests deeply": (
        persistent(state=b"}", class_name=DEEP), "class name",
    ),
    "a class name that doubles": (
        persistent(state=b"}", class_name=DOUBLED), "class name",
    ),
    "one state for many objects": (
        members(**names(5000)) + put(0) + A_NETWORK + put(1) + b"00]("
        + (get(1) + b")R" + get(0) + b"b") * 2000 + b"e",
        "no model file",
    ),
    "an object that takes its state twice": (
        network(a=b"N") + members(b=b"N") + b"b", "set twice",
    ),
    "one list for many dicts": (
        PAIRS + put(0) + A_DICT + put(1) + b"00](" + (get(1) + get(0) + b"\x85R") * 2000 + b"e",
        "entries",
    ),
    "endless opcodes in storages": (
        b"](" + call("torch.storage", "_load_from_bytes", short_bytes(LONG_STORAGE)) * 3 + b"e",
        "opcodes",
    ),
    "one dict of parameters for many modules": (
        A_CLASS + put(0) + b"0" + tensor(1, 0, sizes(0), sizes(1)) + put(2) + b"0"
        + SHARED_NAMES + put(1) + b"0"
        + members(G_ema=persistent(
            class_name=text("Network"), state=members(_modules=members(**names(1000, A_MODULE)))
        )),
        "members",
    ),
    "a function that is a list": (snapshot_of_tensorflow(b"]"), "function a list"),
    "a function that nests deeply": (snapshot_of_tensorflow(DEEP), "function a list"),
    "a function that doubles": (snapshot_of_tensorflow(DOUBLED), "function a tuple"),
    **{
        f"two sides that are equal nests, {kind}": (
            snapshot_of_tensorflow(text("G_main"), members(resolution=nest, resolution_w=nest)),
            "argument 'resolution_w'",
        )
        for kind, nest in (("deep", DEEP), ("doubled", DOUBLED))
    },
    "a key that is a long integer": (b"}" + number(2**70 - 1) + b"Ns", "key"),
    "a key that is a long text": (b"}" + text("k" * 300) + b"Ns", "key"),
    "an empty tensor of gigantic sizes": (
        tensor(0, 0, sizes(2**39, 2**39, 0), sizes(1, 1, 1)), "too large together",
    ),
    "an empty array of gigantic sizes": (
        array("f4", sizes(2**39, 2**39, 0), b""), "too large together",
    ),
    "a text that is encoded many times": (
        text("x" * 1000) + put(0) + b"(" + 9 * call("_codecs", "encode", get(0), text("latin1"))
        + b"l", "the bytes in it are more than the file has",
    ),
    **{
        f"an array of type {code}": (array(code, sizes(1), b"\0" * 8), f"type '{code}'")
        for code in ("f1", "b2", "b4", "b8")
    },
}  # fmt: skip


@pytest.mark.parametrize(("payload", "words"), COSTLY.values(), ids=COSTLY.keys())
def test_a_costly_pickle_is_refused_by_name(payload, words, tmp_path):
    (tmp_path / "model.pkl").write_bytes(START + payload + STOP)

    message = refuse(tmp_path / "model.pkl")

    assert words in message
    assert len(message) < 1000


WEIGHED = """
import resource, sys
from pathlib import Path

from stylealign.checkpoints import load_model
from stylealign.errors import CheckpointError

valid, *costly = sorted(Path(sys.argv[1]).iterdir())
load_model(valid)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in costly:
    try:
        load_model(path)
    except CheckpointError:
        continue
    raise SystemExit(f"{path} was loaded")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_costly_pickles_need_little_memory(tmp_path):
    (tmp_path / "000.pkl").write_bytes((REFERENCE / "ada_r16_orig.pkl").read_bytes())
    for i, (payload, _) in enumerate(COSTLY.values(), start=1):
        (tmp_path / f"{i:03}.pkl").write_bytes(START + payload + STOP)

    done = run_limited(WEIGHED, str(tmp_path), cpu_sec=60)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150 * 1024


def nested(kind: str) -> object:
    value: object = ()
    for _ in range(5000 if kind == "deep" else 40):
        value = [value] if kind == "deep" else (value, value)
    return value


@pytest.mark.parametrize("kind", ["deep", "doubled"])
@pytest.mark.parametrize(
    ("network", "path", "attribute"),
    [
        ("G_ema", "", "img_resolution"),
        ("G_ema", "", "w_dim"),
        ("G_ema", "", "c_dim"),
        ("G_ema", "mapping.fc0", "bias_gain"),
        ("G_ema", "synthesis.b8", "architecture"),
        ("G_ema", "synthesis.b4.conv1", "conv_clamp"),
        ("G_ema", "synthesis.b8.conv0", "activation"),
        ("D", "b4", "architecture"),
        ("D", "b4.mbstd", "group_size"),
        ("D", "b4.mbstd", "num_channels"),
    ],
)
def test_an_attribute_that_is_a_nest_is_refused_by_file(network, path, attribute, kind):
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    module(content[network], path)[attribute] = nested(kind)

    with pytest.raises(CheckpointError, match=r"model\.pkl") as caught:
        import_nvidia(content, "model.pkl", num_bytes)

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["deep", "doubled"])
@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        ("synthesis", "num_critical"),
        ("synthesis", "_init_kwargs"),
        ("synthesis.L0_36_16", "conv_kernel"),
        ("synthesis.L0_36_16", "down_radial"),
    ],
)
def test_a_setting_of_bands_that_is_a_nest_is_refused_by_file(path, attribute, kind):
    content, num_bytes = snapshot("sg3t_r32.pkl")
    value = nested(kind)
    module(content["G_ema"], path)[attribute] = (
        {"filter_size": value} if attribute == "_init_kwargs" else value
    )

    with pytest.raises(CheckpointError, match=r"model\.pkl") as caught:
        import_nvidia(content, "model.pkl", num_bytes)

    assert len(str(caught.value)) < 1000


def write_header(folder: Path, header: dict[str, Any]) -> Path:
    """A model folder whose weights file has this header and nothing else."""
    save_model(small_model(), folder)
    data = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(data)) + data)
    return folder


def test_many_empty_tensors_are_refused_by_name_before_any_is_read(tmp_path):
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    folder = write_header(tmp_path / "model", {f"G.x{i}": empty for i in range(10_000)})

    assert "unknown tensor 'G.x" in refuse(folder)


def test_a_long_header_is_refused_unread(tmp_path):
    folder = write_header(tmp_path / "model", {"__metadata__": {"text": "x" * (1 << 20)}})

    assert "header" in refuse(folder)


@pytest.mark.parametrize("mean", [{}, [0.0] * 64, "mean", 0.0])
def test_a_mean_w_that_is_no_tensor_is_refused(mean, tmp_path):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    torch.save(checkpoint | {"latent_avg": mean}, tmp_path / "model.pt")

    assert "latent_avg" in refuse(tmp_path / "model.pt")


def test_a_mean_w_of_none_is_measured(tmp_path):
    checkpoint = torch.load(REFERENCE / "rosinality_32.pt", weights_only=True)
    torch.save(checkpoint | {"latent_avg": None}, tmp_path / "model.pt")

    assert load_model(tmp_path / "model.pt").generator.w_avg.any()


def test_networks_that_share_what_a_file_stores_are_counted_together(tmp_path):
    shared = torch.zeros(20_000_000, dtype=torch.uint8)
    shared = shared.view(1, 20_000, 1000)
    networks = {name: {"input.input": shared} for name in ("g_ema", "g", "d")}
    torch.save(networks, tmp_path / "model.pt")

    with grows_less_than(60):
        assert "more numbers than it has bytes" in refuse(tmp_path / "model.pt")
