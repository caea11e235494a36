"""Laws of coverage."""

import numpy as np
import pandas as pd

from stylealign.data.labels import parse_schema
from stylealign.metrics.coverage import measure_coverage

SCHEMA = parse_schema(
    {
        "yaw": {"type": "continuous", "mirror": "negate"},
        "glasses": {"type": "class", "values": ["no", "yes"], "mirror": "invariant"},
    }
)


def table(spread: float, share: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    num_yes = round(1000 * share)
    glasses = ["yes"] * num_yes + ["no"] * (1000 - num_yes)
    return pd.DataFrame({"yaw": rng.normal(0, spread, 1000), "glasses": glasses})


def test_data_covers_itself():
    coverage = measure_coverage(table(2.0, 0.3), table(2.0, 0.3), SCHEMA)

    assert coverage.spread == {"yaw": 1.0}
    assert coverage.prevalence_gap == {"glasses": 0.0}
    assert coverage.is_accepted


def test_a_narrow_attribute_is_not_covered():
    coverage = measure_coverage(table(1.0, 0.3), table(2.0, 0.3), SCHEMA)

    assert abs(coverage.spread["yaw"] - 0.5) < 1e-9
    assert not coverage.is_accepted


def test_a_value_that_is_never_drawn_counts_with_its_whole_share():
    coverage = measure_coverage(table(2.0, 0.0), table(2.0, 0.3), SCHEMA)

    assert abs(coverage.prevalence_gap["glasses"] - 0.3) < 1e-9
    assert not coverage.is_accepted
