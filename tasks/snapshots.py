"""How snapshots of a training are called, and what is left of them once the model is finished."""

import hashlib
import json
import math
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
MARK = ".finished"
"""How the name of the file ends that says that a run is finished."""


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
    bases = {base_of(path, snapshot.suffix) for path in snapshot.parent.glob(f"{stem}@*")}
    others = [path for base in bases for path in SnapshotFiles(base).all()]
    if not others or SnapshotFiles(snapshot).all():
        return
    newest = max(others, key=kimg_of)
    if (
        mark_of(base_of(newest, snapshot.suffix)).exists()
        and kimg_of(newest) >= training.recipe.total_kimg
    ):
        return  # a finished run of another recipe, which nobody has asked to be longer
    saved = peek(newest).get("recipe")
    changed = recipe_changes(saved, training.recipe) if saved else []
    what = f"other {', '.join(changed)}" if changed else "other images, start or settings"
    training.notes.append(
        f"starts anew: the snapshot of {kimg_of(newest):g} kimg that lies there has {what}; put "
        "that back to go on from it"
    )


def base_of(path: Path, suffix: str) -> Path:
    """What the names of a run's snapshots begin as, by one of them."""
    return path.with_name(f"{path.name.rpartition('@')[0]}{suffix}")


def settle_start(training: Training, snapshot: Path) -> None:
    """Go on from the snapshots of a finished run if this one is longer, and drop them if not.

    Who runs a finished training again wants it computed again. The first of several processes
    decides, the others wait for it.
    """
    mark, files = mark_of(snapshot), SnapshotFiles(snapshot)
    if training.split.rank == 0 and mark.exists():
        former, total = files.newest_kimg(math.inf), training.recipe.total_kimg
        if 0 < former < total:
            training.notes.append(f"was finished at {former:g} kimg and goes on to {total:g}")
        else:
            for path in files.all():
                path.unlink()
            shutil.rmtree(snapshot.with_suffix(PICTURES), ignore_errors=True)
        mark.unlink()
    training.split.wait()


@task(cache_policy=NO_CACHE)
def mark_finished(files: SnapshotFiles) -> None:
    """Leave what a longer run would go on from, and remove all else of a model that is finished.

    That is the last state, the snapshots that may be chosen yet, and the pictures. Snapshots of
    other recipes of this model go. Not before all that follows the training is done: until the
    mark is there, a killed stage goes on from what lies there.
    """
    folder, stem = files.base.parent, stem_of_model(files.base)
    for end_state in files.regular()[-1:]:
        files.prune(1, end_state)
    kept = {*files.all(), files.base.with_suffix(PICTURES)}
    for end in (f"@*{files.base.suffix}", f"@*{PARTIAL}", MARK):
        for path in {*folder.glob(f"{stem}{end}")} - kept:
            path.unlink()
    for pictures in {*folder.glob(f"{stem}{PICTURES}")} - kept:
        shutil.rmtree(pictures, ignore_errors=True)
    mark_of(files.base).touch()


def mark_of(snapshot: Path) -> Path:
    """The empty file that says that a run is finished."""
    return snapshot.with_suffix(MARK)


def stem_of_model(snapshot: Path) -> str:
    """The pattern of all names that this model's snapshots have, whatever recipe they are of."""
    return f"{snapshot.stem[:-KEY_DIGITS]}{KEY}"
