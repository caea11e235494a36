"""Training and fine-tuning of StyleGAN2 models."""

from stylealign.training.freeze import component_of
from stylealign.training.loop import Tick, train
from stylealign.training.state import Batches, Training

__all__ = ["Batches", "Tick", "Training", "component_of", "train"]
