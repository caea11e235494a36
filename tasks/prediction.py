"""Images of any folder become a table of labels."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stylealign.data.tables import LABEL_PREFIX
from stylealign.errors import DataError
from stylealign.metrics.readers import load_reader
from tasks.pictures import CHUNK, find_device, open_pictures, require_folder, require_outside
from tasks.terminal import terminal_bar


def predict_folder(place: Path, model: Path, out: Path, *, device: str = "auto") -> tuple[int, int]:
    """Read the labels of every image into a Parquet table; returns how many, and how many not.

    Columns: `id`, `label.<name>` of every label that the reader reads, `confidence.<name>` of
    classes. Images that cannot be decoded have a row without labels, and no reading is invented.

    Raises: CheckpointError if the model is no reader; DataError if there is no image to read, or
        the table cannot be written or lies among the images.
    """
    require_outside(place, out)
    reader = load_reader(model)
    reader.network.to(find_device(device))
    pictures = open_pictures(place, reader.resolution)
    ids = pictures.ids
    require_folder(out.parent)
    tables: list[pd.DataFrame] = []
    with terminal_bar("predict", len(ids), unit="images") as advance:
        for chunk, pixels in pictures.batches(ids, CHUNK):
            tables.append(reader.predict(pixels).set_axis(pd.Index(chunk)))
            advance(len(chunk))
    if not tables:
        raise DataError(f"none of {len(ids)} images can be used: {pictures.rejected[0][2]}")
    read = pd.concat(tables).reindex(ids)
    names = {name: f"{LABEL_PREFIX}{name}" for name in reader.schema}
    table = read.rename(columns=names).rename_axis("id").reset_index()
    try:
        pq.write_table(
            pa.Table.from_pandas(table, preserve_index=False), out, write_page_checksum=True
        )
    except OSError as error:
        raise DataError(f"{str(out)!r} cannot be written: {error.strerror or error}") from None
    return len(ids) - len(pictures.rejected), len(pictures.rejected)
