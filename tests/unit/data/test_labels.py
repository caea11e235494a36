"""What a label table may hold, and what is said when it holds something else."""

from typing import Any

import pandas as pd
import pytest

from stylealign.data.labels import check_labels, parse_schema
from stylealign.errors import DataError


def table_of(**columns: list[Any]) -> pd.DataFrame:
    num_rows = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"image-{row}" for row in range(num_rows)])


def test_numbers_of_a_csv_become_numbers() -> None:
    schema = parse_schema({"age": {"type": "continuous", "unit": "year"}})

    labels = check_labels(table_of(age=["3", " 4.5", None]), schema)

    assert labels["age"].tolist()[:2] == [3.0, 4.5]
    assert labels["age"].isna().tolist() == [False, False, True]


def test_one_class_has_one_spelling_in_every_file_format() -> None:
    schema = parse_schema({"count": {"type": "class", "values": [0, 1]}})

    labels = check_labels(table_of(count=[1, 1.0, "1", " 1 "]), schema)

    assert labels["count"].tolist() == ["1"] * 4


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        ({"type": "continuous"}, "old", "a finite number"),
        ({"type": "continuous"}, "inf", "a finite number"),
        ({"type": "continuous"}, True, "a finite number"),
        ({"type": "class", "values": ["no", "yes"]}, "maybe", r"one of \['no', 'yes'\]"),
        ({"type": "ordinal", "values": ["low", "high"]}, 3, r"one of \['low', 'high'\]"),
        ({"type": "multilabel", "values": ["a", "b"]}, "a|c", "joined by"),
        ({"type": "keypoints", "values": ["nose"], "unit": "px"}, "[1]", "x and y of the 1"),
        ({"type": "boxes", "unit": "px"}, "[[5, 0, 1, 2]]", "left, top, right, bottom"),
        ({"type": "boxes", "unit": "px"}, "broken", "left, top, right, bottom"),
        ({"type": "mask", "values": ["skin"]}, 7, "bytes of a grey PNG"),
    ],
)
def test_a_wrong_value_is_named_with_its_column_row_and_what_was_expected(
    spec: dict[str, Any], value: object, expected: str
) -> None:
    schema = parse_schema({"trait": spec})

    with pytest.raises(DataError, match=f"'trait' holds .* in row 1 .*image-1.*{expected}"):
        check_labels(table_of(trait=[None, value]), schema)


def test_a_missing_column_is_named_beside_those_that_exist() -> None:
    schema = parse_schema({"age": {"type": "continuous"}})

    with pytest.raises(DataError, match=r"'age' is not in the label table, which has \['years'\]"):
        check_labels(table_of(years=[1]), schema)


def test_keypoints_may_stand_in_columns_of_their_own() -> None:
    schema = parse_schema({"face": {"type": "keypoints", "values": ["nose", "chin"], "unit": "px"}})
    columns = table_of(nose_x=["1"], nose_y=["2"], chin_x=["3"], chin_y=["4"])

    labels = check_labels(columns, schema)

    assert labels["face"].tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_keypoints_in_columns_of_their_own_may_be_missing_as_a_whole() -> None:
    schema = parse_schema({"face": {"type": "keypoints", "values": ["nose"], "unit": "px"}})

    labels = check_labels(table_of(nose_x=["1", None], nose_y=["2", float("nan")]), schema)

    assert labels["face"].tolist() == [[1.0, 2.0], None]
    with pytest.raises(DataError, match=r"holds \['1', nan\] in row 0"):
        check_labels(table_of(nose_x=["1"], nose_y=[float("nan")]), schema)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "colour"}, "label 'trait', type"),
        ({"type": "class"}, "needs values"),
        ({"type": "class", "values": ["a", "a"]}, "repeat"),
        ({"type": "class", "values": ["a", "b"], "mirror": "negate"}, "'negate' needs a type"),
        ({"type": "continuous", "mirror": "swap"}, "'swap' needs a type"),
        ({"type": "class", "values": ["a", "b", "c"], "mirror": "swap"}, "needs swaps"),
        ({"type": "class", "values": ["a", "b"], "swaps": [["a", "x"]]}, "unknown values"),
        ({"type": "keypoints", "values": ["nose"]}, "'px' or 'relative'"),
        ({"type": "continuous", "units": "year"}, "label 'trait', units"),
    ],
)
def test_a_schema_that_makes_no_sense_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_schema({"trait": spec})
