"""Stage `prepare`: images and labels go in, one checked and resized data set comes out."""

from pathlib import Path

from prefect import flow

from stylealign.params import Params
from tasks.data import find_licence, prepare_images
from tasks.layout import artifact
from tasks.records import recorded


@flow(name="prepare")
def prepare(params: Params, name: str) -> Path:
    """Bring one data set into shape, after its licence was found."""
    section, folder = params.prepare[name], artifact("prepare", name)
    with recorded("prepare", name, section, {"source": section.source}) as record:
        licence = find_licence(name)
        manifest = prepare_images(name, section, licence, folder, params.project.num_threads)
        record.metrics({f"rows.{split}": num for split, num in manifest.counts.items()})
        record.metrics({f"rejected.{reason}": num for reason, num in manifest.rejected.items()})
    return folder
