"""Every kind of source gives the same records, and refuses what is broken."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stylealign.data.label_files import match_ids, read_label_file
from stylealign.data.procedural import draw_attributes, render
from stylealign.data.sources import ProceduralSource, open_source
from stylealign.errors import DataError
from stylealign.images import decode, encode_png


def test_folder_zip_and_parquet_give_the_same_images(
    raw_folder: Path, zip_of: Callable[..., Path], tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in sorted(raw_folder.iterdir())}
    cells = [{"bytes": data, "path": name} for name, data in files.items()]
    table = pa.table({"id": list(files), "image": cells, "label.yaw": [1.0] * len(files)})
    pq.write_table(table, tmp_path / "images.parquet", row_group_size=3)

    sources = [
        open_source(path) for path in (raw_folder, zip_of(files), tmp_path / "images.parquet")
    ]

    for source in sources:
        assert source.ids == list(files)
        assert [source.read(place) for place in range(20)] == list(files.values())
    assert sources[2].labels is not None
    assert list(sources[2].labels.columns) == ["yaw"]


def test_images_may_lie_in_subfolders_and_other_files_are_not_images(tmp_path: Path) -> None:
    for name in ("a/1.JPG", "b/1.png", ".hidden.png", "__MACOSX/x.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    source = open_source(tmp_path)

    assert source.ids == ["a/1.JPG", "b/1.png"]


def test_a_folder_whose_name_ends_like_an_image_is_none(tmp_path: Path) -> None:
    (tmp_path / "cats.png").mkdir()
    (tmp_path / "cats.png" / "1.png").write_bytes(b"x")

    assert open_source(tmp_path).ids == ["cats.png/1.png"]


def test_a_table_of_labels_may_lie_among_the_images(raw_folder: Path) -> None:
    ids = sorted(path.name for path in raw_folder.iterdir())
    path = raw_folder / "labels.parquet"
    pd.DataFrame({"image": ids, "age": range(20)}).to_parquet(path)

    source = open_source(raw_folder, labels=raw_folder / ".." / raw_folder.name / path.name)

    assert source.ids == ids
    assert source.labels is not None
    assert source.labels["age"].tolist() == list(range(20))


def test_the_id_column_is_that_of_the_labels_or_of_the_images(tmp_path: Path) -> None:
    images, labels = tmp_path / "images.parquet", tmp_path / "labels.csv"
    pq.write_table(pa.table({"id": ["a", "b"], "image": [b"x", b"y"]}), images)
    labels.write_text("who,age\nb,3\n")

    assert open_source(images, labels=labels, id_column="who").ids == ["a", "b"]
    with pytest.raises(DataError, match=r"has no column 'who'; it has \['id'\]"):
        open_source(images, id_column="who")


def test_the_picture_of_translated_images_is_none_of_them(
    tmp_path: Path, zip_of: Callable[..., Path]
) -> None:
    names = ("cats/1.png", "cats/side-by-side.png", "cats/translations.jsonl", "side-by-side.png")
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x")

    sources = open_source(tmp_path / "images"), open_source(zip_of(dict.fromkeys(names, b"x")))

    assert [source.ids for source in sources] == [["cats/1.png", "side-by-side.png"]] * 2


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:\\evil.png"])
def test_a_zip_whose_members_lead_out_of_it_is_refused(
    name: str, zip_of: Callable[..., Path]
) -> None:
    path = zip_of({"fine.png": b"x", name: b"x"})

    with pytest.raises(DataError, match="leads out of its folder"):
        open_source(path)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"not a zip")

    with pytest.raises(DataError, match="cannot open zip"):
        open_source(tmp_path / "images.zip")


@pytest.mark.parametrize(
    ("offset", "content"),
    [(6, b"\xff\xff"), (28, b"\0\0"), (42, b"\xff\xff\xff\xff"), (46, b"\0")],
    ids=["unknown version", "no name", "nowhere", "a name that ends at once"],
)
def test_a_zip_with_a_damaged_directory_is_refused(
    offset: int, content: bytes, zip_of: Callable[..., Path]
) -> None:
    path = zip_of({"a.png": b"x"})
    damaged = bytearray(path.read_bytes())
    start = damaged.index(b"PK\x01\x02") + offset
    damaged[start : start + len(content)] = content
    path.write_bytes(damaged)

    with pytest.raises(DataError, match="zip"):
        open_source(path).read(0)


def test_a_zip_member_with_a_flipped_byte_is_a_data_error(
    zip_of: Callable[..., Path], draw_image: Callable[..., np.ndarray]
) -> None:
    path = zip_of({"a.png": encode_png(draw_image(0))})
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(DataError, match="cannot read zip member"):
        open_source(path).read(0)


def test_a_zip_member_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"x")
        archive.infolist()[0].file_size = 2**40  # what the directory of a bomb would say
        archive.infolist()[0].extract_version = 45

    with pytest.raises(DataError, match="too large"):
        open_source(path).read(0)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text("x")])
def test_a_source_without_images_is_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "source")

    with pytest.raises(DataError, match=r"holds no image|is no image source"):
        open_source(tmp_path / "source")


def test_a_source_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image source at"):
        open_source(tmp_path / "nowhere")


def test_parquet_without_an_image_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "images.parquet")

    with pytest.raises(DataError, match="no column 'image'"):
        open_source(tmp_path / "images.parquet")


def test_drawn_images_are_those_of_the_renderer_with_their_labels() -> None:
    source = ProceduralSource("people", 300, seed=5, resolution=32)
    attributes = draw_attributes("people", 300, seed=5)

    last = decode(source.read(299))

    assert (last == render("people", attributes.iloc[[299]], 32)[0]).all()
    assert source.labels is not None
    assert source.labels["yaw"].tolist() == attributes["yaw"].tolist()
    assert source.labels.index.tolist() == source.ids


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_label_file_reads_the_same_in_every_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels.{suffix}"
    table = pd.DataFrame({"file_name": ["007", "1e5"], "age": [3.5, 4.0]})
    if suffix == "csv":
        table.to_csv(path, index=False)
    elif suffix == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    else:
        table.to_parquet(path)

    labels = read_label_file(path)

    assert labels.index.tolist() == ["007", "1e5"]
    assert [float(age) for age in labels["age"]] == [3.5, 4.0]


def test_ids_in_the_index_of_a_pandas_table_are_found(tmp_path: Path, raw_folder: Path) -> None:
    names = pd.Index(["007", "008"], name="id")
    cells = [path.read_bytes() for path in sorted(raw_folder.iterdir())[:2]]
    pd.DataFrame({"image": cells, "age": [3, 4]}, index=names).to_parquet(tmp_path / "a.parquet")

    source = open_source(tmp_path / "a.parquet")

    assert source.ids == ["007", "008"]
    assert read_label_file(tmp_path / "a.parquet").index.tolist() == ["007", "008"]
    assert source.labels is not None
    assert source.labels["age"].tolist() == [3, 4]


def test_a_label_file_without_ids_names_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("who,age\na,3\n")

    with pytest.raises(DataError, match=r"no id column .* it has \['who', 'age'\]"):
        read_label_file(path)
    assert read_label_file(path, id_column="who").index.tolist() == ["a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", ""),
        ("labels.xls", "x"),
        ("labels.jsonl", "[1, 2]\n3\n"),
        ("labels.jsonl", "[" * 100_000),
    ],
)
def test_a_label_file_that_cannot_be_read_is_a_data_error(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(DataError, match="cannot read label file"):
        read_label_file(tmp_path / name)


def test_lines_of_json_end_at_line_feeds_alone(tmp_path: Path) -> None:
    text = (
        "\ufeff" + json.dumps({"id": "a", "note": "one\u2028two\x85"}, ensure_ascii=False) + "\r\n"
    )
    (tmp_path / "labels.jsonl").write_bytes(text.encode())

    assert read_label_file(tmp_path / "labels.jsonl")["note"].tolist() == ["one\u2028two\x85"]


def test_a_label_finds_its_image_by_path_name_or_stem_but_never_two() -> None:
    ids = ["a/1.png", "b/1.png", "b/2.png"]

    matches = match_ids(ids, ["a/1.png", "./b/1.png", "1.png", "2", "b/2", "3"])

    assert matches == {
        "a/1.png": "a/1.png",
        "./b/1.png": "b/1.png",
        "2": "b/2.png",
        "b/2": "b/2.png",
    }


def test_an_encrypted_or_unknown_member_is_a_data_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"x")
    data = bytearray(buffer.getvalue())
    directory = data.rindex(b"PK\x01\x02")
    data[6] |= 1
    data[directory + 8] |= 1  # the flag that says "encrypted", in both headers
    (tmp_path / "images.zip").write_bytes(bytes(data))

    with pytest.raises(DataError, match="cannot read zip member"):
        open_source(tmp_path / "images.zip").read(0)
