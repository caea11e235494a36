"""Laws of label transfer: the cycle, its calibration, and what may be trusted."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.errors import DataError, LineageError
from stylealign.inversion import Encoder, fit_encoder
from stylealign.metrics.accuracy import agreement
from stylealign.metrics.calibration import expected_calibration_error
from stylealign.models import Latents, Model, ModelConfig
from stylealign.tensors import to_uint8
from stylealign.transfer import (
    build_table,
    fit_calibration,
    fit_readers,
    measure_evidence,
    measure_presence,
    measure_prominence,
    measure_rightness,
    read_cycle,
    read_with,
    score_confidence,
)
from stylealign.transfer.evidence import chance_of
from tests.tiny import tiny_model

CHANNELS = {4: 8, 8: 8, 16: 8}
SCHEMA: LabelSchema = {
    "yaw": LabelSpec(type="continuous", tolerance=5.0),
    "glasses": LabelSpec(type="class", values=("no", "yes")),
    "hair": LabelSpec(type="class", values=("black", "blond", "red")),
}


def draw_labels(num, rng):
    return pd.DataFrame({
        "yaw": rng.uniform(-40, 40, num),
        "glasses": rng.choice(["no", "yes"], num, p=[0.7, 0.3]).astype(object),
        "hair": rng.choice(["black", "blond", "red"], num).astype(object),
    })  # fmt: skip


def read_labels(drawn, rng, *, lost=()):
    """Readings of what was drawn: a little wrong, and of lost labels no more than a guess."""
    num, other = len(drawn), draw_labels(len(drawn), rng)
    yaw = drawn["yaw"] + rng.normal(0, 2, num)
    readings = pd.DataFrame({"yaw": other["yaw"] if "yaw" in lost else yaw})
    for name in ("glasses", "hair"):
        is_misread = rng.random(num) < (1.0 if name in lost else 0.05)
        readings[name] = np.where(is_misread, other[name], drawn[name])
        readings[f"confidence.{name}"] = rng.uniform(0.8, 1.0, num)
    return readings


@pytest.fixture(scope="module")
def calibration():
    rng = np.random.default_rng(0)
    given = draw_labels(600, rng)
    drawn, cycle = read_labels(given, rng), read_labels(given, rng)
    return fit_calibration(given, drawn, cycle, SCHEMA, rng=rng)


def test_evidence_is_strongest_for_an_exact_reading_and_half_at_the_tolerance():
    given = pd.DataFrame({"yaw": [0.0, 0.0, 0.0], "glasses": ["no", "no", None]})
    readings = pd.DataFrame({
        "yaw": [0.0, 5.0, 500.0], "glasses": ["no", "yes", "no"],
        "confidence.glasses": [0.9, 0.9, 0.9],
    })  # fmt: skip
    schema = {name: SCHEMA[name] for name in ("yaw", "glasses")}

    evidence = measure_evidence(given, readings, schema)

    np.testing.assert_allclose(evidence["yaw"], [1.0, 0.5, 5 / 505])
    np.testing.assert_allclose(evidence["glasses"], [0.9, 0.1, np.nan])
    rightness = measure_rightness(given, readings, schema)
    assert rightness["yaw"].tolist() == [True, True, False]
    assert rightness["glasses"].tolist() == [True, False, False]


def test_probability_rises_with_evidence_and_is_never_certain(calibration):
    strengths = np.linspace(0, 1, 50)

    for label in calibration.values():
        probability = label.apply(strengths)

        assert (np.diff(probability) >= 0).all()
        assert 0 < probability[0] < 0.2
        assert 0.8 < probability[-1] < 1


def test_a_calibration_survives_json(calibration):
    label = calibration["yaw"]

    again = type(label).model_validate_json(label.model_dump_json())

    assert again == label


def test_confidence_of_kept_labels_matches_how_often_they_are_right(calibration):
    rng = np.random.default_rng(1)
    given = draw_labels(1500, rng)
    drawn = given.copy()
    is_lost = rng.random(1500) < 0.2  # the child draws something else every fifth time
    drawn.loc[is_lost, "glasses"] = draw_labels(1500, rng)["glasses"][is_lost]

    confidence = score_confidence(given, read_labels(drawn, rng), calibration, SCHEMA, rng=rng)

    is_right = (drawn["glasses"] == given["glasses"]).to_numpy()
    stated = confidence.by_label["glasses"].to_numpy()
    assert expected_calibration_error(stated, is_right) < 0.15
    assert stated[is_right].mean() > stated[~is_right].mean() + 0.3


def test_a_label_without_correspondence_is_not_transferable(calibration):
    rng = np.random.default_rng(2)
    given = draw_labels(800, rng)

    confidence = score_confidence(
        given, read_labels(given, rng, lost=["hair"]), calibration, SCHEMA, rng=rng
    )

    hair = confidence.labels["hair"]
    assert not hair.transferable
    assert "parent's own cycle" in hair.reason
    stated = confidence.by_label["hair"].to_numpy()
    assert stated.max() < 0.5
    assert stated.mean() == pytest.approx(1 / 3, abs=0.1)
    for name in ("yaw", "glasses"):
        assert confidence.labels[name].transferable
        assert confidence.labels[name].reason == ""
    carried = confidence.by_label[["yaw", "glasses"]].mean(axis=1)
    np.testing.assert_allclose(confidence.confidence, carried)


def two_readers(rng, num, *, hair="shown"):
    """What two readers say of images that show all labels, and hair or something else for it."""
    shown = draw_labels(num, rng)
    if hair == "constant":
        shown["hair"] = "red"
    if hair == "glasses":  # readers miss the hair and go by glasses instead, both alike
        shown["hair"] = np.where(shown["glasses"] == "yes", "red", "black")
    lost = ["hair"] if hair == "lost" else []
    return read_labels(shown, rng, lost=lost), read_labels(shown, rng, lost=lost)


@pytest.mark.parametrize("hair", ["constant", "lost", "glasses"])
def test_a_label_that_only_drawn_images_show_is_not_transferable_though_the_cycle_finds_it(
    calibration, hair
):
    rng = np.random.default_rng(6)
    given = draw_labels(600, rng)
    presence = measure_presence(
        two_readers(rng, 600), two_readers(rng, 500, hair=hair), SCHEMA, rng=rng
    )
    cycle = read_labels(given, rng)

    deaf = score_confidence(given, cycle, calibration, SCHEMA, rng=rng)
    heard = score_confidence(given, cycle, calibration, SCHEMA, rng=rng, presence=presence)

    assert all(label.transferable for label in deaf.labels.values())
    transferable = {name: label.transferable for name, label in heard.labels.items()}
    assert transferable == {"yaw": True, "glasses": True, "hair": False}
    present = heard.labels["hair"].present
    assert present is not None
    assert present < 0.3
    assert "not seen in real images" in heard.labels["hair"].reason
    np.testing.assert_allclose(
        heard.by_label["hair"], chance_of(given.loc[:, "hair"], SCHEMA["hair"])
    )
    np.testing.assert_allclose(heard.by_label["glasses"], deaf.by_label["glasses"], atol=0.02)


def test_labels_that_go_together_in_real_images_are_still_seen():
    rng = np.random.default_rng(10)
    shown = draw_labels(800, rng)
    shown["hair"] = np.where(
        rng.random(800) < 0.6, np.where(shown["glasses"] == "yes", "red", "black"), shown["hair"]
    )

    presence = measure_presence(
        two_readers(rng, 800), (read_labels(shown, rng), read_labels(shown, rng)), SCHEMA, rng=rng
    )

    assert min(label.low for label in presence.values()) > 0.75


def test_few_real_images_are_not_heard_and_readers_that_never_agreed_say_nothing():
    rng = np.random.default_rng(7)
    blind, still_blind = ((draw_labels(200, rng), draw_labels(200, rng)) for _ in range(2))

    assert measure_presence(two_readers(rng, 200), two_readers(rng, 49), SCHEMA, rng=rng) == {}
    presence = measure_presence(blind, still_blind, SCHEMA, rng=rng)
    assert all(label.low == 0.0 for label in presence.values())


def paint(labels, rng, *, yaw=1.0, hair=1.0, hair_at=(0, 4)):
    """Grey noise, with yaw as the brightness of a patch, and hair as that of another."""
    images = rng.normal(128, 6, (len(labels), 32, 32, 3))
    images[:, 16:24, 8:24] += yaw * labels["yaw"].to_numpy()[:, None, None, None]
    shade = labels["hair"].map({"black": -40, "blond": 40, "red": 0}).to_numpy(float)
    top, bottom = hair_at
    images[:, top:bottom, 4:28] += hair * shade[:, None, None, None]
    return images.round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("hair", "hair_at", "is_carried"),
    [(0.7, (0, 4), True), (0.7, (2, 6), True), (0.05, (0, 4), False), (1.0, (26, 30), False)],
    ids=["weaker", "lower by a cell", "a trace", "elsewhere"],
)
def test_a_label_that_changes_other_pixels_than_the_parents_is_not_transferable(
    calibration, hair, hair_at, is_carried
):
    rng = np.random.default_rng(12)
    given = draw_labels(600, rng)

    prominence = measure_prominence(
        paint(given, rng), paint(given, rng, yaw=0.8, hair=hair, hair_at=hair_at),
        given, SCHEMA, rng=rng,
    )  # fmt: skip
    heard = score_confidence(
        given, read_labels(given, rng), calibration, SCHEMA, rng=rng, prominence=prominence
    )

    assert "glasses" not in prominence  # the parent does not show them: nothing is said of them
    assert all(0 <= label.low <= label.high <= 1 for label in prominence.values())
    transferable = {name: label.transferable for name, label in heard.labels.items()}
    assert transferable == {"yaw": True, "glasses": True, "hair": is_carried}
    assert heard.labels["glasses"].prominence is None
    assert ("at the same places" in heard.labels["hair"].reason) is not is_carried


def test_a_label_that_is_drawn_alike_keeps_its_prominence_and_chance_has_none():
    rng = np.random.default_rng(13)
    given, others = draw_labels(2000, rng), draw_labels(2000, rng)
    parent = paint(given, rng)

    same = measure_prominence(parent, parent, given, SCHEMA, rng=rng)
    chance = measure_prominence(parent, paint(others, rng), given, SCHEMA, rng=rng)

    assert same["hair"].share == same["yaw"].share == 1.0
    assert same["hair"].parent == pytest.approx(same["hair"].child)
    assert max(label.high for label in chance.values()) < 0.1
    assert measure_prominence(parent[:49], parent[:49], given.iloc[:49], SCHEMA, rng=rng) == {}
    with pytest.raises(DataError, match="expected as many"):
        measure_prominence(parent, parent, given.iloc[:-1], SCHEMA, rng=rng)


def test_two_readers_learn_from_halves_that_share_no_image():
    rng = np.random.default_rng(11)
    dark = np.repeat([40, 200], 40)
    images = (dark[:, None, None, None] + rng.integers(0, 20, (80, 16, 16, 3))).astype(np.uint8)
    labels = pd.DataFrame({"shade": np.where(dark < 100, "dark", "light").astype(object)})
    schema: LabelSchema = {"shade": LabelSpec(type="class", values=("dark", "light"))}

    readers = fit_readers(images, labels, schema, num_steps=30, seed=0)
    first, second = read_with(readers, images)

    assert first["shade"].tolist() == second["shade"].tolist() == labels["shade"].tolist()
    assert not np.allclose(readers[0].features(images), readers[1].features(images))


def test_where_nothing_comes_through_no_row_is_trusted(calibration):
    rng = np.random.default_rng(3)
    given = draw_labels(400, rng)
    lost = read_labels(given, rng, lost=["yaw", "glasses", "hair"])

    confidence = score_confidence(given, lost, calibration, SCHEMA, rng=rng)

    assert not any(label.transferable for label in confidence.labels.values())
    assert (confidence.confidence == 0).all()


def test_a_missing_label_has_no_confidence_and_takes_none_from_its_row(calibration):
    rng = np.random.default_rng(4)
    given = draw_labels(400, rng)
    given.loc[0, "glasses"] = None
    given.loc[0, "yaw"] = np.nan

    confidence = score_confidence(given, read_labels(given, rng), calibration, SCHEMA, rng=rng)

    assert np.isnan(confidence.by_label.loc[0, ["yaw", "glasses"]].to_numpy(float)).all()
    assert confidence.confidence[0] == pytest.approx(confidence.by_label.loc[0, "hair"])


def test_levels_and_sets_of_values_are_judged_like_numbers_and_classes():
    schema: LabelSchema = {
        "age": LabelSpec(type="ordinal", values=("young", "middle", "old")),
        "wears": LabelSpec(type="multilabel", values=("hat", "scarf")),
    }
    age = pd.Series(["young", "old", None, "old"])
    wears = pd.Series([["hat"], [], [], None])
    given = pd.DataFrame({"age": age, "wears": wears})
    readings = pd.DataFrame({
        "age": ["young", "middle", "old", "young"], "wears": [["hat"], ["hat"], [], []],
    })  # fmt: skip

    evidence = measure_evidence(given, readings, schema)
    rightness = measure_rightness(given, readings, schema)

    np.testing.assert_allclose(evidence["age"], [1.0, 0.5 / 1.5, np.nan, 0.5 / 2.5])
    np.testing.assert_allclose(evidence["wears"], [1.0, 0.5, 1.0, np.nan])
    assert rightness["age"].tolist() == [True, False, False, False]
    assert rightness["wears"].tolist() == [True, False, True, False]
    np.testing.assert_allclose(chance_of(age, schema["age"]), [1 / 3, 2 / 3, 0, 2 / 3])
    np.testing.assert_allclose(chance_of(wears, schema["wears"]), [1 / 3, 2 / 3, 2 / 3, 0])
    assert agreement(age, age, schema["age"]) == pytest.approx(1.0)
    assert agreement(wears, wears, schema["wears"]) < 1  # no scarf: no kappa


def test_the_claim_on_parent_hold_outs_is_measured_with_curves_that_did_not_see_them(calibration):
    for label in calibration.values():
        assert label.held_out.num_rows == label.num_rows
        assert label.held_out.ece < 0.1
        assert label.held_out.accuracy > 0.9
        assert sum(label.held_out.reliability["num_rows"]) == label.num_rows


def test_the_claim_is_measured_on_groups_that_the_curves_did_not_see():
    """Each of ten people has a strength of evidence of its own, and is always or never right."""
    rng = np.random.default_rng(7)
    person = np.repeat(np.arange(10), 30)
    given = pd.DataFrame({"yaw": np.zeros(300)})
    cycle = pd.DataFrame({"yaw": 0.5 * person + rng.uniform(0, 0.01, 300)})
    drawn = pd.DataFrame({"yaw": np.where(person % 2 == 0, 0.0, 90.0)})
    schema = {"yaw": SCHEMA["yaw"]}

    def claim_error(groups: list[str]) -> float:
        fitted = fit_calibration(
            given, drawn, cycle, schema, rng=np.random.default_rng(0), groups=groups
        )
        return fitted["yaw"].held_out.brier

    alone, apart = claim_error([]), claim_error([f"person {number}" for number in person])
    one_group, nearly = (
        claim_error(["all"] * number + ["another"] * (300 - number)) for number in (300, 298)
    )

    assert apart > alone + 0.02
    assert one_group == nearly == pytest.approx(alone, abs=0.01)


def test_too_few_rows_and_dense_labels_are_refused():
    rng = np.random.default_rng(5)
    given = draw_labels(20, rng)
    readings = read_labels(given, rng)
    dense = {"yaw": LabelSpec(type="mask", values=("skin",))}

    with pytest.raises(DataError, match="at least 50"):
        fit_calibration(given, readings, readings, SCHEMA, rng=rng)
    with pytest.raises(DataError, match="leave it out"):
        measure_evidence(given, readings, dense)
    with pytest.raises(DataError, match=r"label 'yaw' .* expected one above 0"):
        measure_evidence(given, readings, {"yaw": LabelSpec(type="continuous")})


def test_the_table_says_for_every_row_why_it_was_rejected(calibration):
    rng = np.random.default_rng(6)
    given = draw_labels(300, rng)
    confidence = score_confidence(given, read_labels(given, rng), calibration, SCHEMA, rng=rng)
    reconstruction = np.where(np.arange(300) % 2 == 0, 25.0, 12.0)

    table = build_table(
        [f"p{row}" for row in range(300)], given, reconstruction, confidence,
        parent=ModelConfig(resolution=16, channels=CHANNELS, id="parent"),
        child=ModelConfig(resolution=16, channels=CHANNELS, id="child"),
        space="z_plus", seed=3, min_reconstruction=18.0, min_confidence=0.7,
    )  # fmt: skip

    assert list(table.columns) == [
        "parent_id", "parent_model", "child_model", "space", "seed", "reconstruction",
        "consistency", "confidence", "accepted", "reject_reason",
        "label.yaw", "label.glasses", "label.hair",
        "confidence.yaw", "confidence.glasses", "confidence.hair",
    ]  # fmt: skip
    accepted, reasons = table["accepted"].to_numpy(), table["reject_reason"].to_numpy()
    assert (accepted == (reasons == "")).all()
    is_good = (reconstruction >= 18) & (confidence.confidence >= 0.7)
    assert (accepted == is_good).all()
    assert str(reasons[1]).startswith("reconstruction below 18 dB")


class BrightnessReader:
    """Reads how bright an image is."""

    def predict(self, images):
        """One row of labels per image."""
        return pd.DataFrame({"brightness": images.astype(np.float64).mean((1, 2, 3))})


@pytest.fixture(scope="module")
def parent():
    return tiny_model(channels=CHANNELS, noise=False, id="parent", root_id="parent")


@pytest.fixture(scope="module")
def child(parent):
    """A child that draws everything in negative."""
    generator = copy.deepcopy(parent.generator)
    with torch.no_grad():
        for block in generator.synthesis.blocks.values():
            block.torgb.weight.neg_()
            block.torgb.bias.neg_()
    config = parent.config.model_copy(update={"id": "child", "parent_id": "parent"})
    return Model(generator, config)


@pytest.fixture(scope="module")
def encoder(child):
    return fit_encoder(child, kimg=3.0, width=8, batch_size=32, learning_rate=1e-2)


def test_the_cycle_finds_the_parents_attribute_in_the_childs_pixels(parent, child, encoder):
    z = torch.randn(24, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        drawn = [to_uint8(model.generator(z)) for model in (parent, child)]
    truth = BrightnessReader().predict(drawn[0])["brightness"]

    cycle = read_cycle(drawn[1], child, parent, encoder, BrightnessReader(), seeds=range(24))

    assert np.corrcoef(cycle.readings["brightness"], truth)[0, 1] > 0.8
    assert cycle.psnr.shape == (24,)


def test_the_cycle_of_an_image_does_not_depend_on_the_others(parent, child, encoder):
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        images = to_uint8(child.generator(z))
    reader, seeds = BrightnessReader(), [5, 6, 7, 8, 9, 10]

    together = read_cycle(images, child, parent, encoder, reader, seeds=seeds, num_steps=3)

    alone = read_cycle(images[2:3], child, parent, encoder, reader, seeds=[7], num_steps=3)
    np.testing.assert_allclose(
        alone.readings["brightness"], together.readings["brightness"][2:3], atol=0.5
    )


def test_images_are_led_back_a_portion_at_a_time(parent, child, encoder, monkeypatch):
    num_at_once, predict = list[int](), Encoder.predict

    def count(self: Encoder, images: torch.Tensor) -> Latents:
        num_at_once.append(len(images))
        return predict(self, images)

    monkeypatch.setattr(Encoder, "predict", count)
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)

    cycle = read_cycle(
        images, child, parent, encoder, BrightnessReader(),
        seeds=range(5), num_steps=1, batch_size=2,
    )  # fmt: skip

    assert num_at_once == [2, 2, 1]
    assert len(cycle.readings) == len(cycle.psnr) == 5


def test_a_cycle_through_a_stranger_is_refused(child, encoder):
    torch.manual_seed(9)
    config = child.config.model_copy(
        update={"id": "stranger", "root_id": "stranger", "parent_id": ""}
    )
    stranger = Model.new(config)
    images = np.zeros((2, 16, 16, 3), np.uint8)

    with pytest.raises(LineageError):
        read_cycle(images, child, stranger, encoder, BrightnessReader(), seeds=[0, 1], num_steps=1)
