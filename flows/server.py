"""One Prefect server per pipeline run: on loopback, inside the project, gone with its owner."""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from flows.project import STATE
from stylealign.errors import StyleAlignError

START_TIMEOUT_SEC = 180
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
    was started by DVC, this process otherwise. All stages of one `dvc repro` share one server,
    and it ends with them. Port 0 = a free one. A server with pages also keeps schedules.
    """
    if os.environ.get("PREFECT_API_URL"):
        return os.environ["PREFECT_API_URL"]
    with FileLock(root / STATE / "server.lock"):
        known = _living(root)
        url = known["url"] if known else _start(root, owner or _owner(), port, has_ui)
    os.environ["PREFECT_API_URL"] = url
    return url


def wait_for_server(root: Path) -> None:
    """Return once the server answers.

    Raises: StyleAlignError if its process ends first, or after three minutes.
    """
    url, log = os.environ["PREFECT_API_URL"], root / STATE / "server.log"
    deadline = time.monotonic() + START_TIMEOUT_SEC
    while not _is_healthy(url):
        known = _living(root)
        if time.monotonic() > deadline or known is None or known["url"] != url:
            last = log.read_text("utf-8", errors="replace").strip().splitlines() or ["no output"]
            raise StyleAlignError(f"the Prefect server did not start ({last[-1]}): see {log}")
        time.sleep(0.1)


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
                f"port {port} is taken on this machine: choose another with --port, "
                "or leave it out to get a free one"
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


def _living(root: Path) -> dict[str, Any] | None:
    """The record of the server, if its process and its owner still run."""
    try:
        known = json.loads((root / STATE / "server.json").read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return known if _runs(known["pid"]) and _runs(known["owner"]) else None


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _start(root: Path, owner: int, port: int, has_ui: bool) -> str:
    port = require_port(port) if port else free_port()
    url = f"http://127.0.0.1:{port}/api"
    settings = {"PREFECT_API_URL": url} | ({} if has_ui else _SHORT_LIVED)
    command = [sys.executable, "-m", "flows.server", "--port", str(port), "--owner", str(owner)]
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
    record = {"pid": server.pid, "owner": owner, "url": url}
    (root / STATE / "server.json").write_text(json.dumps(record), "utf-8")
    return url


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def serve_for(port: int, owner: int) -> None:
    """Serve the API until the owner's process has ended."""
    import threading

    import uvicorn
    from prefect.server.api.server import create_app

    from flows.recovery import recovering

    owning, app = psutil.Process(owner), create_app()
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

    def leave_with_owner() -> None:
        while owning.is_running() and owning.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
        server.should_exit = True

    threading.Thread(target=leave_with_owner, daemon=True).start()
    server.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--owner", type=int, required=True)
    arguments = parser.parse_args()
    serve_for(arguments.port, arguments.owner)
