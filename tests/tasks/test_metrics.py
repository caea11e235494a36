"""No label is lost on the way into the figures of an evaluation."""

from stylealign.transfer import LabelTransfer
from tasks.metrics import with_verdicts

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
