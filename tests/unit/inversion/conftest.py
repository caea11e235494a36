"""One small parent for all tests of the inversion."""

import pytest
import torch

from stylealign.models import Model
from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def parent() -> Model:
    return _spread(tiny_model(noise=False, id="parent", root_id="parent"))


@pytest.fixture(scope="session")
def noisy_parent() -> Model:
    model = _spread(tiny_model(id="noisy", root_id="noisy"))
    with torch.no_grad():
        for name, parameter in model.generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    return model


@pytest.fixture(scope="session")
def samples(parent: Model) -> torch.Tensor:
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return parent.generator(z)


def _spread(model: Model) -> Model:
    """Samples of fresh weights within [-1, 1]."""
    with torch.no_grad():
        for name, parameter in model.generator.named_parameters():
            if "torgb.weight" in name:
                parameter.mul_(0.2)
    return model
