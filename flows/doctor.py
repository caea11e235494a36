"""What this machine and this project can do, and how to mend what they cannot."""

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.project import STATE, enter_project
from stylealign.errors import ParamsError, StyleAlignError
from stylealign.params import load_params

PINS = {"fastapi": ("0.139", "0.151"), "sqlalchemy": ("2.0", "2.1"), "prefect": ("3.8.8", "3.8.9")}
"""Packages that break Prefect outside this range: lowest, and first that is too new."""

LOWEST_PYTHON, FIRST_UNKNOWN_PYTHON = (3, 11), (3, 14)
"""As `requires-python` of pyproject.toml has it."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    what: str
    is_well: bool
    seen: str
    mend: str = ""


def examine(root: Path) -> bool:
    """Print every finding; true if nothing needs mending."""
    table = Table(title="stylealign doctor", title_justify="left")
    for column in ("", "what", "seen", "how to mend"):
        table.add_column(column, overflow="fold")
    checks = CHECKS if (root / "params.yaml").exists() else MACHINE_CHECKS
    findings = [finding for check in checks for finding in check(root)]
    for finding in findings:
        mark = "[green]ok[/]" if finding.is_well else "[red]mend[/]"
        mend = "" if finding.is_well else finding.mend
        table.add_row(mark, finding.what, escape(finding.seen), escape(mend))
    Console().print(table)
    return all(finding.is_well for finding in findings)


def check_versions(_root: Path) -> Iterator[Finding]:
    """Python, the packages, and the ranges outside which Prefect breaks."""
    python = ".".join(map(str, sys.version_info[:3]))
    is_known = LOWEST_PYTHON <= sys.version_info[:2] < FIRST_UNKNOWN_PYTHON
    yield Finding("python", is_known, python, "use Python 3.11, 3.12 or 3.13")
    for package in ("torch", "mlflow", "dvc", "pandas", "pyarrow", "pillow"):
        yield Finding(package, True, version(package))
    for package, (low, high) in PINS.items():
        seen = version(package)
        is_well = numbers(low) <= numbers(seen) < numbers(high)
        mend = f"pip install -c constraints.txt {package}: needs {low} up to, not including, {high}"
        yield Finding(package, is_well, seen, mend)


def check_devices(_root: Path) -> Iterator[Finding]:
    """What torch can compute on."""
    from tasks.devices import count_threads, list_cuda_devices

    yield Finding("cpu threads", True, str(count_threads()))
    names = list_cuda_devices()
    yield Finding("cuda devices", True, ", ".join(names) or "none: the CPU is used")


def check_tools(_root: Path) -> Iterator[Finding]:
    """Programs that the pipeline calls for."""
    git = shutil.which("git")
    yield Finding("git", git is not None, git or "not found", "install git")


def check_repositories(root: Path) -> Iterator[Finding]:
    """Repositories that a project is one of."""
    for name, command in ((".git", "git init"), (".dvc", "dvc init")):
        is_there = any((folder / name).exists() for folder in (root, *root.parents))
        yield Finding(f"{name} repository", is_there, str(root), f"run `{command}` in {root}")


def check_project(root: Path) -> Iterator[Finding]:
    """params.yaml and what it names."""
    try:
        params = load_params(root / "params.yaml")
    except StyleAlignError as error:
        yield Finding("params.yaml", False, "cannot be used", str(error))
        return
    yield Finding("params.yaml", True, f"project {params.project.name!r}")
    yield check_device(params.project.device)
    parent = root / params.train_parent.model
    if parent.exists():
        yield Finding("parent model", True, params.train_parent.model)
    elif params.train_parent.recipe is not None:
        yield Finding("parent model", True, "not there yet: `dvc repro` trains it")
    else:
        mend = "put a checkpoint there, or add architecture and recipe to train_parent"
        yield Finding("parent model", False, f"{params.train_parent.model} is missing", mend)


def check_device(wanted: str) -> Finding:
    """Whether the stages find what they are to compute on."""
    from tasks.devices import choose_device

    try:
        return Finding("project.device", True, f"{wanted}: {choose_device(wanted)} is used")
    except ParamsError as error:
        return Finding("project.device", False, wanted, str(error))


def check_stores(root: Path) -> Iterator[Finding]:
    """State folder, databases and space."""
    try:
        enter_project(root)
    except StyleAlignError as error:
        yield Finding("state folder", False, str(root / STATE), str(error))
        return
    yield Finding("state folder", True, f"{root / STATE} can be written")
    for name in ("mlflow.db", "prefect/prefect.db"):
        path = root / STATE / name
        if path.exists():
            yield check_database(path)
    free_gb = shutil.disk_usage(root).free / 1e9
    yield Finding("free space", free_gb > 1, f"{free_gb:.1f} GB", "free at least 1 GB")


def check_database(path: Path) -> Finding:
    """Whether an SQLite store is whole."""
    try:
        with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as store:
            answer = store.execute("pragma quick_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        answer = str(error)
    mend = f"move {path} away: records are lost, data and models are not"
    return Finding(path.name, answer == "ok", str(answer), mend)


def numbers(text: str) -> tuple[int, ...]:
    """A version as numbers; letters end it."""
    parts = text.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


Checks = tuple[Callable[[Path], Iterator[Finding]], ...]

MACHINE_CHECKS: Checks = (check_versions, check_devices, check_tools, check_project)
"""In a folder that is no project, which is left as it is; `check_project` says so."""
CHECKS: Checks = (*MACHINE_CHECKS, check_repositories, check_stores)
