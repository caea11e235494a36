"""One small parent for all tests of the inversion."""

import pytest
import torch

from stylealign.models import Model, ModelConfig


@pytest.fixture(scope="session")
def parent() -> Model:
    torch.manual_seed(0)
    config = ModelConfig(
        resolution=16, z_dim=8, w_dim=8, channels={4: 8, 8: 8, 16: 8},
        num_mapping_layers=2, noise=False, id="parent", root_id="parent",
    )  # fmt: skip
    return _spread(Model.new(config))


@pytest.fixture(scope="session")
def noisy_parent() -> Model:
    torch.manual_seed(0)
    config = ModelConfig(
        resolution=16, z_dim=8, w_dim=8, channels={4: 8, 8: 8, 16: 8},
        num_mapping_layers=2, id="noisy", root_id="noisy",
    )  # fmt: skip
    model = _spread(Model.new(config))
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
