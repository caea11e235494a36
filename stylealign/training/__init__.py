"""Training and fine-tuning of StyleGAN2 models."""

from stylealign.training.auto import auto_batch_size, auto_config, auto_recipe
from stylealign.training.classes import Classes, find_classes
from stylealign.training.freeze import component_of
from stylealign.training.loop import Tick, train
from stylealign.training.state import Batches, Training

__all__ = [
    "Batches",
    "Classes",
    "Tick",
    "Training",
    "auto_batch_size",
    "auto_config",
    "auto_recipe",
    "component_of",
    "find_classes",
    "train",
]
