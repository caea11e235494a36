"""The training recipe: every number that `train` needs, declared and checked in one place."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Component = Literal["mapping", "affine", "const", "torgb"]


class Recipe(BaseModel):
    """How a model is trained or fine-tuned.

    Source: Karras et al., StyleGAN2, arXiv:1912.04958, sections 3-4; fine-tuning defaults of
        StyleGAN2-ADA, arXiv:2006.06676. Our own terms name their reason on the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    total_kimg: float = Field(gt=0)
    """Thousands of real images shown to the discriminator."""
    tick_kimg: float = Field(default=2.0, gt=0)
    """Reporting interval."""
    snapshot_kimg: float = Field(default=10.0, gt=0)
    """Interval of resumable snapshots."""
    batch_size: int = Field(default=32, ge=1)
    seed: int = 0

    g_lr: float = Field(default=1e-3, gt=0)
    d_lr: float = Field(default=1e-3, gt=0)
    beta2: float = Field(default=0.99, ge=0, lt=1)

    r1_gamma: float = Field(default=0.1, ge=0)
    r1_interval: int = Field(default=16, ge=1)
    pl_weight: float = Field(default=0.0, ge=0)
    """Path-length regularisation: smooth codes that a child can inherit; 0 = off."""
    pl_interval: int = Field(default=8, ge=1)
    pl_decay: float = Field(default=0.01, gt=0, le=1)
    pl_batch_shrink: int = Field(default=2, ge=1)
    style_mixing: float = Field(default=0.0, ge=0, le=1)
    """Probability of drawing an image from two z, cut at a random layer."""
    mirror: bool = False
    """Show real images x-flipped half of the time."""

    ema_kimg: float = Field(default=5.0, gt=0)
    """Half-life of the weight average."""
    ema_rampup: float | None = Field(default=0.05, gt=0)
    """Bound the half-life to this share of the images seen; off when fine-tuning."""
    w_avg_beta: float = Field(default=0.998, ge=0, lt=1)

    freeze: tuple[Component, ...] = ()
    """Components of the generator that keep the parent's weights."""
    freeze_d_layers: int = Field(default=0, ge=0)
    """Discriminator blocks, highest resolution first, that keep the parent's weights."""
    d_warmup_kimg: float = Field(default=0.0, ge=0)
    """Images on which the discriminator learns the new domain before the generator moves."""
    layout_weight: float = Field(default=0.0, ge=0)
    """Keeps the low-resolution layout of G_child(z) near that of G_parent(z)."""
    layout_resolution: int = Field(default=8, ge=1)
    feature_weight: float = Field(default=0.0, ge=0)
    """Keeps the feature maps of G_child(z) near those of G_parent(z)."""
    feature_max_resolution: int = Field(default=16, ge=4)
