"""Tasks of stage `prepare`: a source and its labels become a data set."""

from pathlib import Path

import yaml
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.data.align import Template
from stylealign.data.labels import LabelSchema, parse_schema
from stylealign.data.manifest import Manifest
from stylealign.data.prepare import prepare
from stylealign.data.procedural import label_schema
from stylealign.data.sources import ProceduralSource, Source, open_source
from stylealign.errors import DataError
from stylealign.params import AlignParams, PrepareParams
from tasks.progress import progress

SOURCES = Path("data/sources.yaml")


@task(cache_policy=NO_CACHE)
def find_licence(name: str) -> str:
    """Licence of a data set, as the list of sources states it.

    Raises: DataError if the set or its licence is not listed.
    """
    try:
        listed = yaml.safe_load(SOURCES.read_text("utf-8")) or {}
        return str(listed[name]["licence"])
    except (FileNotFoundError, KeyError, TypeError):
        raise DataError(
            f"data set {name!r} has no licence in {str(SOURCES)!r}: list it there, "
            "`<name>: {origin: ..., licence: ...}`"
        ) from None


@task(cache_policy=NO_CACHE)
def prepare_images(
    name: str, params: PrepareParams, licence: str, folder: Path, num_threads: int
) -> Manifest:
    """Check, frame, resize and split the images of one data set."""
    source, schema = open_images(params)
    with progress(f"prepare {name}", len(source.ids), unit="images") as bar:
        return prepare(
            source,
            folder,
            resolution=params.resolution,
            schema=schema,
            fractions=params.split.model_dump(),
            seed=params.seed,
            shard_size=params.shard_size,
            max_rejected_fraction=params.max_rejected,
            min_side=params.min_side,
            allow_unlabelled=params.allow_unlabelled,
            near_duplicate_bits=params.near_duplicate_bits,
            group_column=params.group_column,
            split_column=params.split_column,
            template=template(params.align),
            domain=params.procedural.domain if params.procedural else name,
            licence=licence,
            num_threads=num_threads,
            progress=bar.follow,
        )


def open_images(params: PrepareParams) -> tuple[Source, LabelSchema]:
    """The source of a data set, read from files or drawn, and what its labels mean."""
    drawn = params.procedural
    if drawn is not None:
        source = ProceduralSource(
            drawn.domain,
            drawn.num_images,
            seed=drawn.seed,
            resolution=params.resolution,
            prevalence=drawn.prevalence,
        )
        return source, parse_schema(label_schema(drawn.domain))
    images = params.source / params.images if params.images else params.source
    labels = params.source / params.labels if params.labels else None
    opened: Source = open_source(images, labels=labels, id_column=params.id_column)
    return opened, parse_schema(params.label_schema)


def template(params: AlignParams | None) -> Template | None:
    """The template as the library takes it."""
    return Template(**params.model_dump()) if params else None
