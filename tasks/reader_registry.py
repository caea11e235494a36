"""Readers of child domains: fitted on what was transferred, registered once they read again."""

from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, Schema
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.data.dataset import open_dataset
from stylealign.errors import CheckpointError
from stylealign.images import PixelBatch, encode_png
from stylealign.metrics.readers import load_reader
from stylealign.params import EvaluateParams
from tasks.devices import compute
from tasks.layout import artifact
from tasks.readers import train_reader
from tasks.registry import CHALLENGER, CHAMPION, NUM_PROBES, REJECTED, registered_name
from tasks.saying import warn
from tasks.verdicts import read_verdicts


@task(cache_policy=NO_CACHE)
def save_reader(
    params: EvaluateParams, child: str, transferred: Path, num_threads: int
) -> Path | None:
    """Fit the reader that users get: the data route's, on all rows.

    It learns only labels that come through in the child; None, and an empty output, where none
    does.
    """
    names = [name for name, verdict in read_verdicts(transferred).items() if verdict.transferable]
    folder = artifact("evaluate", child) / "reader"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not names:
        warn(f"evaluate {child}: no label comes through in the child, so it has no reader")
        return None
    with compute(num_threads):
        train_reader(
            transferred,
            names,
            split=None,
            num_steps=params.num_steps,
            seed=params.seeds[0],
            description=f"reader of {child}",
        ).save(folder)
    return folder


@task(cache_policy=NO_CACHE)
def register_reader(child: str, folder: Path, transferred: Path, reasons: list[str]) -> str:
    """Register a reader as `<project>-<child>-reader`; champion if nothing speaks against it.

    Raises: CheckpointError if the version that comes back reads other labels.
    """
    name, client = f"{registered_name(child)}-reader", MlflowClient()
    probes = images_input(open_dataset(transferred).images(range(NUM_PROBES)))
    info = mlflow.pyfunc.log_model(
        name="reader",
        python_model=str(Path(__file__).with_name("served_reader.py")),
        artifacts={"reader": str(folder)},
        signature=ModelSignature(inputs=Schema([ColSpec(DataType.binary, "image")])),
        input_example=probes.head(1),
        pip_requirements=[f"stylealign=={version('stylealign')}"],
        registered_model_name=name,
    )
    number = str(info.registered_model_version)
    require_same_reading(f"models:/{name}/{number}", folder, transferred)
    client.set_registered_model_alias(name, CHALLENGER if reasons else CHAMPION, number)
    if reasons:
        client.set_model_version_tag(name, number, REJECTED, "; ".join(reasons))
    return number


def require_same_reading(uri: str, folder: Path, images: Path) -> None:
    """Load a registered reader the way a user does, and compare its labels with the folder's.

    Raises: CheckpointError if they differ.
    """
    pixels = open_dataset(images).images(range(NUM_PROBES))
    again = mlflow.pyfunc.load_model(uri).predict(images_input(pixels))
    if not load_reader(folder).predict(pixels).equals(again):
        raise CheckpointError(f"{uri!r} reads other labels than {str(folder)!r}: not registered")


def images_input(pixels: PixelBatch) -> pd.DataFrame:
    """Images as the registered reader takes them."""
    return pd.DataFrame({"image": [encode_png(image) for image in pixels]})
