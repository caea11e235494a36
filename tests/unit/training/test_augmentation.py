"""Laws of adaptive discriminator augmentation."""

import math

import pytest
import torch

from stylealign.errors import ParamsError
from stylealign.training.augment import KINDS, AdaptiveStrength, Augmentation
from stylealign.training.augment.corruption import draw_gains
from stylealign.training.augment.draws import PercentileDraws
from stylealign.training.augment.warp import warp

SHAPE = (3, 32, 32)


@pytest.fixture
def images(rng):
    coarse = torch.randn(6, 3, 8, 8, generator=rng)
    return torch.nn.functional.interpolate(coarse, size=32, mode="bicubic")


def scaling(x: float, y: float) -> torch.Tensor:
    return torch.diag(torch.tensor([x, y, 1.0]))[None]


def test_no_strength_leaves_images_alone(images, rng):
    augmentation = Augmentation(KINDS["bgcfnc"], SHAPE)

    assert torch.equal(augmentation.draw(6, 0.0, rng).apply(images), images)


def test_looking_up_every_pixel_at_its_own_place_changes_nothing(images):
    torch.testing.assert_close(warp(images, torch.eye(3).repeat(6, 1, 1)), images)


def test_whole_shifts_are_exact(images):
    shift = torch.eye(3)[None].clone()
    shift[:, 0, 2] = 5.0

    shifted = warp(images[:1], shift)

    torch.testing.assert_close(shifted[..., :-5], images[:1, :, :, 5:], atol=2e-5, rtol=0)


def test_mirrors_and_quarter_turns_show_the_image_mirrored_and_turned(images):
    turn = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])[None]
    one = images[:1]

    mirrored, turned = warp(one, scaling(-1, 1)), warp(one, turn)

    # the wavelet is not quite symmetric
    assert (mirrored - one.flip(3)).abs().mean() < 0.03 * one.std()
    assert (turned - one.rot90(-1, (2, 3))).abs().mean() < 0.03 * one.std()
    assert (mirrored - one).abs().mean() > 0.5 * one.std()


def test_zooming_out_shows_the_image_at_half_its_size(images):
    small = warp(images[:1], scaling(2, 2))

    binned = torch.nn.functional.avg_pool2d(images[:1], 2)
    assert (small[..., 8:24, 8:24] - binned).abs().mean() < 0.1 * binned.abs().mean()


def test_part_of_a_drawn_batch_is_what_the_whole_gives(images, rng):
    drawn = Augmentation(KINDS["bgcfnc"], SHAPE).draw(6, 0.8, rng)

    whole = drawn.apply(images)
    parts = [drawn.part(slice(i, i + 2)).apply(images[i : i + 2]) for i in (0, 2, 4)]

    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)


def test_each_transform_is_tried_with_the_given_probability(rng):
    augmentation = Augmentation(("brightness", "rotate"), SHAPE)

    drawn = augmentation.draw(20_000, 0.3, rng)

    is_turned = (drawn.matrices != torch.eye(3)).flatten(1).any(dim=1)
    is_brighter = (drawn.colors != torch.eye(4)).flatten(1).any(dim=1)
    sigma = math.sqrt(0.3 * 0.7 / 20_000)
    assert abs(is_brighter.float().mean().item() - 0.3) < 4 * sigma
    assert abs(is_turned.float().mean().item() - 0.3) < 4 * sigma
    both = (is_turned & is_brighter).float().mean().item()
    assert abs(both - 0.09) < 4 * sigma


def test_filtering_one_band_keeps_the_expected_power_of_an_image():
    class OnlyFirst(PercentileDraws):
        calls = 0

        def normal(self, columns=1):
            return torch.full((1, columns), 1.5)

        def choose(self):
            self.calls += 1
            return torch.tensor([[self.calls == 1]])

    gains = draw_gains(OnlyFirst(1, 0.5))

    power = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13
    assert gains[0, 0] / gains[0, 1] == pytest.approx(2**1.5)
    assert (gains.square() * power).sum().item() == pytest.approx(1.0)


def test_a_cutout_takes_a_quarter_of_an_image_at_most(rng):
    drawn = Augmentation(("cutout",), SHAPE).draw(500, 1.0, rng)

    shares = (drawn.apply(torch.ones(500, *SHAPE)) == 0).float().mean(dim=(1, 2, 3))

    assert shares.max() <= 0.25
    assert shares.min() >= 0.0625 - 1e-6
    assert shares.max() > 0.24


def test_looking_up_can_be_differentiated_twice(rng):
    images = torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    matrices = torch.eye(3).repeat(2, 1, 1) + 0.2 * torch.randn(2, 3, 3, generator=rng)
    matrices[:, 2] = torch.tensor([0.0, 0.0, 1.0])

    assert torch.autograd.gradcheck(lambda x: warp(x, matrices), images)
    assert torch.autograd.gradgradcheck(lambda x: warp(x, matrices).square(), images)


def test_the_whole_pipeline_can_be_differentiated_twice(rng):
    drawn = Augmentation(KINDS["bgcfnc"], (3, 22, 22)).draw(1, 1.0, rng)
    images = torch.randn(1, 3, 22, 22, generator=rng, dtype=torch.float64, requires_grad=True)

    def squared(x: torch.Tensor) -> torch.Tensor:
        return drawn.apply(x).square()

    assert torch.autograd.gradcheck(drawn.apply, images, fast_mode=True, nondet_tol=1e-9)
    assert torch.autograd.gradgradcheck(squared, images, fast_mode=True, nondet_tol=1e-9)


def test_filters_that_reach_beyond_the_mirror_are_refused():
    with pytest.raises(ParamsError, match="22 pixels"):
        Augmentation(KINDS["bgcf"], (3, 16, 16))


def test_strength_rises_to_one_in_ada_kimg_while_d_is_sure():
    strength = AdaptiveStrength(0.0, target=0.6, ada_kimg=1.0)

    for _ in range(9):
        strength.observe(torch.tensor(1.0), 100)
    assert strength.augment_p == pytest.approx(0.8)  # adjusted every fourth step
    for _ in range(20):
        strength.observe(torch.tensor(1.0), 100)

    assert strength.augment_p == 1.0


def test_strength_falls_to_zero_while_d_errs():
    strength = AdaptiveStrength(0.3, target=0.6, ada_kimg=1.0)

    for _ in range(40):
        strength.observe(torch.tensor(0.5), 20)

    assert strength.augment_p == 0.0


def test_strength_without_a_target_stays():
    strength = AdaptiveStrength(0.3, target=None, ada_kimg=1.0)

    for _ in range(8):
        strength.observe(torch.tensor(1.0), 100)

    assert strength.augment_p == 0.3


def test_a_strength_taken_up_between_two_adjustments_goes_on_as_it_would_have():
    signs = torch.rand(11, generator=torch.Generator().manual_seed(5))
    undisturbed, first = (AdaptiveStrength(0.5, target=0.6, ada_kimg=1.0) for _ in range(2))
    for sign in signs:
        undisturbed.observe(sign, 8)

    for sign in signs[:6]:
        first.observe(sign, 8)
    resumed = AdaptiveStrength(0.0, target=0.6, ada_kimg=1.0)
    resumed.load_state_dict(first.state_dict())
    for sign in signs[6:]:
        resumed.observe(sign, 8)

    assert resumed.state_dict() == undisturbed.state_dict()
