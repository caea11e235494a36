"""A model: the networks of one domain with the record of what they are."""

import copy
from dataclasses import dataclass

import torch

from stylealign.errors import LineageError
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
        """Freshly initialised networks, from a stream that torch's global generator seeds.

        From the global stream itself they would have the numbers that the same seed gives as z:
        its first z_dim codes would each be a row of the mapping's first layer, and have a w twice
        as far from w_avg as others. Training hardly changes that, as the mapping learns slowly.
        """
        seed = int(torch.randint(2**32, ()))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            raw_generator = Generator(config)
            generator = Generator(config)
            generator.load_state_dict(raw_generator.state_dict())
            return cls(generator, config, Discriminator(config), raw_generator)

    def new_child(
        self, domain: str, *, data_hash: str = "", class_shares: tuple[float, ...] = ()
    ) -> "Model":
        """A copy that is on record as this model's child: where its fine-tuning starts.

        Raises: LineageError if this model has no id yet, by which its child could name it.
        """
        if not self.config.id:
            message = "a model without id has no children; save it first, which gives it one"
            raise LineageError(message)
        child = copy.deepcopy(self)
        child.config = self.config.model_copy(
            update={
                "domain": domain,
                "parent_id": self.config.id,
                "root_id": self.config.root_id or self.config.id,
                "lineage": "trained",
                "kimg": 0.0,
                "data_hash": data_hash,
                "class_shares": class_shares,
            }
        )
        return child

    def to(self, device: str | torch.device) -> "Model":
        """Move all networks to a device, in place; returns the model itself."""
        for network in (self.generator, self.discriminator, self.raw_generator):
            if network is not None:
                network.to(device)
        return self
