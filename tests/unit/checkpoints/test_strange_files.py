"""What is no ordinary file, and lies that only show where they are acted on: each is refused."""

import io
import json
import pickle
import struct
import time
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from stylealign.checkpoints import convert_checkpoint, load_model, save_model
from stylealign.checkpoints.containers import read_torch_file
from stylealign.checkpoints.nvidia import import_nvidia
from stylealign.checkpoints.rosinality import import_rosinality
from stylealign.errors import CheckpointError, DataError
from stylealign.models import Model, ModelConfig
from tests.unit.checkpoints.limits import grows_less_than
from tests.unit.checkpoints.test_folder import edit_config, small_model
from tests.unit.checkpoints.test_hostile_files import REFERENCE, START, STOP, refuse
from tests.unit.checkpoints.test_variants import module, snapshot

W_AVG = "G_ema.mapping.w_avg"


@pytest.fixture
def folder(tmp_path) -> Path:
    save_model(small_model(), tmp_path / "model")
    return tmp_path / "model"


def write_weights(folder: Path, header: dict[str, object], num_bytes: int) -> None:
    """A weights file of this header and so many zeros, which take no place on the disk."""
    data = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(data)) + data)
        file.truncate(8 + len(data) + num_bytes)


def test_a_device_is_refused_unread(tmp_path):
    (tmp_path / "model.pkl").symlink_to("/dev/null")

    assert "regular file" in refuse(tmp_path / "model.pkl")


def test_a_config_that_is_a_device_is_refused_unread(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/null")

    assert "regular file" in refuse(folder)


def test_a_model_folder_may_hold_links_to_its_files(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    for path in folder.iterdir():
        (tmp_path / "linked" / path.name).symlink_to(path)

    assert load_model(tmp_path / "linked").config == load_model(folder).config


@pytest.mark.parametrize("start", [b"", b"PK\x03\x04"])
def test_a_file_of_gigantic_size_is_refused_unread(start, tmp_path):
    with (tmp_path / "model.pt").open("wb") as file:
        file.write(start)
        file.truncate(1 << 36)

    assert "larger than" in refuse(tmp_path / "model.pt")


@pytest.mark.parametrize(("name", "start"), [("model.pkl", START), ("model.pt", b"PK\x03\x04")])
def test_a_large_file_that_is_mostly_holes_is_refused_unread(name, start, tmp_path):
    with (tmp_path / name).open("wb") as file:
        file.write(start)
        file.truncate(1 << 30)

    with grows_less_than(100):
        assert "mostly holes" in refuse(tmp_path / name)


@pytest.mark.parametrize("name", ["no\0name", "n" * 300])
def test_a_path_that_cannot_be_is_refused(name):
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(name)


@pytest.mark.parametrize(
    ("shape", "num_bytes", "words"),
    [
        ([1 << 34], 1 << 36, "larger than"),
        ([1 << 16], 1 << 18, "shape"),
        ([0, 1 << 63], 0, "shape"),
        ([1] * 10_000, 4, "of 10000 axes"),
    ],
)
def test_weights_of_another_shape_are_refused_before_they_are_read(shape, num_bytes, words, folder):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, num_bytes]}
    write_weights(folder, {W_AVG: entry}, num_bytes)

    assert words in refuse(folder)


@pytest.mark.parametrize("dtype", ["x" * 50_000, "\x1b[2J\n"])
def test_what_another_library_quotes_is_short_and_plain(dtype, folder):
    write_weights(folder, {W_AVG: {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}, 4)

    message = refuse(folder)

    assert len(message) < 1000
    assert message.isprintable()


@pytest.mark.parametrize("fields", [{"x" * 50_000: 1}, {"channels": {"x" * 50_000: 1}}])
def test_a_long_field_is_not_named_at_length(fields, folder):
    edit_config(folder, **fields)

    assert len(refuse(folder)) < 1000


@pytest.mark.parametrize("field", ["domain", "id", "parent_id", "root_id", "data_hash"])
@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\ud800", "two\nlines"])
def test_a_text_that_cannot_be_shown_is_refused_by_field(field, text, folder):
    edit_config(folder, **{field: text})

    message = refuse(folder)

    assert field in message
    assert message.isprintable()


@pytest.mark.parametrize("field", ["kimg", "conv_clamp", "discriminator_conv_clamp"])
def test_an_infinite_number_is_refused_as_no_folder_could_hold_it(field, folder):
    edit_config(folder, **{field: float("inf")})

    assert field in refuse(folder)


def entries() -> dict[str, bytes]:
    with zipfile.ZipFile(REFERENCE / "rosinality_32.pt") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("change", [b"", b"more"])
def test_a_storage_of_another_size_is_refused_by_name(change, tmp_path):
    content = entries()
    content["rosinality_32/data/0"] = change and content["rosinality_32/data/0"] + change

    message = refuse(archive_of(content, tmp_path / "model.pt"))

    assert "storage 'rosinality_32/data/0'" in message


def archive_of(content: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("order", [b"big", b"", b"little\n"])
def test_an_archive_of_another_byte_order_is_refused_by_name(order, tmp_path):
    content = entries()
    assert content["rosinality_32/byteorder"] == b"little"
    content["rosinality_32/byteorder"] = order

    assert "byte order" in refuse(archive_of(content, tmp_path / "model.pt"))


def test_a_storage_that_an_old_file_does_not_list_is_refused_by_name(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint = {"g_ema": {"style.1.weight": torch.zeros(2, 2)}}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    listed = data.index(b"\x80\x02]q\x00", 100)
    path.write_bytes(data[:listed] + b"\x80\x02]q\x00.")

    assert "lacks the storage" in refuse(path)


def test_an_archive_that_begins_beyond_all_files_is_refused(tmp_path):
    path, name = tmp_path / "model.pt", b"a/data.pkl"
    extra = struct.pack("<HHQQQ", 1, 24, 0, 0, 1 << 63)
    sizes = struct.pack("<8xIIIHHHHHII", 0, 2**32 - 1, 2**32 - 1, 10, 28, 0, 0, 0, 0, 2**32 - 1)
    entry = b"PK\x01\x02\x2d\0\x2d\0" + sizes + name + extra
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), 30, 0)
    path.write_bytes(b"PK\x03\x04" + bytes(26) + entry + end)

    assert "damaged" in refuse(path)


def test_an_archive_of_very_many_entries_is_refused_unopened(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK\x03\x04" + bytes(26) + (b"PK\x01\x02" + bytes(42)) * 60_000)

    assert "entries" in refuse(path)


@pytest.mark.parametrize(
    "content",
    [np.arange(3.0), np.dtype("float32"), Namespace(size=32), torch.zeros(3), "text"],
    ids=lambda content: type(content).__name__,
)
@pytest.mark.parametrize("is_torch", [True, False])
def test_what_is_no_network_is_not_taken_for_one(content, is_torch, tmp_path):
    path = tmp_path / ("model.pt" if is_torch else "model.pkl")
    if is_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))

    assert "is no model file" in refuse(path)


@pytest.mark.parametrize("payload", [b"S'\\d'\n", b"V\\ud800\n", b"F1\n", b"I1\n"])
def test_the_argument_of_a_refused_opcode_is_not_decoded(payload, tmp_path):
    (tmp_path / "model.pkl").write_bytes(START + payload + STOP)

    assert "not allowed" in refuse(tmp_path / "model.pkl")


def test_a_global_is_named_as_it_stands(tmp_path):
    (tmp_path / "model.pkl").write_bytes(START + b"c\\dos\nsys\\x74em\n" + STOP)

    assert repr(r"\dos.sys\x74em") in refuse(tmp_path / "model.pkl")


def test_a_byte_that_is_no_opcode_is_named(tmp_path):
    (tmp_path / "model.pkl").write_bytes(START + b"\xff" + STOP)

    assert r"b'\xff'" in refuse(tmp_path / "model.pkl")


def stored(*size: int, value: int = 1):
    """A tensor of bytes, as a file can hold it."""
    buffer = io.BytesIO()
    torch.save(torch.full(size, value, dtype=torch.uint8), buffer)
    return read_torch_file(buffer.getvalue(), "a tensor")


def test_an_empty_filter_of_gigantic_width_is_refused_by_name():
    content, num_bytes = snapshot("ada_r16_cond3.pkl")
    empty = stored(0, 1 << 39)
    module(content["G_ema"], "synthesis.b8.conv0")["_buffers"]["resample_filter"] = empty

    with pytest.raises(CheckpointError, match=r"b8\.conv0\.resample_filter"):
        import_nvidia(content, "model.pkl", num_bytes)


def test_a_mean_w_over_very_many_classes_is_measured_in_parts():
    content, _ = snapshot("ada_r16_cond3.pkl")
    num_classes, w_dim = 40_000, content["G_ema"].state["w_dim"]
    content = {"G_ema": content["G_ema"]}
    content["G_ema"].state["c_dim"] = num_classes
    mapping = module(content["G_ema"], "mapping")
    del mapping["_buffers"]["w_avg"]
    parameters = {"weight": stored(1, num_classes), "bias": stored(1)}
    mapping["_modules"]["embed"].state["_parameters"] = parameters
    first = mapping["_modules"]["fc0"].state["_parameters"]
    first["weight"] = stored(w_dim, content["G_ema"].state["z_dim"] + 1)

    model = import_nvidia(content, "model.pkl", 10_000_000)

    assert model.config.c_dim == num_classes
    assert model.generator.w_avg.any()


def test_a_mean_w_that_is_not_finite_is_refused():
    data = (REFERENCE / "rosinality_32.pt").read_bytes()
    checkpoint = read_torch_file(data, "model.pt")
    assert isinstance(checkpoint, dict)
    del checkpoint["latent_avg"]
    for name, tensor in checkpoint["g_ema"].items():
        if name.startswith("style."):
            tensor.storage.flat().fill_(1e38)

    with pytest.raises(CheckpointError, match=r"w_avg' holds NaN or infinite"):
        import_rosinality(checkpoint, "model.pt", len(data))


def test_classes_beyond_all_data_sets_are_refused():
    with pytest.raises(ValueError, match="c_dim"):
        ModelConfig(resolution=8, c_dim=1_000_000, channels={4: 8, 8: 8})


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_said_and_nothing_left(place, folder, tmp_path):
    (tmp_path / "file").write_text("kept")

    with pytest.raises(DataError, match="cannot be written"):
        convert_checkpoint(folder, tmp_path / place)

    assert (tmp_path / "file").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"model", "file"}


def test_folders_that_were_made_for_one_that_cannot_be_written_are_removed(folder, tmp_path):
    (tmp_path / "kept").mkdir()

    with pytest.raises(DataError, match="cannot be written"):
        convert_checkpoint(folder, tmp_path / "kept" / "a" / "b" / ("x" * 300))

    assert not any((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("letter", ["猫", "é", "x"])
def test_a_name_as_long_as_the_disk_takes_it_can_be_written(letter, folder, tmp_path):
    out = tmp_path / (letter * (250 // len(letter.encode())))

    convert_checkpoint(folder, out)

    assert {path.name for path in out.iterdir()} == {"model.safetensors", "config.json"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_of_a_model_folder_is_refused_with_the_folder_to_give(name, folder):
    assert f"give the folder, {str(folder)!r}" in refuse(folder / name)


def test_an_archive_of_something_else_is_not_called_a_model(tmp_path):
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("face.png", b"pixels")

    assert "named '.zip'; if it is a model, rename it to '.pt'" in refuse(tmp_path / "faces.zip")


@pytest.mark.parametrize("name", ["model.safetensors", ".model.safetensors.previous"])
def test_weights_that_are_mostly_holes_are_not_read(name, tmp_path):
    model = Model.new(ModelConfig(resolution=8, z_dim=512, w_dim=512, channels={4: 512, 8: 512}))
    save_model(model, tmp_path / "model")
    path = tmp_path / "model" / name
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(70 << 20)
    began = time.process_time()

    if name == "model.safetensors":
        assert "mostly holes" in refuse(tmp_path / "model")
    else:
        load_model(tmp_path / "model")

    assert time.process_time() - began < 5
