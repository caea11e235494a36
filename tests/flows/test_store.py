"""MLflow's database of a project, opened for the first time."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .conftest import ROOT, environment, rows, run

OPEN = """
from flows.project import enter_project
enter_project()
from tasks.store import open_experiment
open_experiment("fresh")
"""

SHOW = """
from pathlib import Path
from flows import services
services.start_server = lambda *_, **__: "http://127.0.0.1/api"
services.wait_for_server = lambda _: None
services.run_until_stopped = lambda _, root, **__: print((root / ".stylealign/mlflow.db").exists())
services.show_pages(Path.cwd(), 0, 0)
"""
"""The pages of a project, but for the two servers."""

STOPPED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from pathlib import Path
from flows.services import run_until_stopped
waiting = "import time; print('up', flush=True); time.sleep(600)"
try:
    run_until_stopped([sys.executable, "-c", waiting], Path.cwd(), hears_interrupt=False)
except KeyboardInterrupt:
    print("stopped")
"""

HALF_BYTES = 100_000
"""Size of a database in which some tables are missing yet; it ends at 900,000."""


def begin(project: Path, code: str) -> subprocess.Popen[str]:
    """A process at work in the project's folder."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_processes_that_open_a_new_projects_store_at_once_all_find_it_whole(tmp_path):
    processes = [begin(tmp_path, OPEN) for _ in range(3)]

    ends = [(process.communicate()[1], process.returncode) for process in processes]

    assert [code for _, code in ends] == [0, 0, 0], "\n".join(said for said, _ in ends)
    assert ("fresh",) in rows(tmp_path, "mlflow.db", "select name from experiments")


def test_a_store_that_was_being_made_when_its_process_was_killed_is_made_anew(tmp_path):
    state = tmp_path / ".stylealign"
    with begin(tmp_path, OPEN) as killed:
        while not any(path.stat().st_size > HALF_BYTES for path in state.glob("mlflow.*[bw]")):
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.005)
        killed.kill()

    done = run(tmp_path, sys.executable, "-c", OPEN)

    assert done.returncode == 0, done.stderr
    assert ("fresh",) in rows(tmp_path, "mlflow.db", "select name from experiments")
    assert sorted(path.name for path in state.glob("mlflow*")) == ["mlflow.db", "mlflow.lock"]


def test_the_store_is_whole_before_its_pages_are_served(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)

    done = run(tmp_path, sys.executable, "-c", SHOW)

    assert done.stdout.splitlines()[-1:] == ["True"], done.stderr


def test_a_service_that_ends_by_itself_is_a_failure(tmp_path):
    ending = """
import sys
from pathlib import Path
from flows import services
services.run_until_stopped([sys.executable, "-c", "raise SystemExit(3)"], Path.cwd())
"""

    done = run(tmp_path, sys.executable, "-c", ending)

    assert done.returncode != 0
    assert "ended by itself with exit code 3" in done.stderr


def test_ctrl_c_ends_the_pages_without_a_traceback(tmp_path):
    with begin(tmp_path, STOPPED) as shown:
        assert shown.stdout is not None
        assert shown.stdout.readline() == "up\n"
        os.killpg(shown.pid, signal.SIGINT)  # as a terminal does: to the service as well
        said, errors = shown.communicate(timeout=60)

    assert (said, errors) == ("stopped\n", "")
