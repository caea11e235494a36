"""One batch through every loss that is due."""

import torch
from torch import Tensor, nn

from stylealign.models.latents import Images
from stylealign.training.codes import MixedZ, draw_noise, draw_z, mix, track_w_avg
from stylealign.training.ema import ema_beta, update_ema
from stylealign.training.losses import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from stylealign.training.state import Training
from stylealign.training.structure import feature_distance, layout_distance

Losses = dict[str, Tensor]


def train_step(training: Training, real: Images) -> Losses:
    """Move both networks by one batch of real images; returns the losses, detached.

    Shapes: real [N, C, H, W].
    Source: arXiv:1912.04958; lazy regularisation section 3.1.
    """
    recipe, step, batch = training.recipe, training.step, len(real)
    losses: Losses = {}
    is_warm = training.is_warm
    if is_warm:
        losses |= _generator_step(training, batch)
        if recipe.pl_weight and step % recipe.pl_interval == 0:
            losses |= _path_length_step(training, batch)
    losses |= _discriminator_step(training, real)
    if recipe.r1_gamma and step % recipe.r1_interval == 0:
        losses |= _r1_step(training, real)
    training.nimg += batch
    training.step += 1
    if is_warm:
        nimg = training.nimg - recipe.d_warmup_kimg * 1000
        beta = ema_beta(batch, nimg, ema_kimg=recipe.ema_kimg, rampup=recipe.ema_rampup)
        update_ema(training.G_ema, training.G, beta)
    return losses


def _generator_step(training: Training, batch: int) -> Losses:
    recipe, G = training.recipe, training.G
    z = draw_z(G, batch, style_mixing=recipe.style_mixing, rng=training.rng)
    w_plus = mix(G, z)
    track_w_avg(G, w_plus, recipe.w_avg_beta)
    taps: dict[str, Tensor] = {}
    noise_maps = draw_noise(G, batch, training.rng)
    images = G.synthesis(w_plus, noise_maps=noise_maps, taps=taps)
    adversarial = generator_loss(training.D(images))
    losses = {"g": adversarial.detach()}
    loss = adversarial
    for name, (weight, value) in _structure(training, z, images, taps, noise_maps).items():
        loss = loss + weight * value
        losses[name] = value.detach()
    _optimize(training.g_optimizer, training.g_params, loss)
    return losses


def _structure(
    training: Training,
    z: MixedZ,
    images: Tensor,
    taps: dict[str, Tensor],
    noise_maps: dict[str, Tensor],
) -> dict[str, tuple[float, Tensor]]:
    """Weighted distances of the child's drawing of z to the parent's, as the recipe asks."""
    recipe, parent = training.recipe, training.parent
    if parent is None or not (recipe.layout_weight or recipe.feature_weight):
        return {}
    parent_taps: dict[str, Tensor] = {}
    with torch.no_grad():
        drawn = parent.synthesis(mix(parent, z), noise_maps=noise_maps, taps=parent_taps)
    terms = {}
    if recipe.layout_weight:
        distance = layout_distance(images, drawn, recipe.layout_resolution)
        terms["layout"] = (recipe.layout_weight, distance)
    if recipe.feature_weight:
        distance = feature_distance(taps, parent_taps, recipe.feature_max_resolution)
        terms["features"] = (recipe.feature_weight, distance)
    return terms


def _path_length_step(training: Training, batch: int) -> Losses:
    recipe, G = training.recipe, training.G
    size = max(batch // recipe.pl_batch_shrink, 1)
    w_plus = mix(G, draw_z(G, size, style_mixing=recipe.style_mixing, rng=training.rng))
    if not w_plus.requires_grad:
        w_plus.requires_grad_(True)
    images = G.synthesis(w_plus, noise_maps=draw_noise(G, size, training.rng))
    noise = torch.randn(images.shape, generator=training.rng).to(images.device)
    lengths = path_lengths(images, w_plus, noise)
    penalties, training.pl_mean = path_length_penalty(lengths, training.pl_mean, recipe.pl_decay)
    penalty = penalties.mean()
    loss = penalty * (recipe.pl_weight * recipe.pl_interval)
    _optimize(training.g_optimizer, training.g_params, loss)
    return {"path_length": training.pl_mean, "path_length_penalty": penalty.detach()}


def _discriminator_step(training: Training, real: Images) -> Losses:
    G, recipe = training.G, training.recipe
    with torch.no_grad():
        z = draw_z(G, len(real), style_mixing=recipe.style_mixing, rng=training.rng)
        noise_maps = draw_noise(G, len(real), training.rng)
        fake = G.synthesis(mix(G, z), noise_maps=noise_maps)
    real_logits, fake_logits = training.D(real), training.D(fake)
    loss = discriminator_loss(real_logits, fake_logits)
    _optimize(training.d_optimizer, training.d_params, loss)
    return {
        "d": loss.detach(),
        "d_real_logit": real_logits.detach().mean(),
        "d_fake_logit": fake_logits.detach().mean(),
        "d_real_sign": real_logits.detach().sign().mean(),
    }


def _r1_step(training: Training, real: Images) -> Losses:
    recipe = training.recipe
    real = real.detach().requires_grad_(True)
    penalty = r1_penalty(real, training.D(real)).mean()
    loss = penalty * (recipe.r1_gamma / 2 * recipe.r1_interval)
    _optimize(training.d_optimizer, training.d_params, loss)
    return {"r1": penalty.detach()}


def _optimize(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: Tensor
) -> None:
    """One step along the gradient of these parameters only; others get none."""
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
