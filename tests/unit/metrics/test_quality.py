"""Laws of the quality gate."""

from typing import Any

from stylealign.metrics.quality import judge_child


def judge(**figures):
    demands: dict[str, Any] = {"max_fd_ratio": 0.5, "min_accepted": 0.2, "min_gain": 0.0}
    reached: dict[str, Any] = {
        "distance": 40.0,
        "start_distance": 100.0,
        "accepted_share": 0.6,
        "gains": [0.1],
    }
    return judge_child(**(demands | reached | figures))


def test_the_distance_is_judged_as_a_share_of_where_the_fine_tuning_began():
    assert judge()[0].is_met
    assert judge()[0].value == 0.4
    assert not judge(start_distance=79.0)[0].is_met
    # the extractor's scale does not matter
    assert judge(distance=4e-3, start_distance=1e-2)[0].value == 0.4


def test_what_nothing_was_measured_by_is_not_demanded_and_what_is_no_number_never_passes():
    assert judge(start_distance=None)[0].is_met
    assert judge(gains=[])[2].is_met
    assert not judge(distance=float("nan"))[0].is_met


def test_every_demand_that_is_missed_says_what_was_expected():
    checks = judge(distance=80.0, accepted_share=0.1, gains=[-0.2, 0.1])

    assert [check.is_met for check in checks] == [False, False, False]
    assert checks[0].reason == (
        "Fréchet distance to real images, child over parent is 0.80, expected at most 0.50"
    )
