"""Path length against closed forms of linear maps, the derivative, and the reference's trimming."""

import copy

import numpy as np
import pytest
import torch

from stylealign.errors import DataError
from stylealign.metrics.path_length import (
    EPSILON,
    Look,
    perceptual_path_length,
    step_lengths,
    trimmed_mean,
)
from stylealign.metrics.perceptual import Lite2Blocks
from tests.tiny import tiny_model


class Pixels:
    """The images themselves as features, so that lengths have closed forms."""

    name = "pixels"

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """One map: the images."""
        return [images]


def linear(weights: torch.Tensor):
    """A generator that is a matrix: codes [N, D] to images [N, 3, H, 1]."""
    return lambda codes: (codes @ weights.T).unflatten(1, (3, -1, 1))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def small_generator(*, c_dim: int = 0, dtype: torch.dtype = torch.float64):
    return tiny_model(c_dim=c_dim).generator.to(dtype)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.95])
def test_a_linear_generator_has_the_squared_length_of_the_joint_everywhere(place):
    weights, first, last = drawn(15, 6), drawn(9, 6, seed=1), drawn(9, 6, seed=2)
    joints = (last - first) @ weights.T  # [9, 15]: 3 channels at 5 places
    expected = joints.square().sum(1) / 5

    lengths = step_lengths(
        linear(weights), Pixels(), first, last, torch.full((9, 1), place).double(), is_arc=False
    )

    assert lengths.numpy() == pytest.approx(expected.numpy(), rel=1e-9)


@pytest.mark.parametrize("place", [0.0, 0.6])
def test_on_the_sphere_the_length_is_the_squared_angle_between_the_codes(place):
    first, last = drawn(7, 3, seed=1), drawn(7, 3, seed=2)
    cosine = torch.cosine_similarity(first, last)
    step = EPSILON * torch.arccos(cosine)
    expected = (2 * torch.sin(step / 2) / EPSILON) ** 2  # chord of the arc

    lengths = step_lengths(
        linear(torch.eye(3).double()),
        Pixels(),
        5 * first,
        last,
        torch.full((7, 1), place).double(),
        is_arc=True,
    )

    assert lengths.numpy() == pytest.approx(expected.numpy(), rel=1e-9)


def test_parallel_directions_have_no_length_and_no_nan():
    first = drawn(4, 3)

    lengths = step_lengths(
        linear(torch.eye(3).double()), Pixels(), first, 2 * first, torch.zeros(4, 1), is_arc=True
    )

    assert lengths.abs().max() < 1e-6


def test_a_short_step_of_a_real_generator_is_its_derivative_along_the_path():
    generator = small_generator()
    first, last = drawn(4, 8, seed=1), drawn(4, 8, seed=2)

    def draw(codes: torch.Tensor) -> torch.Tensor:
        return generator.synthesis(generator.to_w_plus(codes, "w"))

    with torch.no_grad():
        lengths = step_lengths(
            draw, Pixels(), first, last, torch.zeros(4, 1).double(), is_arc=False
        )

    speed = torch.autograd.functional.jvp(draw, first, last - first)[1]
    assert isinstance(speed, torch.Tensor)
    expected = speed.square().sum(1).mean((1, 2)).detach().numpy()
    # leaky rectifiers bend at 0, and the step is short, not zero
    assert lengths.numpy() == pytest.approx(expected, rel=1e-2)


def test_the_mean_leaves_out_one_percent_at_each_end():
    lengths = np.random.default_rng(0).permutation(np.arange(1000.0))
    lengths[lengths == 999] = 1e9

    mean = trimmed_mean(lengths)

    # percentile 1 lies at 9.99, taken downwards; percentile 99 at 989.01, taken upwards
    assert mean == pytest.approx(np.arange(9.0, 991.0).mean())


def test_the_length_scales_with_the_square_of_the_contrast():
    generator = small_generator()
    louder = copy.deepcopy(generator)
    with torch.no_grad():
        for name, weight in louder.synthesis.named_parameters():
            if "torgb" in name and "affine" not in name:
                weight.mul_(3.0)

    lengths = [measure(network) for network in (generator, louder)]

    assert lengths[1] == pytest.approx(9 * lengths[0], rel=1e-6)


def measure(generator, look: Look | None = None, **options) -> float:
    rng = torch.Generator().manual_seed(5)
    return perceptual_path_length(
        generator, look or Pixels(), num_paths=20, rng=rng, batch_size=8, **options
    )


@pytest.mark.parametrize(("space", "sampling"), [("w", "end"), ("z", "full")])
def test_generators_in_float32_and_float64_agree_on_the_real_distance(space, sampling):
    exact, rounded = (small_generator(dtype=dtype) for dtype in (torch.float64, torch.float32))
    look = Lite2Blocks(num_blocks=1)

    lengths = [
        measure(rounded, look, space=space, sampling=sampling),
        measure(exact, in_float32(look), space=space, sampling=sampling),
    ]

    assert lengths[0] > 0
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)


def in_float32(look: Look) -> Look:
    """The same look at images that were drawn in float64."""

    class Rounded:
        name = "rounded"

        def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
            return look(images.float())

    return Rounded()


def test_a_conditional_generator_is_measured_and_repeats_with_the_seed():
    generator = small_generator(c_dim=3)

    first, second = measure(generator), measure(generator)

    assert first == second > 0


def test_no_path_and_images_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="0 path lengths have no finite mean"):
        trimmed_mean(np.empty(0))
    with pytest.raises(DataError, match="images are finite"):
        trimmed_mean(np.array([1.0, np.nan]))


@pytest.mark.parametrize("space", ["z", "w"])
def test_paths_are_of_classes_as_frequent_as_they_are_said_to_be(space, rng):
    generator, drawn_classes = small_generator(c_dim=3), list[torch.Tensor]()
    generator.mapping.register_forward_hook(lambda _m, given, _o: drawn_classes.append(given[1]))

    perceptual_path_length(
        generator, Pixels(), num_paths=40, rng=rng, space=space, shares=(0.0, 0.75, 0.25)
    )

    picks = torch.cat(drawn_classes).argmax(1).bincount(minlength=3) / sum(map(len, drawn_classes))
    assert picks[0] == 0
    assert 0.5 < picks[1] < 0.95
