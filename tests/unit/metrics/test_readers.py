"""Laws of readers, on networks that are really fitted."""

import copy
import dataclasses
import functools
import json

import numpy as np
import pandas as pd
import pytest
import torch

from stylealign.data.encoding import encode_labels
from stylealign.data.labels import LabelSpec
from stylealign.errors import CheckpointError, DataError
from stylealign.metrics.accuracy import score_labels
from stylealign.metrics.readers import Augmentation, Recipe, fit_reader, load_reader
from stylealign.metrics.readers.fitting import coral_distance
from stylealign.tensors import to_float, to_uint8

RECIPE = Recipe(width=8)


@pytest.fixture(scope="module")
def reader(make_images, schema):
    images, labels = make_images(400, seed=0)
    return fit_reader(images, labels, schema, seed=0, num_steps=150, recipe=RECIPE)


def test_a_reader_reads_every_type_of_label_from_images_it_never_saw(reader, make_images, schema):
    images, labels = make_images(200, seed=1)

    scores = score_labels(labels, reader.predict(images), schema)

    assert set(scores) == set(schema)
    assert min(scores.values()) > 0.8
    assert reader.val_scores.keys() == scores.keys()


def test_predictions_hold_values_of_the_schema_and_the_confidence_of_classes(reader, make_images):
    images, _ = make_images(40, seed=1)

    table, readings = reader.predict(images), reader.read(images)

    assert list(table) == ["place", "color", "level", "marks", "confidence.color"]
    assert set(table["color"]) == {"red", "blue"}
    assert np.allclose(readings["color"].sum(1), 1)
    assert np.allclose(table["confidence.color"], readings["color"].max(1))
    assert reader.features(images).shape == (40, 128)


def test_equal_seeds_give_equal_readers_and_leave_the_global_rng_alone(
    make_images, schema, monkeypatch
):
    images, labels = make_images(60, seed=0)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU was seeded"))

    outputs = [
        fit_reader(images, labels, schema, seed=s, num_steps=6, recipe=RECIPE).outputs(images)
        for s in (1, 1, 2)
    ]

    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_reader_reads_bit_for_bit_the_same(reader, make_images, tmp_path):
    images, _ = make_images(20, seed=1)

    reader.save(tmp_path / "reader")
    loaded = load_reader(tmp_path / "reader")

    assert torch.equal(loaded.outputs(images), reader.outputs(images))
    assert loaded.predict(images).equals(reader.predict(images))
    assert loaded.val_scores == reader.val_scores


def test_the_folder_of_a_reader_may_be_given_as_text(reader, make_images, tmp_path):
    images, _ = make_images(20, seed=1)

    reader.save(str(tmp_path / "reader"))

    assert torch.equal(
        load_reader(str(tmp_path / "reader")).outputs(images), reader.outputs(images)
    )


def test_a_damaged_reader_is_refused(make_images, schema, tmp_path):
    images, labels = make_images(40, seed=0)
    reader = fit_reader(images, labels, schema, seed=0, num_steps=2, recipe=RECIPE)
    reader.save(tmp_path)
    weights = bytearray((tmp_path / "reader.safetensors").read_bytes())
    weights[-5] ^= 1

    (tmp_path / "reader.safetensors").write_bytes(weights)
    with pytest.raises(CheckpointError, match="sha256"):
        load_reader(tmp_path)

    config = json.loads((tmp_path / "reader.json").read_text())
    del config["schema"]
    (tmp_path / "reader.json").write_text(json.dumps(config))
    reader.save(tmp_path / "other")
    (tmp_path / "reader.safetensors").write_bytes(
        (tmp_path / "other" / "reader.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointError, match="damaged"):
        load_reader(tmp_path)
    with pytest.raises(CheckpointError, match="cannot open"):
        load_reader(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "fields",
    [
        {"schema": []}, {"targets": None}, {"width": "8"}, {"width": 1 << 40},
        {"resolution": float("inf")}, {"val_scores": ...},
    ],
)  # fmt: skip
def test_a_reader_with_a_changed_record_is_refused(reader, fields, tmp_path):
    reader.save(tmp_path)
    config = json.loads((tmp_path / "reader.json").read_text()) | fields
    kept = {name: value for name, value in config.items() if value is not ...}
    (tmp_path / "reader.json").write_text(json.dumps(kept))

    with pytest.raises(CheckpointError, match="damaged"):
        load_reader(tmp_path)


def test_a_reader_whose_record_is_no_record_is_refused(reader, tmp_path):
    reader.save(tmp_path)
    (tmp_path / "reader.json").write_text("[]")

    with pytest.raises(CheckpointError, match="damaged"):
        load_reader(tmp_path)


def test_a_reader_whose_weights_are_not_finite_is_refused_by_name(reader, tmp_path):
    network = copy.deepcopy(reader.network)
    network.head.bias.data.fill_(torch.nan)
    dataclasses.replace(reader, network=network).save(tmp_path)

    with pytest.raises(CheckpointError, match=r"'head\.bias' holds NaN"):
        load_reader(tmp_path)


def test_missing_labels_are_no_obstacle(make_images, schema):
    images, labels = make_images(300, seed=0)
    labels.loc[:149, "place"] = np.nan
    labels.loc[100:200, "color"] = None

    reader = fit_reader(images, labels, schema, seed=0, num_steps=70, recipe=RECIPE)

    test_images, truth = make_images(200, seed=1)
    scores = score_labels(truth, reader.predict(test_images), schema)
    assert scores["place"] > 0.6
    assert scores["color"] > 0.9


def test_resolutions_that_are_no_power_of_two_can_be_read(make_images, schema):
    images, labels = make_images(40, seed=0, resolution=40)

    reader = fit_reader(images, labels, schema, seed=0, num_steps=2, recipe=RECIPE)

    assert len(reader.predict(images)) == 40
    assert len(reader.predict(images[:0])) == 0


def test_flipping_moves_the_bar_and_negates_its_place(make_images, schema, rng):
    images, labels = make_images(50, seed=0)
    encoded = encode_labels(labels, schema)
    augmentation = Augmentation(shift=0.0)

    changed, changed_labels = augmentation.apply(to_float(images), encoded, schema, rng)

    is_flipped = changed_labels["place"] == -encoded["place"]
    assert 10 < is_flipped.sum() < 40
    expected = np.where(is_flipped[:, None, None, None], images[:, :, ::-1], images)
    assert (to_uint8(changed) == expected).all()
    assert (changed_labels["color"] == encoded["color"]).all()


def test_shifting_moves_whole_pixels_and_repeats_the_border(make_images, schema, rng):
    images, labels = make_images(20, seed=0)
    augmentation = Augmentation(use_flip=False, shift=1 / 16)

    changed, _ = augmentation.apply(to_float(images), encode_labels(labels, schema), schema, rng)

    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    for image, candidates in zip(to_uint8(changed), padded, strict=True):
        windows = [candidates[y : y + 16, x : x + 16] for y in range(3) for x in range(3)]
        assert any((image == window).all() for window in windows)


def test_colors_change_only_when_asked_for(make_images, schema, rng):
    images, labels = make_images(20, seed=0)
    encoded = encode_labels(labels, schema)
    still = Augmentation(use_flip=False, shift=0.0)
    jittered = Augmentation(use_flip=False, shift=0.0, color_jitter=0.5)

    kept, _ = still.apply(to_float(images), encoded, schema, rng)
    changed, _ = jittered.apply(to_float(images), encoded, schema, rng)

    assert torch.equal(kept, to_float(images))
    assert (changed - kept).abs().mean() > 0.05
    assert changed.abs().max() <= 1.0


def test_coral_distance_is_zero_for_equal_covariances_and_known_for_a_scaled_set(rng):
    features = torch.randn(50, 3, generator=rng)
    covariance = torch.cov(features.T)

    assert coral_distance(features, features + 5).item() == pytest.approx(0.0, abs=1e-10)
    expected = (3 * covariance).square().sum() / (4 * 9)
    assert coral_distance(features, 2 * features).item() == pytest.approx(expected.item(), rel=1e-5)


def test_coral_brings_the_features_of_two_domains_together(make_images, schema):
    images, labels = make_images(300, seed=0)
    child_images, _ = make_images(300, seed=5, is_child=True)

    distances = []
    for weight in (0.0, 1000.0):
        recipe = Recipe(width=8, coral_weight=weight)
        reader = fit_reader(
            images,
            labels,
            schema,
            seed=0,
            num_steps=40,
            recipe=recipe,
            target_images=child_images,
        )
        features = [torch.from_numpy(reader.features(i)) for i in (images, child_images)]
        scale = torch.cov(features[0].T).square().sum()
        distances.append(float(coral_distance(*features) / scale))

    assert distances[1] < 0.5 * distances[0]


def test_what_cannot_be_fitted_is_refused(make_images, schema):
    images, labels = make_images(30, seed=0)
    fit = functools.partial(fit_reader, seed=0, num_steps=1)

    with pytest.raises(DataError, match="equally many"):
        fit(images[:-1], labels, schema)
    with pytest.raises(DataError, match="at least 20"):
        fit(images[:9], labels[:9], schema)
    with pytest.raises(DataError, match="too small to read"):
        fit(images[:, :8, :8], labels, schema)
    with pytest.raises(DataError, match="square"):
        fit(images[:, :8], labels, schema)
    with pytest.raises(DataError, match="target domain"):
        fit(images, labels, schema, recipe=Recipe(coral_weight=1.0))
    with pytest.raises(DataError, match="'boxes'"):
        boxes = LabelSpec(type="boxes", unit="relative")
        labels["faces"] = [[[0.1, 0.1, 0.5, 0.5]]] * 30
        fit(images, labels, {"faces": boxes})
    with pytest.raises(DataError, match="no value to learn from"):
        fit(images, labels.assign(place=np.nan), schema)


def test_a_reader_refuses_images_of_another_size(reader, make_images):
    larger, _ = make_images(3, seed=0, resolution=32)

    with pytest.raises(DataError, match="16 px"):
        reader.predict(larger)


def test_a_reader_is_not_judged_by_likenesses_of_what_it_learned(make_images, schema):
    images, labels = (part.repeat(6, axis=0) for part in shuffled_colors(make_images))
    known = pd.DataFrame({"color": labels})
    groups = np.arange(len(images)) // 6

    def score(**groups) -> float:
        short = {"color": schema["color"]}
        fitted = fit_reader(
            images, known, short, seed=0, num_steps=150, recipe=RECIPE, **groups
        )  # fmt: skip
        return fitted.val_scores["color"]

    assert score() > 0.9  # remembers which image had which value
    assert score(groups=groups.tolist()) < 0.75  # there is nothing else to learn


def shuffled_colors(make_images) -> tuple[np.ndarray, np.ndarray]:
    """A few images, and colours that have nothing to do with them."""
    images, labels = make_images(40, seed=0)
    return images, np.random.default_rng(1).permutation(labels["color"].to_numpy())
