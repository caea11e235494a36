"""One batch through every loss that is due."""

import torch
from torch import Tensor

from stylealign.models.latents import Images
from stylealign.training.augment import Drawn
from stylealign.training.codes import (
    MixedZ,
    draw_noise,
    draw_z,
    mix,
    part_of,
    part_of_z,
    track_w_avg,
)
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
from stylealign.training.structure import feature_distance, joint_variances, layout_distance


def train_step(training: Training, real: Images) -> Losses:
    """Move both networks by one joint batch; returns the losses of this process, detached.

    Shapes: real [N, C, H, W], the images of this process alone.
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
    losses |= _discriminator_step(training, real)
    if numbers.r1_gamma and step % recipe.r1_interval == 0:
        losses |= _r1_step(training, real)
    training.nimg += batch
    training.step += 1
    if is_warm:
        nimg = training.nimg - recipe.d_warmup_kimg * 1000
        beta = ema_beta(batch, nimg, ema_kimg=numbers.ema_kimg, rampup=numbers.ema_rampup)
        update_ema(training.G_ema, training.G, beta)
    return losses


def _generator_step(training: Training, batch: int) -> Losses:
    recipe, G = training.recipe, training.G
    joint_z = draw_z(G, batch, style_mixing=recipe.style_mixing, rng=training.rng)
    joint_noise = draw_noise(G, batch, training.rng)
    augmented = _draw_augmentation(training, batch)
    variances: dict[str, Tensor] = {}

    def loss_of(part: slice) -> tuple[Tensor, Losses]:
        if _is_divided_by_variance(training) and not variances:
            variances.update(_parent_variances(training, joint_z, joint_noise, batch))
        z, noise_maps = part_of_z(joint_z, part), part_of(joint_noise, part)
        w_plus = mix(G, z)
        taps: dict[str, Tensor] = {}
        images = G.synthesis(w_plus, noise_maps=noise_maps, taps=taps)
        loss = generator_loss(training.D(augmented.part(part).apply(images)))
        report = {"g": loss.detach(), "w_mean": w_plus.detach()[:, 0].mean(dim=0)}
        for name, (weight, value) in _structure(
            training, z, images, taps, noise_maps, variances or None
        ).items():
            loss = loss + weight * value
            report[name] = value.detach()
        return loss, report

    optimizer, parameters = training.g_optimizer, training.g_params
    losses = descend(training, optimizer, parameters, batch, loss_of, norm="grad_norm_g")
    w_mean = training.split.average(losses.pop("w_mean"))
    track_w_avg(G, w_mean, recipe.w_avg_beta)
    return losses


def _structure(
    training: Training,
    z: MixedZ,
    images: Tensor,
    taps: dict[str, Tensor],
    noise_maps: dict[str, Tensor],
    variances: dict[str, Tensor] | None,
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
        distance = feature_distance(taps, parent_taps, recipe.feature_max_resolution, variances)
        terms["features"] = (recipe.feature_weight, distance)
    return terms


def _is_divided_by_variance(training: Training) -> bool:
    """Whether the loss has a statistic of the joint batch that no part knows."""
    has_features = training.parent is not None and training.recipe.feature_weight > 0
    return has_features and not training.split.is_whole


@torch.no_grad()
def _parent_variances(
    training: Training, joint_z: MixedZ, joint_noise: dict[str, Tensor], batch: int
) -> dict[str, Tensor]:
    """Variance of the parent's maps over the joint batch, for a batch in parts."""
    parent, split = training.parent, training.split

    def taps_of(part: slice) -> dict[str, Tensor]:
        taps: dict[str, Tensor] = {}
        if parent is not None:
            w_plus = mix(parent, part_of_z(joint_z, part))
            parent.synthesis(w_plus, noise_maps=part_of(joint_noise, part), taps=taps)
        return taps

    return joint_variances((taps_of(part) for part in split.parts(batch)), split)


def _path_length_step(training: Training, batch: int) -> Losses:
    recipe, G, split = training.recipe, training.G, training.split
    size = split.round_up(max(batch // recipe.pl_batch_shrink, 1))
    joint_z = draw_z(G, size, style_mixing=recipe.style_mixing, rng=training.rng)
    joint_noise = draw_noise(G, size, training.rng)
    shape = (size, *training.image_shape)
    joint_y = torch.randn(shape, generator=training.rng).to(G.w_avg.device)

    def lengths_of(part: slice) -> Tensor:
        w_plus = mix(G, part_of_z(joint_z, part))
        if not w_plus.requires_grad:
            w_plus.requires_grad_(True)
        images = G.synthesis(w_plus, noise_maps=part_of(joint_noise, part))
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


def _discriminator_step(training: Training, real: Images) -> Losses:
    G, recipe, split = training.G, training.recipe, training.split
    batch = len(real) * split.num_ranks
    with torch.no_grad():
        joint_z = draw_z(G, batch, style_mixing=recipe.style_mixing, rng=training.rng)
        joint_noise = draw_noise(G, batch, training.rng)
    augmented = [_draw_augmentation(training, batch) for _ in range(2)]

    def loss_of(part: slice) -> tuple[Tensor, Losses]:
        with torch.no_grad():
            w_plus = mix(G, part_of_z(joint_z, part))
            fake = G.synthesis(w_plus, noise_maps=part_of(joint_noise, part))
            shown_fake = augmented[1].part(part).apply(fake)
            shown_real = augmented[0].part(part).apply(real[split.own_part(part)])
        real_logits, fake_logits = training.D(shown_real), training.D(shown_fake)
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


def _r1_step(training: Training, real: Images) -> Losses:
    recipe, batch = training.recipe, len(real) * training.split.num_ranks
    augmented = _draw_augmentation(training, batch)

    def loss_of(part: slice) -> tuple[Tensor, Losses]:
        images = real[training.split.own_part(part)].detach().requires_grad_(True)
        penalty = r1_penalty(images, training.D(augmented.part(part).apply(images))).mean()
        loss = penalty * (training.numbers.r1_gamma / 2 * recipe.r1_interval)
        return loss, {"r1": penalty.detach()}

    return descend(training, training.d_optimizer, training.d_params, batch, loss_of)


def _draw_augmentation(training: Training, batch: int) -> Drawn:
    """What D sees of the images of a joint batch, at the strength reached."""
    return training.augmentation.draw(batch, training.ada.augment_p, training.rng)
