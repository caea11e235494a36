"""Some of a data set's images by lot: ids are sorted, and often tell what an image shows."""

import hashlib
from collections.abc import Sequence


def draw_lots(ids: Sequence[str], seed: int) -> list[str]:
    """A lot for each id, by the hash of both: the same one however the set grows."""
    return [hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() for name in ids]


def choose_ids(ids: Sequence[str], num: int | None, seed: int) -> list[str]:
    """`num` of these ids by lot, in their order; all of them where there are no more, or None."""
    if num is None or num >= len(ids):
        return list(ids)
    lots = draw_lots(ids, seed)
    chosen = sorted(range(len(ids)), key=lots.__getitem__)[:num]
    return [ids[place] for place in sorted(chosen)]
