"""The command: what the user did wrong is one sentence and exit code 2, never a traceback."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from flows.cli import main

from .conftest import ROOT, git, stylealign


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with params.yaml and nothing else."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def sentence(done) -> str:
    """The error line of a command that must have failed as a user's mistake."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr.removeprefix("error: ").strip()


def test_help_names_every_command(tmp_path):
    shown = stylealign(tmp_path, "--help").stdout

    project = ("init", "run", "recipe", "demo", "doctor", "ui", "serve")
    for command in (*project, "translate", "predict", "morph", "inspect", "convert"):
        assert f" {command} " in shown


def test_an_unknown_param_key_is_named_with_the_nearest(folder):
    text = (folder / "params.yaml").read_text().replace("  num_steps:", "  num_stpes:", 1)
    (folder / "params.yaml").write_text(text)

    said = sentence(stylealign(folder, "run", "invert"))

    assert "unknown key 'invert.num_stpes': did you mean 'num_steps'" in said


@pytest.mark.parametrize(
    "command", ["run invert", "demo", "ui", "serve", "inspect models:/cats@champion"]
)
def test_a_folder_without_params_says_how_to_make_a_project_and_is_left_as_it_is(tmp_path, command):
    assert "stylealign init" in sentence(stylealign(tmp_path, *command.split()))
    assert not [*tmp_path.iterdir()]


def test_doctor_examines_the_machine_alone_where_no_project_is(tmp_path):
    examined = stylealign(tmp_path, "doctor")

    assert examined.returncode == 2
    assert "stylealign init" in " ".join(examined.stdout.split())
    assert "git init" not in " ".join(examined.stdout.split())
    assert not [*tmp_path.iterdir()]


def test_a_stage_of_many_lists_the_names_there_are(folder):
    said = sentence(stylealign(folder, "run", "prepare", "dogs"))

    assert "one of cats, cats_oracle, cats_test, people, got 'dogs'" in said


def test_a_stage_of_one_takes_no_name(folder):
    assert "takes no name, got 'cats'" in sentence(stylealign(folder, "run", "invert", "cats"))


def test_a_folder_without_git_is_no_project(folder):
    (folder / ".dvc").mkdir()

    assert "run `git init` there" in sentence(stylealign(folder, "demo"))


def test_a_folder_without_dvc_is_no_project(folder):
    git(folder, "init", "--quiet")

    assert "run `dvc init` there" in sentence(stylealign(folder, "demo"))


@pytest.mark.parametrize("command", [["ui", "--mlflow-port"], ["ui", "--prefect-port"]])
def test_a_taken_port_is_named(folder, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        said = sentence(stylealign(folder, *command, port))

    assert f"port {port} is taken" in said


@pytest.mark.parametrize("command", ["ui --mlflow-port", "ui --prefect-port", "serve --port"])
def test_a_port_that_no_machine_has_is_refused(folder, command):
    done = stylealign(folder, *command.split(), "65536")

    assert done.returncode == 2
    assert "65535" in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("translate . --parent nothing --child nothing --out ../out", "'nothing' cannot be read"),
        ("predict . --model nothing --out ../labels.parquet", "cannot open reader 'nothing'"),
        ("morph a b --parent nothing --child nothing --out morph.mp4", "ends in '.mp4'"),
        ("inspect params.yaml", "is no model file"),
        ("convert params.yaml .", "is not empty"),
        ("convert params.yaml new/..", "is not empty"),
        ("convert params.yaml params.yaml", "is a file, not a folder"),
    ],
)
def test_a_command_on_what_is_no_model_says_so(folder, command, said, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["stylealign", *command.split()])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert said in capsys.readouterr().err


def run_in(folder: Path, command: str, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["stylealign", *command.split()])
    with pytest.raises(SystemExit, match="0"):
        main()


def test_a_converted_checkpoint_is_told_with_its_declared_parent(tmp_path, monkeypatch, capsys):
    file = ROOT / "tests" / "reference" / "ada_r16_cond3.pkl"

    run_in(tmp_path, f"convert {file} parent --domain faces", monkeypatch)
    run_in(tmp_path, f"convert {file} child --parent parent --domain cats", monkeypatch)
    capsys.readouterr()
    run_in(tmp_path, "inspect child", monkeypatch)
    said = capsys.readouterr().out
    run_in(tmp_path, "inspect child --json", monkeypatch)
    record = json.loads(capsys.readouterr().out)

    assert "stylegan2, 16x16 px, 3 channels, 3 classes" in said
    assert f"declared a child of {record['parent_id']}" in said
    assert f"hash          {record['id']}" in said
    assert f"{record['num_bytes']:,} bytes" in said
    assert record["parent_id"] == record["root_id"]


def test_a_file_whose_name_is_no_text_is_shown_with_escapes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")  # as in most locales
    name = os.fsdecode(b"\xff.pkl")
    shutil.copy(ROOT / "tests/reference/ada_r16_orig.pkl", tmp_path / name)

    done = stylealign(tmp_path, "inspect", name)

    assert done.returncode == 0, done.stderr
    assert r"\udcff" in done.stdout


def test_a_name_between_colons_is_said_as_it_is(tmp_path):
    shutil.copy(ROOT / "tests/reference/ada_r16_orig.pkl", tmp_path / ":cat:.pkl")
    (tmp_path / ":dog:.pkl").write_text("no model")

    assert ":cat:.pkl" in stylealign(tmp_path, "inspect", ":cat:.pkl").stdout
    assert "error: ':dog:.pkl' is no model" in stylealign(tmp_path, "inspect", ":dog:.pkl").stderr


def test_a_broken_checkpoint_leaves_no_folder_behind(tmp_path, monkeypatch, capsys):
    data = (ROOT / "tests" / "reference" / "ada_r16_cond3.pkl").read_bytes()
    (tmp_path / "half.pkl").write_bytes(data[: len(data) // 2])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stylealign", "convert", "half.pkl", "model"])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert "'half.pkl' is truncated" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["half.pkl"]


def test_a_model_that_is_not_registered_is_named(folder):
    said = sentence(stylealign(folder, "inspect", "models:/nobody@champion"))

    assert "no registered model 'models:/nobody@champion'" in said


def test_init_refuses_a_folder_that_is_not_empty(folder):
    assert "is not empty" in sentence(stylealign(folder, "init", str(folder)))


def test_init_says_where_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")

    assert "cannot be made" in sentence(stylealign(tmp_path, "init", "file/project"))


def test_init_without_git_says_so(tmp_path, monkeypatch):
    from flows.init import create_project
    from stylealign.errors import StyleAlignError

    monkeypatch.setenv("PATH", os.devnull)

    with pytest.raises(StyleAlignError, match="git is not installed"):
        create_project(tmp_path / "project")
