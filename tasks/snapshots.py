"""How snapshots of a training are called, and where they go once the model is finished."""

import hashlib
import json
import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.recipe import Recipe
from stylealign.training import Training
from stylealign.training.snapshot import (
    FREE_FIELDS,
    PARTIAL,
    SnapshotFiles,
    kimg_of,
    peek,
    recipe_changes,
)

KEY_DIGITS = 16
"""Length of what stands for everything that a training depends on in the names of its snapshots."""
KEY = "[0-9a-f]" * KEY_DIGITS
PICTURES = ".pictures"
"""How the folder of a run's pictures ends, beside its snapshots."""
FINISHED = "finished"
"""Folder beside the snapshots, for those of finished models."""


def snapshot_key(recipe: Recipe, *others: object) -> str:
    """A name that changes with all that training depends on, so a snapshot never fits another.

    A run that is made longer or shorter keeps its name: it goes on from what is there.
    """
    text = json.dumps(
        [recipe.model_dump(mode="json", exclude=FREE_FIELDS), *others], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def note_other_runs(training: Training, snapshot: Path) -> None:
    """Say if the run starts anew though snapshots of its name lie there, and what is different."""
    stem = stem_of_model(snapshot)
    named = {path.name.rpartition("@")[0] for path in snapshot.parent.glob(f"{stem}@*")}
    bases = [snapshot.with_name(f"{name}{snapshot.suffix}") for name in named]
    others = [path for base in bases for path in SnapshotFiles(base).all()]
    if not others or SnapshotFiles(snapshot).all():
        return
    newest = max(others, key=kimg_of)
    saved = peek(newest).get("recipe")
    changed = recipe_changes(saved, training.recipe) if saved else []
    what = f"other {', '.join(changed)}" if changed else "other images, start or settings"
    training.notes.append(
        f"starts anew: the snapshot of {kimg_of(newest):g} kimg that lies there has {what}; put "
        "that back to go on from it"
    )


def take_up(training: Training, snapshot: Path) -> None:
    """Bring back what a finished run has put by, if this run is the same one made longer.

    One that is not longer starts anew: who runs it again wants it computed again. The first of
    several processes moves the files, the others wait for it.
    """
    put_by = snapshot.parent / FINISHED / snapshot.name
    if training.split.rank == 0:
        files = SnapshotFiles(put_by).all()
        kimg = max(map(kimg_of, files), default=0.0)
        if 0 < kimg < training.recipe.total_kimg:
            move([*files, put_by.with_suffix(PICTURES)], snapshot.parent)
            training.notes.append(f"goes on from the {kimg:g} kimg of a run that was finished")
    training.split.agree(False, training.G.w_avg.device)


@task(cache_policy=NO_CACHE)
def put_by_snapshots(files: SnapshotFiles) -> None:
    """Put by what a longer run would go on from, and remove all else of a model that is finished.

    That is the last state, the snapshots that may be chosen yet, and the pictures. Snapshots of
    other recipes of this model go. Not before all that follows the training is done: until then a
    killed stage starts from what lies there.
    """
    folder = files.base.parent
    remove(files.base, folder / FINISHED)
    if own := files.regular():
        files.prune(1, own[-1])
        move([*files.all(), files.base.with_suffix(PICTURES)], folder / FINISHED)
    remove(files.base, folder)


def remove(snapshot: Path, folder: Path) -> None:
    """Remove snapshots and pictures of a model from a folder, whatever recipe they are of."""
    stem = stem_of_model(snapshot)
    for end in (snapshot.suffix, PARTIAL):
        for path in folder.glob(f"{stem}@*{end}"):
            path.unlink()
    for pictures in folder.glob(f"{stem}{PICTURES}"):
        shutil.rmtree(pictures, ignore_errors=True)


def move(paths: list[Path], folder: Path) -> None:
    """Move those that there are; what lies in the folder by their names gives way to them."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        target = folder / path.name
        if path.is_dir() and target.is_dir():
            shutil.rmtree(target)
        if path.exists():
            path.replace(target)


def stem_of_model(snapshot: Path) -> str:
    """The pattern of all names that this model's snapshots have, whatever recipe they are of."""
    return f"{snapshot.stem[:-KEY_DIGITS]}{KEY}"
