"""A schema guessed from a table is usable, and says what it could not guess."""

import numpy as np
import pandas as pd
import pytest

from stylealign.data.inference import infer_schema
from stylealign.data.labels import check_labels, parse_schema

ROWS = 60


@pytest.fixture
def table() -> pd.DataFrame:
    """Columns as a CSV gives them: all text."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "yaw": [f"{x:.2f}" for x in rng.normal(0, 20, ROWS)],
            "age": [str(x) for x in rng.integers(1, 90, ROWS)],
            "gender": rng.choice(["male", "female"], ROWS),
            "glasses": rng.choice(["0", "1"], ROWS),
            "comment": [f"note {row}" for row in range(ROWS)],
            "camera": ["one"] * ROWS,
            "Mouth Open": rng.choice(["yes", "no"], ROWS),
            "split": rng.choice(["train", "val"], ROWS),
        },
        index=pd.Index([str(row) for row in range(ROWS)]),
    )


def test_the_guessed_schema_accepts_the_table_it_was_read_off(table):
    found = infer_schema(table)

    checked = check_labels(table, parse_schema(found.labels))

    assert list(checked.columns) == ["yaw", "age", "gender", "glasses"]
    assert not checked.isna().any(axis=None)


def test_numbers_are_continuous_with_a_quarter_of_their_deviation_as_tolerance(table):
    yaw = infer_schema(table).labels["yaw"]

    assert yaw["type"] == "continuous"
    assert yaw["tolerance"] == pytest.approx(table["yaw"].astype(float).std() / 4, rel=0.1)


def test_few_values_are_classes_be_they_words_or_whole_numbers(table):
    labels = infer_schema(table).labels

    assert labels["gender"]["values"] == ["female", "male"]
    assert labels["glasses"] == {"type": "class", "values": ["0", "1"], "mirror": "invariant"}


def test_only_yaw_and_roll_turn_their_sign_in_a_mirror():
    numbers = [str(x / 7) for x in range(ROWS)]
    columns = ["yaw", "roll", "head_yaw", "pitch", "enroll", "scroll"]

    labels = infer_schema(pd.DataFrame(dict.fromkeys(columns, numbers))).labels

    assert [name for name in columns if labels[name]["mirror"] == "negate"] == columns[:3]


def test_what_is_no_label_is_left_out_with_a_reason(table):
    found = infer_schema(table)

    assert "60 different values" in found.left_out["comment"]
    assert "always says 'one'" in found.left_out["camera"]
    assert "rename it to 'mouth_open'" in found.left_out["Mouth Open"]


def test_a_column_of_splits_deals_the_rows(table):
    assert infer_schema(table).split_column == "split"


def test_missing_cells_do_not_change_a_type(table):
    table.loc["3", "age"] = np.nan
    table.loc["4", "gender"] = ""

    labels = infer_schema(table).labels

    assert labels["age"]["type"] == "continuous"
    assert labels["gender"]["values"] == ["female", "male"]
