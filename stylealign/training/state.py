"""Everything that changes while training: networks, optimisers, counters, randomness."""

import copy
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from stylealign.errors import CheckpointError
from stylealign.models import Generator, Model, ModelConfig
from stylealign.models.latents import Labels
from stylealign.portions import Portions
from stylealign.recipe import Recipe
from stylealign.training.augment import KINDS, AdaptiveStrength, Augmentation
from stylealign.training.classes import Classes
from stylealign.training.freeze import freeze_discriminator, freeze_generator
from stylealign.training.kinship import style_variances
from stylealign.training.requirements import (
    PARENT_TERMS,
    require_classes,
    require_layout,
    require_parent,
    require_stylegan2,
    require_whole_groups,
)
from stylealign.training.snapshot import (
    load_state,
    optimizer_tensors,
    outdated,
    recipe_changes,
    restore_optimizer,
    save_state,
)
from stylealign.training.split import Split


@runtime_checkable
class Batch(Protocol):
    """What one step needs of a batch: real images [N, C, H, W] in [-1, 1]."""

    @property
    def images(self) -> Tensor:
        """Pixels of the batch."""
        ...


@runtime_checkable
class LabelledBatch(Batch, Protocol):
    """A batch for a conditional model."""

    @property
    def labels(self) -> dict[str, Tensor]:
        """Labels of the images, as `stylealign.data.encode_labels` gives them."""
        ...


@runtime_checkable
class Batches(Protocol):
    """An endless, resumable source of batches, as `stylealign.data.TrainingBatches` is."""

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]:
        """Position, as JSON-ready values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position."""
        ...


@runtime_checkable
class ImageBatches(Batches, Protocol):
    """Batches that tell what they are drawn from, as `stylealign.data.TrainingBatches` do."""

    ids: Sequence[str]
    """Images of which a pass shows each once."""
    mirror: bool
    """Whether they are x-flipped half of the time."""


@dataclass
class Training:
    """A model in training, on its own or as the child of `parent`.

    The parent may be the model's own generator: then a copy of it stays as it is.

    Raises: CheckpointError if the model has no discriminator, or the parent another architecture;
        ParamsError if it is no StyleGAN2, if the batch does not fit the groups that are compared,
        if layouts are compared at more pixels than there are, if classes do not fit the model, or
        terms ask for a parent and there is none.
    """

    model: Model
    parent: Generator | None
    recipe: Recipe
    nimg: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """One record per tick: kimg and the mean of each loss."""
    pl_mean: Tensor = field(default_factory=lambda: torch.zeros([]))
    split: Split = field(default_factory=Split)
    """This process among all, and the parts in which it works through its images."""
    portions: Portions = field(default_factory=Portions)
    """Images that are drawn and looked at at once, where nothing is learned from them."""
    notes: list[str] = field(default_factory=list[str])
    """What the run had to adapt to, in sentences; the tick carries them to the user."""
    rollbacks: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Each return to a good state: `at_kimg`, `to_kimg` and the `reason` with its figure."""
    measurements: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What was measured of the model at each snapshot; it goes on and back with all the rest."""
    contenders: list[float] = field(default_factory=list[float])
    """Kimg of the snapshots that may be chosen yet, which retention then never removes."""
    classes: Classes | None = None
    """The label that c stands for; conditional models need it."""

    def __post_init__(self) -> None:
        model, recipe = self.model, self.recipe
        self.origin: dict[str, Any] = model.config.model_dump(mode="json", exclude={"kimg"})
        require_stylegan2(model.config)
        if model.discriminator is None:
            message = "this model has no discriminator; pass a checkpoint that has one"
            raise CheckpointError(message)
        require_classes(model.config.c_dim, self.classes, recipe.classes)
        has_kin = self.parent is not None and recipe.correspondence_weight > 0
        num_kin = recipe.correspondence_group if has_kin else 1
        self.mbstd_group = math.lcm(stddev_group(model.config, recipe.batch_size), num_kin)
        if recipe.part_size is not None:
            require_whole_groups(recipe.part_size, self.mbstd_group)
            self.split.divide(recipe.batch_size, recipe.part_size, self.mbstd_group)
            self.portions.size = min(self.portions.size, recipe.part_size)
        most = full_group(model.config, num_kin, is_whole=self.split.is_whole)
        self.split.require_fit(recipe.batch_size, self.mbstd_group, most)
        if model.raw_generator is None:
            model.raw_generator = copy.deepcopy(model.generator)
        self.pl_mean = self.pl_mean.to(model.generator.w_avg.device)
        self.G, self.D, self.G_ema = model.raw_generator, model.discriminator, model.generator
        require_parent(recipe, self.G_ema, self.parent)
        require_layout(recipe, model.config.resolution)
        self.parent = apart(self.parent, (self.G, self.G_ema))
        self.rng = torch.Generator(device="cpu").manual_seed(recipe.seed)
        freeze_generator(self.G, self.G_ema, recipe.freeze)
        freeze_discriminator(self.D, recipe.freeze_d_layers)
        self.numbers = numbers = recipe.numbers(
            model.config.resolution, is_fine_tuning=self.parent is not None
        )
        pl_interval = recipe.pl_interval if recipe.pl_weight else None
        r1_interval = recipe.r1_interval if numbers.r1_gamma else None
        self.style_variances: dict[str, Tensor] = {}
        self.g_params = [p for p in self.G.parameters() if p.requires_grad]
        self.d_params = [p for p in self.D.parameters() if p.requires_grad]
        self.g_optimizer = lazy_adam(self.g_params, numbers.g_lr, recipe.beta2, pl_interval)
        self.d_optimizer = lazy_adam(self.d_params, numbers.d_lr, recipe.beta2, r1_interval)
        transforms = KINDS[recipe.augment]
        if self.classes is not None and not self.classes.is_mirrored_alike:
            transforms = tuple(name for name in transforms if name != "xflip")
        self.augmentation = Augmentation(transforms, self.image_shape)
        self.ada = AdaptiveStrength(recipe.augment_p, recipe.ada_target, numbers.ada_kimg)
        self.rates = [optimizer.param_groups[0]["lr"] for optimizer in self._optimizers]
        self.G_ema.requires_grad_(False)
        if self.parent is not None:
            self.parent.requires_grad_(False)
        if self.parent is not None and recipe.style_weight:
            self.style_variances = style_variances(self.parent, self.classes)

    def classes_of(self, batch: Batch) -> Labels | None:
        """Classes of a batch of real images, one-hot; None for a model without classes.

        Raises: DataError if an image of the batch lacks its class.
        """
        if self.classes is None:
            return None
        c = self.classes.one_hot(cast("LabelledBatch", batch).labels)
        return c.to(self.G.w_avg.device)

    def note_measured(self, figures: dict[str, Any], settings: dict[str, Any]) -> None:
        """Keep figures of the model as it is now, and the settings that they were taken with."""
        row = {"figures": figures, "settings": settings}
        self.measurements = [*self.measurements, row]

    def measured(self, settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Figures taken with these settings, oldest first; a run may have begun with others."""
        return [row["figures"] for row in self.measurements if row["settings"] == settings]

    @property
    def kimg(self) -> float:
        """Thousands of real images shown so far."""
        return self.nimg / 1000

    def note_kimg(self) -> None:
        """Put on the model's record how long it has been trained."""
        self.model.config = self.model.config.model_copy(update={"kimg": self.kimg})

    def lower_precision(self) -> AbstractContextManager[object]:
        """Where the networks run in the recipe's precision; second derivatives stay outside.

        Weights, their gradients and the optimisers are float32 whatever the precision; bfloat16
        has the range of float32, so no loss is scaled.
        """
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self.G.w_avg.device.type, dtype=torch.bfloat16)

    @property
    def has_parent_terms(self) -> bool:
        """Whether the loss compares the child's drawing with its parent's."""
        return self.parent is not None and any(getattr(self.recipe, name) for name in PARENT_TERMS)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        config = self.model.config
        return config.img_channels, config.resolution, config.resolution

    @property
    def is_warm(self) -> bool:
        """Whether the generator moves already."""
        return self.kimg >= self.recipe.d_warmup_kimg

    @property
    def rate_factor(self) -> float:
        """What the learning rates are multiplied with, after each return to a good state."""
        return self.recipe.rollback_lr_factor ** len(self.rollbacks)

    def set_rates(self) -> None:
        """Give both optimisers the recipe's rates times `rate_factor`."""
        for optimizer, rate in zip(self._optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.rate_factor

    def state(self, batches: Batches) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A copy, on the CPU, of all that `restore` needs to go on bit for bit."""
        tensors = {
            "pl_mean": self.pl_mean,
            "rng": self.rng.get_state(),
            **optimizer_tensors(self.g_optimizer, "g_optimizer"),
            **optimizer_tensors(self.d_optimizer, "d_optimizer"),
        }
        for name, network in self._networks:
            tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        numbers = {
            "nimg": self.nimg,
            "step": self.step,
            "history": self.history,
            "ada": self.ada.state_dict(),
            "rollbacks": self.rollbacks,
            "measurements": self.measurements,
            "contenders": self.contenders,
            "part_size": self.split.part_size(self.recipe.batch_size),
            "batches": batches.state_dict(),
            "recipe": self.recipe.model_dump(mode="json"),
            "model": self.origin,
        }
        copies = {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
        return copies, copy.deepcopy(numbers)

    def restore(
        self, tensors: dict[str, Tensor], numbers: dict[str, Any], batches: Batches
    ) -> None:
        """Go back to a state that `state` copied.

        Raises: CheckpointError if it is of another architecture.
        """
        self.restore_networks(tensors)
        restore_optimizer(self.g_optimizer, tensors, "g_optimizer")
        restore_optimizer(self.d_optimizer, tensors, "d_optimizer")
        self.pl_mean = tensors["pl_mean"].to(self.pl_mean.device, copy=True)
        self.rng.set_state(tensors["rng"])
        self.nimg, self.step = int(numbers["nimg"]), int(numbers["step"])
        self.note_kimg()
        self.history = copy.deepcopy([*numbers["history"]])
        self.rollbacks = [*numbers["rollbacks"]]
        self.measurements = [*numbers["measurements"]]
        self.contenders = [*numbers["contenders"]]
        if numbers["recipe"]["part_size"] == self.recipe.part_size:
            # Smaller ones than the recipe's, where memory had run out.
            self.split.divide(self.recipe.batch_size, numbers["part_size"], self.mbstd_group)
        self.ada.load_state_dict(numbers["ada"])
        self.set_rates()
        batches.load_state_dict(numbers["batches"])

    def restore_networks(self, tensors: dict[str, Tensor]) -> None:
        """Put the networks of a state in place, and nothing else: those that a rule has chosen.

        Raises: CheckpointError if they are of another architecture.
        """
        for name, network in self._networks:
            prefix = f"{name}."
            state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                raise CheckpointError(f"snapshot of another architecture: {error}") from error

    def save(self, path: str | Path, batches: Batches) -> None:
        """Write a snapshot that `load` continues bit for bit.

        Raises: DataError if it cannot be written.
        """
        save_state(Path(path), *self.state(batches))

    def load(self, path: str | Path, batches: Batches) -> None:
        """Continue from a snapshot of the same recipe and start.

        Raises: CheckpointError if it is broken, or of another recipe, start, data set or
            architecture.
        """
        tensors, numbers = load_state(Path(path))
        try:
            changed = recipe_changes(numbers["recipe"], self.recipe)
            if changed:
                message = f"it was made with another recipe: other {', '.join(changed)}"
                raise CheckpointError(message)
            own, saved = self.origin, numbers["model"]
            others = sorted(name for name in own if saved.get(name) != own[name])
            if others:
                message = f"it is of another model: other {', '.join(others)}"
                raise CheckpointError(f"{message}; give each run a snapshot name of its own")
            self.restore(tensors, numbers, batches)
        except KeyError as error:
            raise outdated(Path(path), error) from error
        except torch.OutOfMemoryError:  # of a device: the snapshot is as good as before
            raise
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            message = f"{str(path)!r} cannot be continued: {error}; delete it to restart"
            raise CheckpointError(message) from error

    @property
    def _optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        return self.g_optimizer, self.d_optimizer

    @property
    def _networks(self) -> tuple[tuple[str, nn.Module], ...]:
        return (("G", self.G), ("D", self.D), ("G_ema", self.G_ema))


def stddev_group(config: ModelConfig, batch_size: int) -> int:
    """Images that the discriminator compares with one another; 1 where it compares none."""
    if not config.mbstd_num_channels:
        return 1
    return min(config.mbstd_group_size or batch_size, batch_size)


def full_group(config: ModelConfig, num_kin: int, *, is_whole: bool) -> int | None:
    """Images that are compared with one another in any large batch.

    None = all of it, so that there is nothing to deal to other processes or parts.
    """
    own = config.mbstd_group_size if config.mbstd_num_channels else 1
    if own is None:
        return num_kin if is_whole else None
    return math.lcm(own, num_kin)


def apart(parent: Generator | None, moved: tuple[Generator, ...]) -> Generator | None:
    """The parent, or a copy of it where it is one of those that are going to move."""
    return copy.deepcopy(parent) if parent in moved else parent


def lazy_adam(
    parameters: list[nn.Parameter], lr: float, beta2: float, interval: int | None
) -> torch.optim.Optimizer:
    """Adam whose rates account for one extra regularisation step every `interval`.

    Source: lazy regularisation, arXiv:1912.04958, appendix B.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    return torch.optim.Adam(
        parameters, lr=lr * ratio, betas=(0.0, beta2**ratio), eps=1e-8, foreach=True
    )
