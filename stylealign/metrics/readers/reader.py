"""A fitted reader: from images to labels, to a folder and back."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from torch import Tensor

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.data.tables import CONFIDENCE_PREFIX
from stylealign.errors import DataError
from stylealign.images import PixelBatch
from stylealign.metrics.readers.network import ReaderNetwork
from stylealign.metrics.readers.targets import Readings, Target, Targets, decide, read_outputs
from stylealign.networks import NetworkFolder, build_with
from stylealign.tensors import to_float

FILES: Final = NetworkFolder("reader", "reader.safetensors", "reader.json")

_BATCH_SIZE: Final = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """A network together with what its outputs mean."""

    network: ReaderNetwork
    schema: LabelSchema
    targets: Targets
    resolution: int
    width: int
    val_scores: dict[str, float]
    """Score of each label on the validation split of the reader's own domain."""

    def predict(self, images: PixelBatch) -> pd.DataFrame:
        """Read one row of labels per image, and `confidence.<label>` of classes.

        The confidence is the probability that the network gives the class it names.

        Shapes: images [N, H, W, 3]; returns N rows.
        Raises: DataError if the images are not of the resolution that the reader was fitted on.
        """
        readings = self.read(images)
        columns: dict[str, Any] = dict(decide(readings, self.schema))
        for name, reading in readings.items():
            if self.schema[name].type == "class":
                columns[f"{CONFIDENCE_PREFIX}{name}"] = reading.max(1)
        return pd.DataFrame(columns)

    def read(self, images: PixelBatch) -> Readings:
        """Read probabilities of every value of a class, and numbers as they are.

        Shapes: images [N, H, W, 3]; class and multilabel [N, num_values]; else [N].
        Raises: DataError if the images are not of the resolution that the reader was fitted on.
        """
        return read_outputs(self.outputs(images), self.targets, self.schema)

    def outputs(self, images: PixelBatch) -> Float32[Tensor, "N L"]:
        """Return the raw outputs of the network: logits and normalised numbers.

        Shapes: images [N, H, W, 3]; returns [N, num_outputs].
        Raises: DataError if the images are not of the resolution that the reader was fitted on.
        """
        return self._forward(images)[0]

    def features(self, images: PixelBatch) -> Float32[np.ndarray, "N F"]:
        """Return the features from which all labels are read.

        Shapes: images [N, H, W, 3]; returns [N, F].
        Raises: DataError if the images are not of the resolution that the reader was fitted on.
        """
        _, features = self._forward(images)
        return features.cpu().numpy()

    def save(self, folder: str | Path) -> None:
        """Write the reader as safetensors and JSON."""
        record = {
            "resolution": self.resolution,
            "width": self.width,
            "schema": {name: spec.model_dump(mode="json") for name, spec in self.schema.items()},
            "targets": {name: target.model_dump() for name, target in self.targets.items()},
            "val_scores": self.val_scores,
        }
        FILES.save(Path(folder), self.network, record)

    def _forward(self, images: PixelBatch) -> tuple[Tensor, Tensor]:
        if images.shape[1:3] != (self.resolution, self.resolution):
            message = f"images are {images.shape[1:3]!r}, the reader was fitted on"
            raise DataError(f"{message} {self.resolution} px; resize the images")
        device = next(self.network.parameters()).device
        self.network.eval()
        with torch.inference_mode():
            # one empty batch for zero images keeps the shapes
            starts = range(0, max(len(images), 1), _BATCH_SIZE)
            batches = [
                self.network(to_float(images[start : start + _BATCH_SIZE]).to(device))
                for start in starts
            ]
        outputs, features = zip(*batches, strict=True)
        return torch.cat(outputs), torch.cat(features)


def load_reader(folder: str | Path) -> Reader:
    """Load a reader from its folder; it then reads exactly as it did when it was saved.

    Raises: CheckpointError if a file is missing, damaged, or does not fit the other.
    """
    with FILES.open(Path(folder)) as (record, tensors):
        schema = {name: LabelSpec.model_validate(s) for name, s in record["schema"].items()}
        targets = {name: Target.model_validate(t) for name, t in record["targets"].items()}
        build = partial(
            ReaderNetwork,
            resolution=record["resolution"],
            width=record["width"],
            num_outputs=max(target.stop for target in targets.values()),
        )
        return Reader(
            network=build_with(tensors, build),
            schema=schema,
            targets=targets,
            resolution=record["resolution"],
            width=record["width"],
            val_scores=record["val_scores"],
        )
