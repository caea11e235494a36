"""Where each stage's outputs lie inside a project."""

from pathlib import Path


def artifact(stage: str, name: str = "") -> Path:
    """Folder of a stage's outputs, with the data set's or child's name as the last part."""
    return Path("artifacts") / stage / name


def metrics_file(stage: str) -> Path:
    """JSON of a stage's figures; in git, the only figures the docs quote."""
    return Path("metrics") / f"{stage}.json"


def snapshot_folder() -> Path:
    """Resumable training states; outside the outputs, which DVC deletes before a rerun."""
    return Path(".stylealign") / "snapshots"


def scratch_folder(stage: str, name: str) -> Path:
    """What a stage makes for itself and nobody depends on."""
    return Path(".stylealign") / "scratch" / stage / name
