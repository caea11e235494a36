"""What every test stands on: one seeded rng, one thread, and no word to the outside."""

import os

# Set before any package is imported: each of these is read once, at import.
os.environ.update(
    OMP_NUM_THREADS="1",
    DO_NOT_TRACK="true",
    DVC_NO_ANALYTICS="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    RAY_USAGE_STATS_ENABLED="0",
    MPLBACKEND="Agg",
    COLUMNS="100",
)

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
