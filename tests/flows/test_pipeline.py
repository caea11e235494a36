"""The whole graph on tiny images: real DVC, a real Prefect server, a real MLflow store."""

import hashlib
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from stylealign.data.dataset import open_dataset
from tasks.records import digest

from .conftest import (
    STAGES,
    add_people,
    dvc,
    git,
    rows,
    run,
    small_params,
    stylealign,
    write_params,
)

pytestmark = pytest.mark.timeout(900)


def count_runs(project: Path) -> Counter[str]:
    """How often each stage was recorded."""
    names = rows(project, "mlflow.db", "select name from runs")
    return Counter(name for (name,) in names)


def shards(folder: Path) -> dict[str, int]:
    """SHA-256 of each shard, and its rows."""
    records = json.loads((folder / "manifest.json").read_text())["shards"]
    found = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*-of-*")}
    assert found == {record["sha256"] for record in records}
    return {record["sha256"]: record["num_rows"] for record in records}


def test_every_stage_left_its_outputs(finished):
    places = (
        "artifacts/prepare/people/manifest.json",
        "artifacts/train_child/cats/config.json",
        "artifacts/invert/manifest.json",
        "artifacts/translate/cats/manifest.json",
        "artifacts/transfer/cats/manifest.json",
        "artifacts/report/index.html",
    )

    missing = [place for place in places if not (finished / place).exists()]

    assert not missing


def test_metrics_files_have_their_stable_keys(finished):
    figures = {
        name: json.loads((finished / f"metrics/{name}.json").read_text())
        for name in ("invert", "analyze", "evaluate")
    }

    assert set(figures["invert"]) == {"psnr_mean", "perceptual_mean", "converged"}
    assert {"equal_z", "groups", "directions"} <= set(figures["analyze"]["cats"])
    child = figures["evaluate"]["cats"]
    assert {"fd_lite2_8", "kid_lite2_8", "labels", "gate", "confidence"} <= set(child)
    assert child["ppl_lite2_blocks_8"] > 0
    assert child["references"]["parent"]["ppl_lite2_blocks_8"] > 0
    assert set(child["references"]["parent"]) == {name for name in child if name.endswith("_8")}
    assert {"data", "latent", "combined"} <= set(child["labels"]["yaw"]["routes"])
    assert {"ece", "brier", "auroc"} <= set(child["confidence"]["yaw"]["child"])
    assert child["confidence"]["yaw"]["parent"]["num_rows"] >= 50


def test_every_stage_is_a_completed_flow_and_a_finished_record(finished):
    flows = rows(finished, "prefect/prefect.db", "select state_type from flow_run")
    records = rows(finished, "mlflow.db", "select status from runs")

    assert [state for (state,) in flows[: len(STAGES)]] == ["COMPLETED"] * len(STAGES)
    assert [status for (status,) in records[: len(STAGES)]] == ["FINISHED"] * len(STAGES)


def test_a_label_that_no_cat_has_is_listed_with_its_verdict(finished):
    figures = json.loads((finished / "metrics/evaluate.json").read_text())["cats"]["labels"]
    verdicts = json.loads((finished / "artifacts/transfer/cats/labels.json").read_text())

    assert set(verdicts) == set(small_params()["transfer"]["labels"])
    assert figures["hair_color"]["gap_closed"] is None
    assert "real images of the child have no such label" in figures["hair_color"]["reason"]
    assert figures["hair_color"]["transferable"] is verdicts["hair_color"]["transferable"]


def test_labels_follow_the_redrawing_and_the_card_says_so(finished):
    carried = open_dataset(finished / "artifacts/transfer/cats")
    table = carried.table()
    given = open_dataset(finished / "artifacts/prepare/people").labels().loc[table["parent_id"]]
    yaw, smile = table["label.yaw"].to_numpy(), table["label.smile"].to_numpy()

    assert carried.manifest.lineage["labels_as"] == "redrawn"
    assert "redrawn" in (finished / "artifacts/transfer/cats/README.md").read_text()
    assert np.abs(yaw - given["yaw"].to_numpy()).max() > 0
    assert given["smile"].min() <= smile.min() <= smile.max() <= given["smile"].max()


def test_the_child_is_registered_as_challenger(finished):
    query = "select alias, version from registered_model_aliases where name = 'tiny-cats'"

    assert ("challenger", 1) in rows(finished, "mlflow.db", query)


def test_training_and_analysis_share_one_reader_of_each_domain(finished):
    assert len([*(finished / ".stylealign/readers").iterdir()]) == 2


def test_what_mlflow_keeps_lies_in_the_state_folder(finished):
    kept = [*(finished / ".stylealign/mlflow").rglob("model.safetensors")]

    assert kept
    assert not (finished / "mlruns").exists()


def test_nothing_outlives_the_run(finished):
    known = json.loads((finished / ".stylealign/server.json").read_text())
    pid, _ = known["server"]
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.5)

    assert not psutil.pid_exists(pid)


def test_a_second_run_and_a_commit_rerun_nothing(finished):
    git(finished, "commit", "--quiet", "--allow-empty", "--message", "nothing")
    before = count_runs(finished)

    said = dvc(finished, "repro")

    assert "Data and pipelines are up to date" in said
    assert count_runs(finished) == before


def test_a_changed_param_reruns_only_what_depends_on_it(finished):
    tree = small_params()
    tree["report"]["title"] = "Another title"
    write_params(finished, tree)
    before = count_runs(finished)

    dvc(finished, "repro")

    assert count_runs(finished) - before == {"report": 1}
    assert "Another title" in (finished / "artifacts/report/index.html").read_text()


def test_inputs_are_recorded_with_the_hash_that_dvc_knows(finished):
    query = "select digest from datasets where name = 'metrics/evaluate.json'"
    lock = (finished / "dvc.lock").read_text()

    # the first run was not DVC's, so it had no lock to look the hash up in
    known = [digest for (digest,) in rows(finished, "mlflow.db", query) if digest in lock]

    assert len(known) == 1


def test_a_stage_that_runs_because_its_input_changed_records_what_it_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    dvc(tmp_path, "init", "--quiet")
    images = tmp_path / "data/raw"
    images.mkdir(parents=True)
    (images / "first.png").write_text("first")
    stage = ("--name", "prepare", "--deps", "data/raw", "--outs", "out", "cp -r data/raw out")
    dvc(tmp_path, "add", "data/raw")
    dvc(tmp_path, "stage", "add", "--run", *stage)
    before = digest(Path("data/raw"))
    (images / "second.png").write_text("second")
    dvc(tmp_path, "add", "data/raw")  # as `dvc repro` does before it runs the stage

    added, made = digest(Path("data/raw")), digest(Path("out"))

    assert added in (tmp_path / "data/raw.dvc").read_text()
    assert added != before == made  # the stage has yet to run


def test_added_images_invert_only_those(finished):
    folders = [finished / "artifacts/prepare/people", finished / "artifacts/invert"]
    before = [shards(folder) for folder in folders]
    add_people(finished, 150, 154)

    said = dvc(finished, "repro", "invert")

    after = [shards(folder) for folder in folders]
    added = [sum(new.values()) - sum(old.values()) for old, new in zip(before, after, strict=True)]
    assert all(old.items() <= new.items() for old, new in zip(before, after, strict=True))
    assert added[0] == 4
    assert 0 < added[1] <= 4
    assert "stylealign run invert" in said


def draws_as_champion(project: Path, folder: str) -> bool:
    """Whether the champion draws the same images as the child in a folder."""
    compare = f"""
from pathlib import Path
from flows.project import enter_project
enter_project()
from tasks.registry import require_same_drawing
require_same_drawing("models:/tiny-cats@champion", Path("{folder}"))
"""
    return run(project, sys.executable, "-c", compare).returncode == 0


def test_a_child_that_passes_the_gate_is_champion_and_draws_the_same_images(finished):
    assert draws_as_champion(finished, "artifacts/train_child/cats")
    assert aliases(finished)["champion"] == aliases(finished)["challenger"]


def test_a_child_that_the_gate_refuses_is_told_why_until_it_passes_and_moves_no_alias(finished):
    before = aliases(finished)
    told = "select value from model_version_tags where key = 'rejected_because'"

    done = stylealign(finished, "run", "evaluate", "--set", "quality.max_fd_ratio=1e-9")
    reasons = rows(finished, "mlflow.db", f"{told} and name = 'tiny-cats'")
    refused = aliases(finished)
    again = stylealign(finished, "run", "evaluate")

    assert (done.returncode, again.returncode) == (0, 0), done.stderr + again.stderr
    ((reason,),) = reasons
    assert "Fréchet distance" in reason
    assert refused == aliases(finished) == before
    assert rows(finished, "mlflow.db", f"{told} and name = 'tiny-cats'") == []


def test_a_child_that_came_back_is_the_champion_and_not_the_one_trained_since(finished):
    since = """
from pathlib import Path
from flows.project import enter_project
enter_project()
import mlflow
from tasks.registry import register_challenger
from tasks.store import open_experiment
open_experiment("tiny")
with mlflow.start_run():
    print(register_challenger.fn("cats", Path("models/tiny")))
"""
    registered = run(finished, sys.executable, "-c", since)
    assert registered.returncode == 0, registered.stderr

    done = stylealign(finished, "run", "evaluate")

    assert done.returncode == 0, done.stderr
    assert draws_as_champion(finished, "artifacts/train_child/cats")
    assert aliases(finished)["champion"] == aliases(finished)["challenger"]


def test_codes_may_be_found_without_an_encoder(finished):
    without = ("--set", "invert.encoder_kimg=0")

    inverted = stylealign(finished, "run", "invert", *without)
    moved = stylealign(finished, "run", "transfer", "cats", *without)

    assert inverted.returncode == 0, inverted.stderr
    assert not [*(finished / "artifacts/invert").glob("encoder-*")]
    assert moved.returncode == 0, moved.stderr
    assert (finished / "artifacts/instruments/cats/parent_encoder").exists()


def test_a_place_that_cannot_be_written_is_named_without_a_traceback(finished):
    (finished / "metrics").rename(finished / "kept")
    (finished / "metrics").touch()

    done = stylealign(finished, "run", "invert")

    (finished / "metrics").unlink()
    (finished / "kept").rename(finished / "metrics")
    assert done.returncode == 2
    assert "metrics cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def aliases(project: Path) -> dict[str, int]:
    """Version of the tiny child that each alias names."""
    query = "select alias, version from registered_model_aliases where name = 'tiny-cats'"
    return dict(rows(project, "mlflow.db", query))


def test_a_stage_that_fails_says_why_in_one_sentence(finished):
    done = stylealign(finished, "run", "invert", "--set", "invert.dataset=cats_test")

    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert said.startswith("error: no image of 'artifacts/prepare/cats_test' is in the splits")
    assert "Traceback" not in done.stderr
