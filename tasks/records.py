"""What MLflow is told about each stage: params, inputs, metrics by step, figures, lineage."""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import yaml
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import (
    LocalArtifactDatasetSource,  # pyright: ignore[reportAttributeAccessIssue]  made at import
)
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import BaseModel

from stylealign.data.manifest import MANIFEST_FILE
from stylealign.params import ShardsParams
from tasks.patience import Patience
from tasks.store import open_experiment

MAX_PARAM_CHARS = 500
MAX_BATCH = 1000


@dataclass(frozen=True)
class Record:
    """One open MLflow run; numbers and figures go in while the stage works."""

    run_id: str

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step (for training: images shown)."""
        now = int(time.time() * 1000)
        entries = [Metric(name, float(value), now, step) for name, value in values.items()]
        client = MlflowClient()
        for start in range(0, len(entries), MAX_BATCH):
            client.log_batch(self.run_id, metrics=entries[start : start + MAX_BATCH])

    def figures(self, paths: Sequence[Path]) -> None:
        """Keep figures and small tables with the run."""
        for path in paths:
            MlflowClient().log_artifact(self.run_id, str(path), "figures")

    def tag(self, **tags: str) -> None:
        """Note facts that are not numbers, such as a resolved model version."""
        for name, value in tags.items():
            MlflowClient().set_tag(self.run_id, name, value)


class LiveRecord:
    """A record that a long stage works on without while MLflow does not take what it is told.

    It says so once; the stage has all that is lost there in files of its own.
    """

    def __init__(self, record: Record, say: Callable[[str], object]) -> None:
        def complain(reason: str) -> None:
            lost = "the stage goes on, and what it is told meanwhile is lost there"
            say(f"MLflow does not take what it is told ({reason}); {lost}")

        self.record = record
        # errors of HTTP are OSErrors
        self._patience = Patience((MlflowException, OSError), complain)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """As `Record.metrics`."""
        self._patience.tell(lambda: self.record.metrics(values, step))

    def figures(self, paths: Sequence[Path]) -> None:
        """As `Record.figures`."""
        self._patience.tell(lambda: self.record.figures(paths))

    def tag(self, **tags: str) -> None:
        """As `Record.tag`."""
        self._patience.tell(lambda: self.record.tag(**tags))


@contextmanager
def recorded(
    stage: str, name: str, params: BaseModel, inputs: Mapping[str, Path | ShardsParams]
) -> Generator[Record]:
    """An MLflow run around a stage; a stage that fails leaves a failed run.

    Inputs are logged with the content hash that DVC knows them by, or that the params ask for.
    """
    end_killed_runs(open_experiment(project_name()), stage, name)
    title = f"{stage}@{name}" if name else stage
    with mlflow.start_run(run_name=title) as run:
        mlflow.set_tags({"stage": stage, "name": name, "git_commit": git_commit()})
        mlflow.log_params(flat_params(params))
        for context, where in inputs.items():
            mlflow.log_input(describe_input(where), context=context)
        try:
            yield Record(run.info.run_id)
        except KeyboardInterrupt:
            mlflow.end_run("KILLED")
            raise


def describe_input(where: Path | ShardsParams) -> MetaDataset:
    """A folder, or what lies at a URL, as MLflow records that a run read it."""
    if isinstance(where, ShardsParams):
        source = LocalArtifactDatasetSource(where.url)
        return MetaDataset(source, name=where.url, digest=where.content_hash[:36])
    source = LocalArtifactDatasetSource(where.absolute().as_uri())
    return MetaDataset(source, name=where.as_posix(), digest=digest(where))


def end_killed_runs(experiment: str, stage: str, name: str) -> None:
    """Mark the runs of this stage that still count as running: their process is gone.

    A stage of a project runs once at a time, so what runs while it starts was killed.
    """
    client = MlflowClient()
    running = f"attributes.status = 'RUNNING' and tags.stage = '{stage}' and tags.name = '{name}'"
    for run in client.search_runs([experiment], running):
        client.set_terminated(run.info.run_id, "KILLED")


def project_name() -> str:
    """The project's name in params.yaml: the MLflow experiment of all its runs."""
    return str(yaml.safe_load(Path("params.yaml").read_text("utf-8"))["project"]["name"])


def git_commit() -> str:
    """The commit the project is at, `-dirty` behind it where files differ; empty without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def digest(path: Path) -> str:
    """The md5 that DVC tracks a path by; for a path DVC does not know, a hash of its manifest.

    What the lock says of dependencies is of the last run, and a stage runs because they changed.
    """
    added, lock = path.with_name(f"{path.name}.dvc"), Path("dvc.lock")
    if added.is_file():
        (out,) = yaml.safe_load(added.read_text("utf-8"))["outs"]
        return str(out["md5"])[:36]
    stages = yaml.safe_load(lock.read_text("utf-8")).get("stages", {}) if lock.exists() else {}
    for stage in stages.values():
        for out in stage.get("outs", []):
            if out["path"] == path.as_posix():
                return str(out["md5"])[:36]
    for manifest in (path / MANIFEST_FILE, path / "config.json", path):
        if manifest.is_file():
            return hashlib.sha256(manifest.read_bytes()).hexdigest()[:32]
    return "unknown"


def flat_params(params: BaseModel) -> dict[str, str]:
    """One line per leaf of a section, `recipe.batch_size` style, as MLflow's table wants it."""
    flat: dict[str, str] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            flat[prefix] = (value if isinstance(value, str) else json.dumps(value))[
                :MAX_PARAM_CHARS
            ]

    walk("", params.model_dump(mode="json"))
    return flat
