"""Laws of the encoder."""

import json
from functools import partial

import pytest
import torch

from stylealign.errors import CheckpointError, DataError
from stylealign.inversion import fit_encoder, invert, load_encoder
from stylealign.models import SPACES

fit_small = partial(fit_encoder, width=8, batch_size=16)


@pytest.fixture(scope="module")
def encoder(parent):
    return fit_small(parent, space="z_plus", kimg=6.0, learning_rate=5e-3)


@pytest.fixture(scope="module")
def fresh(parent):
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(77))
    with torch.no_grad():
        return parent.generator(z)


def test_a_start_from_the_encoder_saves_steps(parent, encoder, fresh):
    start = encoder.predict(fresh)

    few = invert(fresh, parent, start=start, num_steps=5)

    many = invert(fresh, parent, num_steps=10, num_candidates=1)
    assert few.mse.mean() < many.mse.mean()


@pytest.mark.parametrize("space", SPACES)
def test_fitting_lowers_the_pixel_loss_in_every_space(parent, space):
    ticks = []

    fitted = fit_small(parent, space=space, kimg=3.0, on_tick=ticks.append)

    assert ticks[-1].pixel_loss < 0.8 * ticks[0].pixel_loss
    assert ticks[-1].kimg == ticks[-1].total_kimg == fitted.kimg
    assert fitted.space == space


def test_the_same_seed_fits_the_same_encoder_and_no_gpu_is_seeded(parent, samples, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU was seeded"))
    first, second = (fit_small(parent, kimg=0.1, seed=4) for _ in range(2))

    other = fit_small(parent, kimg=0.1, seed=5)

    codes = [encoder.predict(samples).codes for encoder in (first, second, other)]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


def test_an_image_gets_the_same_code_in_any_company_from_the_encoder(encoder, fresh):
    together = encoder.predict(fresh).codes

    alone = encoder.predict(fresh[3:4]).codes

    torch.testing.assert_close(alone[0], together[3], atol=1e-4, rtol=0)


def test_pictures_of_the_domain_join_the_fitting(parent, fresh):
    ticks = []
    unseen = fresh.flip(3)  # mirrored samples are none of the model's own

    with_them = fit_small(parent, kimg=3.0, images=unseen, on_tick=ticks.append)

    without = fit_small(parent, kimg=3.0)
    errors = [
        invert(unseen, parent, start=encoder.predict(unseen), num_steps=0).mse.mean()
        for encoder in (with_them, without)
    ]
    assert errors[0] < errors[1]


def test_a_saved_encoder_comes_back_the_same(parent, encoder, fresh, tmp_path):
    encoder.save(tmp_path / "encoder")

    loaded = load_encoder(tmp_path / "encoder", parent)

    assert torch.equal(loaded.predict(fresh).codes, encoder.predict(fresh).codes)
    assert loaded.predict(fresh).model_id == parent.config.id
    loaded.save(tmp_path / "again")
    for name in ("encoder.safetensors", "config.json"):
        first = (tmp_path / "encoder" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == first


def test_the_folder_of_an_encoder_may_be_given_as_text(parent, encoder, tmp_path):
    encoder.save(str(tmp_path / "encoder"))

    assert load_encoder(str(tmp_path / "encoder"), parent).kimg == encoder.kimg


@pytest.mark.parametrize(
    "fields", [{"width": 1 << 40}, {"width": "8"}, {"space": "x"}, {"kimg": ...}, {"model": []}]
)
def test_an_encoder_with_a_changed_record_is_refused(parent, encoder, fields, tmp_path):
    encoder.save(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text()) | fields
    kept = {name: value for name, value in record.items() if value is not ...}
    (tmp_path / "config.json").write_text(json.dumps(kept))

    with pytest.raises(CheckpointError, match="damaged"):
        load_encoder(tmp_path, parent)


def test_a_damaged_or_foreign_encoder_is_refused(parent, noisy_parent, encoder, tmp_path):
    encoder.save(tmp_path)

    with pytest.raises(CheckpointError, match="not of"):
        load_encoder(tmp_path, noisy_parent)
    weights = tmp_path / "encoder.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="changed since"):
        load_encoder(tmp_path, parent)
    with pytest.raises(CheckpointError, match="cannot open"):
        load_encoder(tmp_path / "nowhere", parent)


def test_images_of_another_size_are_refused(encoder):
    with pytest.raises(DataError, match="resize"):
        encoder.predict(torch.zeros(1, 3, 8, 8))
