"""A model: the networks of one domain with the record of what they are."""

from dataclasses import dataclass

import torch

from stylealign.models.config import ModelConfig
from stylealign.models.discriminator import Discriminator
from stylealign.models.generator import Generator


@dataclass
class Model:
    """Generator (EMA weights), what training needs to go on, and the config.

    `discriminator` and `raw_generator` (the weights that the optimiser moves) are None where
    a checkpoint holds the generator alone.
    """

    generator: Generator
    config: ModelConfig
    discriminator: Discriminator | None = None
    raw_generator: Generator | None = None

    @classmethod
    def new(cls, config: ModelConfig) -> "Model":
        """Freshly initialised networks, drawn from torch's global generator."""
        raw_generator = Generator(config)
        generator = Generator(config)
        generator.load_state_dict(raw_generator.state_dict())
        return cls(generator, config, Discriminator(config), raw_generator)

    def to(self, device: str | torch.device) -> "Model":
        """Move all networks to a device, in place; returns the model itself."""
        for network in (self.generator, self.discriminator, self.raw_generator):
            if network is not None:
                network.to(device)
        return self
