"""Which split an image belongs to, so that near-duplicates and groups are never separated."""

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from stylealign.errors import DataError
from stylealign.images import Pixels, crop_and_resize

SPLITS: Final = ("train", "val", "test")

HASH_SIDE: Final = 16
HASH_BITS: Final = HASH_SIDE * HASH_SIDE


def perceptual_hash(pixels: Pixels) -> str:
    """Difference hash of 256 bits, as hex: near-duplicates differ in few bits.

    Each bit tells whether brightness rises from one cell of a 16 x 17 grid to the next, so
    resizing, recompression and a change of brightness leave it nearly alone.
    """
    square = crop_and_resize(pixels, 4 * HASH_SIDE)
    grey = square.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    # 17 columns of overlapping cells, 16 rows: mean brightness by two small matrix products
    cells = _CELL_ROWS @ grey @ _CELL_COLUMNS
    return np.packbits(cells[:, 1:] > cells[:, :-1] + 0.5).tobytes().hex()


def near_duplicate_groups(
    ids: Sequence[str], hashes: Sequence[str], *, max_bits: int
) -> dict[str, str]:
    """Group images whose hashes differ in at most `max_bits` bits, directly or through others.

    Candidates are hashes that agree on a whole band of bits: with one band more than `max_bits`
    no pair is missed.

    Returns: {id: smallest id of its group}.
    """
    order = np.argsort(np.array(ids, dtype=str))
    bits = np.array([np.frombuffer(bytes.fromhex(value), np.uint8) for value in hashes])
    bits = bits.reshape(-1, HASH_BITS // 8)[order]
    words = np.ascontiguousarray(bits).view(np.uint64)
    parent = np.arange(len(ids))
    for members in _buckets(bits, num_bands=max_bits + 1):
        _join_close(parent, words, members, max_bits)
    roots = np.array([_root(parent, position) for position in range(len(ids))], dtype=np.int64)
    names = np.array(ids, dtype=object)[order]
    return dict(zip(names.tolist(), names[roots].tolist(), strict=True))


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Refuse fractions that are not a division of the whole into known splits.

    Raises: DataError naming the split or the sum.
    """
    unknown = sorted(set(fractions) - set(SPLITS))
    if unknown:
        raise DataError(f"unknown splits {unknown!r}; expected some of {list(SPLITS)!r}")
    total = sum(fractions.values())
    if min(fractions.values(), default=0) < 0 or not math.isclose(total, 1.0, abs_tol=1e-6):
        raise DataError(f"split fractions {dict(fractions)!r} sum to {total:g}; expected 1")


def assign_splits(groups: Sequence[str], fractions: Mapping[str, float], *, seed: int) -> list[str]:
    """Draw a split for each group from a hash of its name, so that no other group matters.

    Raises: DataError if the fractions are not usable.
    """
    check_fractions(fractions)
    names = [name for name in SPLITS if fractions.get(name, 0) > 0]
    edges = np.cumsum([fractions[name] for name in names])
    drawn = {group: _unit_interval(f"{seed}/{group}") for group in set(groups)}
    return [
        names[min(int(np.searchsorted(edges, drawn[group], side="right")), len(names) - 1)]
        for group in groups
    ]


def deal_groups(
    groups: Sequence[Hashable], ends: Sequence[int], rng: np.random.Generator
) -> list[np.ndarray]:
    """Rows by lot, in parts that end near these places: where a group does, so none is torn apart.

    There are fewer parts where there are fewer groups. Rows that are each a group of their own
    are dealt exactly.
    """
    order = rng.permutation(len(groups))
    number, _ = pd.factorize(pd.Series(groups, dtype=object).iloc[order])
    borders = np.flatnonzero(np.diff(np.sort(number))) + 1
    cuts = {int(borders[np.abs(borders - end).argmin()]) for end in ends if len(borders)}
    return np.split(order[np.argsort(number, kind="stable")], sorted(cuts))


def deal_folds(
    groups: Sequence[Hashable], num_folds: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Rows by lot in folds of about one size that share no group; fewer where groups are fewer."""
    sizes = [len(part) for part in np.array_split(range(len(groups)), num_folds)]
    return deal_groups(groups, np.cumsum(sizes)[:-1].tolist(), rng)


def divide_groups(
    groups: Sequence[Hashable], num_first: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows by lot in two parts that share no group, the first of about so many.

    One group alone leaves no choice: its rows are dealt singly.
    """
    first, *rest = deal_groups(groups, [num_first], np.random.default_rng(seed))
    return (first, rest[0]) if rest else (first[:num_first], first[num_first:])


def _buckets(bits: np.ndarray, *, num_bands: int) -> list[np.ndarray]:
    """Positions of hashes that agree on one band; bands mix bits of all places of the image."""
    unpacked = np.unpackbits(bits, axis=1)
    buckets: list[np.ndarray] = []
    for band in range(num_bands):
        packed = np.packbits(unpacked[:, band::num_bands], axis=1)
        keys = pd.Series([row.tobytes() for row in packed])
        groups = keys.groupby(keys, sort=False).indices.values()
        buckets.extend(members for members in groups if len(members) > 1)
    return buckets


def _join_close(parent: np.ndarray, words: np.ndarray, members: np.ndarray, max_bits: int) -> None:
    """Join members that are close, directly or through others; each is reached once."""
    frontier: list[int] = []
    left = members
    while len(left):
        current = frontier.pop() if frontier else int(left[0])
        is_close = np.bitwise_count(words[left] ^ words[current]).sum(axis=1) <= max_bits
        reached = left[is_close].tolist()
        for other in reached:
            _join(parent, current, other)
        frontier += reached
        left = left[~is_close]


def _root(parent: np.ndarray, position: int) -> int:
    while parent[position] != position:
        parent[position] = parent[parent[position]]
        position = int(parent[position])
    return position


def _join(parent: np.ndarray, first: int, second: int) -> None:
    low, high = sorted((_root(parent, first), _root(parent, second)))
    parent[high] = low


def _unit_interval(text: str) -> float:
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _cell_means(num_cells: int) -> np.ndarray:
    """Matrix [num_cells, side] whose rows average overlapping windows of equal width."""
    side = 4 * HASH_SIDE
    starts = np.linspace(0, side - 4, num_cells).round().astype(int)
    offsets = np.arange(side)[None] - starts[:, None]
    return ((offsets >= 0) & (offsets < 4)).astype(np.float32) / 4


_CELL_ROWS: Final = _cell_means(HASH_SIDE)
_CELL_COLUMNS: Final = _cell_means(HASH_SIDE + 1).T
