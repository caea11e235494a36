"""A whole project in a temporary folder: tiny images, a tiny parent, real git, DVC and Prefect."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from flows.init import without_code
from stylealign.checkpoints import save_model
from stylealign.models import Model, ModelConfig

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "flows.cli"]


def run(project: Path, *command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder, with nothing of this process's Prefect around it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "DVC_"))}
    environment |= {"DVC_NO_ANALYTICS": "true", "GIT_CONFIG_GLOBAL": os.devnull} | changes
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def dvc(project: Path, *arguments: str) -> str:
    """Output of a DVC command that must succeed."""
    done = run(project, sys.executable, "-m", "dvc", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(project: Path, *arguments: str) -> str:
    """Output of a git command that must succeed."""
    done = run(project, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stylealign(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    return run(project, *COMMAND, *arguments)


def small_params() -> dict:
    """The demo's params, with every number as small as it goes."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["project"] |= {"name": "tiny", "num_threads": 1, "device": "cpu"}
    for number, section in enumerate(tree["prepare"].values()):
        section["procedural"] |= {"num_images": 240, "seed": number}
        section |= {"resolution": 32, "shard_size": 64}
        if section["split"]["train"]:
            section["split"] = {"train": 0.5, "val": 0.25, "test": 0.25}
    tree["train_parent"]["model"] = "models/tiny"
    recipe = tree["train_child"]["cats"]["recipe"]
    recipe |= {"total_kimg": 0.016, "tick_kimg": 0.008, "snapshot_kimg": 0.008, "batch_size": 8}
    tree["invert"] |= {"max_images": 60, "num_steps": 2, "shard_size": 40}
    tree["invert"] |= {"encoder_kimg": 0.064}
    tree["translate"] |= {"shard_size": 64}
    tree["transfer"] |= {"reader_steps": 2, "encoder_kimg": 0.064, "cycle_steps": 1}
    tree["analyze"] |= {"num_samples": 8, "reader_steps": 2, "num_reset_samples": 4}
    tree["evaluate"] |= {"num_train": 60, "num_steps": 2, "seeds": [0], "num_features": 8}
    tree["analyze"]["num_bootstrap"] = tree["evaluate"]["num_bootstrap"] = 10
    return tree


def tiny_parent(folder: Path) -> None:
    """An untrained parent of 32 pixels."""
    torch.manual_seed(0)
    widths = {4: 8, 8: 8, 16: 8, 32: 8}
    config = ModelConfig(
        resolution=32, z_dim=8, w_dim=8, num_mapping_layers=2, channels=widths, noise=False
    )
    save_model(Model.new(config), folder)


def write_params(project: Path, tree: dict) -> None:
    """Put params.yaml into the project."""
    (project / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project before its first run."""
    folder = tmp_path_factory.mktemp("tiny")
    write_params(folder, small_params())
    for name in ("data/sources.yaml", ".dvcignore", "prefect.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.yaml").write_text(
        without_code((ROOT / "dvc.yaml").read_text()).replace("project.version", "project.name")
    )
    (folder / ".gitignore").write_text("/artifacts/\n/.stylealign/\n")
    tiny_parent(folder / "models" / "tiny")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.email", "test@example.org")
    git(folder, "config", "user.name", "Test")
    dvc(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "start")
    return folder
