"""The networks: mapping, synthesis and discriminator of the StyleGAN family."""

from stylealign.models.config import ModelConfig
from stylealign.models.discriminator import Discriminator
from stylealign.models.generator import Generator
from stylealign.models.latents import SPACES, Latents, Space
from stylealign.models.model import Model

__all__ = ["SPACES", "Discriminator", "Generator", "Latents", "Model", "ModelConfig", "Space"]
