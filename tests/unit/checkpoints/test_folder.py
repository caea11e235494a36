"""A model folder gives back exactly the model, or a sentence saying why not."""

import json

import pytest
import torch

from stylealign.checkpoints import load_model, save_model
from stylealign.errors import CheckpointError
from stylealign.models import Model, ModelConfig

CHANNELS = {4: 8, 8: 8, 16: 4}


def small_model(seed: int = 0, **fields) -> Model:
    torch.manual_seed(seed)
    config = ModelConfig(
        resolution=16, z_dim=8, w_dim=8, num_mapping_layers=2, channels=CHANNELS, **fields
    )
    return Model.new(config)


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


def test_an_oversized_config_is_refused_unread(folder):
    (folder / "config.json").write_text(" " * (1 << 21))

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
