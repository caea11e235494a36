"""Runs one stage under Prefect, or the whole graph under DVC."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.project import enter_project, project_lock
from flows.server import start_server, wait_for_server
from flows.stop import StoppedError
from stylealign.errors import ParamsError, StyleAlignError
from stylealign.params import Params, load_params
from tasks.layout import PAGE_FILE, artifact, metrics_file

NAMED_STAGES = {
    "prepare": "prepare",
    "train_child": "train_child",
    "translate": "train_child",
    "transfer": "train_child",
}
"""Stages that exist once per entry of a section, and that section."""

TRAINING_STAGES = ("train_parent", "train_child")
"""Stages that `torchrun` can run in several processes."""

REPORT = artifact("report") / PAGE_FILE
FIGURES = metrics_file("evaluate")
ARMS = ("source_only", "transfer", "oracle")


def run_stage(stage: str, name: str, overrides: Sequence[str]) -> None:
    """Run one stage's flow on the server of this pipeline run.

    Raises: StyleAlignError for anything the user can mend.
    """
    params = load_params(Path("params.yaml"), overrides)
    require_version(params)
    require_name(stage, name, params)
    root = enter_project()
    if int(os.environ.get("RANK", "0")):
        import_module("tasks.followers").follow_first(params, stage, name)
        return
    require_processes(stage)
    url = start_server(root)
    os.environ["OMP_NUM_THREADS"] = str(params.project.num_threads)
    flow = getattr(import_module(f"flows.{stage}"), stage)
    wait_for_server(root)
    import httpx
    from prefect import tags

    try:
        with tags(f"stage:{stage}", *([f"name:{name}"] if name else [])):
            flow(params, name) if stage in NAMED_STAGES else flow(params)
    except KeyboardInterrupt as interrupt:
        said = str(interrupt) or "stopped; what is finished is kept, run it again to go on"
        raise StoppedError(said) from None
    except httpx.TransportError as error:
        raise StyleAlignError(
            f"the Prefect server at {url} did not answer ({error}): run the stage again, "
            "what is finished is kept"
        ) from error


def require_name(stage: str, name: str, params: Params) -> None:
    """Check that the data set or child exists where a stage has several.

    Raises: ParamsError that lists the names there are.
    """
    section = NAMED_STAGES.get(stage)
    names = sorted(getattr(params, section)) if section else []
    if name not in (names or [""]):
        wanted = f"one of {', '.join(names)}" if names else "no name"
        raise ParamsError(f"stage {stage!r} takes {wanted}, got {name!r}")


def require_processes(stage: str) -> None:
    """Refuse several processes where only training can use them.

    Raises: ParamsError.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and stage not in TRAINING_STAGES:
        message = f"stage {stage!r} runs in one process, torchrun started {count}"
        raise ParamsError(message + "; start it without torchrun")


def require_version(params: Params) -> None:
    """Check that the installed package is the one that the project's artifacts were made with.

    Raises: ParamsError that says how to go on with either.
    """
    wanted, installed = params.project.version, version("stylealign")
    if wanted not in (None, installed):
        raise ParamsError(
            f"project.version is {wanted!r}, but stylealign {installed} is installed: set "
            f"project.version to {installed} to make all stages anew, or install {wanted}"
        )


def run_pipeline(root: Path) -> None:
    """`dvc repro`, then the headline figures and the path of the report.

    Raises: StyleAlignError if a stage failed or the project is in use.
    """
    require_version(load_params(root / "params.yaml"))
    enter_project(root)
    require_repository(root)
    with project_lock(root):
        reproduce(root)
    show_headline(root)


def require_repository(root: Path) -> None:
    """Check that the folder is under git and DVC.

    Raises: StyleAlignError that says which one is missing.
    """
    for part, command in ((".dvc", "dvc init"), (".git", "git init")):
        if not any((folder / part).exists() for folder in (root, *root.parents)):
            raise StyleAlignError(
                f"{str(root)!r} is not in a {part[1:]} repository: run `{command}` there, "
                "or make a project with `stylealign init DIR`"
            )


def reproduce(root: Path) -> None:
    """Run every stale stage, output straight to the terminal.

    Raises: StyleAlignError if a stage failed; the stage has said why.
    """
    repro = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=root)
    try:
        repro.wait()
    except KeyboardInterrupt:  # the terminal told the stage as well: it saves and ends
        repro.wait()
        raise StoppedError("stopped; what is finished is kept, run it again to go on") from None
    if repro.returncode:
        raise StyleAlignError(
            "a stage failed, its own message stands above: mend it and run again, "
            "what is finished is kept"
        )


def show_headline(root: Path) -> None:
    """Print the evaluation's table, whatever it says, and where the report lies."""
    console = Console()
    figures = root / FIGURES
    if figures.exists():
        for child, scores in json.loads(figures.read_text("utf-8")).items():
            console.print(headline_table(child, scores["labels"]))
    if (root / REPORT).exists():
        console.print(f"report: {root / REPORT}", soft_wrap=True, markup=False, highlight=False)


def headline_table(child: str, labels: dict[str, dict[str, Any]]) -> Table:
    """One row per label: the three arms, the share of the gap that is closed, the verdict."""
    table = Table(title=f"labels carried to {child}", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("label", no_wrap=True)
    for arm in ARMS:
        table.add_column(arm.replace("_", "\n"), justify="right", no_wrap=True)
    table.add_column("gap closed", justify="right", no_wrap=True)
    table.add_column("transferable", no_wrap=True)
    for label, scores in labels.items():
        arms = ("-" if scores.get(arm) is None else f"{scores[arm]:.3f}" for arm in ARMS)
        gap = "-"
        if scores.get("gap_closed") is not None:
            gap = "{gap_closed:.2f} [{low:.2f}, {high:.2f}]".format(**scores)
        verdict = "yes" if scores["transferable"] else "no"
        control = " (control)" if scores.get("control") else ""
        table.add_row(label, *arms, escape(gap), verdict + control)
    return table
