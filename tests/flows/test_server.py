"""The Prefect server of a project: who starts it, who joins it, when it ends."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from flows.project import STATE
from flows.server import read_record, write_record

from .conftest import COMMAND, environment, rows, run

START = """
import sys
from flows.project import enter_project
from flows.server import start_server, wait_for_server
from stylealign.errors import StyleAlignError
root = enter_project()
try:
    print(start_server(root, int(sys.argv[1]), has_ui=sys.argv[2] == "pages"))
    wait_for_server(root)
except StyleAlignError as error:
    sys.exit(str(error))
"""

COMPUTE = """
import threading
import time
from uuid import UUID
from flows.project import enter_project
from flows.server import start_server, wait_for_server
root = enter_project()
start_server(root)
wait_for_server(root)
from prefect.client.orchestration import get_client
from prefect.concurrency import _leases
from tasks.devices import compute
_leases._RENEWAL_FRACTION = 0.01  # it is soon seen that the lease has ended
with compute(1):
    name = "concurrency-lease-renewal-"
    (renewing,) = [one for one in threading.enumerate() if one.name.startswith(name)]
    with get_client(sync_client=True) as client:
        client.release_concurrency_slots_with_lease(UUID(renewing.name.removeprefix(name)))
    deadline = time.monotonic() + 60
    while renewing.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # what would end this process is raised here
    print("lease lost", not renewing.is_alive())
with compute(1):
    print("held again")
"""
"""A stage whose lease of the device ends while it works, as when its machine sleeps."""

COMPUTE_ONCE = """
from flows.project import enter_project
from flows.server import start_server, wait_for_server
root = enter_project()
start_server(root)
wait_for_server(root)
from tasks.devices import compute
with compute(1):
    pass
"""
"""Leaves a concurrency limit in the database, which the next server puts right."""

TAKE_TURNS = """
import threading
import time
from flows.project import enter_project
from flows.server import start_server, wait_for_server
root = enter_project()
start_server(root)
wait_for_server(root)
from tasks.devices import compute
def second():
    with compute(1):
        print("second")
with compute(1):
    other = threading.Thread(target=second)
    other.start()
    time.sleep(5)
    print("first")
other.join()
"""


@contextmanager
def command() -> Generator[subprocess.Popen[bytes]]:
    """A command that needs the server until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as process:
        try:
            yield process
        finally:
            process.kill()


def start(root: Path, owner: subprocess.Popen[bytes], kind: str = "") -> tuple[str, str]:
    """Have a server for a command: its address, or what was said instead."""
    done = run(root, sys.executable, "-c", START, str(owner.pid), kind)
    return done.stdout.strip(), done.stderr.strip()


def server_of(root: Path) -> psutil.Process:
    record = json.loads((root / ".stylealign/server.json").read_text())
    return psutil.Process(int(record["server"][0]))


def test_a_server_ends_with_the_last_command_that_needs_it(tmp_path):
    with command() as first, command() as second:
        url, said = start(tmp_path, first)
        joined, _ = start(tmp_path, second)
        _, refused = start(tmp_path, second, "pages")
        server = server_of(tmp_path)
        first.kill()
        first.wait()
        time.sleep(2)
        outlived_first = server.is_running()
    gone, _ = psutil.wait_procs([server], timeout=60)

    assert url.startswith("http://127.0.0.1:"), said
    assert joined == url
    assert "its server has neither pages nor a schedule: wait until it has ended" in refused
    assert outlived_first
    assert gone


def test_a_server_that_nobody_needs_is_gone_before_the_next_one_starts(tmp_path):
    with command() as first:
        start(tmp_path, first)
        former = server_of(tmp_path)
        former.suspend()  # does not leave by itself
    with command() as second:
        url, said = start(tmp_path, second)
        ended = not former.is_running()
        latter = server_of(tmp_path)
    psutil.wait_procs([latter], timeout=60)

    assert ended
    assert latter.pid != former.pid
    assert url.startswith("http://127.0.0.1:"), said


def test_a_record_is_whole_whenever_it_is_read(tmp_path):
    record = {"server": [1, 0.0], "owners": [[number, 0.0] for number in range(9)]}
    (tmp_path / STATE).mkdir()
    write_record(tmp_path, record)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            write_record(tmp_path, record)

    writer = threading.Thread(target=write)
    writer.start()
    read = [read_record(tmp_path) for _ in range(3000)]
    done.set()
    writer.join()

    assert all(seen == record for seen in read)


@contextmanager
def writing(database: Path) -> Generator[None]:
    """Another process at the database: a transaction of a tenth of a second after the other."""
    done = threading.Event()

    def write() -> None:
        connection = sqlite3.connect(database, isolation_level=None, timeout=0)
        while not done.wait(0.05):
            with suppress(sqlite3.OperationalError):  # the server's turn
                connection.execute("begin immediate")
                connection.execute("update concurrency_limit_v2 set active_slots = 1")
                done.wait(0.1)
                connection.execute("commit")
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


def test_a_server_starts_while_another_process_writes_to_its_database(tmp_path):
    first = run(tmp_path, sys.executable, "-c", COMPUTE_ONCE)
    with command() as owner, writing(tmp_path / ".stylealign/prefect/prefect.db"):
        url, said = start(tmp_path, owner)

    assert first.returncode == 0, first.stderr
    assert not said
    assert url.startswith("http://127.0.0.1:")


def test_a_server_that_cannot_start_names_the_cause(tmp_path):
    state = tmp_path / ".stylealign/prefect"
    state.mkdir(parents=True)
    (state / "prefect.db").write_text("no database, but long enough to be looked at" * 100)

    with command() as owner:
        _, said = start(tmp_path, owner)

    assert "the Prefect server did not start (" in said
    assert "file is not a database): see" in said
    assert "server.log" in said


def test_a_foreign_server_that_does_not_answer_is_named(tmp_path):
    foreign = ("env", "PREFECT_API_URL=http://127.0.0.1:9/api")

    done = run(tmp_path, *foreign, sys.executable, "-c", START, "1", "")

    assert "PREFECT_API_URL names does not answer at http://127.0.0.1:9" in done.stderr


def is_running(project: Path) -> bool:
    """Whether the project's server knows of a flow at work."""
    try:
        return ("RUNNING",) in rows(
            project, "prefect/prefect.db", "select state_type from flow_run"
        )
    except sqlite3.OperationalError:  # there is no file or table yet
        return False


def test_a_stage_whose_server_is_killed_says_so(project):
    command = (*COMMAND, "run", "prepare", "people")
    env = environment() | {"PREFECT_CLIENT_MAX_RETRIES": "0"}
    with subprocess.Popen(
        command, cwd=project, env=env, stderr=subprocess.PIPE, text=True
    ) as stage:
        while stage.poll() is None and not is_running(project):
            time.sleep(0.02)
        server_of(project).kill()
        _, said = stage.communicate()

    assert stage.returncode == 2, said
    assert "Traceback" not in said
    assert "did not answer" in said
    assert "run the stage again, what is finished is kept" in said


def test_a_stage_whose_machine_slept_longer_than_its_lease_computes_on(tmp_path):
    done = run(tmp_path, sys.executable, "-c", COMPUTE)

    assert done.stdout.splitlines() == ["lease lost True", "held again"], done.stderr
    assert done.returncode == 0


def test_a_stage_that_waits_for_another_says_so(tmp_path):
    done = run(tmp_path, sys.executable, "-c", TAKE_TURNS)

    assert done.stdout.splitlines() == ["first", "second"], done.stderr
    assert done.stderr.count("waiting: another stage of this project computes") == 1
