"""The schedule for real: a cron deployment on a real server, in a project with remotes."""

import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from .conftest import (
    COMMAND,
    add_people,
    dvc,
    environment,
    git,
    rows,
    small_params,
    write_params,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

EVERY_MINUTE = "* * * * *"

ENDED = """
select state.type, state.name, state.message
from flow_run run join flow_run_state state on run.state_id = state.id
join flow on run.flow_id = flow.id
where flow.name = 'refresh' and state.type in ('COMPLETED', 'FAILED', 'CRASHED')
order by run.start_time
"""


@pytest.fixture(scope="module")
def scheduled(finished: Path, tmp_path_factory) -> Generator[Path]:
    """A finished project with a git and a DVC remote, whose schedule is due every minute."""
    remotes = tmp_path_factory.mktemp("remotes")
    git(finished, "init", "--quiet", "--bare", str(remotes / "git"))
    git(finished, "remote", "add", "origin", str(remotes / "git"))
    dvc(finished, "remote", "add", "--default", "store", str(remotes / "dvc"))
    plan = yaml.safe_load((finished / "prefect.yaml").read_text())
    plan["deployments"][0]["schedules"] = [{"cron": EVERY_MINUTE, "timezone": "UTC"}]
    (finished / "prefect.yaml").write_text(yaml.safe_dump(plan))
    tree = small_params()
    tree["refresh"] = {"commit": True, "push": True}
    write_params(finished, tree)
    git(finished, "commit", "--quiet", "--all", "--message", "schedule")
    git(finished, "push", "--quiet", "--set-upstream", "origin", "HEAD")
    service = subprocess.Popen([*COMMAND, "serve"], cwd=finished, env=environment())
    yield finished
    service.send_signal(signal.SIGTERM)
    service.wait(timeout=60)


def next_end(project: Path, known: int) -> tuple[str, str, str]:
    """How the next scheduled run ends: its state's type, name and message."""
    deadline = time.monotonic() + 1500
    while time.monotonic() < deadline:
        ended = rows(project, "prefect/prefect.db", ENDED)
        if len(ended) > known:
            return ended[known]
        time.sleep(1)
    raise AssertionError(f"no scheduled run ended, {known} were known")


def next_change(project: Path, known: int) -> tuple[str, str, str]:
    """As `next_end`, behind those that had looked before anything changed."""
    kind, name, message = next_end(project, known)
    while name == "Skipped":
        known += 1
        kind, name, message = next_end(project, known)
    return kind, name, message


def count_ends(project: Path) -> int:
    """Scheduled runs that have ended."""
    return len(rows(project, "prefect/prefect.db", ENDED))


def test_a_clean_project_is_skipped(scheduled):
    kind, name, message = next_end(scheduled, 0)

    assert (kind, name) == ("COMPLETED", "Skipped"), message
    assert "nothing changed" in message


def test_an_added_image_makes_a_new_version_that_is_committed_and_pushed(scheduled):
    before = git(scheduled, "rev-parse", "HEAD")
    known = count_ends(scheduled)
    add_people(scheduled, 150, 151)

    kind, _, message = next_change(scheduled, known)

    after = git(scheduled, "rev-parse", "HEAD")
    assert kind == "COMPLETED", message
    assert "invert" in message.partition("reran ")[2]
    assert after != before
    assert git(scheduled, "rev-parse", "@{upstream}") == after
    assert uncommitted(scheduled) == ""


def test_what_could_not_be_pushed_is_pushed_by_a_later_run(scheduled):
    known = count_ends(scheduled)
    remote = git(scheduled, "remote", "get-url", "origin").strip()
    git(scheduled, "remote", "set-url", "origin", f"{remote}-nowhere")
    add_people(scheduled, 151, 152)

    failed = next_change(scheduled, known)
    behind = git(scheduled, "rev-parse", "@{upstream}") != git(scheduled, "rev-parse", "HEAD")
    known = count_ends(scheduled)
    git(scheduled, "remote", "set-url", "origin", remote)
    mended = next_end(scheduled, known)
    while mended[0] == "FAILED":  # it had begun before the remote was mended
        known += 1
        mended = next_end(scheduled, known)

    assert failed[0] == "FAILED"
    assert "`git push` failed" in failed[2]
    assert behind
    assert mended[0] == "COMPLETED"
    assert "pushed what an earlier run could not push" in mended[2]
    assert git(scheduled, "rev-parse", "@{upstream}") == git(scheduled, "rev-parse", "HEAD")


def test_results_that_the_gate_refuses_fail_loudly_and_are_not_pushed(scheduled):
    before = git(scheduled, "rev-parse", "HEAD")
    known = count_ends(scheduled)
    tree = small_params()
    tree["refresh"] = {"commit": True, "push": True}
    tree["quality"]["max_fd_ratio"] = 1e-6
    write_params(scheduled, tree)

    kind, _, message = next_change(scheduled, known)

    assert kind == "FAILED"
    assert "the quality gate refuses" in message
    assert "cats: Fréchet distance to real images, child over parent is" in message
    assert git(scheduled, "rev-parse", "HEAD") == before
    assert git(scheduled, "rev-parse", "@{upstream}") == before


def uncommitted(project: Path) -> str:
    """What git sees changed among the results."""
    return git(project, "status", "--porcelain", "--", "dvc.lock", "metrics")
