"""The weight average of a generator."""

import torch

from stylealign.models import Generator


@torch.no_grad()
def update_ema(average: Generator, current: Generator, beta: float) -> None:
    """Move every weight of `average` towards `current`; buffers (w_avg, noise) are copied.

    Source: arXiv:1806.04498; half-life form of arXiv:1710.10196.
    """
    for target, source in zip(average.parameters(), current.parameters(), strict=True):
        target.lerp_(source, 1 - beta)
    for target, source in zip(average.buffers(), current.buffers(), strict=True):
        target.copy_(source)


def ema_beta(batch_size: int, nimg: float, *, ema_kimg: float, rampup: float | None) -> float:
    """Decay per step that halves old weights every `ema_kimg` thousand images."""
    half_life = ema_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, nimg * rampup)
    return 0.5 ** (batch_size / max(half_life, 1e-8))
