"""Laws of the agreement at equal z."""

import numpy as np
import pandas as pd
import pytest

from stylealign.alignment import measure_agreement, measure_ceiling
from stylealign.alignment.agreement import compare_readings
from stylealign.data.labels import LabelSpec
from stylealign.errors import DataError, LineageError

PERFECT = {"brightness": 1.0, "side": 1.0}


def measure(parent, child, reader, schema, *, num_samples=150, num_bootstrap=100, **options):
    return measure_agreement(
        parent, child, (reader, reader), (PERFECT, PERFECT), schema,
        num_samples=num_samples, num_bootstrap=num_bootstrap, **options,
    )  # fmt: skip


def test_a_model_agrees_with_itself_perfectly(parent, reader, schema):
    agreement = measure(parent, parent, reader, schema)

    for label in agreement.values():
        assert label.agreement == pytest.approx(1.0)
        assert label.low == pytest.approx(1.0)


def test_a_child_agrees_more_than_a_stranger(parent, child, stranger, reader, schema):
    kept = measure(parent, child, reader, schema)

    lost = measure(parent, stranger, reader, schema, force=True)

    for name in schema:
        assert kept[name].low <= kept[name].agreement <= kept[name].high
        assert kept[name].low > lost[name].agreement


def test_the_same_seed_measures_the_same(parent, child, reader, schema):
    first, second = (measure(parent, child, reader, schema, seed=3) for _ in range(2))

    assert first == second


def test_an_unrelated_model_is_refused_unless_forced(parent, stranger, reader, schema):
    with pytest.raises(LineageError):
        measure(parent, stranger, reader, schema)


def test_a_reader_reaches_its_ceiling_on_its_own_readings(reader, schema):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    labels = reader.predict(images)[["brightness", "side"]]
    wrong = labels.assign(side=labels["side"].map({"upper": "lower", "lower": "upper"}))

    right = measure_ceiling(reader, images, labels, schema)

    assert right == pytest.approx(PERFECT)
    assert measure_ceiling(reader, images, wrong, schema)["side"] < 0


def test_rows_without_a_label_do_not_count_for_the_ceiling(reader, schema):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    labels = reader.predict(images)[["brightness", "side"]]
    labels.loc[3, "brightness"] = np.nan

    assert measure_ceiling(reader, images, pd.DataFrame(labels), schema) == pytest.approx(PERFECT)


def test_labels_without_a_measure_of_agreement_are_refused(parent, child, reader):
    schema = {"brightness": LabelSpec(type="boxes", unit="px")}

    with pytest.raises(DataError, match="'brightness' is of type 'boxes'"):
        measure(parent, child, reader, schema)


def test_levels_agree_by_rank_and_sets_of_values_by_each_value():
    schema = {
        "age": LabelSpec(type="ordinal", values=("young", "middle", "old")),
        "wears": LabelSpec(type="multilabel", values=("hat", "scarf")),
    }
    first = pd.DataFrame({
        "age": ["young", "middle", "old", "old"], "wears": [["hat"], ["scarf"], [], ["hat"]],
    })  # fmt: skip
    second = pd.DataFrame({
        "age": ["young", "young", "old", "old"], "wears": [["hat"], [], ["scarf"], ["hat"]],
    })  # fmt: skip

    itself, other = compare_readings(first, first, schema), compare_readings(first, second, schema)

    assert itself == pytest.approx({"age": 1.0, "wears": 1.0})
    assert other["age"] == pytest.approx(np.corrcoef([0, 1, 2, 2], [0, 0, 2, 2])[0, 1])
    # hats agree; scarves by chance in 10 of 16 pairs, in fact in 2 of 4
    assert other["wears"] == pytest.approx((1.0 + (2 / 4 - 10 / 16) / (1 - 10 / 16)) / 2)
