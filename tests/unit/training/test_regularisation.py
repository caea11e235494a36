"""Lazy regularisation: what is computed every k-th step weighs k times as much.

An optimiser that takes k + 1 steps where the paper's took k has rates lr * k / (k + 1) and moments
beta^(k / (k + 1)): arXiv:1912.04958, appendix B.
"""

from typing import Any

import pytest
import torch

from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training
from stylealign.training.steps import train_step

CONFIG = ModelConfig(
    resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8}, noise=False,
    mbstd_group_size=2,
)  # fmt: skip
REAL = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def new_training(**changes) -> Training:
    torch.manual_seed(0)
    numbers: dict[str, Any] = {"total_kimg": 1, "batch_size": 4, "g_lr": 0.002, "d_lr": 0.003}
    return Training(Model.new(CONFIG), None, Recipe(**(numbers | changes)))


def weights_after_one_step(network: str, **changes) -> torch.Tensor:
    """Weights of G or D after the first step, in which all terms are due, by plain descent."""
    training = new_training(**changes)
    training.g_optimizer = torch.optim.SGD(training.g_params, lr=0.01)
    training.d_optimizer = torch.optim.SGD(training.d_params, lr=0.01)
    train_step(training, REAL)
    return flat(training.G.synthesis if network == "G" else training.D)


def flat(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("interval", [1, 4, 16])
def test_rates_and_moments_make_up_for_the_additional_steps(interval):
    training = new_training(
        pl_weight=1.0, pl_interval=interval, r1_gamma=1.0, r1_interval=interval, beta2=0.9
    )

    for optimizer, rate in ((training.g_optimizer, 0.002), (training.d_optimizer, 0.003)):
        (group,) = optimizer.param_groups
        assert group["lr"] == pytest.approx(rate * interval / (interval + 1), rel=1e-12)
        assert group["betas"][0] == 0
        assert group["betas"][1] == pytest.approx(0.9 ** (interval / (interval + 1)), rel=1e-12)


def test_what_is_off_changes_no_rate():
    training = new_training(pl_weight=0.0, r1_gamma=0.0, beta2=0.9)

    for optimizer, rate in ((training.g_optimizer, 0.002), (training.d_optimizer, 0.003)):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"]) == (rate, (0.0, 0.9))


def test_each_term_is_due_every_kth_step():
    training = new_training(pl_weight=1.0, pl_interval=4, r1_interval=3)

    seen = [train_step(training, REAL).keys() for _ in range(12)]

    assert [step for step in range(12) if "path_length" in seen[step]] == [0, 4, 8]
    assert [step for step in range(12) if "r1" in seen[step]] == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("network", "off", "term"),
    [("G", {"pl_weight": 0.0}, {"pl_weight": 0.5}), ("D", {"r1_gamma": 0.0}, {"r1_gamma": 0.5})],
)
def test_a_term_that_is_due_every_kth_step_has_k_times_the_gradient(network, off, term):
    field = {"G": "pl_interval", "D": "r1_interval"}[network]
    without = weights_after_one_step(network, **off)

    moves = {
        interval: weights_after_one_step(network, **term, **{field: interval}) - without
        for interval in (1, 6)
    }

    assert moves[1].abs().max() > 1e-5
    torch.testing.assert_close(moves[6], 6 * moves[1], rtol=1e-3, atol=3e-6)


def test_the_gradient_penalty_moves_the_discriminator_by_half_gamma_times_the_interval():
    gamma, interval, rate = 0.5, 6, 0.01
    training = new_training(r1_gamma=0.0)
    training.g_optimizer = torch.optim.SGD(training.g_params, lr=rate)
    training.d_optimizer = torch.optim.SGD(training.d_params, lr=rate)
    train_step(training, REAL)

    real = REAL.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(training.D(real).sum(), real, create_graph=True)
    loss = slope.pow(2).flatten(1).sum(dim=1).mean() * gamma / 2
    gradients = torch.autograd.grad(
        loss, training.d_params, allow_unused=True, materialize_grads=True
    )
    moved = [
        p.detach() - rate * interval * g for p, g in zip(training.d_params, gradients, strict=True)
    ]

    found = weights_after_one_step("D", r1_gamma=gamma, r1_interval=interval)
    expected = torch.cat([values.flatten() for values in moved])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_penalty_counts_as_a_step_of_weights_that_it_does_not_depend_on():
    """As in the reference, where it is added to zero times the logits, or times the image."""
    training = new_training(r1_gamma=1.0, r1_interval=2, pl_weight=1.0, pl_interval=2)

    for _ in range(4):
        train_step(training, REAL)

    for optimizer, parameters in (
        (training.g_optimizer, training.g_params),
        (training.d_optimizer, training.d_params),
    ):
        steps = {float(optimizer.state[parameter]["step"]) for parameter in parameters}
        assert steps == {6.0}
