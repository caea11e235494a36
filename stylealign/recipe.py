"""The training recipe: every number that `train` needs, declared and checked in one place."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Component = Literal["mapping", "affine", "const", "torgb"]
AugmentKind = Literal[
    "none", "blit", "geom", "color", "filter", "noise", "cutout",
    "bg", "bgc", "bgcf", "bgcfn", "bgcfnc",
]  # fmt: skip
Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0, le=1e9)]


@dataclass(frozen=True)
class Numbers:
    """What the fields that may be `auto` come to, for one model and one kind of run."""

    g_lr: float
    d_lr: float
    r1_gamma: float
    ema_kimg: float
    ema_rampup: float | None
    ada_kimg: float


class Recipe(BaseModel):
    """How a model is trained or fine-tuned.

    Source: Karras et al., StyleGAN2, arXiv:1912.04958, sections 3-4; fine-tuning defaults of
        StyleGAN2-ADA, arXiv:2006.06676. Our own terms name their reason on the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    total_kimg: Positive
    """Thousands of real images shown to the discriminator."""
    tick_kimg: Positive = 2.0
    """Reporting interval."""
    snapshot_kimg: Positive = 10.0
    """Interval of resumable snapshots."""
    keep_snapshots: int = Field(default=2, ge=1)
    """Newest snapshots kept while training; those that a rule may choose yet stay beside them."""
    picture_ticks: int = Field(default=5, ge=1)
    """Ticks from one picture of parent and child at fixed codes to the next."""
    batch_size: int = Field(default=32, ge=1)
    """Images per step over all processes and parts."""
    part_size: int | None = Field(default=None, ge=1)
    """Images that a process holds at once; gradients of the parts add up to the batch's."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of G and D in the adversarial losses; weights, mapping, R1, path length stay float32."""
    seed: int = Field(default=0, ge=0, lt=2**31)

    g_lr: Positive | Auto = 1e-3
    """auto: 0.0025, from 1024 pixels on 0.002."""
    d_lr: Positive | Auto = 1e-3
    """auto: as g_lr."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Of Adam: how slowly it forgets the size of gradients; its beta1 is 0."""
    max_rollbacks: int = Field(default=2, ge=0)
    """How often a run that diverged goes back to its last good snapshot before it fails."""
    rollback_lr_factor: float = Field(default=0.5, gt=0, lt=1)
    """What each return multiplies both learning rates with."""
    min_sample_spread: float = Field(default=0.01, ge=0)
    """Samples that spread less than this share of the real images' spread count as collapsed."""
    min_logit_spread: float = Field(default=1e-5, ge=0)
    """A discriminator whose logits deviate less from one another counts as collapsed."""

    r1_gamma: Annotated[float, Field(ge=0)] | Auto = 0.1
    """Weight of the gradient penalty; 0 = off; auto: 0.0002 * resolution^2 / batch_size."""
    r1_interval: int = Field(default=16, ge=1)
    """Steps from one gradient penalty to the next, which is weighted by as much more."""
    pl_weight: float = Field(default=0.0, ge=0)
    """Path-length regularisation: smooth codes that a child can inherit; 0 = off."""
    pl_interval: int = Field(default=8, ge=1)
    """Steps from one path-length penalty to the next, which is weighted by as much more."""
    pl_decay: float = Field(default=0.01, gt=0, le=1)
    """How fast the mean path length, which the penalty asks for, follows the newest ones."""
    pl_batch_shrink: int = Field(default=2, ge=1)
    """Path lengths are measured on the batch divided by this: they take much memory."""
    style_mixing: float = Field(default=0.0, ge=0, le=1)
    """Probability of drawing an image from two z, cut at a random layer."""
    mirror: bool = False
    """Show real images x-flipped half of the time, with their labels."""
    classes: str = ""
    """Label of type `class` that the model is conditioned on; empty = unconditional."""

    ema_kimg: Positive | Auto = 5.0
    """Half-life of the weight average, in thousands of images; auto: batch_size * 10 / 32."""
    ema_rampup: Positive | Auto | None = "auto"
    """Bound the half-life to this share of the images seen; auto: 0.05, when fine-tuning off."""
    w_avg_beta: float = Field(default=0.998, ge=0, lt=1)
    """How slowly `w_avg`, towards which codes are truncated, follows the w of each step."""

    augment: AugmentKind = "none"
    """Transforms that D sees images through, where data is scarce; b = blit (mirror, quarter
    turns, whole shifts), g = geom, c = color, f = filter, n = noise, last c = cutout."""
    augment_p: float = Field(default=0.0, ge=0, le=1)
    """Probability of each transform: at the start, or throughout without a target."""
    ada_target: float | None = Field(default=0.6, ge=-1, le=1)
    """Mean sign of D's logits on real images that steers augment_p; null = augment_p stays."""
    ada_kimg: Positive | Auto = "auto"
    """Thousands of images in which augment_p can rise from 0 to 1; auto: 500, fine-tuning 100."""

    freeze: tuple[Component, ...] = ()
    """Components of the generator that keep the parent's weights."""
    freeze_d_layers: int = Field(default=0, ge=0)
    """Discriminator blocks, highest resolution first, that keep the parent's weights."""
    d_warmup_kimg: float = Field(default=0.0, ge=0)
    """Thousands of images on which D learns the new domain before the generator moves."""
    layout_weight: float = Field(default=0.0, ge=0)
    """Keeps the low-resolution layout of G_child(z) near that of G_parent(z)."""
    layout_resolution: int = Field(default=8, ge=2)
    feature_weight: float = Field(default=0.0, ge=0)
    """Keeps the feature maps of G_child(z) near those of G_parent(z)."""
    feature_max_resolution: int = Field(default=16, ge=4)
    style_weight: float = Field(default=0.0, ge=0)
    """Keeps the style space (affine outputs) of the child's z near the parent's; try 1."""
    correspondence_weight: float = Field(default=0.0, ge=0)
    """Keeps which images are alike: for children of few images; the paper has 1000."""
    correspondence_group: int = Field(default=4, ge=3)
    """Images that are compared with one another; divides the batch."""

    @model_validator(mode="after")
    def _must_move_the_generator(self) -> "Recipe":
        num_steps = math.ceil(1000 * self.total_kimg / self.batch_size)
        if (num_steps - 1) * self.batch_size / 1000 < self.d_warmup_kimg:  # at its last step
            message = f"d_warmup_kimg is {self.d_warmup_kimg:g} of total_kimg {self.total_kimg:g}"
            raise ValueError(f"{message}, the generator would never move: warm up for less")
        return self

    @model_validator(mode="after")
    def _augments_if_it_says_so(self) -> "Recipe":
        if self.augment == "none" and self.augment_p:
            message = f"augment_p is {self.augment_p:g} and augment is 'none', so nothing is done"
            raise ValueError(
                f"{message}: set augment to transforms, such as bgc, or augment_p to 0"
            )
        if self.augment != "none" and not self.augment_p and self.ada_target is None:
            message = f"augment is {self.augment!r}, augment_p 0 and ada_target null, so it stays 0"
            raise ValueError(f"{message}: set one of the two, or augment to none")
        return self

    def numbers(self, resolution: int, *, is_fine_tuning: bool) -> Numbers:
        """Put numbers in place of `auto`.

        Source: the automatic configuration of stylegan2-ada-pytorch (arXiv:2006.06676, section 4
            and its release), and what it changes when it resumes from another model.
        """

        def settle(value: float | Auto, automatic: float) -> float:
            return automatic if value == "auto" else value

        rate = 0.002 if resolution >= 1024 else 0.0025
        rampup = None if is_fine_tuning else 0.05
        return Numbers(
            g_lr=settle(self.g_lr, rate),
            d_lr=settle(self.d_lr, rate),
            r1_gamma=settle(self.r1_gamma, 0.0002 * resolution**2 / self.batch_size),
            ema_kimg=settle(self.ema_kimg, self.batch_size * 10 / 32),
            ema_rampup=rampup if self.ema_rampup == "auto" else self.ema_rampup,
            ada_kimg=settle(self.ada_kimg, 100.0 if is_fine_tuning else 500.0),
        )
