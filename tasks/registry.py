"""Models in MLflow's registry: logged without pickle, trusted only after they drew again."""

from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.checkpoints import load_model
from stylealign.errors import CheckpointError
from stylealign.images import encode_png
from stylealign.models import Model
from stylealign.models.frozen import frozen
from stylealign.tensors import to_uint8
from tasks.records import project_name
from tasks.store import open_store

CHAMPION, CHALLENGER = "champion", "challenger"
NUM_PROBES = 4
REJECTED = "rejected_because"
"""Tag of a version that the quality gate refused."""

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(Array(DataType.double), "code")]),
    outputs=Schema([ColSpec(DataType.binary, "image")]),
    params=ParamSchema(
        [
            ParamSpec("space", DataType.string, "z"),
            ParamSpec("truncation_psi", DataType.double, 1.0),
        ]
    ),
)


def registered_name(child: str) -> str:
    """Name of a child in the registry."""
    return f"{project_name()}-{child}"


@task(cache_policy=NO_CACHE)
def register_challenger(child: str, folder: Path) -> str:
    """Register a child's folder as a new version, and see it draw before it may challenge.

    Raises: CheckpointError if the version that comes back draws other images.
    """
    name = registered_name(child)
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("served_model.py")),
        artifacts={"model": str(folder)},
        signature=SIGNATURE,
        input_example=codes_input(probe_codes(load_model(folder), 1)),
        pip_requirements=[f"stylealign=={version('stylealign')}"],
        registered_model_name=name,
    )
    number = str(info.registered_model_version)
    require_same_drawing(f"models:/{name}/{number}", folder)
    MlflowClient().set_registered_model_alias(name, CHALLENGER, number)
    return number


@task(cache_policy=NO_CACHE)
def promote(child: str, folder: Path, reasons: list[str]) -> bool:
    """Move `champion` to the challenger if nothing speaks against it; else tag it with why not.

    The folder holds the child that was judged. Where that is not the challenger, as DVC brings an
    earlier one back without training, it challenges anew.
    """
    name, client = registered_name(child), MlflowClient()
    try:
        number = client.get_model_version_by_alias(name, CHALLENGER).version
    except MlflowException:
        return False  # the child was trained elsewhere: nothing to promote
    registered, _ = resolve_model(f"models:/{name}/{number}")
    if load_model(registered).config.id != load_model(folder).config.id:
        number = register_challenger(child, folder)
    if reasons:
        client.set_model_version_tag(name, number, REJECTED, "; ".join(reasons))
        return False
    require_same_drawing(f"models:/{name}/{number}", folder)
    client.set_registered_model_alias(name, CHAMPION, number)
    client.delete_model_version_tag(name, number, REJECTED)
    return True


def require_same_drawing(uri: str, folder: Path) -> None:
    """Load a registered model the way a user does, and compare its images with the folder's.

    Raises: CheckpointError if they differ.
    """
    model = load_model(folder)
    codes = probe_codes(model, NUM_PROBES)
    with frozen(model.generator), torch.inference_mode():
        images = to_uint8(model.generator.synthesis(model.generator.mapping(codes)))
    drawn = mlflow.pyfunc.load_model(uri).predict(codes_input(codes))["image"].tolist()
    if drawn != [encode_png(image) for image in images]:
        raise CheckpointError(f"{uri!r} draws other images than {str(folder)!r}: not registered")


def probe_codes(model: Model, num: int) -> torch.Tensor:
    """The same few z codes each time."""
    rng = torch.Generator().manual_seed(0)
    return torch.randn(num, model.config.z_dim, generator=rng)


def codes_input(codes: torch.Tensor) -> pd.DataFrame:
    """Codes as the registered model takes them."""
    return pd.DataFrame({"code": codes.numpy().astype(np.float64).tolist()})


def resolve_model(reference: str) -> tuple[Path, str]:
    """Local path of a model, and the name it is known by with its version filled in.

    A reference is a path, `models:/name@alias` or `models:/name/version`.

    Raises: CheckpointError if the registry has no such model.
    """
    if not reference.startswith("models:/"):
        return Path(reference), reference
    open_store()
    name, _, alias = reference.removeprefix("models:/").partition("@")
    try:
        if alias:
            number = MlflowClient().get_model_version_by_alias(name, alias).version
        else:
            name, _, number = name.partition("/")
        resolved = f"models:/{name}/{number}"
        folder = Path(download_artifacts(resolved)) / "artifacts"
    except MlflowException as error:
        raise CheckpointError(f"no registered model {reference!r}: {error.message}") from None
    (inside,) = [path for path in folder.iterdir() if path.is_dir()]
    return inside, resolved
