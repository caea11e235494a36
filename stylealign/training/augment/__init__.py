"""Adaptive discriminator augmentation."""

from stylealign.training.augment.controller import AdaptiveStrength
from stylealign.training.augment.pipeline import KINDS, Augmentation, Drawn

__all__ = ["KINDS", "AdaptiveStrength", "Augmentation", "Drawn"]
