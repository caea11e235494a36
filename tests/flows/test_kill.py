"""`kill -9` in the middle of a stage, then `dvc repro`: nothing is lost and no byte differs."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .conftest import dvc, environment, rows, run, run_stages, small_params, write_params

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PREPARED = ("prepare@people", "prepare@cats")


@pytest.fixture(scope="module")
def twins(project: Path, tmp_path_factory) -> tuple[Path, Path]:
    """Two projects with the same prepared images; the second has worked undisturbed."""
    tree = small_params()
    tree["invert"] |= {"shard_size": 5, "num_steps": 20}
    recipe = tree["train_child"]["cats"]["recipe"]
    recipe |= {"total_kimg": 0.96, "tick_kimg": 0.032, "snapshot_kimg": 0.064}
    write_params(project, tree)
    run_stages(project, *PREPARED)
    dvc(project, "commit", "--force", *PREPARED)
    undisturbed = tmp_path_factory.mktemp("undisturbed") / "tiny"
    shutil.copytree(project, undisturbed, ignore=shutil.ignore_patterns(".stylealign"))
    run_stages(undisturbed, "invert", "train_child@cats")
    return project, undisturbed


def kill_once(project: Path, stage: str, is_due: Callable[[], bool]) -> None:
    """`dvc repro` one stage and kill it with everything it started, as soon as it is due."""
    command = [sys.executable, "-m", "dvc", "repro", stage]
    repro = subprocess.Popen(command, cwd=project, env=environment(), stdout=subprocess.DEVNULL)
    while not is_due():
        assert repro.poll() is None, f"{stage} ended before it could be killed"
        time.sleep(0.02)
    for process in (*psutil.Process(repro.pid).children(recursive=True), repro):
        process.kill()
    repro.wait()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_killed_inversion_goes_on_and_ends_in_the_same_bytes(twins):
    killed, undisturbed = twins
    folder = killed / "artifacts/invert"
    kill_once(killed, "invert", lambda: len([*folder.glob("*.parquet")]) >= 4)

    done = run(killed, sys.executable, "-m", "dvc", "repro", "invert")

    said = r"invert: (\d+) images in .* s, (\d+) of them kept from an earlier run"
    inverted = re.search(said, done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(folder) == contents(undisturbed / "artifacts/invert")
    assert inverted
    manifest = json.loads((folder / "manifest.json").read_text())
    assert int(inverted[1]) == manifest["num_rows"]
    assert int(inverted[2]) >= 4 * 5


def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(twins):
    killed, undisturbed = twins
    snapshots = killed / ".stylealign/snapshots"
    kill_once(killed, "train_child@cats", lambda: any(snapshots.glob("cats-*.safetensors")))

    dvc(killed, "repro", "train_child@cats")

    runs = rows(killed, "mlflow.db", FIRST_STEPS)
    assert contents(killed / "artifacts/train_child/cats") == contents(
        undisturbed / "artifacts/train_child/cats"
    )
    assert [status for status, _ in runs] == ["KILLED", "FINISHED"]
    assert runs[1][1] > runs[0][1]


def test_killed_flows_are_marked_as_crashed_by_the_next_server(twins):
    killed, _ = twins

    states = rows(killed, "prefect/prefect.db", "select state_type from flow_run")
    slots = rows(killed, "prefect/prefect.db", "select active_slots from concurrency_limit_v2")

    assert [state for (state,) in states].count("CRASHED") == 2
    assert not {"RUNNING", "PENDING"} & {state for (state,) in states}
    assert slots == [(0,)]


FIRST_STEPS = """
select runs.status, min(metrics.step) from runs join metrics using (run_uuid)
where runs.name = 'train_child@cats' group by run_uuid order by runs.start_time
"""
