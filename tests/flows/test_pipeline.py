"""The whole graph on tiny images: real DVC, a real Prefect server, a real MLflow store."""

import json
import sqlite3
import time
from pathlib import Path

import psutil
import pytest

from .conftest import dvc, git, run, small_params, stylealign, write_params

STAGES = 11
"""Four prepared sets, then train_child, invert, translate, transfer, analyze, evaluate, report."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def finished(project: Path) -> Path:
    """The project after its first `dvc repro`."""
    dvc(project, "repro")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "first run")
    return project


def rows(project: Path, store: str, query: str) -> list[tuple]:
    """Answer of one of the project's databases."""
    with sqlite3.connect(project / ".stylealign" / store) as database:
        return database.execute(query).fetchall()


def test_every_stage_left_its_outputs(finished):
    for place in (
        "artifacts/prepare/people/manifest.json",
        "artifacts/train_child/cats/config.json",
        "artifacts/invert/manifest.json",
        "artifacts/translate/cats/manifest.json",
        "artifacts/transfer/cats/manifest.json",
        "artifacts/report/index.html",
    ):
        assert (finished / place).exists(), place
    assert set(json.loads((finished / "metrics/invert.json").read_text())) == {
        "psnr_mean",
        "perceptual_mean",
        "converged",
    }
    assert "labels" in json.loads((finished / "metrics/evaluate.json").read_text())["cats"]
    assert "groups" in json.loads((finished / "metrics/analyze.json").read_text())["cats"]


def test_every_stage_is_a_completed_flow_and_a_finished_record(finished):
    flows = rows(finished, "prefect/prefect.db", "select state_type from flow_run")
    records = rows(finished, "mlflow.db", "select status from runs")

    assert [state for (state,) in flows] == ["COMPLETED"] * STAGES
    assert [status for (status,) in records] == ["FINISHED"] * STAGES


def test_inputs_are_recorded_with_the_hash_that_dvc_knows(finished):
    digests = {digest for (digest,) in rows(finished, "mlflow.db", "select digest from datasets")}
    lock = (finished / "dvc.lock").read_text()

    known = [digest for digest in digests if digest in lock]

    assert len(known) >= 5


def test_the_child_is_registered_as_challenger(finished):
    query = "select alias, version from registered_model_aliases where name = 'tiny-cats'"

    assert ("challenger", 1) in rows(finished, "mlflow.db", query)


def test_nothing_outlives_the_run(finished):
    known = json.loads((finished / ".stylealign/server.json").read_text())
    time.sleep(5)

    assert not psutil.pid_exists(known["pid"])


def test_a_second_run_and_a_commit_rerun_nothing(finished):
    git(finished, "commit", "--quiet", "--allow-empty", "--message", "nothing")

    assert json.loads(dvc(finished, "status", "--json")) == {}
    assert "Data and pipelines are up to date" in dvc(finished, "repro")


def test_a_changed_param_makes_only_what_depends_on_it_stale(finished):
    tree = small_params()
    tree["report"]["title"] = "Another title"
    write_params(finished, tree)

    stale = json.loads(dvc(finished, "status", "--json"))
    write_params(finished, small_params())

    assert set(stale) == {"report"}


def test_a_stage_without_its_input_says_which_stage_makes_it(project, tmp_path):
    write_params(tmp_path, small_params())
    (tmp_path / "models").symlink_to(project / "models")

    done = stylealign(tmp_path, "run", "invert")

    assert done.returncode == 2
    assert done.stderr.startswith("error: no manifest at 'artifacts/prepare/people/manifest.json'")
    assert "Traceback" not in done.stderr


def test_a_set_without_licence_is_refused(tmp_path):
    write_params(tmp_path, small_params())

    done = stylealign(tmp_path, "run", "prepare", "people")

    assert done.returncode == 2
    assert "has no licence" in done.stderr


def test_a_run_from_python_needs_no_shell(finished):
    done = run(finished, "stylealign", "demo")

    assert done.returncode == 0, done.stderr
    assert "report: " in done.stdout
