"""One step of an optimiser along a loss that is computed part by part."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stylealign.errors import ParamsError
from stylealign.training.state import Training

Losses = dict[str, Tensor]

PartLoss = Callable[[slice], tuple[Tensor, Losses]]
"""Rows of the joint batch -> the loss of these rows, and what to report, detached."""


def descend(
    training: Training,
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    batch: int,
    loss_of: PartLoss,
    *,
    norm: str = "",
) -> Losses:
    """Step along the mean gradient of all parts in all processes; returns means of the reports.

    `batch` counts the rows of the joint batch.
    Other parameters than these get no gradient. Where a part does not fit into the memory of
    the device it is halved, with the same images, codes and noise: the step and all later ones
    are the same to rounding. With `norm` the gradient's norm is reported under that name.

    Raises: ParamsError if a part cannot be halved any more.
    """
    computed = _attempt(training, parameters, batch, loss_of)
    while computed is None:
        _halve(training)
        computed = _attempt(training, parameters, batch, loss_of)
    gradients, losses = computed
    averaged = training.split.average_all(gradients)
    for parameter, gradient in zip(parameters, averaged, strict=True):
        parameter.grad = gradient
    if norm:
        losses[norm] = nn.utils.get_total_norm(averaged)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return losses


def _attempt(
    training: Training, parameters: list[nn.Parameter], batch: int, loss_of: PartLoss
) -> tuple[list[Tensor], Losses] | None:
    """Mean gradients and reports over the parts of this process; None if memory ran out.

    What the loss does not depend on has a gradient of zero: as in the reference's penalties, its
    optimiser counts the step, and its moments fade.
    """
    gradients: list[Tensor] = []
    reports: list[Losses] = []
    try:
        for part in training.split.parts(batch):
            loss, report = loss_of(part)
            found = torch.autograd.grad(loss, parameters, materialize_grads=True)
            sums = zip(gradients, found, strict=True)
            gradients = [one + other for one, other in sums] if gradients else [*found]
            reports.append(report)
    except torch.OutOfMemoryError:
        return None
    count = len(reports)
    if count == 1:
        return gradients, reports[0]
    means = {name: torch.stack([r[name] for r in reports]).mean(dim=0) for name in reports[0]}
    return [gradient / count for gradient in gradients], means


def _halve(training: Training) -> None:
    """Use smaller parts from now on, and note it."""
    batch_size, split = training.recipe.batch_size, training.split
    if not split.halve(batch_size, training.mbstd_group):
        part = split.part_size(batch_size)
        message = (
            f"out of memory with parts of {part} images, and a minibatch-stddev group of "
            f"{training.mbstd_group} cannot be divided: lower the resolution or the widths, "
            "lower batch_size where it is below the group, or use a device with more memory"
        )
        raise ParamsError(message)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    part = split.part_size(batch_size)
    training.notes.append(
        f"out of memory at {training.kimg:.3f} kimg: the batch of {batch_size} is now worked "
        f"through in parts of {part}; the effective batch stays {batch_size}"
    )
