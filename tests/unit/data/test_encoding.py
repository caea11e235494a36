"""Laws of labels as arrays: the way back, and the mirror."""

import numpy as np
import pandas as pd
import pytest

from stylealign.data.encoding import decode_labels, encode_labels, flip_labels
from stylealign.data.labels import LabelSchema, check_labels, parse_schema
from stylealign.images import decode_mask, encode_png

MASK = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3


@pytest.fixture
def every_type() -> LabelSchema:
    return parse_schema(
        {
            "yaw": {"type": "continuous", "mirror": "negate"},
            "size": {"type": "ordinal", "values": ["small", "medium", "large"]},
            "side": {"type": "class", "values": ["left", "right"], "mirror": "swap"},
            "worn": {
                "type": "multilabel",
                "values": ["left_ring", "right_ring", "hat"],
                "mirror": "swap",
                "swaps": [["left_ring", "right_ring"]],
            },
            "face": {
                "type": "keypoints",
                "values": ["left_eye", "right_eye", "nose"],
                "unit": "relative",
                "mirror": "swap",
                "swaps": [["left_eye", "right_eye"]],
            },
            "heads": {"type": "boxes", "unit": "relative"},
            "parts": {
                "type": "mask",
                "values": ["none", "left", "right"],
                "mirror": "swap",
                "swaps": [["left", "right"]],
            },
        }
    )


@pytest.fixture
def labels(every_type: LabelSchema) -> pd.DataFrame:
    raw = pd.DataFrame(
        {
            "yaw": [12.0, None],
            "size": ["large", None],
            "side": ["left", None],
            "worn": ["hat|left_ring", None],
            "face": [[0.25, 0.5, 0.75, 0.5, 0.5, 0.625], None],
            "heads": [[[0.0, 0.25, 0.5, 1.0], [0.5, 0.5, 0.75, 0.75]], [[0.0, 0.0, 0.25, 0.5]]],
            "parts": [encode_png(MASK), encode_png(MASK[:, ::-1].copy())],
        },
        index=["a", "b"],
    )
    return check_labels(raw, every_type)


def test_decoding_gives_back_what_was_encoded(
    labels: pd.DataFrame, every_type: LabelSchema
) -> None:
    encoded = encode_labels(labels, every_type)

    decoded = decode_labels(encoded, every_type)

    for name in every_type:
        assert repr(decoded[name].tolist()) == repr(labels[name].tolist()), name


def test_flipping_twice_changes_nothing(labels: pd.DataFrame, every_type: LabelSchema) -> None:
    encoded = encode_labels(labels, every_type)
    everywhere = np.array([True, True])

    twice = flip_labels(flip_labels(encoded, every_type, everywhere), every_type, everywhere)

    for name, values in encoded.items():
        np.testing.assert_array_equal(twice[name], values)


def test_only_marked_images_are_flipped(labels: pd.DataFrame, every_type: LabelSchema) -> None:
    encoded = encode_labels(labels, every_type)

    flipped = flip_labels(encoded, every_type, np.array([False, False]))

    for name, values in encoded.items():
        np.testing.assert_array_equal(flipped[name], values)


def test_each_label_follows_the_mirror_in_its_own_way(
    labels: pd.DataFrame, every_type: LabelSchema
) -> None:
    encoded = encode_labels(labels, every_type)

    flipped = flip_labels(encoded, every_type, np.array([True, True]))
    mirrored = decode_labels(flipped, every_type).iloc[0]

    assert mirrored["yaw"] == -12.0
    assert mirrored["size"] == "large"
    assert mirrored["side"] == "right"
    assert mirrored["worn"] == ["right_ring", "hat"]
    assert mirrored["face"] == [0.25, 0.5, 0.75, 0.5, 0.5, 0.625]
    assert mirrored["heads"] == [[0.5, 0.25, 1.0, 1.0], [0.25, 0.5, 0.5, 0.75]]
    expected = np.array([0, 2, 1], np.uint8)[MASK[:, ::-1]]
    np.testing.assert_array_equal(decode_mask(mirrored["parts"]), expected)


def test_a_negated_ordinal_reverses_its_levels() -> None:
    schema = parse_schema(
        {"turn": {"type": "ordinal", "values": ["left", "ahead", "right"], "mirror": "negate"}}
    )
    table = check_labels(pd.DataFrame({"turn": ["left", "ahead", None]}), schema)

    flipped = flip_labels(encode_labels(table, schema), schema, np.array([True] * 3))

    assert flipped["turn"].tolist() == [2, 1, -1]
