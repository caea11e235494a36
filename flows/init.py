"""A project of the user's own: the same stages as the demo, in its own git and DVC."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from flows.project import enter_project
from stylealign.errors import DataError, StyleAlignError

TEMPLATES = ("params.yaml", "dvc.yaml", "prefect.yaml", "data/sources.yaml", ".dvcignore")
CODE = ("stylealign/", "tasks/", "flows/")
IGNORED = "/artifacts/\n/.stylealign/\n"

NEXT_STEPS = """Made {folder}. Next:
  cd {folder}
  put images and labels under data/raw/, and describe them in params.yaml under prepare
  dvc repro
"""


def create_project(folder: Path) -> None:
    """Write a project into a new or empty folder and commit it.

    Raises: DataError if the folder is not empty or cannot be written; StyleAlignError if git is
        not installed.
    """
    if shutil.which("git") is None:
        raise StyleAlignError("git is not installed, and a project is a git repository: install it")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{str(folder)!r} is not empty: choose a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{str(folder)!r} cannot be made: {error.strerror}") from None
    enter_project(folder)
    write_templates(folder)
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "config", "core.analytics", "false"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message", "Start a StyleAlign project"],
    ):
        require_success(command, folder)
    Console().print(NEXT_STEPS.format(folder=folder), highlight=False, soft_wrap=True)


def write_templates(folder: Path) -> None:
    """Copy the demo's files; where they name code, the package's version stands in its place."""
    source = template_folder()
    for name in TEMPLATES:
        text = (source / name).read_text("utf-8")
        if name == "dvc.yaml":
            text = without_code(text)
        if name == "params.yaml":
            text = text.replace(
                "  num_threads:", f"  version: {version('stylealign')}\n  num_threads:"
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    (folder / ".gitignore").write_text(IGNORED, "utf-8")
    shutil.copytree(source / "models" / "people32", folder / "models" / "people32")


def template_folder() -> Path:
    """Where the demo's files lie: inside the wheel, or the repository of an editable install."""
    root = Path(__file__).parents[1]
    packaged = root / "stylealign_template"
    return packaged if packaged.exists() else root


def without_code(dvc_yaml: str) -> str:
    """Stages that depend on the package's version instead of on its files."""
    lines: list[str] = []
    for line in dvc_yaml.splitlines(keepends=True):
        entry = line.strip().removeprefix("- ")
        if entry.startswith(CODE):
            continue
        lines.append(line)
        if entry.strip() == "params:":
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}  - project.version\n")
    return "".join(lines)


def require_success(command: list[str], folder: Path) -> None:
    """Run a command in a folder.

    Raises: StyleAlignError with the command's own last line if it fails.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        name = " ".join(part for part in command[:3] if part != sys.executable)
        raise StyleAlignError(f"`{name}` failed in {str(folder)!r}: {said[-1]}")
