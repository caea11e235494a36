"""MLflow's database of a project: whole before anybody opens it."""

from pathlib import Path
from typing import Final

import mlflow
from filelock import FileLock
from mlflow.tracking import MlflowClient

from tasks.layout import record_folder

SQLITE: Final = "sqlite:///"


def open_store() -> None:
    """Make the project's database where there is none; return once it can be used.

    MLflow makes it table by table. Two processes that did so at once, or one that was killed
    meanwhile, would leave what none can open: so one makes it, and under a temporary name.
    """
    uri = mlflow.get_tracking_uri()
    if not uri.startswith(SQLITE):  # a server of the user's own
        return
    place = Path(uri.removeprefix(SQLITE))
    with _store_lock():
        if not place.exists():
            _make(place)


def open_experiment(name: str) -> str:
    """Make this experiment the current one; its artifacts lie in the state folder.

    Returns its id.
    """
    open_store()
    with _store_lock():
        if mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, record_folder().absolute().as_uri())
    return mlflow.set_experiment(name).experiment_id


def _store_lock() -> FileLock:
    return FileLock(record_folder().with_suffix(".lock"))


def _make(place: Path) -> None:
    unfinished = place.with_suffix(".new")
    for left in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        left.unlink(missing_ok=True)
    MlflowClient(f"{SQLITE}{unfinished}")
    unfinished.rename(place)
