"""Fitting an encoder on the model's own samples, whose codes are known."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stylealign.errors import DivergenceError
from stylealign.images import PixelBatch
from stylealign.inversion.encoder import Encoder, EncoderNetwork, build_network
from stylealign.inversion.inputs import check_images, check_space
from stylealign.inversion.losses import build_pyramid, pyramid_distance
from stylealign.inversion.sampling import draw_codes
from stylealign.inversion.start import measure_w_std
from stylealign.models import Generator, Model, Space
from stylealign.models.classes import draw_classes
from stylealign.models.frozen import frozen
from stylealign.models.latents import Images

_TICK_NIMG = 1000


@dataclass(frozen=True)
class EncoderTick:
    """How far the fitting is: means since the last tick."""

    kimg: float
    total_kimg: float
    pixel_loss: float
    code_loss: float


def fit_encoder(
    model: Model,
    *,
    space: Space = "z_plus",
    kimg: float = 20.0,
    seed: int = 0,
    learning_rate: float = 2e-3,
    code_weight: float = 0.3,
    batch_size: int = 32,
    width: int = 32,
    images: Images | PixelBatch | None = None,
    on_tick: Callable[[EncoderTick], None] | None = None,
) -> Encoder:
    """Teach a network to read codes from images that the model draws from known codes.

    The guess is drawn again and compared in pixels, beside the comparison with the true code.
    With `images`, unlabelled pictures of the domain, every second batch comes from them: their
    codes are unknown, so pixels alone count, and the encoder learns what samples do not show.

    Shapes: images [N, 3, R, R] in [-1, 1] or uint8 [N, R, R, 3].
    Units:  kimg in thousands of images shown.
    Raises: DataError if the images do not fit the model; DivergenceError if a loss is not finite.
    Source: after in-domain encoders, arXiv:2004.00049, with codes known as in arXiv:1702.04782.
    """
    check_space(space)
    generator = model.generator
    real = None if images is None else check_images(images, model.config, generator.w_avg)
    rng = torch.Generator().manual_seed(seed)
    network = _new_network(model, space, width, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    num_steps = max(math.ceil(kimg * 1000 / batch_size), 1)
    since: list[Float[Tensor, " 2"]] = []
    with frozen(generator):
        for step in range(num_steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / num_steps))
            is_real_step = real is not None and step % 2 == 1
            if real is not None and is_real_step:
                picks = torch.randint(len(real), (batch_size,), generator=rng)
                losses = _real_losses(network, generator, space, real[picks], rng)
            else:
                losses = _sample_losses(network, generator, space, batch_size, rng)
            optimizer.zero_grad(set_to_none=True)
            (losses[0] + code_weight * losses[1]).backward()
            optimizer.step()
            since.append(losses.detach())
            nimg = (step + 1) * batch_size
            if nimg // _TICK_NIMG > (nimg - batch_size) // _TICK_NIMG or step == num_steps - 1:
                _report(since, nimg / 1000, num_steps * batch_size / 1000, on_tick)
                since.clear()
    return Encoder(
        network=network.eval(), space=space, width=width, model=model.config,
        kimg=num_steps * batch_size / 1000, seed=seed,
    )  # fmt: skip


def _new_network(model: Model, space: Space, width: int, seed: int) -> EncoderNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build_network(model, space, width)
    if space in ("w", "w_plus"):
        with torch.no_grad():
            network.center.copy_(model.generator.w_avg)
            network.scale.fill_(measure_w_std(model.generator))
    return network.to(model.generator.w_avg.device).train()


def _sample_losses(
    network: EncoderNetwork, generator: Generator, space: Space, num: int, rng: torch.Generator
) -> Float[Tensor, " 2"]:
    """Pixel and code loss on fresh samples."""
    with torch.no_grad():
        c = draw_classes(generator, num, rng)
        codes = draw_codes(generator, space, c, num, rng)
        images = generator.synthesis(generator.to_w_plus(codes, space, c))
    guesses = network(images)
    drawn = generator.synthesis(generator.to_w_plus(guesses, space, c))
    pixel_loss = pyramid_distance(drawn, build_pyramid(images)).mean()
    code_loss = ((guesses - codes) / network.scale).square().mean()
    return torch.stack([pixel_loss, code_loss])


def _real_losses(
    network: EncoderNetwork, generator: Generator, space: Space, images: Images,
    rng: torch.Generator,
) -> Float[Tensor, " 2"]:  # fmt: skip
    """Pixel loss on pictures of the domain, whose codes nobody knows."""
    c = draw_classes(generator, len(images), rng)
    drawn = generator.synthesis(generator.to_w_plus(network(images), space, c))
    pixel_loss = pyramid_distance(drawn, build_pyramid(images)).mean()
    return torch.stack([pixel_loss, torch.zeros_like(pixel_loss)])


def _report(
    losses: list[Float[Tensor, " 2"]],
    kimg: float,
    total_kimg: float,
    on_tick: Callable[[EncoderTick], None] | None,
) -> None:
    pixel_loss, code_loss = torch.stack(losses).mean(dim=0).tolist()
    if not math.isfinite(pixel_loss + code_loss):
        message = f"the encoder's loss became {pixel_loss} by {kimg:.1f} kimg"
        raise DivergenceError(f"{message}; lower its learning rate")
    if on_tick is not None:
        on_tick(EncoderTick(kimg, total_kimg, pixel_loss, code_loss))
