"""What a scheduled run keeps in git, and what it leaves alone."""

from pathlib import Path

import pytest

from flows.refresh import keep_results, list_uncommitted
from stylealign.params import RefreshParams

from .conftest import git


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with results of an earlier run."""
    git(tmp_path, "init", "--quiet")
    for name in ("dvc.lock", "metrics/invert.json", "data/raw/labels.csv", "params.yaml"):
        write(tmp_path, name, "old")
    git(tmp_path, "add", "--all")
    user = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    git(tmp_path, *user, "commit", "--quiet", "--message", "old")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_nothing_is_uncommitted_after_a_commit(repository):
    write(repository, "data/raw/people/0001.png", "an image")

    assert list_uncommitted(repository) == []


def test_results_and_what_stands_for_data_are_kept_but_never_new_data(repository):
    changed = {"dvc.lock", "data/raw/labels.csv", "metrics/new figures.json", "data/raw/people.dvc"}
    for name in [*changed, "data/raw/people/0001.png", "params.yaml", "notes.txt"]:
        write(repository, name, "new")
    (repository / "metrics/invert.json").unlink()

    assert set(list_uncommitted(repository)) == changed | {"metrics/invert.json"}


def test_a_project_in_a_folder_of_a_repository_keeps_its_own_results(repository):
    project = repository / "project"
    for name in ("dvc.lock", "data/raw/labels.csv"):
        write(project, name, "old")
    git(repository, "config", "user.name", "a")
    git(repository, "config", "user.email", "a@localhost")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "a project")
    for name in ("project/dvc.lock", "project/metrics/invert.json", "dvc.lock"):
        write(repository, name, "new")

    said = keep_results.fn(project, RefreshParams(commit=True, push=False))

    assert said.startswith("committed ")
    assert list_uncommitted(project) == []
    assert list_uncommitted(repository) == ["dvc.lock"]
