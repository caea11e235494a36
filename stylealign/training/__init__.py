"""Training and fine-tuning of StyleGAN2 models."""

from stylealign.training.loop import Tick, train
from stylealign.training.state import Batches, Training, component_of

__all__ = ["Batches", "Tick", "Training", "component_of", "train"]
