"""Task of stage `train_child`: the parent and images of a new domain become an aligned child."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from stylealign.checkpoints import load_model
from stylealign.checkpoints.beside import MATCHED_FILE, STANDINGS_FILE
from stylealign.models import Model
from stylealign.params import AnalyzeParams, ShardsParams, StandingParams, TrainChildParams
from stylealign.standings import Standings
from stylealign.training import Training
from stylealign.training.snapshot import SnapshotFiles
from stylealign.training.split import Split
from tasks.layout import LabelledSets, feature_folder, reader_folder, snapshot_folder
from tasks.matching import match_images
from tasks.processes import joined_processes, own_device
from tasks.readings import ChildReadings
from tasks.records import LiveRecord, Record
from tasks.saying import tell, warn
from tasks.training import (
    Run,
    class_shares,
    classes_of,
    finish_training,
    follow_training,
    make_run,
    open_images,
    require_images,
)


@task(cache_policy=NO_CACHE)
def fine_tune(
    child: str,
    parent_folder: Path,
    images: Path | ShardsParams,
    section: TrainChildParams,
    standing: StandingParams,
    folder: Path,
    device: str,
    record: Record,
    labelled: Path,
    sets: LabelledSets | None,
    analyze: AnalyzeParams,
) -> SnapshotFiles:
    """Start from the parent, train on the child's images, save the child with its lineage.

    At each snapshot it is measured where the child stands; the one that the rule takes is saved.
    Where there are labelled `sets`, readers as of `analyze` look at it too, for the record alone.
    `labelled` are images of the parent's domain, by which `section.match` chooses.

    Returns the snapshots, which stay until all is done that follows.
    """
    logger, live = get_run_logger(), LiveRecord(record, warn)
    with joined_processes(own_device(device)) as split:
        parent = load_model(parent_folder, own_device(device))
        run = child_run(child, parent, images, section, standing, split, labelled)
        standings = Standings(
            run.training,
            parent,
            run.batches.dataset,
            standing,
            ids=run.batches.ids,
            choose=section.choose,
            features=feature_folder(),
        )
        readings = ChildReadings(run.training, parent, sets, analyze, reader_folder(), warn)

        def measure() -> None:
            figures, seen = standings.measure().figures(), readings.measure()
            if seen is not None:
                logger.info("readers at %g kimg: %s", run.training.kimg, seen)
                figures |= seen.figures()
            numbers = {f"standing.{name}": value for name, value in figures.items()}
            live.metrics(numbers, run.training.nimg)

        follow_training(run, live, measure)
    kept = standings.keep(run.snapshot)
    record.tag(kept_kimg=f"{kept.kimg:g}")
    where = f"{kept.fidelity_name} {kept.fidelity:.4g}, likeness {kept.likeness:.3f}"
    tell(f"kept the child of {kept.kimg:g} of {run.training.kimg:g} kimg: {where}")
    return finish_training(run, folder, {STANDINGS_FILE: standings.summary(kept)})


def child_run(
    child: str,
    parent: Model,
    images: Path | ShardsParams,
    section: TrainChildParams,
    standing: StandingParams,
    split: Split,
    labelled: Path,
) -> Run:
    """A child that starts from its parent.

    Raises: DataError, CheckpointError or ParamsError if model, images and recipe do not fit, or
        `labelled` images of the parent's domain have no such labels as `section.match` asks for.
    """
    recipe = section.recipe
    dataset = open_images(images)
    require_images(dataset, parent.config)
    classes, shares = classes_of(dataset, recipe), class_shares(dataset, recipe)
    model = parent.new_child(child, data_hash=dataset.content_hash, class_shares=shares)
    training = Training(model, parent.generator, recipe, split=split, classes=classes)
    matched = None
    if section.match is not None:
        matched = match_images(
            section.match,
            parent,
            dataset,
            labelled,
            reader_folder(),
            split,
            mirror=recipe.mirror,
        )
    settings = [
        parent.config.id,
        section.model_dump(mode="json", exclude={"recipe"}),
        standing.model_dump(mode="json"),
    ]
    only = None if matched is None else matched.ids
    run = make_run(child, training, dataset, snapshot_folder() / child, settings, only)
    if matched is not None:
        run.tables[MATCHED_FILE] = matched.summary
    return run
