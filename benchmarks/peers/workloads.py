"""What is timed: a drawing, a step of an inversion, and the parts of a training iteration."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.contenders import Contender
from stylealign.models.constants import KeptConstants
from stylealign.models.frozen import frozen

R1_INTERVAL = 16
"""Training iterations per R1 penalty, the official lazy regularisation."""

Step = Callable[[], Tensor]
"""Does the work once; images, gradient or loss that it returns are equal for all contenders."""


@dataclass(frozen=True)
class Inputs:
    """What all contenders get.

    Shapes: z [N, z_dim], real [N, 3, R, R].
    """

    z: Tensor
    real: Tensor


def draw_inputs(batch: int, resolution: int, z_dim: int = 512) -> Inputs:
    """Random codes and images."""
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(batch, z_dim, generator=rng)
    return Inputs(z, torch.randn(batch, 3, resolution, resolution, generator=rng).clamp(-1, 1))


def forward(contender: Contender, inputs: Inputs) -> Step:
    """From z to images, without gradients."""

    @torch.no_grad()
    def step() -> Tensor:
        return contender.draw(contender.map_codes(inputs.z), False)

    return step


def forward_of_many(contender: Contender, inputs: Inputs) -> Step:
    """The same amid drawings from one model, as it is served: what ours keeps of it is there."""
    draw, kept = forward(contender, inputs), KeptConstants()

    def step() -> Tensor:
        with frozen(contender.generator), kept.at_hand():
            return draw()

    return step


def inversion_step(contender: Contender, inputs: Inputs) -> Step:
    """Images of w_plus, their squared error, and its gradient at w_plus.

    Weights are frozen, as by `sa.invert` and by NVlabs' projector, unless the contender does not.
    It is a step amid a descent: what ours keeps of frozen weights is there.
    """
    with torch.no_grad():
        start = contender.map_codes(inputs.z)
    variables = [start.clone().requires_grad_()]
    is_frozen, kept = contender.freezes_weights, KeptConstants()
    if not is_frozen:
        variables += parameters_drawn_with(contender.generator)

    def step() -> Tensor:
        held = frozen(contender.generator) if is_frozen else contextlib.nullcontext()
        with held, kept.at_hand():
            images = contender.draw(variables[0], False)
            loss = (images - inputs.real).square().mean()
            return torch.autograd.grad(loss, variables)[0]

    return step


def parameters_drawn_with(generator: nn.Module) -> list[nn.Parameter]:
    """Weights that a drawing from w_plus uses: all but the mapping's."""
    return [p for n, p in generator.named_parameters() if not n.startswith(("mapping", "style"))]


def generator_step(contender: Contender, inputs: Inputs) -> Step:
    """One step of the generator against the discriminator, frozen as in everybody's own loop."""
    optimizer = _optimizer(contender.generator)

    def step() -> Tensor:
        images = contender.draw(contender.map_codes(inputs.z), True)
        with frozen(contender.discriminator):
            loss = F.softplus(-contender.judge(images)).mean()
        return _descend(loss, optimizer)

    return step


def discriminator_step(contender: Contender, inputs: Inputs) -> Step:
    """One step of the discriminator on real images and new fakes."""
    optimizer = _optimizer(contender.discriminator)

    def step() -> Tensor:
        with torch.no_grad():
            fake = contender.draw(contender.map_codes(inputs.z), True)
        loss = F.softplus(contender.judge(fake)).mean()
        loss = loss + F.softplus(-contender.judge(inputs.real)).mean()
        return _descend(loss, optimizer)

    return step


def r1_step(contender: Contender, inputs: Inputs) -> Step:
    """One step of the discriminator down its R1 penalty, through its second derivative."""
    optimizer = _optimizer(contender.discriminator)

    def step() -> Tensor:
        real = inputs.real.clone().requires_grad_()
        logits = contender.judge(real)
        (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        return _descend(gradient.square().sum(dim=[1, 2, 3]).mean(), optimizer)

    return step


def _optimizer(network: nn.Module) -> torch.optim.Adam:
    """Adam as in the official recipe, at a rate that leaves the weights where they are."""
    return torch.optim.Adam(network.parameters(), lr=1e-9, betas=(0.0, 0.99), foreach=True)


def _descend(loss: Tensor, optimizer: torch.optim.Adam) -> Tensor:
    parameters: list[nn.Parameter] = optimizer.param_groups[0]["params"]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


WORKLOADS: dict[str, Callable[[Contender, Inputs], Step]] = {
    "forward": forward,
    "forward of many": forward_of_many,
    "inversion step": inversion_step,
    "generator step": generator_step,
    "discriminator step": discriminator_step,
    "R1 step": r1_step,
}
TRAINING = {"generator step": 1.0, "discriminator step": 1.0, "R1 step": 1 / R1_INTERVAL}
"""What a training iteration consists of, and how often."""
