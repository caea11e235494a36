"""The folder a command works in: its state, its environment variables, its lock."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stylealign.errors import DataError, ParamsError, StyleAlignError
from stylealign.params import load_params

STATE = Path(".stylealign")

_QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
"""Telemetry off, and no chatter between the stages; the server keeps the full log."""


def enter_project(folder: Path | None = None) -> Path:
    """Make a folder the project of this process: state folder, stores, telemetry off.

    Must run before Prefect or MLflow is imported, as both read the environment once.

    Raises: DataError if the folder cannot be written.
    """
    root = (folder or Path.cwd()).resolve()
    state = root / STATE
    try:
        state.mkdir(exist_ok=True)
        probe = state / f"probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            f"the project folder {str(root)!r} cannot be written ({error.strerror}): "
            "choose another folder or change its permissions"
        ) from None
    os.environ.update(_QUIET)
    os.environ["PREFECT_HOME"] = str(state / "prefect")
    os.environ["PREFECT_PROFILES_PATH"] = str(state / "prefect" / "profiles.toml")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{state / 'mlflow.db'}"
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    _reach_loopback()
    return root


def _reach_loopback() -> None:
    """Keep a proxy of the network out of the way to our own server."""
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if not {"*", "127.0.0.1"} & set(hosts):
        given = ",".join([*hosts, "127.0.0.1"])
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = given


@contextmanager
def project_lock(root: Path) -> Generator[None]:
    """Hold the project for one run of the pipeline; a second one is turned away.

    Raises: StyleAlignError if another process holds it.
    """
    lock = FileLock(root / STATE / "pipeline.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StyleAlignError(
            f"another run of the pipeline is at work in {str(root)!r}: wait until it has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()


def project_device() -> str:
    """`project.device` of the project in this folder; `auto` where there is none.

    Raises: ParamsError if its params.yaml cannot be used.
    """
    path = Path("params.yaml")
    try:
        return load_params(path).project.device if path.exists() else "auto"
    except ParamsError:
        if STATE.exists():
            raise
        return "auto"  # other programs call theirs so, too


def find_model(reference: str) -> Path:
    """Where a model lies; one of a registry is fetched from the project in this folder.

    Raises: CheckpointError if the registry has no such model; ParamsError if this folder is no
        project.
    """
    if not reference.startswith("models:/"):
        return Path(reference)
    load_params(Path("params.yaml"))
    enter_project()
    from tasks.registry import resolve_model

    return resolve_model(reference)[0]
