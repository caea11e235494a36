"""A whole project in a temporary folder: tiny images, a tiny parent, real git, DVC and Prefect."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from flows.starting_params import without_code
from stylealign.checkpoints import save_model
from stylealign.data.procedural import draw_attributes, label_schema, render
from stylealign.images import encode_png
from stylealign.models import Model, ModelConfig

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "flows.cli"]


def environment() -> dict[str, str]:
    """What commands run with: nothing of this process's Prefect, nothing of the user's git."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "DVC_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return kept | {"DVC_NO_ANALYTICS": "true", "GIT_CONFIG_GLOBAL": os.devnull}


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder."""
    return subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, check=False
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


def run_stages(project: Path, *stages: str) -> None:
    """Several stages, one after the other, in one process and so under one server.

    DVC starts one process per stage, each of which spends seconds on imports.
    """
    done = run(project, sys.executable, "-c", SEVERAL, *stages)
    assert done.returncode == 0, done.stdout + done.stderr


SEVERAL = """
import sys
from flows.run import run_stage
for stage in sys.argv[1:]:
    run_stage(*stage.partition("@")[::2], [])
"""


STAGES = [
    "prepare@people", "prepare@cats", "prepare@cats_oracle", "prepare@cats_test",
    "train_child@cats", "invert", "translate@cats", "transfer@cats",
    "analyze", "evaluate", "report",
]  # fmt: skip


def rows(project: Path, store: str, query: str) -> list[tuple[Any, ...]]:
    """Answer of one of the project's databases."""
    with sqlite3.connect(project / ".stylealign" / store, timeout=60) as database:
        return database.execute(query).fetchall()


def small_params() -> dict[str, Any]:
    """The demo's params on people from files, with every number as small as it goes."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["project"] |= {"name": "tiny", "num_threads": 1, "device": "cpu"}
    for number, section in enumerate(tree["prepare"].values()):
        section["procedural"] |= {"num_images": 100, "seed": number}
        section |= {"resolution": 32, "shard_size": 64}
        if section["split"]["train"]:
            section["split"] = {"train": 0.5, "val": 0.4, "test": 0.1}
    tree["prepare"]["people"] |= {
        "source": "data/raw/people",
        "images": "images",
        "labels": "labels.csv",
        "label_schema": label_schema("people"),
        "procedural": None,
    }
    tree["train_parent"]["model"] = "models/tiny"
    recipe = tree["train_child"]["cats"]["recipe"]
    recipe |= {"total_kimg": 0.016, "tick_kimg": 0.008, "snapshot_kimg": 0.008, "batch_size": 8}
    recipe["d_warmup_kimg"] = 0
    tree["standing"] |= {"num_codes": 8, "num_looked_at": 4, "feature_resolution": 32}
    tree["invert"] |= {"max_images": None, "num_steps": 2, "shard_size": 40}
    tree["invert"] |= {"encoder_kimg": 0.064}
    tree["translate"] |= {"shard_size": 64}
    tree["transfer"] |= {"reader_steps": 2, "encoder_kimg": 0.064, "cycle_steps": 1}
    tree["analyze"] |= {"num_samples": 8, "reader_steps": 2, "num_reset_samples": 4}
    tree["evaluate"] |= {
        "num_train": 60,
        "num_steps": 2,
        "latent_steps": 1,
        "seeds": [0],
        "num_features": 8,
        "num_paths": 8,
    }
    tree["analyze"]["num_bootstrap"] = tree["evaluate"]["num_bootstrap"] = 10
    tree["quality"] = {"max_fd_ratio": 1e6, "min_accepted": 0.0, "min_gain": -10.0}
    return tree


def add_people(project: Path, first: int, last: int) -> None:
    """Draw people into the folder that the project prepares its images from."""
    place = project / "data/raw/people"
    (place / "images").mkdir(parents=True, exist_ok=True)
    attributes = draw_attributes("people", 200, seed=0)
    for row, image in enumerate(render("people", attributes.iloc[first:last], 32), start=first):
        (place / "images" / f"{row:04d}.png").write_bytes(encode_png(image))
    names = pd.Index([f"{row:04d}" for row in range(last)], name="id")
    attributes.iloc[:last].set_axis(names)[list(label_schema("people"))].to_csv(
        place / "labels.csv"
    )


def tiny_parent(folder: Path) -> None:
    """An untrained parent of 32 pixels."""
    torch.manual_seed(0)
    widths = {4: 8, 8: 8, 16: 8, 32: 8}
    config = ModelConfig(
        resolution=32, z_dim=8, w_dim=8, num_mapping_layers=2, channels=widths, noise=False
    )
    save_model(Model.new(config), folder)


def write_params(project: Path, tree: dict[str, Any]) -> None:
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
    add_people(folder, 0, 150)
    tiny_parent(folder / "models" / "tiny")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.email", "test@example.org")
    git(folder, "config", "user.name", "Test")
    dvc(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "start")
    return folder


@pytest.fixture(scope="module")
def finished(project: Path) -> Path:
    """The project after each stage ran once; DVC has noted what came out."""
    run_stages(project, *STAGES)
    dvc(project, "commit", "--force")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "first run")
    return project
