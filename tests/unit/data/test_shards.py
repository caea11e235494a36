"""Laws of shards: what has not changed is kept, a kill costs nothing, damage is seen."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from stylealign.data.folders import finish_folder
from stylealign.data.manifest import read_manifest
from stylealign.data.shards import (
    ROW_GROUP_ROWS,
    ShardPlan,
    fingerprint,
    finish_shards,
    known_rows,
    plan_shards,
    read_shard,
    write_parquet,
    write_shard,
)
from stylealign.data.tables import IMAGE_TYPE
from stylealign.errors import DataError

MADE_BY = fingerprint(engine=1, model="m")


def rows_of(numbers: Sequence[int], changed: Sequence[int] = ()) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"{number:03d}" for number in numbers],
            "sha256": [f"{number}{'x' * (number in changed)}" for number in numbers],
            "split": ["test" if number % 5 == 0 else "train" for number in numbers],
        }
    )


def write(plan: ShardPlan, which: slice = slice(None)) -> None:
    for shard in plan.todo[which]:
        table = pa.table({"id": list(shard.ids), "value": [name * 2 for name in shard.ids]})
        write_shard(plan.folder, shard, table)


def run(folder: Path, rows: pd.DataFrame, made_by: str = MADE_BY) -> ShardPlan:
    plan = plan_shards(folder, rows, fingerprint=made_by, shard_size=4)
    write(plan)
    finish_folder(plan, kind="codes", lineage={}, name="codes")
    return plan


def test_every_row_is_in_one_shard_of_its_split(tmp_path: Path) -> None:
    rows = rows_of(range(23))

    run(tmp_path, rows)
    records = read_manifest(tmp_path).shards
    ids = [read_shard(tmp_path / record.file)["id"].to_pylist() for record in records]

    assert sorted(chain.from_iterable(ids)) == rows["id"].tolist()
    for record, names in zip(records, ids, strict=True):
        assert record.split == ("test" if int(names[0]) % 5 == 0 else "train")
        assert len(names) == record.num_rows <= 4


def test_files_are_numbered_within_their_split(tmp_path: Path) -> None:
    run(tmp_path, rows_of(range(12)))

    names = sorted(path.name for path in tmp_path.glob("*-of-*.parquet"))

    assert names == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00003.parquet",
        "train-00001-of-00003.parquet",
        "train-00002-of-00003.parquet",
    ]


def test_a_second_run_has_nothing_to_do_and_changes_no_byte(
    tmp_path: Path, bytes_of: Callable[[Path], dict[str, bytes]]
) -> None:
    run(tmp_path, rows_of(range(23)))
    before = bytes_of(tmp_path)

    plan = run(tmp_path, rows_of(range(23)))

    assert plan.todo == ()
    assert bytes_of(tmp_path) == before


def test_added_rows_leave_every_existing_shard_as_it_is(tmp_path: Path) -> None:
    run(tmp_path, rows_of(range(0, 40, 2)))
    before = {path.read_bytes() for path in tmp_path.glob("*-of-*.parquet")}

    plan = run(tmp_path, rows_of([*range(0, 40, 2), 7, 9]))
    after = {path.read_bytes() for path in tmp_path.glob("*-of-*.parquet")}

    assert plan.num_todo == 2
    assert before < after


def test_removed_and_changed_rows_rewrite_only_their_own_shards(tmp_path: Path) -> None:
    first = run(tmp_path, rows_of(range(23)))
    left = [number for number in range(23) if number != 1]

    plan = run(tmp_path, rows_of(left, changed=[22]))

    assert len(plan.kept) == len(first.todo) - 2
    assert plan.num_todo == len(left) - sum(
        read_shard(tmp_path / record.file).num_rows
        for record in read_manifest(tmp_path).shards
        if record.key not in {shard.key for shard in plan.todo}
    )


def test_another_fingerprint_makes_every_shard_stale(tmp_path: Path) -> None:
    run(tmp_path, rows_of(range(12)))

    plan = plan_shards(
        tmp_path, rows_of(range(12)), fingerprint=fingerprint(engine=2, model="m"), shard_size=4
    )

    assert plan.kept == ()
    assert plan.num_todo == 12


@pytest.mark.parametrize("done", [slice(0, 2), slice(2, 4), slice(1, 5, 2)])
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    done: slice, tmp_path: Path, bytes_of: Callable[[Path], dict[str, bytes]]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole, rows_of(range(23)))
    write(plan_shards(killed, rows_of(range(23)), fingerprint=MADE_BY, shard_size=4), done)
    (killed / ".train-0123.parquet.part").write_bytes(b"half a shard")

    plan = run(killed, rows_of(range(23)))

    assert len(plan.kept) == len(range(6)[done])
    assert bytes_of(killed) == bytes_of(whole)


def test_a_run_killed_while_it_updates_ends_in_the_same_bytes(
    tmp_path: Path, bytes_of: Callable[[Path], dict[str, bytes]]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        run(folder, rows_of(range(0, 40, 2)))
    run(whole, rows_of(range(40)))
    write(plan_shards(killed, rows_of(range(40)), fingerprint=MADE_BY, shard_size=4), slice(1, 3))

    run(killed, rows_of(range(40)))

    assert bytes_of(killed) == bytes_of(whole)


def test_a_run_killed_while_it_renames_ends_in_the_same_bytes(
    tmp_path: Path, bytes_of: Callable[[Path], dict[str, bytes]]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        run(folder, rows_of(range(0, 40, 2)))
        plan = plan_shards(folder, rows_of(range(40)), fingerprint=MADE_BY, shard_size=4)
        write(plan)
    finish_shards(plan_shards(killed, rows_of(range(40)), fingerprint=MADE_BY, shard_size=4))
    last = sorted(killed.glob("train-*.parquet"))[0]
    last.rename(killed / "train-00000-of-00004.parquet")  # as if this one had not been reached

    for folder in (whole, killed):
        run(folder, rows_of(range(40)))

    assert bytes_of(killed) == bytes_of(whole)


def test_a_run_killed_before_its_manifest_has_nothing_to_do_again(
    tmp_path: Path, bytes_of: Callable[[Path], dict[str, bytes]]
) -> None:
    left = rows_of([number for number in range(40) if number != 1])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        run(folder, rows_of(range(40)))
    run(whole, left)
    write(plan_shards(killed, left, fingerprint=MADE_BY, shard_size=4))
    finish_shards(plan_shards(killed, left, fingerprint=MADE_BY, shard_size=4))

    plan = run(killed, left)

    assert plan.todo == ()
    assert bytes_of(killed) == bytes_of(whole)


def test_rows_covered_twice_by_leftovers_are_kept_once(tmp_path: Path) -> None:
    few, many = rows_of([1, 2, 3]), rows_of([1, 2, 3, 4])
    for rows in (many, few):
        write(plan_shards(tmp_path, rows, fingerprint=MADE_BY, shard_size=4))

    run(tmp_path, many)
    ids = [read_shard(path)["id"].to_pylist() for path in tmp_path.glob("*-of-*.parquet")]

    assert sorted(chain.from_iterable(ids)) == many["id"].tolist()


@pytest.mark.parametrize("num_rows", [0, 1, 2 * ROW_GROUP_ROWS + 1])
def test_a_shard_is_read_in_pieces_that_arrow_can_hold(num_rows: int, tmp_path: Path) -> None:
    cells = pa.array([{"bytes": b"x", "path": "x"}] * num_rows, IMAGE_TYPE)
    table = pa.table({"id": pa.array(map(str, range(num_rows)), pa.string()), "image": cells})
    write_parquet(table, tmp_path / "shard.parquet")

    read = read_shard(tmp_path / "shard.parquet")

    assert read.equals(table)
    assert all(len(piece) <= ROW_GROUP_ROWS for piece in read["image"].chunks)


def test_a_flipped_byte_is_a_data_error_that_names_the_file(tmp_path: Path) -> None:
    run(tmp_path, rows_of(range(12)))
    path = tmp_path / "train-00001-of-00003.parquet"
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(bytes(data))

    named = r"train-00001-of-00003\.parquet' is damaged.*`stylealign run prepare NAME`"
    with pytest.raises(DataError, match=named):
        read_shard(path)


@pytest.mark.parametrize("place", [60, -60])
def test_a_damaged_shard_is_written_anew(
    place: int, tmp_path: Path, bytes_of: Callable[[Path], dict[str, bytes]]
) -> None:
    run(tmp_path, rows_of(range(12)))
    before = bytes_of(tmp_path)
    path = tmp_path / "train-00002-of-00003.parquet"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))

    run(tmp_path, rows_of(range(12)))

    assert bytes_of(tmp_path) == before


def test_the_content_hash_does_not_depend_on_how_rows_are_spread(tmp_path: Path) -> None:
    run(tmp_path / "once", rows_of(range(20)))
    run(tmp_path / "grown", rows_of(range(0, 20, 2)))
    run(tmp_path / "grown", rows_of(range(20)))

    once, grown = read_manifest(tmp_path / "once"), read_manifest(tmp_path / "grown")

    assert once.content_hash == grown.content_hash
    assert [shard.key for shard in once.shards] != [shard.key for shard in grown.shards]


def test_known_rows_are_those_of_the_same_fingerprint(tmp_path: Path) -> None:
    run(tmp_path, rows_of(range(6)))

    known = known_rows(tmp_path, ["id", "value"], fingerprint=MADE_BY)
    unknown = known_rows(tmp_path, ["id", "value"], fingerprint="another")

    assert dict(zip(known["id"], known["value"], strict=True))["003"] == "003003"
    assert len(known) == 6
    assert len(unknown) == 0


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'001' repeats"):
        plan_shards(tmp_path, rows_of([1, 1]), fingerprint=MADE_BY, shard_size=4)


def test_finishing_before_every_shard_is_written_is_refused(tmp_path: Path) -> None:
    plan = plan_shards(tmp_path, rows_of(range(12)), fingerprint=MADE_BY, shard_size=4)
    write(plan, slice(1))

    with pytest.raises(DataError, match="3 of 4 shards were not written"):
        finish_shards(plan)


def test_a_table_of_other_rows_is_refused(tmp_path: Path) -> None:
    plan = plan_shards(tmp_path, rows_of(range(4)), fingerprint=MADE_BY, shard_size=4)

    with pytest.raises(DataError, match="does not hold the planned rows"):
        write_shard(tmp_path, plan.todo[0], pa.table({"id": ["other"]}))


def test_a_folder_that_cannot_be_written_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DataError, match="cannot write"):
        run(tmp_path / "file" / "folder", rows_of(range(4)))
