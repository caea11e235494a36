"""The two commands that stay: pages to look at, and the schedule."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from flows.project import enter_project
from flows.refresh import command_name, run_command
from flows.run import require_repository
from flows.server import free_port, require_port, start_server, wait_for_server
from stylealign.errors import StyleAlignError
from stylealign.params import load_params

POOL = "stylealign"


def show_pages(root: Path, prefect_port: int, mlflow_port: int) -> None:
    """Serve the Prefect and MLflow pages on loopback until this process is stopped.

    Raises: StyleAlignError if a port is taken or the Prefect server does not start; ParamsError if
        the folder is no project.
    """
    load_params(root / "params.yaml")
    enter_project(root)
    mlflow_port = require_port(mlflow_port) if mlflow_port else free_port()
    url = start_server(root, os.getpid(), port=prefect_port, has_ui=True)
    from tasks.store import open_store  # reads the environment at import

    open_store()
    wait_for_server(root)
    console = Console()
    console.print(f"Prefect: {url.removesuffix('/api')}", soft_wrap=True)
    console.print(f"MLflow:  http://127.0.0.1:{mlflow_port}", soft_wrap=True)
    store = os.environ["MLFLOW_TRACKING_URI"]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--host", "127.0.0.1", "--port", str(mlflow_port), "--workers", "1"]
    run_until_stopped(command, root, hears_interrupt=False)  # it would answer with a traceback


def serve_schedule(root: Path, port: int) -> None:
    """Run a server, the deployments of prefect.yaml and a worker until this process is stopped.

    Raises: StyleAlignError if the port is taken, the project is not in git and DVC, or the
        schedule cannot be used.
    """
    load_params(root / "params.yaml")
    enter_project(root)
    require_repository(root)
    url = start_server(root, os.getpid(), port=port, has_ui=True)
    wait_for_server(root)
    prefect = [sys.executable, "-m", "prefect"]
    run_command([*prefect, "work-pool", "create", POOL, "--type", "process", "--overwrite"], root)
    run_command([*prefect, "--no-prompt", "deploy", "--all"], root)
    Console().print(f"schedule of prefect.yaml is on, watch it at {url.removesuffix('/api')}")
    run_until_stopped([*prefect, "worker", "start", "--pool", POOL, "--limit", "1"], root)


def run_until_stopped(command: list[str], root: Path, *, hears_interrupt: bool = True) -> None:
    """Run a service in the project's folder; Ctrl-C and a terminate signal end it with us.

    Raises: StyleAlignError if it ends by itself.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Ctrl-C in a terminal goes to the processes of its own group.
    service = subprocess.Popen(command, cwd=root, process_group=None if hears_interrupt else 0)
    try:
        service.wait()
    finally:
        service.terminate()
        try:
            service.wait(timeout=30)
        except subprocess.TimeoutExpired:  # a worker waits for its run; the next server marks it
            service.kill()
            service.wait()
    raise StyleAlignError(
        f"`{command_name(command)}` ended by itself with exit code {service.returncode}, its own "
        "message stands above: start it again"
    )
