"""Laws of the gap closed, on made-up predictions and on networks that are really fitted."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stylealign.data.labels import LabelSpec
from stylealign.errors import DataError
from stylealign.metrics import arms as arms_module
from stylealign.metrics.accuracy import balanced_accuracy, score_labels
from stylealign.metrics.arms import LabelledImages, SourceVariants, fit_arms, latent_routes
from stylealign.metrics.gap import compare_arms, measure_gap
from stylealign.metrics.readers import Readings, Recipe

SCHEMA = {
    "glasses": LabelSpec(type="class", values=("no", "yes")),
    "yaw": LabelSpec(type="continuous", unit="degree", mirror="negate"),
}
NUM_TEST = 400


@pytest.fixture
def truth() -> pd.DataFrame:
    rows = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "glasses": np.where(rows.random(NUM_TEST) < 0.3, "yes", "no").astype(object),
            "yaw": rows.uniform(-40, 40, NUM_TEST),
        }
    )


def answers(truth: pd.DataFrame, error_rate: float, *, num_seeds: int = 3, first_seed: int = 1):
    """Tables that are wrong about a class this often, and about a number in proportion."""
    tables = []
    for seed in range(first_seed, first_seed + num_seeds):
        rows = np.random.default_rng(seed)
        is_wrong = rows.random(NUM_TEST) < error_rate
        other = np.where(truth["glasses"] == "no", "yes", "no")
        glasses = np.where(is_wrong, other, truth["glasses"]).astype(object)
        yaw = truth["yaw"] + 40 * error_rate * rows.standard_normal(NUM_TEST)
        tables.append(pd.DataFrame({"glasses": glasses, "yaw": yaw}))
    return tables


def compare(truth: pd.DataFrame, **arms: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "source_variants": {"plain": answers(truth, 0.4)},
        "routes": {"data": answers(truth, 0.2, first_seed=11)},
        "oracle": answers(truth, 0.05, first_seed=21),
        "num_resamples": 400,
    }
    gaps = compare_arms(truth, SCHEMA, **(defaults | arms), rng=np.random.default_rng(0))
    return dict(gaps)


def test_gap_closed_is_the_share_of_the_way_from_source_only_to_the_oracle(truth):
    gap = compare(truth)["glasses"]

    source, transfer, oracle = (
        np.mean([balanced_accuracy(truth["glasses"], t["glasses"]) for t in answers(truth, e, **k)])
        for e, k in ((0.4, {}), (0.2, {"first_seed": 11}), (0.05, {"first_seed": 21}))
    )
    assert gap["gap_closed"] == pytest.approx((transfer - source) / (oracle - source))
    assert gap["gain"] == pytest.approx(transfer - source)
    assert gap["low"] < gap["gap_closed"] < gap["high"]
    assert gap["gain_low"] < gap["gain"] < gap["gain_high"]


def test_a_transfer_as_good_as_the_oracle_closes_the_gap_and_source_only_closes_none(truth):
    source, oracle = answers(truth, 0.4), answers(truth, 0.05, first_seed=21)

    gaps = [compare(truth, routes={"data": arm}, oracle=oracle)["yaw"] for arm in (oracle, source)]

    assert [gap["gap_closed"] for gap in gaps] == [1.0, 0.0]
    # paired: every resample changes both arms alike, so nothing is uncertain
    assert [gap["low"] for gap in gaps] == [1.0, 0.0]
    assert [gap["high"] for gap in gaps] == [1.0, 0.0]


def test_a_harmful_transfer_closes_less_than_nothing(truth):
    gap = compare(truth, routes={"data": answers(truth, 0.5, first_seed=11)})["glasses"]

    assert gap["gap_closed"] < 0
    assert gap["gain_high"] < 0.05


def test_without_headroom_no_share_is_given_but_the_gain_is(truth):
    gap = compare(truth, oracle=answers(truth, 0.4, first_seed=31))["glasses"]

    assert gap["gap_closed"] is None
    assert gap["low"] is None
    assert "no gap to close" in gap["reason"]
    assert gap["gain_low"] < gap["gain"] < gap["gain_high"]


def test_headroom_is_judged_by_its_lower_bound(truth):
    source, oracle = answers(truth, 0.40), answers(truth, 0.33, first_seed=21)

    gap = compare(truth, source_variants={"plain": source}, oracle=oracle)["glasses"]

    assert gap["oracle"] - gap["source_only"] > 0.05 > gap["headroom_low"]
    assert gap["gap_closed"] is None


def test_source_only_is_the_strongest_variant_of_each_label(truth):
    weak, strong = answers(truth, 0.4), answers(truth, 0.3, first_seed=5)
    mixed = [w.assign(yaw=s["yaw"]) for w, s in zip(weak, strong, strict=True)]
    variants = {"plain": weak, "augmented": mixed, "coral": [s.assign(yaw=0.0) for s in strong]}

    gaps = compare(truth, source_variants=variants)

    assert gaps["glasses"]["source_variant"] == "coral"
    assert gaps["yaw"]["source_variant"] == "augmented"
    for gap in gaps.values():
        assert gap["source_only"] == max(gap["source_variants"].values())


def test_routes_stand_beside_each_other_with_the_headline_repeated_on_top(truth):
    routes = {
        "data": answers(truth, 0.2, first_seed=11),
        "filtered": answers(truth, 0.15, first_seed=12),
        "latent": answers(truth, 0.3, num_seeds=1) * 3,
    }

    gap = compare(truth, routes=routes)["yaw"]

    assert list(gap["routes"]) == ["data", "filtered", "latent"]
    assert gap["routes"]["data"]["gap_closed"] == gap["gap_closed"]
    assert gap["routes"]["latent"]["score"] == pytest.approx(
        score_labels(truth, routes["latent"][0], SCHEMA)["yaw"]
    )
    assert gap["routes"]["filtered"]["gap_closed"] > gap["routes"]["latent"]["gap_closed"]


def test_figures_are_plain_enough_for_json_and_repeat_with_the_seed(truth):
    first, second = compare(truth), compare(truth)

    assert json.loads(json.dumps(first, allow_nan=False)) == second
    assert set(first["yaw"]["beside"]) == {"spearman", "pearson", "mae"}
    assert set(first["glasses"]["beside"]) == {"accuracy", "f1"}
    assert set(first["glasses"]["beside"]["f1"]) == {"source_only", "transfer", "oracle"}


def test_errors_of_levels_are_counted_in_levels():
    levels = pd.DataFrame({"size": ["small", "middle", "large", "large"]}, dtype=object)
    schema = {"size": LabelSpec(type="ordinal", values=("small", "middle", "large"))}
    off_by_one = [levels.replace({"size": {"large": "middle"}})]

    gaps = compare_arms(
        levels, schema, source_variants={"plain": off_by_one}, routes={"data": off_by_one},
        oracle=[levels], num_resamples=10, rng=np.random.default_rng(0),
    )  # fmt: skip

    beside = gaps["size"]["beside"]
    assert beside["mae"] == {"source_only": 0.5, "transfer": 0.5, "oracle": 0.0}
    assert beside["spearman"]["oracle"] == pytest.approx(1.0)


@pytest.mark.parametrize("label_type", ["class", "ordinal"])
def test_true_values_that_the_schema_does_not_name_count_nowhere(label_type):
    sizes = pd.DataFrame({"size": ["small", "large", "large", "small"] * 5}, dtype=object)
    stranger = pd.DataFrame({"size": ["huge"] * 4}, dtype=object)
    schema = {"size": LabelSpec(type=label_type, values=("small", "large"))}
    wrong = sizes.replace({"size": {"small": "large"}})

    def compared(more: pd.DataFrame) -> dict[str, Any]:
        source, oracle = (pd.concat([arm, sizes.head(len(more))]) for arm in (wrong, sizes))
        gaps = compare_arms(
            pd.concat([sizes, more], ignore_index=True), schema, oracle=[oracle],
            source_variants={"plain": [source]}, routes={"data": [oracle]},
            num_resamples=10, rng=np.random.default_rng(0),
        )  # fmt: skip
        return dict(gaps["size"])

    known, mixed = compared(stranger.head(0)), compared(stranger)

    assert mixed["beside"] == known["beside"]
    assert mixed["source_only"] == known["source_only"]


@pytest.mark.parametrize(("num_other", "is_bounded"), [(3, False), (9, True)])
def test_a_label_that_hardly_varies_has_an_interval_as_soon_as_resamples_do(num_other, is_bounded):
    values = np.zeros(NUM_TEST)
    values[:num_other] = np.linspace(20, 30, num_other)
    truth = pd.DataFrame({"glasses": ["no"] * NUM_TEST, "yaw": values})
    rows = np.random.default_rng(0)

    def arm(error: float) -> list[pd.DataFrame]:
        return [truth.assign(yaw=values + rows.normal(0, error, NUM_TEST)) for _ in range(2)]

    gap = compare(truth, source_variants={"plain": arm(0.2)}, routes={"data": arm(0.1)},
                  oracle=arm(0.01))["yaw"]  # fmt: skip

    assert (gap["gap_closed"] is not None) == is_bounded
    assert np.isfinite([gap["gain_low"], gap["gain_high"], gap["headroom_low"]]).all() == is_bounded
    if is_bounded:
        assert gap["gap_closed"] == pytest.approx(0.5, abs=0.1)
        assert gap["low"] < gap["gap_closed"] < gap["high"]
    else:
        assert "too few test images differ in this label" in gap["reason"]


def test_a_label_without_two_true_values_is_left_out(truth):
    gaps = compare(truth.assign(glasses="no"))

    assert set(gaps) == {"yaw"}


def test_arms_that_do_not_fit_each_other_are_refused(truth):
    with pytest.raises(DataError, match="equally many"):
        compare(truth, oracle=answers(truth, 0.1, num_seeds=2))
    with pytest.raises(DataError, match="'data'"):
        compare(truth, routes={"latent": answers(truth, 0.1)})
    with pytest.raises(DataError, match="rows"):
        compare(truth, routes={"data": [t.iloc[:-1] for t in answers(truth, 0.1)]})


def labelled(made: tuple[np.ndarray, pd.DataFrame]) -> LabelledImages:
    return LabelledImages(images=made[0], labels=made[1])


def test_real_child_images_with_true_labels_close_the_gap(make_images, schema):
    short = {"color": schema["color"]}
    child = {"resolution": 16, "is_child": True}
    target_images, _ = make_images(100, seed=9, **child)
    fits: list[tuple[Any, ...]] = []

    gaps = measure_gap(
        labelled(make_images(150, seed=4, **child)),
        short,
        source=labelled(make_images(200, seed=1)),
        transfer=labelled(make_images(150, seed=2, **child)),
        oracle=labelled(make_images(180, seed=3, **child)),
        target_images=target_images,
        seeds=[0],
        num_steps=20,
        recipe=Recipe(width=8, batch_size=32),
        variants=SourceVariants(color_jitter=0.2, coral_weight=1.0),
        rng=np.random.default_rng(0),
        num_resamples=100,
        on_fit=lambda *progress: fits.append(progress),
    )

    gap: dict[str, Any] = dict(gaps["color"])
    assert gap["gap_closed"] > 0.8
    assert gap["num_train"] == {
        "source_plain": 150,
        "source_augmented": 150,
        "source_coral": 150,
        "route_data": 150,
        "oracle": 150,
    }
    assert [progress[:2] for progress in fits] == [(n, 5) for n in range(1, 6)]


def test_without_child_labels_elsewhere_the_oracle_is_cross_fitted_in_the_test_set(
    make_images, schema
):
    short = {"color": schema["color"]}
    test = labelled(make_images(120, seed=4, is_child=True))

    arms = fit_arms(
        test,
        short,
        source=labelled(make_images(100, seed=1)),
        routes={"data": labelled(make_images(90, seed=2, is_child=True))},
        oracle=None,
        target_images=test.images,
        seeds=[0],
        num_steps=40,
        recipe=Recipe(width=8, batch_size=32),
        num_folds=3,
    )

    assert arms.oracle[0].index.tolist() == list(range(120))
    assert score_labels(test.labels, arms.oracle[0], short)["color"] > 0.8
    assert set(arms.num_images.values()) == {80}  # what the other folds can offer


def test_the_combined_route_reads_the_mean_of_what_both_routes_say():
    schema = {**SCHEMA, "yaw": LabelSpec(type="continuous")}
    latent = {"glasses": np.array([[0.9, 0.1], [0.2, 0.8]]), "yaw": np.array([10.0, -4.0])}
    data = {"glasses": np.array([[0.4, 0.6], [0.7, 0.3]]), "yaw": np.array([0.0, 0.0])}

    routes = latent_routes(latent, [data, latent], schema)

    assert [len(tables) for tables in routes.values()] == [2, 2]
    assert routes["latent"][1]["glasses"].tolist() == ["no", "yes"]
    assert routes["combined"][0]["glasses"].tolist() == ["no", "yes"]  # 0.65 and 0.55
    assert routes["combined"][0]["yaw"].tolist() == [5.0, -2.0]
    assert routes["combined"][1].equals(routes["latent"][1])
    assert latent_routes(None, [data], schema) == {}


def test_the_cross_fitted_oracle_reads_nobody_that_it_has_seen(make_images, schema, monkeypatch):
    short = {"color": schema["color"]}
    people = [f"person {number // 8}" for number in range(120)]
    images, labels = make_images(120, seed=4, is_child=True)
    test = LabelledImages(images=images, labels=labels, groups=people)
    fitted: list[set[str]] = []
    fit: Any = arms_module.fit_reader

    class Reader:
        def __init__(self, *given, groups, **settings) -> None:
            self.seen, self.reader = set(groups), fit(*given, groups=groups, **settings)

        def read(self, asked: np.ndarray) -> Readings:
            place = {image.tobytes(): name for image, name in zip(images, people, strict=True)}
            if self.seen:
                fitted.append(self.seen & {place[image.tobytes()] for image in asked})
            return self.reader.read(asked)

    monkeypatch.setattr(arms_module, "fit_reader", Reader)
    others = labelled(make_images(100, seed=2))
    settings: dict[str, Any] = {
        "source": others, "routes": {"data": others}, "oracle": None, "target_images": images,
        "seeds": [0], "num_steps": 2, "recipe": Recipe(width=8, batch_size=32), "num_folds": 4,
    }  # fmt: skip

    arms = fit_arms(test, short, **settings)

    assert fitted == [set()] * 4
    assert arms.oracle[0].index.tolist() == list(range(120))
    alike = LabelledImages(images=images, labels=labels, groups=["the same"] * 120)
    with pytest.raises(DataError, match="all of one group, so no oracle can be cross-fitted"):
        fit_arms(alike, short, **settings)
