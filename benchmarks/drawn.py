"""Procedural domains as the benchmarks use them: batches, readers, features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from stylealign.data.labels import LabelSchema, parse_schema
from stylealign.data.procedural import Domain, draw_attributes, label_schema, render
from stylealign.images import PixelBatch
from stylealign.metrics.features import extract_features, load_extractor
from stylealign.metrics.readers import Reader, fit_reader
from stylealign.models import Generator
from stylealign.models.latents import Images
from stylealign.tensors import to_float, to_uint8

RESOLUTION = 32
FEATURE_RESOLUTION = 64


@dataclass(frozen=True)
class DrawnBatch:
    """Real images in [-1, 1]."""

    images: Images


class DrawnBatches:
    """Endless batches of one drawn domain, held in memory, in an order that can be taken up.

    Passes are successive permutations of one rng; what does not fill a batch is left out.
    """

    def __init__(self, domain: Domain, num: int, batch_size: int, *, seed: int) -> None:
        pixels = render(domain, draw_attributes(domain, num, seed=seed), RESOLUTION)
        self.images = to_float(pixels)
        self.batch_size, self.seed = batch_size, seed
        self.load_state_dict({"num_batches": 0})

    def __next__(self) -> DrawnBatch:
        number, place = divmod(self.num_batches, len(self.images) // self.batch_size)
        while self._pass < number:
            self._order = torch.randperm(len(self.images), generator=self._rng)
            self._pass += 1
        self.num_batches += 1
        rows = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        return DrawnBatch(self.images[rows])

    def state_dict(self) -> dict[str, Any]:
        """How many batches were drawn."""
        return {"num_batches": self.num_batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw on from there."""
        self.num_batches = state["num_batches"]
        self._rng = torch.Generator().manual_seed(self.seed)
        self._pass, self._order = -1, torch.empty(0, dtype=torch.long)


def schema_of(domain: Domain) -> LabelSchema:
    """Label schema of a drawn domain."""
    return parse_schema(label_schema(domain))


def drawn(domain: Domain, num: int, *, seed: int) -> tuple[PixelBatch, pd.DataFrame]:
    """Images and labels of a drawn domain."""
    attributes = draw_attributes(domain, num, seed=seed)
    labels = attributes.loc[:, list(schema_of(domain))]
    return render(domain, attributes, RESOLUTION), labels


def fit_drawn_reader(domain: Domain, *, num: int = 6000, num_steps: int = 900) -> Reader:
    """A reader of all labels, fitted on true labels of images that nothing else uses."""
    images, labels = drawn(domain, num, seed=11)
    return fit_reader(images, labels, schema_of(domain), seed=0, num_steps=num_steps)


@torch.inference_mode()
def sample(generator: Generator, num: int, *, seed: int) -> PixelBatch:
    """Images of random z, psi 1."""
    z_dim = generator.mapping.network.z_dim
    z = torch.randn(num, z_dim, generator=torch.Generator().manual_seed(seed))
    return np.concatenate([to_uint8(generator(chunk)) for chunk in z.split(200)])


def lite2_features(images: PixelBatch) -> torch.Tensor:
    """Pooled lite2 features, [N, F]."""
    extractor = load_extractor("lite2", resolution=FEATURE_RESOLUTION)
    return torch.as_tensor(extract_features(images, extractor))
