"""Numbers as a reader wants to see them."""

from typing import Any

import pytest

from stylealign.data.labels import LabelSpec
from stylealign.report.content import Range
from stylealign.report.formatting import label_text, number, percent, ranged, significant


def test_a_number_has_a_true_minus_sign():
    text = number(-1234.5, 1)

    assert text == "\N{MINUS SIGN}1,234.5"


def test_a_number_that_is_none_or_not_finite_is_a_dash():
    texts = [number(value) for value in (None, float("nan"), float("inf"))]

    assert texts == ["\N{EN DASH}"] * 3


def test_a_negative_number_that_rounds_to_zero_is_zero():
    texts = number(-0.001, 0), number(-0.001)

    assert texts == ("0", "0.00")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.02134, "0.0213"), (38.21, "38.2"), (1234.6, "1,235")]
)
def test_a_figure_of_unknown_size_keeps_three_digits(value: float, text: str):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.001, "< 1 %"), (0.5, "50 %"), (0.999, "> 99 %"), (1.0, "100 %")],
)
def test_a_share_is_all_or_nothing_only_if_it_is(share: float, text: str):
    assert percent(share) == text


def test_a_value_beyond_its_scale_is_drawn_at_the_end():
    drawn = Range(2.0, -9.0, 3.0, (0.0, 1.0))

    places = [drawn.place(value) for value in (drawn.value, drawn.low, drawn.high)]

    assert places == [100.0, 0.0, 100.0]


def test_a_value_without_an_interval_has_no_drawing():
    cell = ranged(None, 0.1, 0.2, scale=(0.0, 1.0))

    assert cell.range is None
    assert cell.tone == "muted"


@pytest.mark.parametrize(
    ("value", "fields", "text"),
    [
        (-12.4, {"type": "continuous", "unit": "degree"}, "\N{MINUS SIGN}12°"),
        (0.123, {"type": "continuous"}, "0.12"),
        (float("nan"), {"type": "continuous"}, "\N{EN DASH}"),
        ("yes", {"type": "class", "values": ("no", "yes")}, "yes"),
        (["a", "b"], {"type": "multilabel", "values": ("a", "b", "c")}, "a, b"),
        ([1.0, 2.0], {"type": "keypoints", "values": ("nose",), "unit": "px"}, "1 point"),
        (None, {"type": "boxes", "unit": "px"}, "\N{EN DASH}"),
    ],
)
def test_a_label_is_written_as_its_type_asks(value: object, fields: dict[str, Any], text: str):
    assert label_text(value, LabelSpec(**fields)) == text
