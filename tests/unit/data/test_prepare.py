"""Laws of stage `prepare`, and every bad input with its error or its row among the rejected."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stylealign.data.align import Template
from stylealign.data.dataset import open_dataset
from stylealign.data.labels import parse_schema
from stylealign.data.manifest import Manifest
from stylealign.data.procedural import label_schema
from stylealign.data.shards import known_rows
from stylealign.data.sources import ProceduralSource, open_source
from stylealign.errors import DataError
from stylealign.images import crop_and_resize, decode, decode_mask, encode_png

Prepare = Callable[..., Manifest]
BytesOf = Callable[[Path], dict[str, bytes]]
Draw = Callable[..., np.ndarray]


def rejects_of(folder: Path) -> dict[str, str]:
    table = pd.read_parquet(folder / "rejected.parquet")
    return dict(zip(table["id"], table["reason"], strict=True))


def test_images_and_labels_come_back_square_and_resized(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    source = open_source(raw_folder, labels=tmp_path / "labels.csv")

    manifest = prepare_set(source, tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")

    assert manifest.num_rows == len(dataset) == 20
    first = decode((raw_folder / "003.png").read_bytes())
    assert (dataset.images(["003.png"])[0] == crop_and_resize(first, 16)).all()
    raw = pd.read_csv(tmp_path / "labels.csv")
    assert dataset.labels()["yaw"].tolist() == raw["yaw"].tolist()
    assert dataset.labels()["glasses"].tolist() == raw["glasses"].tolist()


def test_the_same_input_gives_the_same_bytes_on_any_number_of_threads(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare, bytes_of: BytesOf
) -> None:
    prepare_set(open_source(raw_folder), tmp_path / "a" / "out", num_threads=1)
    prepare_set(open_source(raw_folder), tmp_path / "b" / "out", num_threads=3)

    assert bytes_of(tmp_path / "a" / "out") == bytes_of(tmp_path / "b" / "out")


def test_added_images_leave_every_existing_shard_byte_identical(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    out = tmp_path / "out"
    prepare_set(open_source(raw_folder), out)
    before = {path.read_bytes() for path in out.glob("*-of-*.parquet")}
    (raw_folder / "0005.png").write_bytes(encode_png(draw_image(99)))

    manifest = prepare_set(open_source(raw_folder), out)
    after = {path.read_bytes() for path in out.glob("*-of-*.parquet")}

    assert before < after
    assert len(after) == len(before) + 1
    assert manifest.num_rows == 21


def test_images_that_are_known_are_not_decoded_again(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_set(open_source(raw_folder), tmp_path / "out")
    monkeypatch.setattr("stylealign.data.scan.decode", None)

    manifest = prepare_set(open_source(raw_folder), tmp_path / "out")

    assert manifest.num_rows == 20


def test_a_run_that_lost_some_shards_writes_the_same_bytes_again(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare, bytes_of: BytesOf
) -> None:
    out = tmp_path / "out"
    prepare_set(open_source(raw_folder), out)
    before = bytes_of(out)
    records = json.loads(before["manifest.json"])["shards"]
    kept, key = next((out / shard["file"], shard["key"]) for shard in records[2:])
    for path in out.iterdir():
        if path != kept:
            path.unlink()
    kept.rename(out / f"{kept.name.split('-')[0]}-{key[:16]}.parquet")  # as a killed run leaves it

    prepare_set(open_source(raw_folder), out)

    assert bytes_of(out) == before


def test_a_changed_label_rewrites_only_the_shard_of_its_image(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    labels, out = tmp_path / "labels.csv", tmp_path / "out"
    prepare_set(open_source(raw_folder, labels=labels), out)
    before = {path.read_bytes() for path in out.glob("*-of-*.parquet")}
    labels.write_text(labels.read_text().replace("yes", "no", 1))

    prepare_set(open_source(raw_folder, labels=labels), out)
    after = {path.read_bytes() for path in out.glob("*-of-*.parquet")}

    assert len(after - before) == 1
    assert open_dataset(out).labels()["glasses"].tolist().count("yes") == 9


def test_broken_images_are_rejected_each_with_its_reason(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    whole = encode_png(draw_image(50))
    (raw_folder / "corrupt.png").write_bytes(whole[:-40])
    (raw_folder / "small.png").write_bytes(encode_png(draw_image(51, side=8)))
    (raw_folder / "text.jpg").write_text("no image")
    (raw_folder / "z-copy.png").write_bytes((raw_folder / "004.png").read_bytes())
    bomb = b"P6 10000 10000 255\n"
    (raw_folder / "bomb.ppm").write_bytes(bomb)

    manifest = prepare_set(open_source(raw_folder), tmp_path / "out", max_rejected_fraction=0.5)
    reasons = rejects_of(tmp_path / "out")

    assert manifest.num_rows == 20
    assert manifest.rejected == {"corrupt image": 3, "exact duplicate": 1, "too small": 1}
    assert "too large" in reasons["bomb.ppm"]
    assert reasons["small.png"].startswith("too small: 8 x 8 pixels")
    assert reasons["z-copy.png"] == "exact duplicate: of 004.png"
    assert reasons["corrupt.png"].startswith("corrupt image: cannot decode image")


def test_a_name_that_is_no_text_is_rejected(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    (raw_folder / os.fsdecode(b"f\xfc.png")).write_bytes(encode_png(draw_image(60)))

    prepare_set(open_source(raw_folder), tmp_path / "out", max_rejected_fraction=0.1)

    [(name, reason)] = rejects_of(tmp_path / "out").items()
    assert name == "f\\udcfc.png"
    assert reason.startswith("unreadable name")


def test_a_label_without_image_is_rejected(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    (raw_folder / "004.png").unlink()
    source = open_source(raw_folder, labels=tmp_path / "labels.csv")

    manifest = prepare_set(source, tmp_path / "out", max_rejected_fraction=0.1)

    assert manifest.num_rows == 19
    assert rejects_of(tmp_path / "out") == {"004.png": "label without image"}


@pytest.mark.parametrize("allowed", [True, False])
def test_an_image_without_label_is_kept_or_rejected_as_asked(
    allowed: bool, raw_folder: Path, tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    (raw_folder / "bare.png").write_bytes(encode_png(draw_image(60)))
    source = open_source(raw_folder, labels=tmp_path / "labels.csv")

    settings = {"max_rejected_fraction": 0.1, "allow_unlabelled": allowed}
    manifest = prepare_set(source, tmp_path / "out", **settings)

    assert manifest.num_rows == 20 + allowed
    expected = {} if allowed else {"bare.png": "image without label"}
    assert rejects_of(tmp_path / "out") == expected


def test_an_image_with_two_rows_of_labels_is_rejected(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(labels.read_text() + "003.png,5,no,p1\n")
    source = open_source(raw_folder, labels=labels)

    prepare_set(source, tmp_path / "out", max_rejected_fraction=0.1)

    reasons = rejects_of(tmp_path / "out")
    assert reasons == {"003.png": "duplicate id: several rows of the label table"}


def test_of_two_images_with_one_id_the_second_is_rejected(
    tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    images = [encode_png(draw_image(seed)) for seed in range(4)]
    table = pa.table({"id": ["a", "b", "a", "c"], "image": images, "yaw": [1.0, 2.0, 3.0, 4.0]})
    pq.write_table(table, tmp_path / "images.parquet")
    schema = parse_schema({"yaw": {"type": "continuous"}})
    source = open_source(tmp_path / "images.parquet")

    prepare_set(source, tmp_path / "out", schema=schema, max_rejected_fraction=0.5)

    assert rejects_of(tmp_path / "out") == {"a": "duplicate id: an earlier image has it"}
    assert open_dataset(tmp_path / "out").labels()["yaw"].to_dict() == {"a": 1, "b": 2, "c": 4}


def test_a_column_of_the_wrong_type_is_a_data_error(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(labels.read_text().replace("-30.0", "leftish"))
    source = open_source(raw_folder, labels=labels)

    with pytest.raises(DataError, match=r"'yaw' holds 'leftish' in row 0 \(id '000.png'\)"):
        prepare_set(source, tmp_path / "out")


def test_too_many_rejects_are_a_data_error_and_their_list_is_written(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    (raw_folder / "corrupt.png").write_bytes(b"x")

    with pytest.raises(DataError, match=r"1 of 21 records cannot be used, .* 0\.04 allowed"):
        prepare_set(open_source(raw_folder), tmp_path / "out", max_rejected_fraction=0.04)
    assert list(rejects_of(tmp_path / "out")) == ["corrupt.png"]


def test_a_set_of_which_nothing_is_left_is_a_data_error(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    settings = {"max_rejected_fraction": 1.0, "min_side": 100}

    with pytest.raises(DataError, match=r"none of 20 records can be used: {'too small': 20}"):
        prepare_set(open_source(raw_folder), tmp_path / "out", **settings)


def test_a_schema_without_labels_is_a_data_error(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    schema = parse_schema({"yaw": {"type": "continuous"}})

    with pytest.raises(DataError, match="has no labels"):
        prepare_set(open_source(raw_folder), tmp_path / "out", schema=schema)


def test_a_folder_that_cannot_be_written_is_a_data_error(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    (tmp_path / "out").write_text("in the way")

    with pytest.raises(DataError, match="cannot write"):
        prepare_set(open_source(raw_folder), tmp_path / "out")


def test_a_group_is_never_separated(raw_folder: Path, tmp_path: Path, prepare_set: Prepare) -> None:
    source = open_source(raw_folder, labels=tmp_path / "labels.csv")

    prepare_set(
        source, tmp_path / "out", group_column="person", fractions={"train": 0.5, "test": 0.5}
    )
    table = open_dataset(tmp_path / "out").table()

    pairs = set(zip(table["group"], table["split"], strict=True))
    assert len(pairs) == len(set(table["group"])) == 10
    assert set(table["split"]) == {"train", "test"}


def test_near_duplicates_are_never_separated(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    for path in sorted(raw_folder.iterdir()):
        brighter = np.clip(decode(path.read_bytes()).astype(int) + 3, 0, 255).astype(np.uint8)
        (raw_folder / f"copy-{path.name}").write_bytes(encode_png(brighter))

    prepare_set(open_source(raw_folder), tmp_path / "out", fractions={"train": 0.5, "test": 0.5})
    table = open_dataset(tmp_path / "out").table().set_index("id")

    for number in range(20):
        pair = table.loc[[f"{number:03d}.png", f"copy-{number:03d}.png"]]
        assert len(set(pair["group"])) == len(set(pair["split"])) == 1


def test_a_split_column_is_obeyed_and_checked(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    labels = tmp_path / "labels.csv"
    table = pd.read_csv(labels).assign(part=["test", "val"] * 10)
    table.to_csv(labels, index=False)

    prepare_set(open_source(raw_folder, labels=labels), tmp_path / "out", split_column="part")
    wrong = {"split_column": "glasses"}

    assert open_dataset(tmp_path / "out").table()["split"].tolist() == table["part"].tolist()
    with pytest.raises(DataError, match="split column 'glasses' holds 'no'"):
        prepare_set(open_source(raw_folder, labels=labels), tmp_path / "b", **wrong)


def test_a_row_without_a_split_goes_where_its_group_is_or_is_dealt(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    labels = tmp_path / "labels.csv"
    told = ["test", "", "val", "", *[""] * 16]
    pd.read_csv(labels).assign(part=told).iloc[:18].to_csv(labels, index=False)

    prepare_set(
        open_source(raw_folder, labels=labels),
        tmp_path / "out",
        split_column="part",
        group_column="person",
        fractions={"train": 1.0},
    )
    splits = open_dataset(tmp_path / "out").table()["split"].tolist()

    assert splits == ["test", "test", "val", "val", *["train"] * 16]


@pytest.mark.parametrize("setting", ["group_column", "split_column"])
def test_a_column_that_does_not_exist_is_a_data_error(
    setting: str, raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    source = open_source(raw_folder, labels=tmp_path / "labels.csv")

    with pytest.raises(DataError, match="column 'nobody' is not in the label table"):
        prepare_set(source, tmp_path / "out", **{setting: "nobody"})


def test_drawn_images_are_prepared_as_they_are(tmp_path: Path, prepare_set: Prepare) -> None:
    source = ProceduralSource("cats", 12, seed=3, resolution=32)

    prepare_set(source, tmp_path / "out", resolution=32, schema=parse_schema(label_schema("cats")))
    dataset = open_dataset(tmp_path / "out")

    expected = [decode(source.read(place)) for place in range(12)]
    assert (dataset.images(source.ids) == np.stack(expected)).all()
    assert source.labels is not None
    assert dataset.labels()["yaw"].tolist() == source.labels["yaw"].tolist()


def test_a_prepared_set_is_a_source_again(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    prepare_set(open_source(raw_folder, labels=tmp_path / "labels.csv"), tmp_path / "first")

    prepare_set(open_source(tmp_path / "first"), tmp_path / "second")
    first, second = open_dataset(tmp_path / "first"), open_dataset(tmp_path / "second")

    assert (first.images() == second.images()).all()
    pd.testing.assert_frame_equal(first.labels(), second.labels())


def aligned_source(tmp_path: Path, draw_image: Draw) -> Path:
    """One scene photographed in three ways, with two points, a box and a mask of each."""
    scene = draw_image(7, side=60)
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 1
    rows = []
    for name, (left, top) in {"a": (0, 0), "b": (5, 3), "c": (10, 8)}.items():
        cut = np.s_[top : top + 48, left : left + 48]
        eyes = [20 - left, 24 - top, 40 - left, 24 - top]
        box = [20 - left, 20 - top, 40 - left, 40 - top]
        rows.append(
            {
                "id": name,
                "image": encode_png(scene[cut]),
                "eyes": [float(value) for value in eyes],
                "head": [[float(value) for value in box]],
                "parts": encode_png(np.ascontiguousarray(mask[cut])),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "images.parquet")
    return tmp_path / "images.parquet"


PLACES = {
    "eyes": {"type": "keypoints", "values": ["left", "right"], "unit": "px"},
    "head": {"type": "boxes", "unit": "px"},
    "parts": {"type": "mask", "values": ["none", "head"]},
}


@pytest.mark.parametrize(
    "template",
    [
        Template("eyes", {"left": (0.35, 0.45), "right": (0.65, 0.45)}, 0.01),
        Template("head", {"top_left": (0.35, 0.39), "bottom_right": (0.65, 0.69)}, 0.01),
    ],
)
def test_aligned_images_show_the_same_places_at_the_same_pixels(
    template: Template, tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    source = open_source(aligned_source(tmp_path, draw_image))
    settings = {
        "schema": parse_schema(PLACES),
        "template": template,
        "drop_exact_duplicates": False,
    }

    manifest = prepare_set(source, tmp_path / "out", **settings)
    dataset = open_dataset(tmp_path / "out")
    images, labels = dataset.images().astype(int), dataset.labels()

    assert np.abs(images[1:, 6:10, 6:10] - images[0, 6:10, 6:10]).max() <= 2
    np.testing.assert_allclose(labels["eyes"].tolist(), [[0.35, 0.45, 0.65, 0.45]] * 3, atol=1e-9)
    np.testing.assert_allclose(labels["head"].tolist()[2], [[0.35, 0.39, 0.65, 0.69]], atol=1e-9)
    assert len({decode_mask(data).tobytes() for data in labels["parts"]}) == 1
    points = {name: list(place) for name, place in template.points.items()}
    assert manifest.alignment is not None
    assert manifest.alignment["points"] == points
    assert manifest.alignment["residual_max"] == 0.0  # rounded to six digits
    assert manifest.label_schema["eyes"].unit == "relative"


def test_an_image_that_does_not_fit_the_template_is_rejected(
    tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    image = encode_png(draw_image(1))
    points = [[4.0, 8.0, 12.0, 8.0, 8.0, 12.0], [4.0, 8.0, 12.0, 8.0, 8.0, 2.0], None]
    ids = ["fits", "upside", "without"]
    pq.write_table(
        pa.table({"id": ids, "image": [image] * 3, "face": points, "yaw": [1.0, 2.0, 3.0]}),
        tmp_path / "images.parquet",
    )
    names = ["left", "right", "chin"]
    schema = parse_schema({"face": {"type": "keypoints", "values": names, "unit": "px"}})
    template = Template("face", {"left": (0.3, 0.4), "right": (0.7, 0.4), "chin": (0.5, 0.6)}, 0.05)

    prepare_set(
        open_source(tmp_path / "images.parquet"),
        tmp_path / "out",
        schema=schema,
        template=template,
        drop_exact_duplicates=False,
        max_rejected_fraction=0.9,
    )
    reasons = rejects_of(tmp_path / "out")

    assert open_dataset(tmp_path / "out").ids() == ["fits"]
    assert reasons["upside"].startswith("not aligned: residual")
    assert reasons["without"] == "not aligned: label 'face' is missing"


def test_a_template_of_another_label_is_a_data_error(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    source = open_source(raw_folder, labels=tmp_path / "labels.csv")

    with pytest.raises(DataError, match="alignment needs keypoints or boxes"):
        prepare_set(source, tmp_path / "out", template=Template("yaw", {"left": (0.0, 0.0)}, 0.1))


@pytest.mark.parametrize(
    "template",
    [
        Template("eyes", {"left": (0.5, 0.5), "right": (0.5, 0.5)}, 0.1),
        Template("head", {"top_left": (0.7, 0.3), "bottom_right": (0.3, 0.7)}, 0.1),
    ],
)
def test_a_template_without_extent_is_a_data_error(
    template: Template, tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    source = open_source(aligned_source(tmp_path, draw_image))

    with pytest.raises(DataError, match="lie apart"):
        prepare_set(source, tmp_path / "out", schema=parse_schema(PLACES), template=template)


def test_boxes_outside_the_frame_are_left_out(
    tmp_path: Path, prepare_set: Prepare, draw_image: Draw
) -> None:
    (tmp_path / "raw").mkdir()
    wide = np.concatenate([draw_image(seed) for seed in range(3)], axis=1)
    (tmp_path / "raw" / "wide.png").write_bytes(encode_png(wide))
    cell = [[2, 0, 20, 12], [30, 0, 60, 12], [50, 3, 72, 9]]  # the frame is 24 to 48
    (tmp_path / "boxes.jsonl").write_text(json.dumps({"id": "wide", "head": cell}))
    source = open_source(tmp_path / "raw", labels=tmp_path / "boxes.jsonl")

    prepare_set(source, tmp_path / "out", schema=parse_schema({"head": PLACES["head"]}))

    assert open_dataset(tmp_path / "out").labels()["head"].tolist() == [[[0.25, 0.0, 1.0, 0.5]]]


def test_progress_ends_at_all(raw_folder: Path, tmp_path: Path, prepare_set: Prepare) -> None:
    seen: list[tuple[str, int, int]] = []

    prepare_set(
        open_source(raw_folder), tmp_path / "out", progress=lambda *state: seen.append(state)
    )

    assert seen[0] == ("check", 20, 20)
    assert seen[-1] == ("write", 20, 20)


def test_the_schema_metadata_declares_images_to_hugging_face(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    prepare_set(open_source(raw_folder), tmp_path / "out")

    schema = pq.read_schema(next((tmp_path / "out").glob("train-*.parquet")))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]

    assert features == {"image": {"_type": "Image"}}
    expected = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert schema.field("image").type == expected


def test_the_data_card_names_the_files_of_each_split(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    prepare_set(open_source(raw_folder), tmp_path / "out", licence="CC0-1.0")

    card = (tmp_path / "out" / "README.md").read_text()

    assert card.startswith('---\npretty_name: "out"\nlicense: "cc0-1.0"\n')
    assert "  - split: train\n    path: train-*.parquet\n" in card


def test_columns_of_known_rows_are_those_a_scan_needs(
    raw_folder: Path, tmp_path: Path, prepare_set: Prepare
) -> None:
    manifest = prepare_set(open_source(raw_folder), tmp_path / "out")

    known = known_rows(tmp_path / "out", ["id", "phash"], fingerprint=manifest.fingerprint)

    assert len(known) == 20
    assert known["phash"].str.len().eq(64).all()
