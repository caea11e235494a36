"""Laws of splits: near-duplicates stay together, and no image moves when others come."""

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from stylealign.data.splits import (
    assign_splits,
    deal_groups,
    divide_groups,
    near_duplicate_groups,
    perceptual_hash,
)
from stylealign.errors import DataError
from stylealign.images import crop_and_resize, decode

FRACTIONS = {"train": 0.7, "val": 0.2, "test": 0.1}


def num_different_bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def test_a_recompressed_or_resized_copy_has_nearly_the_same_hash(
    draw_image: Callable[..., np.ndarray],
) -> None:
    image = draw_image(1, side=96)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)

    hashes = [
        perceptual_hash(copy)
        for copy in (image, decode(buffer.getvalue()), crop_and_resize(image, 64))
    ]

    assert num_different_bits(hashes[0], hashes[1]) <= 12
    assert num_different_bits(hashes[0], hashes[2]) <= 12


def test_different_images_have_different_hashes(draw_image: Callable[..., np.ndarray]) -> None:
    hashes = [perceptual_hash(draw_image(seed)) for seed in range(10)]

    distances = [num_different_bits(hashes[0], other) for other in hashes[1:]]

    assert min(distances) > 40


def test_groups_are_those_of_comparing_every_pair() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (60, 256), dtype=np.uint8)
    bits[20:40] = bits[:20]
    flips = rng.integers(0, 256, (20, 9))
    for row, places in enumerate(flips):
        bits[20 + row, places] ^= 1
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    ids = [f"{number:02d}" for number in rng.permutation(60)]

    groups = near_duplicate_groups(ids, hashes, max_bits=9)

    for first in range(60):
        for second in range(60):
            is_close = num_different_bits(hashes[first], hashes[second]) <= 9
            assert (groups[ids[first]] == groups[ids[second]]) == is_close


def test_a_chain_of_near_duplicates_is_one_group_named_by_its_smallest_id() -> None:
    hashes = [f"{(1 << length) - 1:064x}" for length in (0, 8, 16, 200)]

    groups = near_duplicate_groups(["d", "b", "c", "a"], hashes, max_bits=8)

    assert groups == {"d": "b", "b": "b", "c": "b", "a": "a"}


def test_a_thousand_blank_pictures_are_grouped_at_once() -> None:
    ids = [f"{number:04d}" for number in range(1000)]

    started = time.process_time()
    groups = near_duplicate_groups(ids, ["00" * 32] * 1000, max_bits=12)

    assert set(groups.values()) == {"0000"}
    # 0.03 seconds; every pair by itself, in each band, takes 8
    assert time.process_time() - started < 2


def test_splits_have_the_asked_fractions() -> None:
    groups = [f"group-{number}" for number in range(5000)]

    splits = assign_splits(groups, FRACTIONS, seed=0)

    for name, fraction in FRACTIONS.items():
        # four standard deviations of a binomial share
        assert abs(splits.count(name) / 5000 - fraction) < 4 * (fraction / 5000) ** 0.5


def test_no_group_moves_when_others_come() -> None:
    groups = [f"group-{number}" for number in range(100)]

    few = assign_splits(groups[::3], FRACTIONS, seed=0)
    all_of_them = assign_splits(groups, FRACTIONS, seed=0)

    assert few == all_of_them[::3]


def test_a_split_of_fraction_zero_stays_empty() -> None:
    groups = [f"group-{number}" for number in range(200)]

    splits = assign_splits(groups, {"train": 0.0, "val": 0.0, "test": 1.0}, seed=3)

    assert set(splits) == {"test"}


@pytest.mark.parametrize(
    "fractions", [{"train": 0.5}, {"train": 1.5, "val": -0.5}, {"training": 1.0}, {}]
)
def test_fractions_that_divide_nothing_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(DataError, match=r"sum to|unknown splits"):
        assign_splits(["a"], fractions, seed=0)


def test_parts_by_lot_share_no_group_and_hold_every_row_once() -> None:
    groups = [f"person {number // 4}" for number in range(40)]

    parts = deal_groups(groups, [13, 27], np.random.default_rng(0))

    assert sorted(np.concatenate(parts).tolist()) == list(range(40))
    assert [len(part) for part in parts] == [12, 16, 12]
    seen = [{groups[row] for row in part} for part in parts]
    assert sum(map(len, seen)) == 10


def test_fewer_groups_than_parts_make_fewer_parts_and_one_group_is_divided_by_rows() -> None:
    two = deal_groups(list("aab"), [1, 2], np.random.default_rng(0))
    first, second = divide_groups(["a"] * 10, 3, seed=0)

    assert sorted(len(part) for part in two) == [1, 2]
    assert (len(first), len(second)) == (3, 7)


def test_rows_that_are_each_alone_are_dealt_exactly() -> None:
    first, second = divide_groups(range(9), 4, seed=5)

    order = np.random.default_rng(5).permutation(9)
    assert first.tolist() + second.tolist() == order.tolist()
    assert len(first) == 4
