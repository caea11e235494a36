"""One batch through every loss that is due."""

import torch
from torch import Tensor

from stylealign.models.frozen import frozen
from stylealign.models.latents import Images, Labels, Logits
from stylealign.training.augment import Drawn
from stylealign.training.codes import Codes, draw, draw_codes, mix, track_w_avg
from stylealign.training.descent import Losses, descend
from stylealign.training.ema import ema_beta, update_ema
from stylealign.training.losses import (
    discriminator_loss,
    generator_loss,
    linearized_path_penalty,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from stylealign.training.state import Training
from stylealign.training.terms import parent_terms, parent_variances


def train_step(training: Training, real: Images, c: Labels | None = None) -> Losses:
    """Move both networks by one joint batch; returns the losses of this process, detached.

    Shapes: real [N, C, H, W] and their classes [N, c_dim], of this process alone.
    Source: arXiv:1912.04958; lazy regularisation section 3.1.
    """
    recipe, numbers, step = training.recipe, training.numbers, training.step
    batch = len(real) * training.split.num_ranks
    losses: Losses = {}
    is_warm = training.is_warm
    if is_warm:
        losses |= _generator_step(training, batch)
        if recipe.pl_weight and step % recipe.pl_interval == 0:
            losses |= _path_length_step(training, batch)
    losses |= _discriminator_step(training, real, c)
    if numbers.r1_gamma and step % recipe.r1_interval == 0:
        losses |= _r1_step(training, real, c)
    training.nimg += batch
    training.step += 1
    if is_warm:
        nimg = training.nimg - recipe.d_warmup_kimg * 1000
        beta = ema_beta(batch, nimg, ema_kimg=numbers.ema_kimg, rampup=numbers.ema_rampup)
        update_ema(training.G_ema, training.G, beta)
    return losses


def _generator_step(training: Training, batch: int) -> Losses:
    G = training.G
    joint = _draw_codes(training, batch)
    augmented = _draw_augmentation(training, batch)
    variances: dict[str, Tensor] = {}

    def loss_of(part: slice) -> tuple[Tensor, Losses]:
        if _is_divided_by_variance(training) and not variances:
            variances.update(parent_variances(training, joint, batch))
        codes = joint.part(part)
        drawn = draw(G, codes, training.lower_precision())
        shown = augmented.part(part).apply(drawn.images)
        with frozen(training.D):
            logits = _judge(training, shown, codes.c)
        loss = generator_loss(logits)
        report = {"g": loss.detach(), "w_mean": drawn.w_plus.detach()[:, 0].mean(dim=0)}
        for name, (weight, value) in parent_terms(training, codes, drawn, variances).items():
            loss = loss + weight * value
            report[name] = value.detach()
        return loss, report

    optimizer, parameters = training.g_optimizer, training.g_params
    losses = descend(training, optimizer, parameters, batch, loss_of, norm="grad_norm_g")
    w_mean = training.split.average(losses.pop("w_mean"))
    track_w_avg(G, w_mean, training.recipe.w_avg_beta)
    return losses


def _is_divided_by_variance(training: Training) -> bool:
    """Whether the loss has a statistic of the joint batch that no part knows."""
    has_features = training.parent is not None and training.recipe.feature_weight > 0
    return has_features and not training.split.is_whole


def _path_length_step(training: Training, batch: int) -> Losses:
    recipe, G, split = training.recipe, training.G, training.split
    size = split.round_up(max(batch // recipe.pl_batch_shrink, 1))
    joint_codes = _draw_codes(training, size)
    shape = (size, *training.image_shape)
    joint_y = torch.randn(shape, generator=training.rng).to(G.w_avg.device)

    def lengths_of(part: slice) -> Tensor:
        codes = joint_codes.part(part)
        w_plus = mix(G, codes)
        if not w_plus.requires_grad:
            w_plus.requires_grad_(True)
        images = G.synthesis(w_plus, noise_maps=codes.noise)
        return path_lengths(images, w_plus, joint_y[part])

    known: list[Tensor] = []

    def loss_of(part: slice) -> tuple[Tensor, Losses]:
        if not split.is_whole and not known:
            own = torch.cat([lengths_of(each).detach() for each in split.parts(size)])
            known.append(split.gather(own))
        lengths = lengths_of(part)
        joint = known[0] if known else lengths
        penalties, mean = path_length_penalty(joint, training.pl_mean, recipe.pl_decay)
        penalty = penalties.mean()
        loss = penalty
        if known:
            shares = len(split.parts(size)) * split.num_ranks
            loss = linearized_path_penalty(lengths, joint, mean, recipe.pl_decay) * shares
        report = {"path_length": mean, "path_length_penalty": penalty.detach()}
        return loss * (recipe.pl_weight * recipe.pl_interval), report

    losses = descend(training, training.g_optimizer, training.g_params, size, loss_of)
    training.pl_mean = losses["path_length"]
    return losses


def _discriminator_step(training: Training, real: Images, c: Labels | None) -> Losses:
    recipe, split = training.recipe, training.split
    batch = len(real) * split.num_ranks
    joint = _draw_codes(training, batch)
    augmented = [_draw_augmentation(training, batch) for _ in range(2)]

    def loss_of(part: slice) -> tuple[Tensor, Losses]:
        codes, own = joint.part(part), split.own_part(part)
        with torch.no_grad():
            fake = draw(training.G, codes, training.lower_precision()).images
            shown_fake = augmented[1].part(part).apply(fake)
            shown_real = augmented[0].part(part).apply(real[own])
        real_logits = _judge(training, shown_real, None if c is None else c[own])
        fake_logits = _judge(training, shown_fake, codes.c)
        loss = discriminator_loss(real_logits, fake_logits)
        return loss, {
            "d": loss.detach(),
            "d_real_logit": real_logits.detach().mean(),
            "d_fake_logit": fake_logits.detach().mean(),
            "d_real_sign": real_logits.detach().sign().mean(),
        }

    optimizer, parameters = training.d_optimizer, training.d_params
    losses = descend(training, optimizer, parameters, batch, loss_of, norm="grad_norm_d")
    if recipe.augment != "none":
        losses["augment_p"] = torch.tensor(training.ada.augment_p)
        training.ada.observe(split.average(losses["d_real_sign"]), batch)
    return losses


def _r1_step(training: Training, real: Images, c: Labels | None) -> Losses:
    recipe, batch = training.recipe, len(real) * training.split.num_ranks
    augmented = _draw_augmentation(training, batch)

    def loss_of(part: slice) -> tuple[Tensor, Losses]:
        own = training.split.own_part(part)
        images = real[own].detach().requires_grad_(True)
        shown = augmented.part(part).apply(images)
        penalty = r1_penalty(images, training.D(shown, None if c is None else c[own])).mean()
        loss = penalty * (training.numbers.r1_gamma / 2 * recipe.r1_interval)
        return loss, {"r1": penalty.detach()}

    return descend(training, training.d_optimizer, training.d_params, batch, loss_of)


def _judge(training: Training, shown: Images, c: Labels | None) -> Logits:
    """D's logits for an adversarial loss, in the recipe's precision; returned as float32."""
    with training.lower_precision():
        logits = training.D(shown, c)
    return logits.float()


def _draw_codes(training: Training, batch: int) -> Codes:
    """What the generator draws for a joint batch."""
    return draw_codes(
        training.G,
        batch,
        style_mixing=training.recipe.style_mixing,
        classes=training.classes,
        rng=training.rng,
    )


def _draw_augmentation(training: Training, batch: int) -> Drawn:
    """What D sees of the images of a joint batch, at the strength reached."""
    return training.augmentation.draw(batch, training.ada.augment_p, training.rng)
