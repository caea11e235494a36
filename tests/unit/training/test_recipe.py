"""What a recipe's `auto` comes to, and what its fields do."""

from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError

from stylealign.models import Model, ModelConfig
from stylealign.recipe import AugmentKind, Recipe
from stylealign.training import Training
from stylealign.training.augment import KINDS
from stylealign.training.auto import auto_config, auto_recipe
from stylealign.training.steps import train_step

CONFIG = ModelConfig(
    resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8}, noise=True
)
AUTO: dict[str, Any] = {"g_lr": "auto", "d_lr": "auto", "r1_gamma": "auto", "ema_kimg": "auto"}


def test_auto_numbers_are_those_of_the_official_configuration():
    recipe = Recipe(total_kimg=25000, batch_size=64, **AUTO)

    small = recipe.numbers(256, is_fine_tuning=False)
    large = recipe.model_copy(update={"batch_size": 4}).numbers(1024, is_fine_tuning=False)

    assert (small.g_lr, small.d_lr, small.ema_kimg) == (0.0025, 0.0025, 20)
    assert small.r1_gamma == pytest.approx(0.2048)
    assert (large.g_lr, large.ema_kimg) == (0.002, 1.25)
    assert large.r1_gamma == pytest.approx(52.4288)


@pytest.mark.parametrize(
    ("resolution", "num_devices", "batch", "gamma", "ema"),
    [(64, 1, 32, 0.0256, 10), (256, 1, 16, 0.8192, 5), (256, 8, 64, 0.2048, 20),
     (1024, 1, 4, 52.4288, 1.25), (1024, 8, 32, 6.5536, 10)],
)  # fmt: skip
def test_automatic_recipes_have_the_official_batch_and_what_follows_from_it(
    resolution, num_devices, batch, gamma, ema
):
    recipe = auto_recipe(resolution, total_kimg=1.0, num_devices=num_devices)
    numbers = recipe.numbers(resolution, is_fine_tuning=False)

    assert recipe.batch_size == batch
    assert numbers.r1_gamma == pytest.approx(gamma)
    assert numbers.ema_kimg == ema


def test_automatic_networks_are_half_as_wide_below_512_pixels():
    small, large = auto_config(256, c_dim=3), auto_config(512)

    assert small.channels == {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64}
    assert large.channels[512] == 64
    assert (small.c_dim, small.num_mapping_layers, small.mbstd_group_size) == (3, 2, 4)


def test_fine_tuning_adapts_faster_and_leaves_the_ramp_up_out():
    recipe = Recipe(total_kimg=10)

    scratch, tuned = (recipe.numbers(32, is_fine_tuning=flag) for flag in (False, True))

    assert (scratch.ema_rampup, scratch.ada_kimg) == (0.05, 500)
    assert (tuned.ema_rampup, tuned.ada_kimg) == (None, 100)


def test_numbers_given_are_kept_even_where_fine_tuning_has_others():
    recipe = Recipe(total_kimg=10, ema_rampup=0.1, ada_kimg=7, r1_gamma=0)

    numbers = recipe.numbers(32, is_fine_tuning=True)

    assert (numbers.ema_rampup, numbers.ada_kimg, numbers.r1_gamma) == (0.1, 7, 0)
    assert Recipe(total_kimg=1, ema_rampup=None).numbers(8, is_fine_tuning=False).ema_rampup is None


def test_words_other_than_auto_are_no_numbers():
    with pytest.raises(ValidationError, match="g_lr"):
        Recipe.model_validate({"total_kimg": 1, "g_lr": "automatic"})


def test_every_set_of_transforms_can_be_asked_for():
    assert set(get_args(AugmentKind)) == set(KINDS)


def test_adaptive_augmentation_sets_in_when_the_discriminator_knows_its_images():
    torch.manual_seed(0)
    recipe = Recipe(total_kimg=1, batch_size=4, augment="bgc", ada_kimg=0.05, d_lr=0.01)
    training = Training(Model.new(CONFIG), None, recipe)
    real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    seen = [train_step(training, real)["augment_p"].item() for _ in range(40)]

    assert seen[0] == 0
    assert max(seen) > 0.5


def test_a_fixed_strength_stays():
    torch.manual_seed(0)
    recipe = Recipe(total_kimg=1, batch_size=4, augment="bgc", augment_p=0.25, ada_target=None)
    training = Training(Model.new(CONFIG), None, recipe)

    seen = {train_step(training, torch.zeros(4, 3, 8, 8))["augment_p"].item() for _ in range(8)}

    assert seen == {0.25}


def test_lower_precision_leaves_weights_and_second_derivatives_in_float32():
    found: dict[str, dict[str, Any]] = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        recipe = Recipe(
            total_kimg=1, batch_size=4, precision=precision, pl_weight=1.0, g_lr=1e-6, d_lr=1e-6
        )
        training = Training(Model.new(CONFIG), None, recipe)
        real = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        seen: list[torch.dtype] = []

        def note(_module, _inputs, output, seen=seen):
            seen.append(output.dtype)

        training.D.conv.register_forward_hook(note)
        found[precision] = train_step(training, real) | {"dtypes": seen}
        assert {p.dtype for p in training.G.parameters()} == {torch.float32}

    exact, rough = found["float32"], found["bfloat16"]
    adversarial, last = rough["dtypes"][:-1], rough["dtypes"][-1]
    assert set(adversarial) == {torch.bfloat16}
    assert last == torch.float32  # R1
    # at a rate of 1e-6 the weights have not moved, so these differ by rounding alone
    assert rough["r1"].item() == pytest.approx(exact["r1"].item(), rel=1e-3)
    assert rough["path_length"].item() == pytest.approx(exact["path_length"].item(), rel=1e-3)
    assert rough["d"].item() == pytest.approx(exact["d"].item(), rel=0.03)
    assert rough["d"] != exact["d"]


def test_a_part_size_divides_the_batch_and_keeps_its_effect():
    losses = []
    for part_size in (None, 4):
        torch.manual_seed(0)
        recipe = Recipe(total_kimg=1, batch_size=8, part_size=part_size)
        training = Training(Model.new(CONFIG), None, recipe)
        real = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        losses.append({name: v.item() for name, v in train_step(training, real).items()})

    assert training.split.num_parts == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"seed": -1}, {"seed": 2**31}, {"total_kimg": float("inf")}, {"g_lr": float("inf")},
     {"snapshot_kimg": float("nan")}, {"tick_kimg": 1e306}, {"snapshot_kimg": 1e306},
     {"g_lr": 1e300}, {"layout_resolution": 1}],
)  # fmt: skip
def test_numbers_that_no_run_can_have_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        Recipe(**({"total_kimg": 1.0} | change))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augment_p": 0.3},
            "augment_p is 0.3 and augment is 'none'.* such as bgc, or augment_p to 0",
        ),
        ({"augment": "bgc", "ada_target": None}, "augment_p 0 and ada_target null, so it stays 0"),
    ],
)
def test_augmentation_that_would_never_be_seen_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(total_kimg=1, **changes)
