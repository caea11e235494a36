"""Every stage once with its networks on a device that is not the CPU."""

import sys

import pytest

from .conftest import ROOT, STAGES, run

pytestmark = pytest.mark.timeout(900)

THERE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import stylealign.checkpoints.folder as folder
import tasks.devices
from tests.other_device import OTHER, OtherDevice, pretend

pretend()
tasks.devices.choose_device = lambda wanted: OTHER
open_there = folder.safe_open
folder.safe_open = lambda path, framework, device="cpu": open_there(path, framework)

from flows.run import run_stage
from tasks.inversion import open_model
with OtherDevice():
    for stage in sys.argv[1:]:
        run_stage(*stage.partition("@")[::2], [])
    print(open_model("artifacts/train_child/cats", OTHER).generator.w_avg.device)
"""
"""safetensors reads tensors without a word to torch; what it read is moved afterwards."""


def test_every_stage_computes_there(project):
    done = run(project, sys.executable, "-c", THERE, *STAGES)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "meta"
    assert (project / "artifacts/report/index.html").exists()
