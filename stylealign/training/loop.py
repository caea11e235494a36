"""The training loop: yields one Tick at a time and can stop and go on anywhere between them."""

import copy
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stylealign.errors import CheckpointError, DivergenceError
from stylealign.models import Discriminator, Generator, Model
from stylealign.recipe import Component, Recipe
from stylealign.training.ema import ema_beta, update_ema
from stylealign.training.losses import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    path_lengths,
    r1_penalty,
)
from stylealign.training.snapshot import (
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)
from stylealign.training.structure import feature_distance, layout_distance


class Batches(Protocol):
    """An endless, resumable source of real images [N, C, H, W] in [-1, 1] with classes c."""

    def next_batch(self) -> tuple[Tensor, Tensor | None]:
        """The next batch; c is None for an unconditional model."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Position, as JSON-ready numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position."""
        ...


@dataclass(frozen=True)
class Tick:
    """What happened since the last tick.

    Units: kimg in thousands of real images; images_per_sec of wall time; losses are means.
    """

    kimg: float
    total_kimg: float
    images_per_sec: float
    losses: dict[str, float]


@dataclass
class Training:
    """Everything that changes while training: networks, optimisers, counters, randomness."""

    model: Model
    parent: Generator | None
    recipe: Recipe
    nimg: int = 0
    step: int = 0
    pl_mean: Tensor = field(default_factory=lambda: torch.zeros([]))

    def __post_init__(self) -> None:
        """Give the model what fine-tuning lacks, and build the optimisers."""
        model, recipe = self.model, self.recipe
        if model.discriminator is None:
            message = "this model has no discriminator; pass a checkpoint that has one"
            raise CheckpointError(message)
        self.G = model.raw_generator or copy.deepcopy(model.generator)
        self.D, self.G_ema = model.discriminator, model.generator
        self.rng = torch.Generator(device="cpu").manual_seed(recipe.seed)
        freeze_generator(self.G, recipe.freeze)
        freeze_discriminator(self.D, recipe.freeze_d_layers)
        pl_interval = recipe.pl_interval if recipe.pl_weight else None
        self.g_params = [p for p in self.G.parameters() if p.requires_grad]
        self.d_params = [p for p in self.D.parameters() if p.requires_grad]
        self.g_optimizer = lazy_adam(self.g_params, recipe.g_lr, recipe.beta2, pl_interval)
        self.d_optimizer = lazy_adam(self.d_params, recipe.d_lr, recipe.beta2, recipe.r1_interval)
        self.G_ema.requires_grad_(False)

    @property
    def kimg(self) -> float:
        """Thousands of real images shown so far."""
        return self.nimg / 1000

    def save(self, path: Path, batches: Batches) -> None:
        """Write a snapshot that `load` continues bit for bit."""
        tensors = {
            "pl_mean": self.pl_mean,
            "rng": self.rng.get_state(),
            **optimizer_tensors(self.g_optimizer, "g_optimizer"),
            **optimizer_tensors(self.d_optimizer, "d_optimizer"),
        }
        for name, network in (("G", self.G), ("D", self.D), ("G_ema", self.G_ema)):
            tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        numbers = {
            "nimg": self.nimg,
            "step": self.step,
            "batches": batches.state_dict(),
            "recipe": self.recipe.model_dump(mode="json"),
        }
        save_state(path, tensors, numbers)

    def load(self, path: Path, batches: Batches) -> None:
        """Continue from a snapshot of the same recipe.

        Raises: CheckpointError if it is broken, or of another recipe or architecture.
        """
        tensors, numbers = load_state(path)
        changed = recipe_changes(numbers["recipe"], self.recipe)
        if changed:
            message = (
                f"{str(path)!r} was made with another recipe ({', '.join(changed)} differ); "
                "delete it to restart"
            )
            raise CheckpointError(message)
        for name, network in (("G", self.G), ("D", self.D), ("G_ema", self.G_ema)):
            prefix = f"{name}."
            state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                message = f"{str(path)!r} holds another architecture: {error}"
                raise CheckpointError(message) from error
        restore_optimizer(self.g_optimizer, tensors, "g_optimizer")
        restore_optimizer(self.d_optimizer, tensors, "d_optimizer")
        self.pl_mean = tensors["pl_mean"]
        self.rng.set_state(tensors["rng"])
        self.nimg, self.step = numbers["nimg"], numbers["step"]
        batches.load_state_dict(numbers["batches"])


def recipe_changes(saved: dict[str, Any], recipe: Recipe) -> list[str]:
    """Fields that differ, other than how long to train and how often to report."""
    free = {"total_kimg", "tick_kimg", "snapshot_kimg"}
    now = recipe.model_dump(mode="json")
    return sorted(name for name in now if name not in free and saved.get(name) != now[name])


def train(
    training: Training, batches: Batches, *, snapshot: Path | None = None
) -> Iterator[Tick]:
    """Train until `recipe.total_kimg`, yielding a Tick every `recipe.tick_kimg`.

    With `snapshot`, the state goes to that file every `snapshot_kimg` and at the end, and a run
    that finds the file goes on from it: the same bytes as an undisturbed run on one machine
    type with one thread count.

    Raises: DivergenceError if a loss is not finite; CheckpointError for a foreign snapshot.
    Source: arXiv:1912.04958; lazy regularisation section 3.1.
    """
    recipe = training.recipe
    if snapshot is not None and snapshot.exists():
        training.load(snapshot, batches)
    next_tick = _next_multiple(training.kimg, recipe.tick_kimg)
    next_snapshot = _next_multiple(training.kimg, recipe.snapshot_kimg)
    sums: dict[str, list[Tensor]] = defaultdict(list)
    since, start_nimg = time.monotonic(), training.nimg
    while training.kimg < recipe.total_kimg:
        for name, value in train_step(training, batches).items():
            sums[name].append(value)
        is_done = training.kimg >= recipe.total_kimg
        if snapshot is not None and (training.kimg >= next_snapshot or is_done):
            training.save(snapshot, batches)
            next_snapshot = _next_multiple(training.kimg, recipe.snapshot_kimg)
        if training.kimg >= next_tick or is_done:
            losses = {name: torch.stack(values).mean().item() for name, values in sums.items()}
            require_finite(losses, training.kimg)
            speed = (training.nimg - start_nimg) / max(time.monotonic() - since, 1e-9)
            yield Tick(training.kimg, recipe.total_kimg, speed, losses)
            sums.clear()
            next_tick = _next_multiple(training.kimg, recipe.tick_kimg)
            since, start_nimg = time.monotonic(), training.nimg


def _next_multiple(kimg: float, interval: float) -> float:
    return (int(kimg / interval + 1e-9) + 1) * interval


def require_finite(losses: dict[str, float], kimg: float) -> None:
    """Raise DivergenceError naming the first loss that is not a number."""
    for name, value in losses.items():
        if not torch.isfinite(torch.tensor(value)):
            message = f"{name} became {value} by {kimg:.1f} kimg; lower g_lr and d_lr"
            raise DivergenceError(message)


def train_step(training: Training, batches: Batches) -> dict[str, Tensor]:
    """One batch through every loss that is due; returns the losses, detached."""
    recipe, step = training.recipe, training.step
    real, c = batches.next_batch()
    losses = {}
    is_warm = training.kimg >= recipe.d_warmup_kimg
    if is_warm:
        losses |= _generator_step(training, c, len(real))
        if recipe.pl_weight and step % recipe.pl_interval == 0:
            losses |= _path_length_step(training, c, len(real))
    losses |= _discriminator_step(training, real, c)
    if recipe.r1_gamma and step % recipe.r1_interval == 0:
        losses |= _r1_step(training, real, c)
    training.nimg += len(real)
    training.step += 1
    if is_warm:
        nimg = training.nimg - recipe.d_warmup_kimg * 1000
        beta = ema_beta(len(real), nimg, ema_kimg=recipe.ema_kimg, rampup=recipe.ema_rampup)
        update_ema(training.G_ema, training.G, beta)
    return losses


def _generator_step(training: Training, c: Tensor | None, batch: int) -> dict[str, Tensor]:
    """The generator against the discriminator, and for a child against its parent."""
    recipe, G = training.recipe, training.G
    training.D.requires_grad_(False)
    z, w_plus = draw_codes(training, c, batch)
    track_w_avg(G, w_plus, recipe.w_avg_beta)
    taps: dict[str, Tensor] = {}
    noise_maps = draw_noise(G, batch, training.rng)
    images = G.synthesis(w_plus, noise_maps=noise_maps, taps=taps)
    loss = generator_loss(training.D(images, c))
    losses = {"g": loss.detach()}
    if training.parent is not None and (recipe.layout_weight or recipe.feature_weight):
        with torch.no_grad():
            parent_taps: dict[str, Tensor] = {}
            parent_w_plus = mix(training.parent, z, c)
            parent_images = training.parent.synthesis(
                parent_w_plus, noise_maps=noise_maps, taps=parent_taps
            )
        if recipe.layout_weight:
            layout = layout_distance(images, parent_images, recipe.layout_resolution)
            loss = loss + recipe.layout_weight * layout
            losses["layout"] = layout.detach()
        if recipe.feature_weight:
            features = feature_distance(taps, parent_taps, recipe.feature_max_resolution)
            loss = loss + recipe.feature_weight * features
            losses["features"] = features.detach()
    _optimize(training.g_optimizer, training.g_params, loss)
    return losses


def _path_length_step(training: Training, c: Tensor | None, batch: int) -> dict[str, Tensor]:
    recipe, G = training.recipe, training.G
    size = max(batch // recipe.pl_batch_shrink, 1)
    labels = None if c is None else c[:size]
    _, w_plus = draw_codes(training, labels, size)
    images = G.synthesis(w_plus, noise_maps=draw_noise(G, size, training.rng))
    noise = torch.randn(images.shape, generator=training.rng).to(images.device)
    lengths = path_lengths(images, w_plus, noise)
    penalty, training.pl_mean = path_length_penalty(lengths, training.pl_mean, recipe.pl_decay)
    penalty = penalty.mean()
    loss = penalty * (recipe.pl_weight * recipe.pl_interval)
    _optimize(training.g_optimizer, training.g_params, loss)
    return {"path_length": training.pl_mean, "path_length_penalty": penalty.detach()}


def _discriminator_step(
    training: Training, real: Tensor, c: Tensor | None
) -> dict[str, Tensor]:
    with torch.no_grad():
        _, w_plus = draw_codes(training, c, len(real))
        noise_maps = draw_noise(training.G, len(real), training.rng)
        fake = training.G.synthesis(w_plus, noise_maps=noise_maps)
    for parameter in training.d_params:
        parameter.requires_grad_(True)
    real_logits, fake_logits = training.D(real, c), training.D(fake, c)
    loss = discriminator_loss(real_logits, fake_logits)
    _optimize(training.d_optimizer, training.d_params, loss)
    return {
        "d": loss.detach(),
        "d_real_logit": real_logits.detach().mean(),
        "d_fake_logit": fake_logits.detach().mean(),
        "d_real_sign": real_logits.detach().sign().mean(),
    }


def _r1_step(training: Training, real: Tensor, c: Tensor | None) -> dict[str, Tensor]:
    recipe = training.recipe
    real = real.detach().requires_grad_(True)
    penalty = r1_penalty(real, training.D(real, c)).mean()
    loss = penalty * (recipe.r1_gamma / 2 * recipe.r1_interval)
    _optimize(training.d_optimizer, training.d_params, loss)
    return {"r1": penalty.detach()}


def _optimize(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: Tensor
) -> None:
    """One step; a parameter that the loss does not reach is left alone."""
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def draw_codes(
    training: Training, c: Tensor | None, batch: int
) -> tuple[list[tuple[Tensor, int]], Tensor]:
    """Random z, mixed at a random layer with probability `style_mixing`, and their w_plus.

    Returns: the z codes with the first layer that each is for, and w_plus.
    """
    G, recipe, rng = training.G, training.recipe, training.rng
    device = G.w_avg.device
    z_dim, num_ws = G.mapping.network.z_dim, G.mapping.num_ws
    z = [(torch.randn(batch, z_dim, generator=rng).to(device), 0)]
    if recipe.style_mixing and torch.rand([], generator=rng).item() < recipe.style_mixing:
        cut = int(torch.randint(1, num_ws, [], generator=rng))
        z.append((torch.randn(batch, z_dim, generator=rng).to(device), cut))
    return z, mix(G, z, c)


def mix(generator: Generator, z: list[tuple[Tensor, int]], c: Tensor | None) -> Tensor:
    """w_plus whose layers from each given one on come from that z.

    Source: style mixing, arXiv:1812.04948, section 3.1.
    """
    w_plus = generator.mapping(z[0][0], c)
    for codes, cut in z[1:]:
        w_plus = torch.cat([w_plus[:, :cut], generator.mapping(codes, c)[:, cut:]], dim=1)
    return w_plus


@torch.no_grad()
def track_w_avg(generator: Generator, w_plus: Tensor, beta: float) -> None:
    """Move the running mean of w towards this batch's mean."""
    generator.w_avg.lerp_(w_plus[:, 0].mean(dim=0), 1 - beta)


def draw_noise(generator: Generator, batch: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Fresh noise inputs by layer name, [N, 1, H, W]; empty for a model without noise."""
    return {
        name.removeprefix("blocks."): torch.randn(
            (batch, 1, layer.resolution, layer.resolution), generator=rng
        ).to(generator.w_avg.device)
        for name, layer in generator.synthesis.named_modules()
        if getattr(layer, "noise_strength", None) is not None
    }


def lazy_adam(
    parameters: list[nn.Parameter], lr: float, beta2: float, interval: int | None
) -> torch.optim.Adam:
    """Adam whose rates account for one extra regularisation step every `interval`.

    Source: lazy regularisation, arXiv:1912.04958, appendix B.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    return torch.optim.Adam(
        parameters, lr=lr * ratio, betas=(0.0, beta2**ratio), eps=1e-8, foreach=True
    )


def freeze_generator(generator: Generator, components: tuple[Component, ...]) -> None:
    """Let the named components keep their weights."""
    generator.requires_grad_(True)
    for name, parameter in generator.named_parameters():
        component = (
            "mapping" if name.startswith("mapping")
            else "affine" if ".affine." in name
            else "torgb" if ".torgb." in name
            else "const" if name.endswith(".const")
            else "conv"
        )  # fmt: skip
        parameter.requires_grad_(component not in components)


def freeze_discriminator(discriminator: Discriminator, num_blocks: int) -> None:
    """Let the first blocks, highest resolution first, keep their weights (Freeze-D).

    Source: Mo et al., arXiv:2002.10964.
    """
    discriminator.requires_grad_(True)
    for block in list(discriminator.blocks.values())[:num_blocks]:
        block.requires_grad_(False)
