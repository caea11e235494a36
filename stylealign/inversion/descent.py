"""The descent of one batch of codes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stylealign.inversion.noise import NoiseMaps, normalize_noise_
from stylealign.inversion.objective import Objective
from stylealign.inversion.start import to_sphere
from stylealign.models import Generator
from stylealign.models.latents import Images, Labels
from stylealign.models.precision import Precision

_WARM_UP = 0.05
_RAMP_DOWN = 0.25
_JITTER_END = 0.75
_LATE = 0.9
_EXACT_FROM = 0.85
_BETAS = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Where the descent of one batch ended, the best that each image passed.

    Shapes: codes as they started; figures [N].
    """

    codes: Tensor
    noise_maps: NoiseMaps
    mse: Float[Tensor, " N"]
    perceptual: Float[Tensor, " N"]
    improvement: Float[Tensor, " N"]
    """Share by which the last tenth of the steps lowered the loss."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Adam on the codes of a batch: what stays the same while it runs."""

    generator: Generator
    c: Labels | None
    objective: Objective
    num_steps: int
    learning_rate: float
    code_noise: float
    seeds: Sequence[int]
    noise_maps: NoiseMaps
    use_noise_optimization: bool
    precision: Precision = "float32"
    """Type of activations in the first 85 % of the steps; the last ones take float32, so that
    the descent does not end at the noise of rounded drawings."""

    def run(self, codes: Tensor, on_step: Callable[[int], None] | None = None) -> Solution:
        """Descend from the codes."""
        noise_maps = self._own_noise(len(codes))
        variables = [codes.clone(), *noise_maps.values()]
        self._project(variables)
        names = list(noise_maps)
        for variable in variables:
            variable.requires_grad_()
        optimizer = self._optimizer(variables)
        best = _Best(variables)
        rngs = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        for step in range(self.num_steps):
            jitter = self._draw_jitter(codes, step, rngs)
            precision = self._precision_at(step)
            if step > 0 and precision != self._precision_at(step - 1):
                best.forget()
            losses = self._measure(variables, names, jitter, precision)
            if jitter is None:
                best.keep(variables, losses)
            if step == math.floor(_LATE * self.num_steps):
                best.mark_late()
            self._update(optimizer, variables, losses, step)
            if on_step is not None:
                on_step(step)
        with torch.no_grad():
            best.keep(variables, self._measure(variables, names, None, "float32"))
            return self._solve(best, names)

    def _own_noise(self, num: int) -> NoiseMaps:
        """Noise maps of each image where they are optimised, else none."""
        if not self.use_noise_optimization:
            return {}
        return {name: noise.repeat(num, 1, 1, 1) for name, noise in self.noise_maps.items()}

    def _optimizer(self, variables: list[Tensor]) -> torch.optim.Adam:
        code_rate = self.learning_rate * (1.0 if self._is_z else self.objective.w_std)
        groups = [
            {"params": [variable], "rate": code_rate if index == 0 else self.learning_rate}
            for index, variable in enumerate(variables)
        ]
        return torch.optim.Adam(groups, betas=_BETAS)

    @property
    def _is_z(self) -> bool:
        return self.objective.space in ("z", "z_plus")

    def _draw_jitter(self, codes: Tensor, step: int, rngs: list[torch.Generator]) -> Tensor | None:
        """Noise on the codes that leads out of bad valleys and fades; None once it is gone."""
        remaining = max(0.0, 1 - step / (self.num_steps * _JITTER_END)) ** 2
        if self.code_noise == 0 or remaining == 0:
            return None
        scale = self.code_noise * remaining * (1.0 if self._is_z else self.objective.w_std)
        rows = [torch.randn(codes.shape[1:], generator=rng) for rng in rngs]
        return torch.stack(rows).to(codes.device) * scale

    def _draw(
        self,
        variables: list[Tensor],
        names: list[str],
        jitter: Tensor | None,
        precision: Precision,
    ) -> Images:
        codes = variables[0] if jitter is None else variables[0] + jitter
        w_plus = self.generator.to_w_plus(codes, self.objective.space, self.c)
        maps = self.noise_maps | dict(zip(names, variables[1:], strict=True))
        return self.generator.synthesis(w_plus, noise_maps=maps, precision=precision)

    def _precision_at(self, step: int) -> Precision:
        is_early = step < math.floor(_EXACT_FROM * self.num_steps)
        return self.precision if is_early else "float32"

    def _measure(
        self,
        variables: list[Tensor],
        names: list[str],
        jitter: Tensor | None,
        precision: Precision,
    ) -> Float[Tensor, " N"]:
        images = self._draw(variables, names, jitter, precision)
        return self.objective.measure(images, variables[0], variables[1:])

    def _update(
        self,
        optimizer: torch.optim.Adam,
        variables: list[Tensor],
        losses: Float[Tensor, " N"],
        step: int,
    ) -> None:
        """One step of Adam, then back to the sphere that z and noise maps live on."""
        gradients = torch.autograd.grad(losses.sum(), variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * rate_at(step, self.num_steps)
        optimizer.step()
        with torch.no_grad():
            self._project(variables)

    def _project(self, variables: list[Tensor]) -> None:
        if self._is_z:
            variables[0].copy_(to_sphere(variables[0]))
        normalize_noise_(variables[1:])

    def _solve(self, best: "_Best", names: list[str]) -> Solution:
        images = self._draw(best.variables, names, None, "float32")
        error = images - self.objective.images
        return Solution(
            codes=best.variables[0],
            noise_maps=dict(zip(names, best.variables[1:], strict=True)),
            mse=error.square().mean(dim=(1, 2, 3)),
            perceptual=self.objective.perceptual(images),
            improvement=best.improvement(),
        )


def rate_at(step: int, num_steps: int) -> float:
    """Share of the learning rate at a step: a linear warm-up, a cosine ramp-down at the end.

    Source: the projector of arXiv:1912.04958: 5 % up, 25 % down.
    """
    progress = (step + 1) / (num_steps + 1)
    down = min(1.0, (1 - progress) / _RAMP_DOWN)
    return (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, progress / _WARM_UP)


class _Best:
    """The variables of each image at its lowest loss so far."""

    def __init__(self, variables: list[Tensor]) -> None:
        self.variables = [variable.detach().clone() for variable in variables]
        self.losses = torch.full((len(variables[0]),), math.inf, device=variables[0].device)
        self.late_losses = self.losses

    def keep(self, variables: list[Tensor], losses: Float[Tensor, " N"]) -> None:
        # Places that a mask names would have to be counted, for which a GPU is waited for.
        losses = losses.detach()
        is_better = losses < self.losses
        self.losses = torch.where(is_better, losses, self.losses)
        for kept, variable in zip(self.variables, variables, strict=True):
            rows = is_better.view(-1, *[1] * (kept.dim() - 1))
            kept.copy_(torch.where(rows, variable.detach(), kept))

    def forget(self) -> None:
        """Compare anew from here: losses of another precision are no measure."""
        self.losses = torch.full_like(self.losses, math.inf)

    def mark_late(self) -> None:
        self.late_losses = self.losses

    def improvement(self) -> Float[Tensor, " N"]:
        """Share by which the loss fell since the mark; 0 where nothing was measured before it."""
        late = torch.where(self.late_losses.isfinite(), self.late_losses, self.losses)
        return (late - self.losses) / late.clamp(min=1e-12)
