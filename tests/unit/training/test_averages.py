"""What is averaged over steps: the generator's weights, and the mean of w."""

import copy
from typing import Any

import pytest
import torch

from stylealign.models import Generator, Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training
from stylealign.training.ema import ema_beta, update_ema
from stylealign.training.steps import train_step

CONFIG = ModelConfig(resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8})
REAL = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def new_training(*, is_fine_tuning: bool = False, **changes) -> Training:
    torch.manual_seed(0)
    numbers: dict[str, Any] = {"total_kimg": 1, "batch_size": 4, "g_lr": 0.01, "ema_kimg": 0.02}
    model = Model.new(CONFIG)
    parent = copy.deepcopy(model.generator) if is_fine_tuning else None
    return Training(model, parent, Recipe(**(numbers | changes)))


def test_a_difference_halves_in_every_half_life_and_buffers_are_copied():
    torch.manual_seed(0)
    average, current = Generator(CONFIG), Generator(CONFIG)
    begun = {name: value.clone() for name, value in average.named_parameters()}
    current.w_avg.fill_(7.0)
    beta = ema_beta(50, 1e9, ema_kimg=1.0, rampup=None)

    for _ in range(3 * 20):  # three half-lives of 1000 images
        update_ema(average, current, beta)

    assert torch.equal(average.w_avg, current.w_avg)
    goal = dict(current.named_parameters())
    for name, value in average.named_parameters():
        expected = goal[name] + (begun[name] - goal[name]) / 8
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("nimg", "half_life"), [(400.0, 20), (2e4, 1000), (1e6, 5000)])
def test_the_half_life_is_at_most_a_share_of_the_images_seen(nimg, half_life):
    beta = ema_beta(10, nimg, ema_kimg=5.0, rampup=0.05)

    assert beta ** (half_life / 10) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "rampup"),
    [({}, 0.05), ({"ema_rampup": 0.5}, 0.5), ({"ema_rampup": None}, None),
     ({"is_fine_tuning": True}, None), ({"d_warmup_kimg": 0.008, "ema_rampup": 0.5}, 0.5)],
)  # fmt: skip
def test_training_averages_with_the_half_life_of_the_images_since_the_generator_moves(
    changes, rampup
):
    training = new_training(**changes)
    name = "synthesis.blocks.b8.conv1.weight"
    expected = training.G_ema.get_parameter(name).clone().double()
    num_warm_up = int(training.recipe.d_warmup_kimg * 1000)

    for step in range(8):
        train_step(training, REAL)
        seen = 4 * (step + 1) - num_warm_up
        if seen > 0:
            half_life = 20 if rampup is None else min(20, rampup * seen)
            share = 0.5 ** (4 / half_life)
            current = training.G.get_parameter(name).detach().double()
            expected = share * expected + (1 - share) * current

    torch.testing.assert_close(
        training.G_ema.get_parameter(name).double(), expected, rtol=1e-4, atol=1e-5
    )
    assert not torch.equal(training.G_ema.get_parameter(name), training.G.get_parameter(name))


def test_the_mean_of_w_keeps_the_share_beta_of_itself_at_each_step():
    training = new_training(w_avg_beta=0.75, style_mixing=1.0)
    training.G.w_avg.fill_(2.0)
    seen: list[torch.Tensor] = []
    training.G.mapping.network.register_forward_hook(lambda *passed: seen.append(passed[-1]))

    train_step(training, REAL)

    expected = 0.75 * 2.0 + 0.25 * seen[0].detach().mean(dim=0)  # the first layer's, unmixed
    torch.testing.assert_close(training.G.w_avg, expected)
    assert torch.equal(training.G_ema.w_avg, training.G.w_avg)
