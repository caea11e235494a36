"""Inversion by optimisation: for every image the code that draws it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stylealign.errors import DivergenceError
from stylealign.images import PixelBatch
from stylealign.inversion.descent import Descent, Solution
from stylealign.inversion.inputs import (
    check_images,
    check_labels,
    check_seeds,
    check_space,
    check_start,
)
from stylealign.inversion.noise import NoiseMaps, draw_noise_maps
from stylealign.inversion.objective import Features, Weights, build_objective
from stylealign.inversion.start import measure_w_std, nearest_samples
from stylealign.metrics.perceptual import Lite2Blocks
from stylealign.models import Latents, Model, Space
from stylealign.models.frozen import frozen
from stylealign.models.latents import Images, Labels
from stylealign.models.precision import Precision
from stylealign.portions import Portions

OnStep = Callable[[int, int], None]
"""Called after every step with the number of images done before this batch, and the step."""

MAX_IMPROVEMENT = 0.05
"""A descent whose loss still fell by a larger share in its last tenth has not converged."""


@dataclass(frozen=True)
class Inversion:
    """Codes, and how well they draw the images again.

    Shapes: one figure per image, [N].
    Units:  mse of pixels in [-1, 1]; psnr in dB; perceptual in units of the features used.
    """

    latents: Latents
    mse: Float[Tensor, " N"]
    perceptual: Float[Tensor, " N"]
    psnr: Float[Tensor, " N"]
    converged: Bool[Tensor, " N"]
    steps: int
    noise_seed: int | None
    """Seed of the noise inputs; None = the model's own constants."""
    noise_maps: NoiseMaps
    """Noise inputs optimised with the codes, [N, 1, R, R] each; empty where they were not."""


def invert(
    images: Images | PixelBatch,
    model: Model,
    c: Labels | None = None,
    *,
    space: Space = "z_plus",
    num_steps: int = 100,
    learning_rate: float = 0.1,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    start: Latents | None = None,
    num_candidates: int = 256,
    perceptual: Features = Lite2Blocks(num_blocks=1),  # noqa: B008 -- frozen, so it can be shared
    perceptual_weight: float = 0.1,
    spread_weight: float = 0.02,
    prior_weight: float = 0.002,
    code_noise: float = 0.0,
    noise_seed: int | None = None,
    use_noise_optimization: bool = False,
    noise_weight: float = 10.0,
    min_psnr: float = 20.0,
    batch_size: int = 64,
    precision: Precision = "float32",
    on_step: OnStep | None = None,
) -> Inversion:
    """Find the code of each image by gradient descent through the frozen generator.

    Images do not influence one another: losses are summed, Adam works by element, and random
    numbers come from `seed` or from the image's own entry of `seeds`. Every image keeps the best
    code that it passed. It has converged if its PSNR reaches `min_psnr` and the last tenth of
    the steps lowered its loss by at most `MAX_IMPROVEMENT`. Without `start` the descent begins
    at the nearest of `num_candidates` samples.

    What is minimised is the difference of pixels at several sizes, `perceptual_weight` times that
    of feature maps, `spread_weight` times how far the codes of one image's layers lie apart (in
    z_plus and w_plus), and `prior_weight` times how far codes of w and w_plus lie from the mean
    one, near which the model draws well. `code_noise` shakes the codes in the first three quarters
    of the steps, less and less. Noise inputs are the model's constants, or drawn by `noise_seed`;
    `use_noise_optimization` descends on them as well, and `noise_weight` keeps them from holding
    the image. With `precision` "bfloat16" the first 85 % of the steps draw in it, wide models about
    twice as fast; all else stays float32. A batch that the device does not hold is halved.

    Shapes: images [N, 3, R, R] in [-1, 1] or uint8 [N, R, R, 3]; c [N, c_dim]; seeds [N].
    Units:  learning_rate and code_noise in standard deviations of a code.
    Raises: DataError if images, seeds or start do not fit the model; LineageError if start is
        of another model; DivergenceError if the model draws pixels that are not finite;
        ParamsError if memory runs out with a single image.
    Source: projection of arXiv:1912.04958, section 5, for a batch.
    """
    check_space(space)
    generator = model.generator
    targets = check_images(images, model.config, generator.w_avg)
    c = check_labels(c, model, len(targets))
    row_seeds = check_seeds(seeds, seed, len(targets))
    weights = Weights(
        perceptual=perceptual_weight, spread=spread_weight, prior=prior_weight, noise=noise_weight
    )
    with frozen(generator):
        targets = targets.clone()  # may have been made in inference mode
        with torch.no_grad():
            w_std = measure_w_std(generator)
            noise_maps = draw_noise_maps(generator, noise_seed)
            if start is None:
                codes = nearest_samples(
                    targets, generator, c, space,
                    num=num_candidates, seed=seed, batch_size=batch_size,
                )  # fmt: skip
            else:
                codes = check_start(start, model, space, len(targets)).clone()

        def descend(rows: slice) -> Solution:
            objective = build_objective(
                targets[rows], extract=perceptual, weights=weights, space=space,
                w_avg=generator.w_avg, w_std=w_std,
            )  # fmt: skip
            descent = Descent(
                generator=generator, c=None if c is None else c[rows], objective=objective,
                num_steps=num_steps, learning_rate=learning_rate, code_noise=code_noise,
                seeds=row_seeds[rows], noise_maps=noise_maps,
                use_noise_optimization=use_noise_optimization, precision=precision,
            )  # fmt: skip
            return descent.run(codes[rows], on_step and partial(on_step, rows.start))

        solutions = Portions(batch_size).map(len(targets), descend)
    return _collect(solutions, model, space, num_steps, min_psnr, noise_seed)


def psnr_from_mse(mse: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Peak signal-to-noise ratio in dB of pixels that span [-1, 1]; at most 100."""
    return 10 * torch.log10(4 / mse.clamp(min=4e-10))


def _collect(
    solutions: Sequence[Solution],
    model: Model,
    space: Space,
    num_steps: int,
    min_psnr: float,
    noise_seed: int | None,
) -> Inversion:
    """One result from all batches, in the order of the images."""
    mse = torch.cat([solution.mse for solution in solutions])
    if not mse.isfinite().all():
        raise DivergenceError("the model draws pixels that are not finite; check its weights")
    psnr = psnr_from_mse(mse)
    improvement = torch.cat([solution.improvement for solution in solutions])
    codes = torch.cat([solution.codes for solution in solutions])
    return Inversion(
        latents=Latents(codes, space, model.config.id, model.config.root_id),
        mse=mse,
        perceptual=torch.cat([solution.perceptual for solution in solutions]),
        psnr=psnr,
        converged=(psnr >= min_psnr) & (improvement <= MAX_IMPROVEMENT),
        steps=num_steps,
        noise_seed=noise_seed,
        noise_maps={
            name: torch.cat([solution.noise_maps[name] for solution in solutions])
            for name in solutions[0].noise_maps
        },
    )
