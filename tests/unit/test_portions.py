"""Laws of work in portions."""

import pytest
import torch

from stylealign.errors import ParamsError
from stylealign.portions import Portions


def rows_that_fit(most: int):
    """What gives back its rows, and fails as a full GPU does where they are more than `most`."""

    def work(rows: slice) -> list[int]:
        if rows.stop - rows.start > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [*range(rows.start, rows.stop)]

    return work


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_every_row_is_worked_on_once_and_in_order(size):
    portions = Portions(size).map(7, rows_that_fit(100))

    assert [row for portion in portions for row in portion] == [*range(7)]
    assert max(map(len, portions)) == min(size, 7)


def test_a_portion_that_does_not_fit_is_halved_and_so_are_all_after_it():
    portions = Portions(8)

    first, second = (portions.map(20, rows_that_fit(3)) for _ in range(2))

    assert first == second
    assert [row for portion in first for row in portion] == [*range(20)]
    assert {len(portion) for portion in first} == {2}


def test_rows_of_several_images_count_as_so_many():
    portions = Portions(12)

    assert [*map(len, portions.map(6, rows_that_fit(6), unit=4))] == [3, 3]
    assert [*map(len, portions.map(6, rows_that_fit(2), unit=4))] == [1] * 6
    assert portions.size == 4


def test_memory_that_does_not_hold_a_single_row_ends_with_what_to_do():
    with pytest.raises(ParamsError, match="out of memory with 2 images at once"):
        Portions(8).map(5, rows_that_fit(0), unit=2)
