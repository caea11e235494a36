"""Cross-domain morphing: code and weights move together from one model to another."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from stylealign.checkpoints import require_related
from stylealign.errors import DataError
from stylealign.inversion.inputs import check_codes, check_labels
from stylealign.models import Latents, Model, Space
from stylealign.models.latents import Images, Labels

_SMALLEST_SINE = 2e-3


def morph(
    latents_a: Latents,
    model_a: Model,
    latents_b: Latents,
    model_b: Model,
    c: Labels | None = None,
    *,
    num_frames: int = 60,
    force: bool = False,
) -> Iterator[Images]:
    """Yield frames from the images of `latents_a` in one model to those of `latents_b` in another.

    Every weight is interpolated with the code, so that each frame is drawn by a model between
    the two; the first and the last frame are exactly what the two models draw. z codes move along
    the sphere that they live on, w codes along a line.

    Shapes: codes of both [N, dim] or [N, num_ws, dim]; yields [N, 3, H, W], num_frames times.
    Raises: LineageError if the models, or codes and models, are not related, unless `force`
        asks for a control experiment; DataError if the codes do not fit.
    Source: Wu et al., StyleAlign, ICLR 2022, arXiv:2110.11323 (cross-domain morphing).
    """
    for one, other in ((latents_a, model_a), (latents_b, model_b), (model_a, model_b)):
        require_related(one, other, force=force)
    if num_frames < 2:
        raise DataError(f"num_frames is {num_frames!r}, expected at least the 2 ends")
    if not model_a.config.has_same_architecture(model_b.config):
        raise DataError("models differ in architecture, weights cannot be interpolated")
    codes_a, codes_b = check_codes(latents_a, model_a), check_codes(latents_b, model_b)
    if latents_a.space != latents_b.space or codes_a.shape != codes_b.shape:
        spaces = (latents_a.space, latents_b.space)
        shapes = (tuple(codes_a.shape), tuple(codes_b.shape))
        raise DataError(f"codes are {shapes} in {spaces!r}, expected one space and count")
    c = check_labels(c, model_a, len(codes_a))
    ends = (codes_a, codes_b.to(codes_a.device))
    return _iterate_frames(ends, latents_a.space, (model_a, model_b), c, num_frames)


def interpolate_codes(first: Tensor, second: Tensor, space: Space, share: float) -> Tensor:
    """Codes a share of the way from the first to the second.

    Shapes: [N, dim] or [N, num_ws, dim], all three.
    """
    if space in ("w", "w_plus"):
        return first.lerp(second, share)
    return slerp(first, second, share)


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Vectors on the arc between two directions, whose length goes from one to the other.

    Where the two are parallel or opposite there is no single arc, and the line is taken.

    Source: Shoemake, 1985, doi:10.1145/325334.325242.
    """
    if share in (0.0, 1.0):
        return second.clone() if share else first.clone()
    lengths = [x.norm(dim=-1, keepdim=True).clamp(min=1e-12) for x in (first, second)]
    units = [first / lengths[0], second / lengths[1]]
    angle = (units[0] * units[1]).sum(dim=-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    arc = ((1 - share) * angle).sin() * units[0] + (share * angle).sin() * units[1]
    on_arc = arc / sine.clamp(min=_SMALLEST_SINE) * lengths[0].lerp(lengths[1], share)
    return torch.where(sine < _SMALLEST_SINE, first.lerp(second, share), on_arc)


def _iterate_frames(
    codes: tuple[Tensor, Tensor],
    space: Space,
    models: tuple[Model, Model],
    c: Labels | None,
    num_frames: int,
) -> Iterator[Images]:
    first, second = models[0].generator, models[1].generator
    between = copy.deepcopy(first).requires_grad_(requires_grad=False)
    ends = first.state_dict(), second.state_dict()
    for frame in range(num_frames):
        share = frame / (num_frames - 1)
        weights = {
            name: weight.lerp(ends[1][name].to(weight), share) for name, weight in ends[0].items()
        }
        between.load_state_dict(weights)
        with torch.no_grad():
            w_plus = between.to_w_plus(interpolate_codes(*codes, space, share), space, c)
            images = between.synthesis(w_plus)
        yield images
