"""A choice by lot: as large as asked for, blind to names, and hardly moved by what is added."""

import pytest

from stylealign.data.choosing import choose_ids

CATS = [f"cats/{i:04}.png" for i in range(500)]
PEOPLE = [f"people/{i:04}.png" for i in range(500)]


@pytest.mark.parametrize("num", [0, 1, 200, 1000])
def test_so_many_are_chosen_in_their_order(num):
    chosen = choose_ids(CATS + PEOPLE, num, seed=4)

    assert len(chosen) == num
    assert chosen == sorted(set(chosen))


@pytest.mark.parametrize("num", [None, 500, 501])
def test_all_are_taken_where_there_are_no_more(num):
    assert choose_ids(CATS, num, seed=4) == CATS


def test_what_is_asked_for_is_a_sample_of_all():
    chosen = choose_ids(CATS + PEOPLE, 200, seed=4)

    num_cats = sum(name.startswith("cats") for name in chosen)
    assert 72 <= num_cats <= 128  # four standard deviations


def test_another_seed_chooses_others():
    one, other = (set(choose_ids(CATS, 100, seed)) for seed in (4, 5))

    assert len(one & other) < 40  # 20 by chance


def test_a_set_that_grows_keeps_what_it_chose_but_for_what_newcomers_displace():
    before, after = choose_ids(CATS, 100, seed=4), choose_ids(CATS + PEOPLE[:50], 100, seed=4)

    newcomers = set(after) - set(CATS)
    assert len(set(before) & set(after)) == 100 - len(newcomers)
    assert 0 < len(newcomers) < 30
