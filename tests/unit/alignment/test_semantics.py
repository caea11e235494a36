"""Laws of semantic directions."""

import numpy as np
import pytest
import torch

from stylealign.alignment import fit_direction, measure_slope
from stylealign.errors import DataError
from stylealign.tensors import to_uint8


@pytest.fixture(scope="module")
def labelled(parent, reader):
    z = torch.randn(600, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        w_plus = parent.generator.mapping(z)
        images = to_uint8(parent.generator.synthesis(w_plus))
    return w_plus, reader.predict(images)["brightness"].to_numpy()


def test_a_linear_label_is_read_exactly():
    rng = torch.Generator().manual_seed(0)
    w_plus = torch.randn(300, 4, 6, generator=rng)
    weights = torch.randn(4, 6, generator=rng)
    values = ((w_plus * weights).sum((1, 2)) + 2).double().numpy()

    direction = fit_direction(w_plus, values, ridge=1e-6)

    np.testing.assert_allclose(direction.predict(w_plus), values, atol=1e-3)


def test_one_step_raises_the_reading_by_one():
    w_plus = torch.randn(300, 4, 6, generator=torch.Generator().manual_seed(0))
    values = w_plus[:, 0, 0].double().numpy() + 0.1 * w_plus[:, 1, 1].double().numpy()
    direction = fit_direction(w_plus, values)

    moved = direction.predict(w_plus + direction.step)

    np.testing.assert_allclose(moved - direction.predict(w_plus), 1.0, atol=1e-4)


def test_moving_along_a_direction_raises_the_attribute_in_parent_and_child(
    parent, child, reader, labelled
):
    w_plus, values = labelled
    direction = fit_direction(w_plus, values)
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(9))

    slopes = [
        measure_slope(
            direction, model, lambda images: reader.predict(images)["brightness"].to_numpy(), z,
            distance=float(values.std()),
        )
        for model in (parent, child)
    ]  # fmt: skip

    assert slopes[0].mean() > 0.5
    assert slopes[1].mean() > 0.5 * slopes[0].mean()
    assert slopes[0].shape == (64,)


@pytest.mark.parametrize("values", [np.zeros(5), np.array([1.0, np.nan, 2, 3, 4])])
def test_values_that_cannot_be_regressed_are_refused(values):
    with pytest.raises(DataError, match="expected one each"):
        fit_direction(torch.randn(5, 2, 3), values)
