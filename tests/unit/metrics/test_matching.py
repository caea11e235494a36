"""Laws of the choice among images: weights are ratios of densities, and chances follow them."""

import numpy as np
import pytest
from scipy import stats

from stylealign.metrics.matching import choose_matching, matching_weights

NUM = 20_000


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def kept_of(readings, wanted, closeness=1.0, min_share=0.0):
    weights = matching_weights(readings, wanted)
    return choose_matching(weights, closeness, min_share, seed=7)


def test_weights_are_the_ratio_of_two_normal_densities(draw):
    turned, straight = draw.normal(3, 20, NUM), draw.normal(0, 10, NUM)

    weights = matching_weights({"yaw": turned}, {"yaw": straight})

    near = np.abs(turned) < 25
    log_ratio = stats.norm.logpdf(turned, 0, 10) - stats.norm.logpdf(turned, 3, 20)
    assert np.log(weights[near]) == pytest.approx(log_ratio[near], abs=0.1)


def test_what_is_kept_is_spread_as_what_is_wanted(draw):
    turned = draw.normal(0, 18, NUM) + draw.choice([-15, 15], NUM)

    kept = kept_of({"yaw": turned}, {"yaw": draw.normal(0, 10, NUM)})

    assert turned.std() > 22
    assert turned[kept].std() == pytest.approx(10, rel=0.05)


def test_two_labels_are_matched_together(draw):
    """In one domain men turn left; each label alone is spread as in the other."""
    is_man = draw.random(NUM) < 0.5
    yaw = draw.normal(np.where(is_man, -5, 5), 10)
    wanted_man = draw.random(NUM) < 0.5
    shown, wanted = (
        {"yaw": turned, "gender": np.where(men[:, None], [0.1, 0.9], [0.9, 0.1])}
        for turned, men in ((yaw, is_man), (draw.normal(0, np.sqrt(125), NUM), wanted_man))
    )

    weights = matching_weights(shown, wanted)

    link = np.corrcoef(yaw, is_man)[0, 1]
    weighted = np.cov(yaw, is_man, aweights=weights)
    assert link < -0.4
    assert abs(weighted[0, 1] / np.sqrt(weighted[0, 0] * weighted[1, 1])) < 0.05


def test_values_of_a_class_are_seen_as_often_as_they_are_wanted(draw):
    """A reader that is as often right as it says, and of each class other shares of images."""

    def seen(share):
        chance = draw.uniform(0.02, 0.98, 4 * NUM)
        is_man = draw.random(4 * NUM) < chance
        picks = draw.random(4 * NUM) < np.where(is_man, share, 1 - share)
        return np.stack([1 - chance, chance], 1)[picks]

    shown, wanted = seen(0.8), seen(0.4)

    weights = matching_weights({"gender": shown}, {"gender": wanted})

    weighted = np.average(shown, axis=0, weights=weights)
    assert np.abs(shown.mean(0) - wanted.mean(0)).max() > 0.1
    assert weighted == pytest.approx(wanted.mean(0), abs=0.005)


def test_of_two_equal_sets_hardly_an_image_is_left_out(draw):
    one, other = ({"yaw": draw.normal(0, 10, NUM)} for _ in range(2))

    assert kept_of(one, other, closeness=0.8).mean() > 0.99


@pytest.mark.parametrize("spread", [0.5, 2.0])
@pytest.mark.parametrize("closeness", [0.5, 0.8, 1.0])
def test_the_ceiling_leaves_the_closeness_of_all_weight_under_it(draw, spread, closeness):
    weights = np.exp(draw.normal(0, spread, 2000))
    seeds = range(300)

    chances = np.mean([choose_matching(weights, closeness, 0.0, seed) for seed in seeds], axis=0)

    # chances are min(w / c, 1): under the ceiling their sum to that of w is the same share
    is_under = chances < 1
    ceiling = weights[is_under].sum() / chances[is_under].sum()
    assert np.minimum(weights, ceiling).sum() / weights.sum() == pytest.approx(closeness, rel=0.03)


@pytest.mark.parametrize("share", [0.25, 0.7, 1.0])
def test_no_less_is_kept_than_the_least_share(draw, share):
    weights = np.exp(draw.normal(0, 6, 20_000))

    kept = choose_matching(weights, 1.0, share, seed=0)

    assert choose_matching(weights, 1.0, 0.0, seed=0).mean() < 0.01
    assert kept.mean() == pytest.approx(share, abs=0.01)
    assert weights[kept].mean() >= weights.mean()


def test_the_choice_follows_from_its_seed(draw):
    weights = draw.random(500)

    assert (choose_matching(weights, 0.8, 0.0, 1) == choose_matching(weights, 0.8, 0.0, 1)).all()
    assert (choose_matching(weights, 0.8, 0.0, 1) != choose_matching(weights, 0.8, 0.0, 2)).any()
