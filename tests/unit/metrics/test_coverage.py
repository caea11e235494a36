"""Laws of coverage."""

import numpy as np
import pandas as pd
import pytest

from stylealign.data.labels import parse_schema
from stylealign.metrics.accuracy import score_labels
from stylealign.metrics.coverage import choose_readable, measure_coverage
from stylealign.metrics.readers import fit_reader

SCHEMA = parse_schema(
    {
        "yaw": {"type": "continuous", "mirror": "negate"},
        "glasses": {"type": "class", "values": ["no", "yes"], "mirror": "invariant"},
    }
)


def table(spread: float, share: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    num_yes = round(1000 * share)
    glasses = ["yes"] * num_yes + ["no"] * (1000 - num_yes)
    return pd.DataFrame({"yaw": rng.normal(0, spread, 1000), "glasses": glasses})


def test_data_covers_itself():
    coverage = measure_coverage(table(2.0, 0.3), table(2.0, 0.3), SCHEMA)

    assert coverage.spread == {"yaw": 1.0}
    assert coverage.prevalence_gap == {"glasses": 0.0}
    assert coverage.is_accepted


def test_a_narrow_attribute_is_not_covered():
    coverage = measure_coverage(table(1.0, 0.3), table(2.0, 0.3), SCHEMA)

    assert abs(coverage.spread["yaw"] - 0.5) < 1e-9
    assert not coverage.is_accepted


def test_a_value_that_is_never_drawn_counts_with_its_whole_share():
    coverage = measure_coverage(table(2.0, 0.0), table(2.0, 0.3), SCHEMA)

    assert abs(coverage.prevalence_gap["glasses"] - 0.3) < 1e-9
    assert not coverage.is_accepted


def test_levels_and_marks_are_held_against_the_shares_of_the_data():
    schema = parse_schema(
        {
            "level": {"type": "ordinal", "values": ["low", "mid", "high"]},
            "marks": {"type": "multilabel", "values": ["top", "bottom"]},
        }
    )
    real = pd.DataFrame({"level": ["low", "mid", "high", "high"], "marks": [["top"], [], [], []]})
    sampled = pd.DataFrame({"level": ["low"] * 4, "marks": [["top", "bottom"], ["top"], [], []]})

    coverage = measure_coverage(sampled, real, schema)

    assert coverage.prevalence_gap == {"level": 0.75, "marks": 0.25}
    assert coverage.below == ["level", "marks"]
    assert coverage.figures() == {"level": 75.0, "marks": 25.0}


def test_a_number_that_is_the_same_in_all_data_has_no_spread_to_cover():
    real = table(2.0, 0.3).assign(yaw=1.0)

    coverage = measure_coverage(table(2.0, 0.3), real, SCHEMA)

    assert coverage.spread == {}
    assert coverage.is_accepted


def test_a_reader_tells_samples_of_half_the_spread_and_of_other_shares(schema, make_images):
    images, labels = make_images(500, seed=0)
    reader = fit_reader(images, labels, schema, seed=0, num_steps=150)
    real, _ = make_images(400, seed=1)
    drawn, truth = make_images(1200, seed=2)
    narrow = np.abs(truth["place"].to_numpy()) < 0.5
    reds = truth["color"].to_numpy() == "red"

    coverage = measure_coverage(reader.predict(drawn[narrow & reds]), reader.predict(real), schema)

    assert coverage.spread["place"] == pytest.approx(0.5, abs=0.08)
    assert coverage.prevalence_gap["color"] == pytest.approx(0.5, abs=0.08)
    assert coverage.prevalence_gap["level"] < 0.12
    assert {"place", "color"} <= set(coverage.below)


def test_labels_that_a_reader_only_guesses_tell_nothing():
    scores, truth = {"yaw": 0.2, "glasses": 0.9}, table(1.0, 0.3)

    assert list(choose_readable(scores, SCHEMA, truth)) == ["glasses"]
    assert list(choose_readable({"yaw": 0.6, "glasses": 0.6}, SCHEMA, truth)) == ["yaw"]
    assert choose_readable({}, SCHEMA, truth) == {}


def test_a_constant_tells_nothing_of_a_class_however_many_values_never_occur():
    schema = parse_schema({"coat": {"type": "class", "values": [*"abcdefgh"]}})
    truth = pd.DataFrame({"coat": [*"aab" * 20, None]})

    guessed = score_labels(truth, truth.assign(coat="a"), schema)
    read = score_labels(truth, truth.fillna("a"), schema)

    assert (guessed, read) == ({"coat": 0.5}, {"coat": 1.0})
    assert choose_readable(guessed, schema, truth) == {}
    assert choose_readable(read, schema, truth) == schema
