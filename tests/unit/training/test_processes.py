"""Several processes train what one process trains with the joint batch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, Path]:
    """The same training by one process and by two, connected by gloo on loopback."""
    folders = {}
    for num_ranks in (1, 2):
        folders[num_ranks] = tmp_path_factory.mktemp(f"ranks{num_ranks}")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--local-addr", "127.0.0.1", f"--nproc-per-node={num_ranks}"]
        script = Path(__file__).with_name("joint_run.py")
        done = subprocess.run(
            [*command, script, folders[num_ranks]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folders


def written(folder: Path, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"rank{rank}.json").read_text())


def test_two_processes_give_the_losses_and_weights_of_one_with_the_joint_batch(runs):
    one, two = written(runs[1], 0), written(runs[2], 0)

    assert len(one["history"]) == len(two["history"]) == 4
    for expected, found in zip(one["history"], two["history"], strict=True):
        health = {"sample_spread", "logit_spread"}  # each process looks at images of its own
        kept = {name: value for name, value in found.items() if name not in health}
        same = {name: value for name, value in expected.items() if name not in health}
        assert kept == pytest.approx(same, rel=2e-4, abs=2e-5)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-4, abs=1e-4)


def test_all_processes_end_with_the_same_numbers(runs):
    assert written(runs[2], 0) == written(runs[2], 1)


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_stop_that_one_process_wants_stops_all_and_changes_no_number(runs, num_ranks):
    for rank in range(num_ranks):
        found = written(runs[num_ranks], rank)
        assert found["places"] == [16, 64]
        assert found["resumed"] == found["weights"]


def test_processes_that_see_other_snapshots_say_where_each_would_go_on(runs):
    assert "would go on from 0.064, 0 kimg" in written(runs[2], 1)["apart"]
    assert written(runs[1], 0)["apart"] == ""


def test_what_the_first_process_has_chosen_all_others_have(runs):
    assert [written(runs[2], rank)["of_first"] for rank in (0, 1)] == [[5], [5]]


def test_the_first_process_alone_writes_and_its_snapshot_fits_any_number(runs):
    names = sorted(path.name for path in runs[2].glob("run*"))
    newest = [load_file(runs[num] / names[-1]) for num in (1, 2)]

    assert names == ["run@000000.032.safetensors", "run@000000.064.safetensors"]
    assert newest[0].keys() == newest[1].keys()
    assert (newest[0]["rng"] == newest[1]["rng"]).all()
