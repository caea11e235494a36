"""Stage `train_child` as users run it: stopped by Ctrl-C, in two processes, watched."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from stylealign.images import decode

from .conftest import COMMAND, environment, rows, run, run_stages, small_params, write_params

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STAGE = ("run", "train_child", "cats")


@pytest.fixture(scope="module")
def prepared(project: Path) -> Path:
    """A project whose child has its images; training takes some seconds."""
    tree = small_params()
    recipe = tree["train_child"]["cats"]["recipe"]
    recipe |= {"total_kimg": 0.96, "tick_kimg": 0.032, "snapshot_kimg": 0.064}
    write_params(project, tree)
    run_stages(project, "prepare@cats")
    return project


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory) -> Path:
    """The same project, trained in one go."""
    folder = copy_of(prepared, tmp_path_factory.mktemp("undisturbed"))
    done = run(folder, *COMMAND, *STAGE)
    assert done.returncode == 0, done.stderr
    return folder


def copy_of(project: Path, folder: Path) -> Path:
    return Path(
        shutil.copytree(project, folder / "tiny", ignore=shutil.ignore_patterns(".stylealign"))
    )


def contents(project: Path) -> dict[str, bytes]:
    """Every file of the child."""
    return {path.name: path.read_bytes() for path in child_folder(project).iterdir()}


def child_folder(project: Path) -> Path:
    return project / "artifacts/train_child/cats"


def interrupt_once_begun(project: Path) -> tuple[int, str]:
    """Start the stage, press Ctrl-C after its first snapshot; exit code and what it said."""
    begun = subprocess.Popen(
        [*COMMAND, *STAGE], cwd=project, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while not [*(project / ".stylealign/snapshots").glob("cats-*.safetensors")]:
        assert begun.poll() is None, "the stage ended before it could be stopped"
        time.sleep(0.02)
    begun.send_signal(signal.SIGINT)
    _, said = begun.communicate()
    return begun.returncode, said


def test_ctrl_c_saves_says_how_to_go_on_and_changes_no_byte(prepared, undisturbed, tmp_path):
    project = copy_of(prepared, tmp_path)

    code, said = interrupt_once_begun(project)
    saved = [*(project / ".stylealign/snapshots").glob("cats-*.safetensors")]
    ended = rows(project, "mlflow.db", "select status from runs")
    resumed = run(project, *COMMAND, *STAGE)

    assert code == 130, said
    assert "stopping after this tick" in said
    assert "run the same command again to go on from there" in " ".join(said.split())
    assert "Traceback" not in said
    assert saved
    assert ended == [("KILLED",)]
    assert resumed.returncode == 0, resumed.stderr
    assert contents(project) == contents(undisturbed)


def test_every_tick_is_recorded_with_losses_gradients_and_memory(undisturbed):
    query = "select key, count(*) from metrics group by key"
    counts = dict(rows(undisturbed, "mlflow.db", query))

    wanted = ["loss.g", "loss.d", "health.grad_norm_g", "health.grad_norm_d"]
    wanted += ["health.sample_spread", "memory.resident_mb", "images_per_sec"]
    assert {name: counts.get(name) for name in wanted} == dict.fromkeys(wanted, 30)


def test_where_the_child_stands_is_recorded_at_each_snapshot(undisturbed):
    counts = dict(rows(undisturbed, "mlflow.db", "select key, count(*) from metrics group by key"))
    kept = rows(undisturbed, "mlflow.db", "select value from tags where key = 'kept_kimg'")

    table = json.loads((child_folder(undisturbed) / "standings.json").read_text())
    wanted = ["fd_lite2_8", "likeness", "change", "weight_distance.affine", "group_change.affine"]
    assert [counts.get(f"standing.{name}") for name in wanted] == [15] * len(wanted)
    assert len(table["standings"]) == 15
    assert kept == [(f"{table['kept_kimg']:g}",)]


def test_readers_look_at_each_snapshot_and_leave_no_trace_in_the_child(
    prepared, undisturbed, tmp_path
):
    project = copy_of(prepared, tmp_path)
    reading = ("--set", "analyze.reader_steps=150", "--set", "analyze.num_samples=20")
    prepare = (*COMMAND, "run", "prepare")
    readied = [run(project, *prepare, name) for name in ("people", "cats_oracle")]

    done = run(project, *COMMAND, *STAGE, *reading)

    assert [one.returncode for one in (*readied, done)] == [0, 0, 0], done.stderr
    counts = dict(rows(project, "mlflow.db", "select key, count(*) from metrics group by key"))
    assert counts["standing.agreement.tone"] == counts["standing.coverage.tone"] == 15
    said = rows(project, "prefect/prefect.db", "select message from log")
    assert sum(line.startswith("readers at ") for (line,) in said) == 15
    assert len([*(project / ".stylealign/readers").iterdir()]) == 2
    assert contents(project) == contents(undisturbed)


def test_pictures_and_a_film_of_parent_and_child_are_kept_with_the_run(undisturbed):
    pictures = sorted((undisturbed / ".stylealign" / "mlflow").rglob("samples-*-kimg.png"))
    (film,) = (undisturbed / ".stylealign" / "mlflow").rglob("training.webp")

    assert len(pictures) == 7  # every fifth of 30 ticks, and the last
    assert decode(pictures[0].read_bytes()).shape == (64, 8 * 32, 3)
    assert film.read_bytes()[8:12] == b"WEBP"


def test_torchrun_trains_the_same_child_in_two_processes(prepared, undisturbed, tmp_path):
    project = copy_of(prepared, tmp_path)

    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run(project, *launch, "-m", "flows.cli", *STAGE)

    assert done.returncode == 0, done.stderr
    assert contents(project).keys() == contents(undisturbed).keys()
    histories = [
        json.loads((child_folder(folder) / "history.json").read_text())
        for folder in (project, undisturbed)
    ]
    assert len(histories[0]) == len(histories[1])
    for name in ("g", "d"):  # Adam's first steps magnify rounding, so only the first tick is near
        assert histories[0][0][name] == pytest.approx(histories[1][0][name], rel=0.02)


def test_a_parent_from_scratch_is_held_against_its_data(prepared, tmp_path):
    project = copy_of(prepared, tmp_path)
    tree = small_params()
    recipe = {"total_kimg": 0.064, "tick_kimg": 0.016, "snapshot_kimg": 0.032, "batch_size": 8}
    rates = {"g_lr": 2e-3, "d_lr": 2e-3, "min_sample_spread": 0, "min_logit_spread": 0}
    widths = {4: 8, 8: 8, 16: 8, 32: 8}
    tree["train_parent"] |= {
        "model": "artifacts/train_parent",
        "architecture": {
            "z_dim": 8, "w_dim": 8, "num_mapping_layers": 2, "channels": widths, "noise": False,
        },
        "recipe": recipe | rates,
        "coverage": {"num_samples": 40, "reader_steps": 150},
    }  # fmt: skip
    write_params(project, tree)

    run_stages(project, "prepare@people", "train_parent")

    table = json.loads((project / "artifacts/train_parent/coverage.json").read_text())
    logged = rows(project, "mlflow.db", "select distinct key from metrics where key like 'cov%'")
    labels = {name for kind in ("spread", "prevalence_gap") for name in table["snapshots"][0][kind]}
    assert [row["kimg"] for row in table["snapshots"]] == [0.032, 0.064]
    assert {f"coverage.{name}" for name in labels} == {key for (key,) in logged}
    assert "tone" in labels
    assert table["below"]  # a parent of 64 images draws nothing of what it was shown


def test_a_finished_child_that_is_made_longer_is_the_one_trained_in_one_go(
    prepared, undisturbed, tmp_path
):
    """Once in this process, once in two: those round otherwise, but begin where the first ended."""
    project, joint = copy_of(prepared, tmp_path / "one"), copy_of(prepared, tmp_path / "two")
    shorter = (*STAGE, "--set", "train_child.cats.recipe.total_kimg=0.512")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for folder in (project, joint):
        done = run(folder, *COMMAND, *shorter)
        assert done.returncode == 0, done.stderr
        assert [*(folder / ".stylealign/snapshots").glob("*.finished")]

    longer = run(project, *COMMAND, *STAGE)
    in_two = run(joint, *launch, "-m", "flows.cli", *STAGE)

    assert longer.returncode == in_two.returncode == 0, longer.stderr + in_two.stderr
    assert "was finished at 0.512 kimg and goes on to 0.96" in longer.stderr
    assert contents(project) == contents(undisturbed)
    histories = [json.loads((child_folder(one) / "history.json").read_text()) for one in (
        joint, undisturbed
    )]  # fmt: skip
    assert len(histories[0]) == len(histories[1]) == 30
    assert histories[0][:16] == histories[1][:16]
    assert histories[0][16:] != histories[1][16:]


def test_torchrun_is_refused_for_other_stages(prepared):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = run(prepared, *launch, "-m", "flows.cli", "run", "invert")

    assert done.returncode != 0
    assert "stage 'invert' runs in one process" in " ".join(done.stderr.split())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_images_in_an_object_store_train_the_same_child_and_no_others_are_taken_for_them(
    prepared, store, tmp_path
):
    project = copy_of(prepared, tmp_path)
    images = project / "artifacts/prepare/cats"
    fsspec.filesystem("s3").put(f"{images}/", f"{store}/cats/", recursive=True)
    content_hash = json.loads((images / "manifest.json").read_text())["content_hash"]
    command = (*COMMAND, *STAGE, "--set", "train_child.cats.recipe.total_kimg=0.064", "--set")
    shards = "train_child.cats.shards={url: %s/cats, content_hash: %s}"

    near = run(project, *command, "train_child.cats.shards=null")
    local = contents(project)
    shutil.rmtree(images)
    shutil.rmtree(child_folder(project))
    other = run(project, *command, shards % (store, "a" * 64))
    done = run(project, *command, shards % (store, content_hash))

    assert other.returncode == 2
    assert f"content_hash '{content_hash}', expected 'aaaa" in " ".join(other.stderr.split())
    assert "Traceback" not in other.stderr
    assert near.returncode == done.returncode == 0, near.stderr + done.stderr
    ours = contents(project)
    assert ours["model.safetensors"] == local["model.safetensors"]
    assert ours["config.json"] == local["config.json"]
    names = rows(project, "mlflow.db", "select name from datasets")
    assert (f"{store}/cats",) in names
