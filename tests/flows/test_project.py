"""A project's folder: written to, locked, or refused in one sentence."""

from pathlib import Path

import pytest

from flows.project import enter_project, project_lock
from stylealign.errors import DataError, StyleAlignError


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """Whatever a test sets is put back."""
    for name in ("PREFECT_HOME", "PREFECT_PROFILES_PATH", "MLFLOW_TRACKING_URI", "PATH"):
        monkeypatch.setenv(name, "before")


def test_all_state_lies_inside_the_project(tmp_path, monkeypatch):
    import os

    root = enter_project(tmp_path)

    inside = str(root / ".stylealign")
    assert os.environ["PREFECT_HOME"].startswith(inside)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{inside}/mlflow.db"


def test_a_folder_that_cannot_be_written_is_named():
    kernels = Path("/sys")  # nobody makes folders there, root included

    with pytest.raises(DataError, match=r"'/sys' cannot be written \(\w+"):
        enter_project(kernels)


def test_a_file_in_the_place_of_the_state_folder_is_an_error(tmp_path):
    (tmp_path / ".stylealign").write_text("")

    with pytest.raises(DataError, match="cannot be written"):
        enter_project(tmp_path)


def test_a_second_run_of_the_pipeline_is_turned_away(tmp_path):
    root = enter_project(tmp_path)

    with (
        project_lock(root),
        pytest.raises(StyleAlignError, match="another run"),
        project_lock(root),
    ):
        pass


def test_a_lock_that_was_released_can_be_taken_again(tmp_path):
    root = enter_project(tmp_path)

    with project_lock(root):
        pass
    with project_lock(root):
        pass
