"""Training and fine-tuning of StyleGAN2 models."""

from stylealign.training.loop import Tick, Training, train

__all__ = ["Tick", "Training", "train"]
