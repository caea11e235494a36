"""Laws of labels that follow what the parent's redrawing shows of them."""

import numpy as np
import pandas as pd
import pytest

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.errors import DataError
from stylealign.transfer import follow_redrawing

SCHEMA: LabelSchema = {
    "smile": LabelSpec(type="continuous", tolerance=0.2),
    "glasses": LabelSpec(type="class", values=("no", "yes")),
    "age": LabelSpec(type="ordinal", values=("child", "adult", "old")),
    "worn": LabelSpec(type="multilabel", values=("hat", "scarf")),
}


def labels_of(smile, glasses, age, worn):
    return pd.DataFrame({"smile": smile, "glasses": glasses, "age": age, "worn": worn})


def classes_of(labels):
    return labels.drop(columns="smile").to_dict("list")


def test_labels_follow_what_the_redrawing_shows():
    given = labels_of([0.9, -0.5], ["yes", "no"], ["old", "child"], [["hat"], ["hat", "scarf"]])
    redrawn = labels_of([0.4, -0.2], ["no", "no"], ["adult", "child"], [[], ["scarf"]])
    moved = follow_redrawing(given, given, redrawn, SCHEMA)
    assert moved["smile"].tolist() == pytest.approx([0.4, -0.2])
    assert classes_of(moved) == classes_of(redrawn)


def test_an_error_that_a_reader_makes_on_both_drawings_cancels():
    given = labels_of([0.2, 0.8], ["yes", "no"], ["adult", "old"], [["hat"], []])
    misread = labels_of([0.1, 0.7], ["no", "yes"], ["child", "adult"], [["scarf"], ["hat"]])
    moved = follow_redrawing(given, misread, misread, SCHEMA)
    assert moved["smile"].tolist() == given["smile"].tolist()
    assert classes_of(moved) == classes_of(given)


def test_labels_stay_in_their_range_and_missing_ones_missing():
    given = labels_of([1.0, 0.0, np.nan], ["yes", None, "no"], ["old", "old", None], [["hat"]] * 3)
    before = labels_of([0.0] * 3, ["yes"] * 3, ["child"] * 3, [["hat"]] * 3)
    after = labels_of([0.9, -0.9, 0.5], ["yes"] * 3, ["old"] * 3, [["hat"]] * 3)
    moved = follow_redrawing(given, before, after, SCHEMA)
    assert moved["smile"].tolist()[:2] == [1.0, 0.0]
    assert moved["age"].tolist()[:2] == ["old", "old"]
    assert list(moved.isna().sum()) == [1, 1, 1, 0]


def test_labels_of_fields_are_not_moved():
    boxes: LabelSchema = {"face": LabelSpec(type="boxes", unit="relative")}
    table = pd.DataFrame({"face": [[0.0, 0.0, 1.0, 1.0]]})
    with pytest.raises(DataError, match="'face' is of type 'boxes'"):
        follow_redrawing(table, table, table, boxes)
