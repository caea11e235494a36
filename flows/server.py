"""One Prefect server per project: on loopback, gone with the last command that needs it."""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from flows.project import STATE
from stylealign.errors import StyleAlignError

START_TIMEOUT_SEC = 180
STOP_TIMEOUT_SEC = 10
"""How long a server that nobody needs may take to end before it is killed."""
CLOCK_SHIFT_SEC = 10
"""By how much the time at which a process began may seem to move when the clock is set."""
_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ash", "ksh"}

_SCHEDULING = (
    "SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER", "TRIGGERS",
)  # fmt: skip
_SHORT_LIVED = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _SCHEDULING} | {
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_UI_ENABLED": "false",
}
"""What a server that serves one pipeline run can do without: it would take its CPU time."""


def start_server(
    root: Path, owner: int | None = None, *, port: int = 0, has_ui: bool = False
) -> str:
    """The API address of the server that serves this run, started if there is none yet.

    Returns at once, so that the caller can import its heavy packages while the server comes up;
    `wait_for_server` follows. The owner is the command the user typed: `dvc repro` where a stage
    was started by DVC, this process otherwise. All stages of one `dvc repro` share one server;
    it ends with the last of its owners. Port 0 = a free one. A server with pages also keeps
    schedules.

    Raises: StyleAlignError if the port is taken, or pages are asked of a server without them.
    """
    if os.environ.get("PREFECT_API_URL"):
        return os.environ["PREFECT_API_URL"]
    owner = owner or _owner()
    with _server_lock(root):
        known = read_record(root)
        if known is not None and _serves(known):
            url = _join(root, known, owner, has_ui)
        else:
            if known is not None:
                _end(known["server"])
            url = _start(root, owner, port, has_ui)
    os.environ["PREFECT_API_URL"] = url
    return url


def wait_for_server(root: Path) -> None:
    """Return once the server answers.

    Raises: StyleAlignError if its process ends first, or after three minutes.
    """
    url, log = os.environ["PREFECT_API_URL"], root / STATE / "server.log"
    deadline = time.monotonic() + START_TIMEOUT_SEC
    while not _is_healthy(url):
        known = read_record(root)
        if known is None or known["url"] != url:
            raise StyleAlignError(
                f"the Prefect server that PREFECT_API_URL names does not answer at {url}: "
                "start it, or unset the variable to work with one of the project's own"
            )
        if time.monotonic() > deadline or not _serves(known):
            why = _reason(log.read_text("utf-8", errors="replace"))
            raise StyleAlignError(f"the Prefect server did not start ({why}): see {log}")
        time.sleep(0.1)


def _reason(output: str) -> str:
    """What a server that did not start says of it: its last exception, or else its last line."""
    exceptions = re.findall(r"^[\w.]*(?:Error|Exception): .+$", output, re.MULTILINE)
    return (exceptions or output.strip().splitlines() or ["no output"])[-1]


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_port(port: int) -> int:
    """The same port, once it is known to be free.

    Raises: StyleAlignError if it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StyleAlignError(
                f"port {port} is taken on this machine: choose another, "
                "or leave the option out to get a free one"
            ) from None
    return port


def _owner() -> int:
    process = psutil.Process()
    if "DVC_STAGE" not in os.environ:
        return process.pid
    for ancestor in process.parents():
        if ancestor.name() not in _SHELLS:
            return ancestor.pid
    return process.pid


def _server_lock(root: Path) -> FileLock:
    """Held by who starts or joins the server, and by the server while it decides to end."""
    return FileLock(root / STATE / "server.lock")


def read_record(root: Path) -> dict[str, Any] | None:
    """What is known of the newest server of the project, whether it still runs or not."""
    try:
        return json.loads((root / STATE / "server.json").read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def write_record(root: Path, record: dict[str, Any]) -> None:
    """Write it at once: who waits for the server reads it without the lock."""
    unfinished = root / STATE / "server.new"
    unfinished.write_text(json.dumps(record), "utf-8")
    unfinished.replace(root / STATE / "server.json")


def _serves(record: dict[str, Any]) -> bool:
    """Whether the server and one of its owners still run."""
    return _runs(record["server"]) and any(map(_runs, record["owners"]))


def _identify(pid: int) -> list[float]:
    """A process by its id and the time at which it began, since ids are used again."""
    return [pid, psutil.Process(pid).create_time()]


def _runs(identity: list[float]) -> bool:
    try:
        process = psutil.Process(int(identity[0]))
        is_same = abs(process.create_time() - identity[1]) < CLOCK_SHIFT_SEC
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(identity: list[float]) -> None:
    """See a server off that nobody needs any more: the next one wants its database for itself."""
    if not _runs(identity):
        return
    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(int(identity[0]))
        server.terminate()
        _, alive = psutil.wait_procs([server], timeout=STOP_TIMEOUT_SEC)
        for process in alive:
            process.kill()
            process.wait()


def _join(root: Path, record: dict[str, Any], owner: int, has_ui: bool) -> str:
    """Let a running server serve one more owner.

    Raises: StyleAlignError if it lacks the pages and the schedule that are asked for.
    """
    if has_ui and not record["has_ui"]:
        raise StyleAlignError(
            f"a pipeline is at work in {str(root)!r}, and its server has neither pages nor a "
            "schedule: wait until it has ended, or start this command before the next one"
        )
    if _identify(owner) not in record["owners"]:
        record["owners"].append(_identify(owner))
        write_record(root, record)
    return record["url"]


def _start(root: Path, owner: int, port: int, has_ui: bool) -> str:
    port = require_port(port) if port else free_port()
    url = f"http://127.0.0.1:{port}/api"
    settings = {"PREFECT_API_URL": url} | ({} if has_ui else _SHORT_LIVED)
    command = [sys.executable, "-m", "flows.server", "--port", str(port), "--root", str(root)]
    with (root / STATE / "server.log").open("wb") as output:
        # a session of its own: Ctrl-C goes to the stage, which still wants to report its end
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | settings,
            start_new_session=True,
        )
    identities = {"server": _identify(server.pid), "owners": [_identify(owner)]}
    write_record(root, identities | {"url": url, "has_ui": has_ui})
    return url


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def serve_owners(root: Path, port: int) -> None:
    """Serve the API until the last owner's process has ended."""
    import threading

    import uvicorn
    from prefect.server.api.server import create_app

    from flows.recovery import recovering

    app = create_app()
    app.router.lifespan_context = recovering(app.router.lifespan_context)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    )

    def leave_with_owners() -> None:
        while _is_needed(root):
            time.sleep(0.5)
        server.should_exit = True

    threading.Thread(target=leave_with_owners, daemon=True).start()
    server.run()


def _is_needed(root: Path) -> bool:
    """Whether an owner of this process still runs; if none does, nobody can join it any more."""
    with _server_lock(root):
        record = read_record(root)
        if record is None or int(record["server"][0]) != os.getpid():
            return False
        return any(map(_runs, record["owners"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    serve_owners(arguments.root, arguments.port)
