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

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def prepare_cats() -> Callable[..., Path]:
    """Prepare so many drawn cats, or people, in a folder, one shard a split.

    They are of 32 pixels and all for training, unless other things are asked for.
    """
    from stylealign.data.labels import parse_schema
    from stylealign.data.prepare import prepare
    from stylealign.data.procedural import label_schema
    from stylealign.data.sources import ProceduralSource

    def prepared(
        folder: Path,
        num: int,
        *,
        seed: int = 0,
        domain: Literal["cats", "people"] = "cats",
        val: float = 0.0,
        resolution: int = 32,
    ) -> Path:
        prepare(
            ProceduralSource(domain, num, seed=seed, resolution=resolution),
            folder,
            resolution=resolution,
            schema=parse_schema(label_schema(domain)),
            fractions={"train": 1 - val, "val": val, "test": 0.0},
            seed=0,
            shard_size=num,
            max_rejected_fraction=0.0,
            near_duplicate_bits=0,
        )
        return folder

    return prepared


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket in an S3 emulation on loopback, for this process and its children."""
    import fsspec
    from moto.server import ThreadedMotoServer

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    fsspec.filesystem("s3", skip_instance_cache=True).clear_instance_cache()
    fsspec.filesystem("s3").mkdir(f"sets-{port}")
    yield f"s3://sets-{port}"
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()
