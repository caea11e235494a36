"""What labels have figures in an evaluation, and by which rules."""

from dataclasses import replace

from stylealign.data.dataset import open_dataset
from stylealign.data.labels import LabelSpec
from stylealign.metrics.readers import fit_reader
from stylealign.transfer import LabelTransfer
from tasks.metrics import with_verdicts
from tasks.real_images import judge_rows
from tasks.transfer import write_set
from tasks.verdicts import describe_unmeasured

CARRIED = LabelTransfer(agreement=0.9, low=0.8, high=1.0, kept=1.0, transferable=True, reason="")


def test_a_label_that_the_test_images_cannot_score_keeps_its_verdict_and_says_why():
    gaps = {"yaw": {"gain": 0.3, "gap_closed": None}}

    labels = with_verdicts(gaps, dict.fromkeys(["yaw", "worn", "tone"], CARRIED), ["yaw", "worn"])

    assert set(labels) == {"yaw", "worn"}
    assert labels["yaw"] == {
        "gain": 0.3, "gap_closed": None, "transferable": True, "not_transferable_because": "",
    }  # fmt: skip
    assert labels["worn"]["transferable"]
    assert labels["worn"]["gain"] is None
    assert "do not differ in this label" in labels["worn"]["reason"]


def test_a_lost_label_that_nobody_measured_is_a_control_only_where_it_is_declared_as_one():
    lost = replace(CARRIED, transferable=False, reason="the cycle does not find it")

    labels = describe_unmeasured({"hair": lost, "hat": lost}, (), controls=("hair",))

    assert not labels["hair"]["transferable"] and labels["hair"]["control"]
    assert not labels["hat"]["transferable"] and not labels["hat"]["control"]


def test_rows_are_judged_by_the_tolerance_that_their_confidence_was_stated_for(
    prepare_cats, tmp_path, transfer_params
):
    moved = open_dataset(prepare_cats(tmp_path / "cats", 24))
    rows = moved.table()[["id", "split", "label.yaw"]].assign(**{"confidence.yaw": 0.5})
    write_set(moved, rows, {}, transfer_params, tmp_path / "moved")
    schema = {"yaw": LabelSpec(type="continuous", unit="degree")}  # as the child's own labels say
    labels = moved.labels().reset_index(drop=True)
    reader = fit_reader(moved.images(), labels, schema, seed=0, num_steps=2)

    figures = judge_rows(reader, tmp_path / "moved")

    error = (reader.predict(moved.images())["yaw"] - labels["yaw"]).abs()
    assert figures["yaw"].accuracy == (error <= 5).mean()
