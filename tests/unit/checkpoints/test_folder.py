"""A model folder gives back exactly the model, or a sentence saying why not."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch

from stylealign.checkpoints import compute_model_id, load_model, save_model
from stylealign.errors import CheckpointError, ParamsError
from stylealign.models import Model, ModelConfig
from tests.tiny import tiny_model

CHANNELS = {4: 8, 8: 8, 16: 4}


def small_model(seed: int = 0, **fields) -> Model:
    return tiny_model(seed, channels=CHANNELS, **fields)


@pytest.fixture
def folder(tmp_path):
    save_model(small_model(), tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def all_tensors(model: Model):
    for network in (model.generator, model.raw_generator, model.discriminator):
        assert network is not None
        yield from network.state_dict().values()


@pytest.mark.parametrize("c_dim", [0, 3])
def test_save_then_load_is_bit_equal(tmp_path, c_dim):
    model = small_model(c_dim=c_dim)

    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")

    assert loaded.config == model.config
    pairs = zip(all_tensors(model), all_tensors(loaded), strict=True)
    assert all(torch.equal(saved, read) for saved, read in pairs)


def test_a_loaded_model_draws_the_same_image(folder, rng):
    z = torch.randn(2, 8, generator=rng)

    loaded = load_model(folder)

    assert torch.equal(loaded.generator(z), small_model().generator(z))


def test_a_loaded_model_can_be_trained(folder, rng):
    loaded = load_model(folder)
    generator, discriminator = loaded.raw_generator, loaded.discriminator
    assert generator is not None
    assert discriminator is not None

    discriminator(generator(torch.randn(4, 8, generator=rng))).sum().backward()

    last_block = generator.get_submodule("synthesis.blocks.b16")
    assert all(parameter.grad is not None for parameter in last_block.parameters())


def test_a_generator_alone_can_be_saved(tmp_path):
    model = small_model()

    save_model(Model(model.generator, model.config), tmp_path / "model")

    assert load_model(tmp_path / "model").discriminator is None
    assert load_model(tmp_path / "model").raw_generator is None


def test_equal_weights_have_equal_ids_and_a_changed_bit_another(tmp_path):
    model, twin, other = small_model(), small_model(), small_model()
    with torch.no_grad():
        other.generator.get_parameter("synthesis.blocks.b4.conv1.bias")[0] += 1e-6

    ids = [save_model(m, tmp_path / str(i)).id for i, m in enumerate((model, twin, other))]

    assert ids[0] == ids[1] != ids[2]


def test_saving_the_same_model_twice_gives_the_same_bytes(tmp_path):
    save_model(small_model(), tmp_path / "a")
    save_model(small_model(), tmp_path / "b")

    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_saving_over_a_model_keeps_the_other_files_of_its_folder(folder):
    (folder / "notes.txt").write_text("kept")

    save_model(small_model(seed=1), folder)

    assert (folder / "notes.txt").read_text() == "kept"
    assert load_model(folder).config.id == save_model(small_model(seed=1), folder).id
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


class Killed(BaseException):
    """Ends a save where a signal might."""


@pytest.mark.parametrize(
    "moved", [".model.safetensors.previous", "model.safetensors", "config.json", ""]
)
@pytest.mark.parametrize("num_saves", [1, 2])
def test_a_save_that_is_killed_between_its_moves_leaves_the_old_model(
    num_saves, moved, folder, monkeypatch
):
    def move(path, target):
        if target.name == moved:
            raise Killed
        path.rename(target)

    def unlink(path, missing_ok=False):
        raise Killed

    monkeypatch.setattr(Path, "replace", move)
    monkeypatch.setattr(Path, "unlink", unlink)

    for seed in range(1, num_saves + 1):
        with pytest.raises(Killed):
            save_model(small_model(seed), folder)
    monkeypatch.undo()

    expected = small_model(0 if moved else num_saves)
    assert compute_model_id(load_model(folder).generator) == compute_model_id(expected.generator)
    assert save_model(small_model(9), folder) == load_model(folder).config
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_what_a_killed_save_left_is_removed_by_the_next_to_the_same_place(tmp_path):
    names = (".model.saving-old", ".model.saving-new", ".model.saving-own", ".other.saving-old")
    for name in names:
        save_model(small_model(), tmp_path / name)
    (tmp_path / ".model.saving-own" / "notes.txt").write_text("kept")
    for path in (*tmp_path.glob("*/*"), *tmp_path.iterdir()):
        if "new" not in str(path):
            os.utime(path, (0, 0))

    save_model(small_model(), tmp_path / "model")

    assert {path.name for path in tmp_path.iterdir()} == {"model", *names[1:]}


def test_others_may_read_a_model_as_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        save_model(small_model(), tmp_path / "model")
    finally:
        os.umask(before)

    for path in (tmp_path / "model").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640, path.name


@pytest.mark.parametrize("keys", ["domain", "channels"])
def test_a_key_that_stands_twice_in_a_config_is_refused_by_name(keys, folder):
    path = folder / "config.json"
    old, new = {
        "domain": ('"domain": ""', '"domain": "", "domain": "cat"'),
        "channels": ('"4": 8', '"4": 8, "4": 16'),
    }[keys]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))

    with pytest.raises(CheckpointError, match=rf"key '{keys if keys == 'domain' else 4}' stands"):
        load_model(folder)


def test_weights_that_the_system_does_not_give_are_not_called_truncated(folder, monkeypatch):
    def refuse(path, *arguments, **keywords):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("stylealign.checkpoints.folder.safe_open", refuse)

    with pytest.raises(CheckpointError, match=r"cannot be read: .*Input/output error"):
        load_model(folder)


def test_a_model_without_ancestors_is_its_own_root(folder):
    config = load_model(folder).config

    assert config.root_id == config.id != ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"channels": {"4": 10**9, "8": 8, "16": 4}}, "channels"),
        ({"channels": {"4": 8, "8": 8}}, "channels"),
        ({"channels": {"4": 16, "8": 8, "16": 4}}, "shape"),
        ({"resolution": 24}, "resolution"),
        ({"z_dim": "many"}, "z_dim"),
        ({"num_mapping_layers": 10**6}, "num_mapping_layers"),
        ({"num_mapping_layers": 3}, r"network\.layers\.2\.weight"),
        ({"surprise": 1}, "surprise"),
        ({"format": "other"}, "format"),
        ({"weights_sha256": None}, "weights_sha256"),
    ],
)
def test_a_bad_config_is_refused_by_field(folder, fields, words):
    edit_config(folder, **fields)

    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(folder)

    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1", "[" * 100_000, "[]", '"x"', "\x00"])
def test_a_config_that_is_no_record_is_refused(folder, text):
    (folder / "config.json").write_text(text)

    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_model(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("mapping_lr_multiplier", 0.81), ("kimg", 4.0), ("root_id", "0" * 64), ("domain", "dogs")],
)
def test_a_changed_field_of_a_config_is_refused_until_its_hash_is_taken_away(field, value, folder):
    edit_config(folder, **{field: value})
    with pytest.raises(CheckpointError, match=r"config.json' was changed .* delete that field"):
        load_model(folder)

    record = json.loads((folder / "config.json").read_text())
    del record["config_sha256"]
    (folder / "config.json").write_text(json.dumps(record))

    assert getattr(load_model(folder).config, field) == value


def test_an_id_that_is_not_that_of_the_weights_is_refused_in_a_folder_without_hash(folder):
    record = json.loads((folder / "config.json").read_text())
    del record["config_sha256"]
    (folder / "config.json").write_text(json.dumps(record | {"id": "0" * 64}))

    with pytest.raises(CheckpointError, match="'id' is not that of the weights"):
        load_model(folder)


def test_a_model_of_as_many_classes_as_are_allowed_is_read_again(tmp_path):
    config = ModelConfig(
        resolution=8, z_dim=1, w_dim=1, num_mapping_layers=1, c_dim=65536, channels={4: 1, 8: 1},
        discriminator_cmap_dim=1, class_shares=(1 / 3 * 2**-15,) * 65536,
    )  # fmt: skip
    model = Model.new(config)

    save_model(model, tmp_path / "model")

    assert load_model(tmp_path / "model").config == model.config


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mbstd_num_channels": 3}, "mbstd_num_channels is 3, which does not divide .* 8"),
        ({"c_dim": 2, "class_shares": (0.0, 0.0)}, "class_shares are nothing"),
        ({"discriminator_channels": {**CHANNELS, 32: 4}}, "width at resolution 32, where no"),
        ({"data_hash": "x" * 1001}, "data_hash"),
    ],
)
def test_a_config_that_no_network_could_have_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        small_model(**fields)


def test_an_oversized_config_is_refused_unread(folder):
    (folder / "config.json").write_text(" " * (1 << 23))

    with pytest.raises(CheckpointError, match="larger"):
        load_model(folder)


@pytest.mark.parametrize("position", [3, 100, -1])
def test_a_flipped_bit_in_the_weights_is_refused(folder, position):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_truncated_weights_are_refused(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(CheckpointError, match="truncated"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(CheckpointError, match=name):
        load_model(folder)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load_model(tmp_path / "nowhere")


def test_weights_that_are_not_a_number_are_refused_by_name(tmp_path):
    model = small_model()
    with torch.no_grad():
        weight = model.generator.get_parameter("synthesis.blocks.b8.conv0.weight")
        weight[0, 0, 0, 0] = float("nan")
    save_model(model, tmp_path / "model")

    with pytest.raises(CheckpointError, match=r"G_ema\.synthesis\.blocks\.b8\.conv0\.weight.*NaN"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", r"device is 'cuda', but torch .* finds no CUDA device: choose cpu, or mend"),
        (torch.device("cuda", 3), r"device is 'cuda:3', but torch .* finds no CUDA device"),
        ("gpu", r"device is 'gpu', expected cpu or cuda"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_a_sentence(folder, device, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ParamsError, match=message):
        load_model(folder, device)
