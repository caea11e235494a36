"""The scheduled run: do nothing when nothing changed, else rerun what is stale and keep it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.project import enter_project, project_lock
from flows.run import FIGURES, require_repository
from stylealign.errors import StyleAlignError
from stylealign.params import RefreshParams, load_params

RESULTS = ("dvc.lock", "metrics", "data")
"""Where git sees what a run changes: the lock of the stages, the metrics, raw data."""

ADDED = ("dvc.lock", "metrics", ":(glob)data/**/*.dvc", ":(glob)data/**/.gitignore")
"""What git takes up that it did not know: of raw data what stands for it, never the data."""

MAX_NAMED = 10
"""Changes that the state of a run names one by one."""


@flow(name="refresh", log_prints=False)
def refresh(project: Path | None = None) -> State:
    """Lock, look for stale stages, rerun them, gate, commit, push; Skipped when all is clean.

    Results that the quality gate refuses stay uncommitted, so each later run fails again with
    the same reason until somebody mends them.
    """
    root = enter_project(project or Path(os.environ.get("STYLEALIGN_PROJECT", ".")))
    params = load_params(root / "params.yaml")
    require_repository(root)
    with project_lock(root):
        stale = list_stale(root, params.refresh)
        if not stale:
            return end_clean(root, params.refresh)
        rerun = rerun_stale(root)
        require_quality(root)
        kept = keep_results(root, params.refresh)
    changed = ", ".join(stale[:MAX_NAMED]) + (", …" if len(stale) > MAX_NAMED else "")
    return Completed(message=f"changed: {changed}; reran {', '.join(rerun) or 'nothing'}; {kept}")


def end_clean(root: Path, params: RefreshParams) -> State:
    """Nothing is stale: push what an earlier run could not, else skip.

    Raises: StyleAlignError if results that stay uncommitted by choice are not good enough.
    """
    if not params.commit and (root / FIGURES).exists():
        require_quality(root)
    if params.push and list_unpushed(root):
        push_results(root)
        return Completed(message="nothing changed; pushed what an earlier run could not push")
    return Completed(name="Skipped", message="nothing changed since the last run")


@task(cache_policy=NO_CACHE)
def list_stale(root: Path, params: RefreshParams) -> list[str]:
    """Stages and raw data that `dvc status` calls changed, and results not yet committed."""
    changed = list(json.loads(run_command([sys.executable, "-m", "dvc", "status", "--json"], root)))
    return changed + list_uncommitted(root) if params.commit else changed


def list_uncommitted(root: Path) -> list[str]:
    """Results that differ from the last commit, or are new."""
    differing = ["git", "diff", "--name-only", "--relative", "-z", "HEAD", "--", *RESULTS]
    known = run_command(differing, root)
    listed = ["git", "ls-files", "--others", "--exclude-standard", "-z", "--", *ADDED]
    return [name for name in (known + run_command(listed, root)).split("\0") if name]


@task(cache_policy=NO_CACHE)
def list_unpushed(root: Path) -> list[str]:
    """Commits that the git remote does not have.

    Raises: StyleAlignError if the branch has no upstream to push to.
    """
    return run_command(["git", "rev-list", "@{upstream}..HEAD"], root).split()


@task(cache_policy=NO_CACHE)
def rerun_stale(root: Path) -> list[str]:
    """`dvc repro`: only what is stale runs; returns the stages that did, downstream ones too."""
    said = run_command([sys.executable, "-m", "dvc", "repro"], root)
    get_run_logger().info(said)
    return re.findall(r"^Running stage '([^']+)'", said, re.MULTILINE)


@task(cache_policy=NO_CACHE)
def require_quality(root: Path) -> None:
    """Let no child pass that the gate of stage `evaluate` refused.

    Raises: StyleAlignError with every reason.
    """
    figures = json.loads((root / FIGURES).read_text("utf-8"))
    refused = {
        child: "; ".join(scores["gate"]["reasons"])
        for child, scores in figures.items()
        if not scores["gate"]["passed"]
    }
    if refused:
        reasons = ". ".join(f"{child}: {reason}" for child, reason in refused.items())
        raise StyleAlignError(
            f"the quality gate refuses the new results, they are neither committed nor pushed. "
            f"{reasons}. Mend the data, or change `quality` in params.yaml"
        )


@task(cache_policy=NO_CACHE)
def keep_results(root: Path, params: RefreshParams) -> str:
    """Commit the new version, and push data and commit where params say so."""
    if not params.commit:
        return "not committed, as refresh.commit is false"
    names = list_uncommitted(root)
    if not names:
        return "results are those of the last commit"
    run_command(["git", "add", "--", *names], root)
    message = "Refresh: new data, new results"
    run_command(["git", "commit", "--quiet", "--message", message, "--", *names], root)
    if params.push:
        push_results(root)
    return "committed " + run_command(["git", "rev-parse", "--short", "HEAD"], root).strip()


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=20)
def push_results(root: Path) -> None:
    """Push data to the DVC remote, then the commit; retried, as the network may fail."""
    run_command([sys.executable, "-m", "dvc", "push"], root)
    run_command(["git", "push"], root)


def run_command(command: list[str], root: Path) -> str:
    """Output of a command in the project's folder.

    Raises: StyleAlignError with the last lines the command said, if it fails.
    """
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-12:]
        raise StyleAlignError(
            f"`{command_name(command)}` failed with exit code {done.returncode}:\n"
            + "\n".join(said)
        )
    return done.stdout


def command_name(command: list[str]) -> str:
    """A command as a person would type it."""
    return " ".join(part for part in command if part not in (sys.executable, "-m"))
