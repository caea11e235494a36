"""A project's folder: written to, locked, or refused in one sentence."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flows.cli import app
from flows.doctor import check_project
from flows.project import STATE, enter_project, project_device, project_lock
from stylealign.errors import DataError, ParamsError, StyleAlignError


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path_factory):
    """Whatever a test sets is put back."""
    for name in ("PREFECT_HOME", "PREFECT_PROFILES_PATH", "MLFLOW_TRACKING_URI", "PATH"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / f"before-{name}"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")


def test_all_state_lies_inside_the_project(tmp_path, monkeypatch):
    import os

    root = enter_project(tmp_path)

    inside = str(root / ".stylealign")
    assert os.environ["PREFECT_HOME"].startswith(inside)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{inside}/mlflow.db"


@pytest.mark.parametrize(
    ("given", "kept"), [("", "127.0.0.1"), ("corp.example", "corp.example,127.0.0.1"), ("*", "*")]
)
def test_a_proxy_of_the_network_is_not_asked_for_our_own_server(given, kept, tmp_path, monkeypatch):
    import os
    from urllib.request import proxy_bypass

    monkeypatch.setenv("NO_PROXY", given)

    enter_project(tmp_path)
    enter_project(tmp_path)

    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == kept
    assert proxy_bypass("127.0.0.1")


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


@pytest.fixture
def params() -> str:
    """The demo's params, which ask for a GPU."""
    text = (Path(__file__).parents[2] / "params.yaml").read_text("utf-8")
    return text.replace("device: auto", "device: cuda")


def test_commands_for_any_folder_follow_the_device_of_the_project(params, tmp_path, monkeypatch):
    asked: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tasks.prediction.predict_folder", lambda *_, device: asked.append(device) or (1, 0)
    )
    command = ["predict", "images", "--model", "reader", "--out", "labels.parquet"]

    outside = CliRunner().invoke(app, command)
    (tmp_path / "params.yaml").write_text(params)
    inside = CliRunner().invoke(app, command)
    given = CliRunner().invoke(app, [*command, "--device", "cpu"])

    assert [done.exit_code for done in (outside, inside, given)] == [0, 0, 0]
    assert asked == ["auto", "cuda", "cpu"]


def test_params_of_another_program_say_nothing_about_the_device(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("train: {epochs: 10}")

    assert project_device() == "auto"

    (tmp_path / STATE).mkdir()
    with pytest.raises(ParamsError):
        project_device()


def test_the_doctor_flags_a_gpu_that_is_wanted_and_not_there(params, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "params.yaml").write_text(params)

    found = {one.what: one for one in check_project(tmp_path)}

    assert not found["project.device"].is_well
    assert "project.device is 'cuda'" in found["project.device"].mend
    assert "set it to auto or cpu" in found["project.device"].mend
