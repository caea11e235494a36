"""Tasks of stage `prepare`: a source and its labels become a data set."""

from pathlib import Path

import yaml
from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.data.align import Template
from stylealign.data.folders import REJECTED_FILE
from stylealign.data.labels import LabelSchema, parse_schema
from stylealign.data.manifest import Manifest
from stylealign.data.prepare import prepare
from stylealign.data.procedural import label_schema
from stylealign.data.sources import IMAGE_SUFFIXES, ProceduralSource, Source, open_source
from stylealign.errors import DataError
from stylealign.params import AlignParams, PrepareParams
from tasks.progress import progress
from tasks.saying import warn

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
    """Check, frame, resize and split the images of one data set; says what is not in it."""
    source, schema = open_raw_images(params)
    unread = unread_names(params)
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        warn(
            f"prepare {name}: {unread[0]!r}{more} beside {params.images!r} will not be read: "
            "put images in there"
        )
    with progress(f"prepare {name}", len(source.ids), unit="images") as bar:
        manifest = prepare(
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
    if manifest.rejected:
        reasons = ", ".join(f"{num} {reason}" for reason, num in manifest.rejected.items())
        warn(f"prepare {name}: left out {reasons}: {folder / REJECTED_FILE}")
    return manifest


def open_raw_images(params: PrepareParams) -> tuple[Source, LabelSchema]:
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


def unread_names(params: PrepareParams) -> list[str]:
    """What lies beside the images of a set and looks like more of them, put there later."""
    if params.images is None:
        return []
    read = {Path(name).parts[0] for name in (params.images, params.labels) if name}
    others = [path for path in params.source.iterdir() if path.name not in read]
    return sorted(
        path.name
        for path in others
        if not path.name.startswith(".")
        and (path.is_dir() or path.suffix.lower() in (*IMAGE_SUFFIXES, ".parquet", ".zip"))
    )


def template(params: AlignParams | None) -> Template | None:
    """The template as the library takes it."""
    return Template(**params.model_dump()) if params else None
