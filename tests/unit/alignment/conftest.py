"""A small parent, a child near it, and readers that look at pixels alone."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from stylealign.data.labels import LabelSchema, LabelSpec
from stylealign.models import Model
from tests.tiny import tiny_model


class BrightnessReader:
    """Reads how bright an image is, and whether its upper half is brighter than its lower."""

    def predict(self, images):
        """One row of labels per image."""
        pixels = images.astype(np.float64)
        upper, lower = pixels[:, :8].mean((1, 2, 3)), pixels[:, 8:].mean((1, 2, 3))
        side = np.where(upper > lower, "upper", "lower").astype(object)
        certainty = 0.5 + 0.5 * np.tanh(np.abs(upper - lower) / 10)
        brightness = pixels.mean((1, 2, 3))
        return pd.DataFrame({"brightness": brightness, "side": side, "confidence.side": certainty})


@pytest.fixture(scope="session")
def schema() -> LabelSchema:
    return {
        "brightness": LabelSpec(type="continuous", tolerance=10.0),
        "side": LabelSpec(type="class", values=("upper", "lower")),
    }


@pytest.fixture(scope="session")
def reader() -> BrightnessReader:
    return BrightnessReader()


@pytest.fixture(scope="session")
def parent() -> Model:
    return new_model(0, "parent")


@pytest.fixture(scope="session")
def child(parent: Model) -> Model:
    torch.manual_seed(1)
    generator = copy.deepcopy(parent.generator)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if ".conv" in name and name.endswith("weight") and "affine" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    config = parent.config.model_copy(update={"id": "child", "parent_id": "parent"})
    return Model(generator, config)


@pytest.fixture(scope="session")
def stranger() -> Model:
    return new_model(7, "stranger")


def new_model(seed: int, name: str) -> Model:
    model = tiny_model(seed, noise=False, id=name, root_id=name)
    with torch.no_grad():
        for parameter_name, parameter in model.generator.named_parameters():
            if "torgb.weight" in parameter_name:
                parameter.mul_(0.2)
    return model
