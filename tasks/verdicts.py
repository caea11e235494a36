"""Verdicts on labels: which of them a child can carry, judged without any child label."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from stylealign.metrics.calibration import CalibrationFigures
from stylealign.transfer import Calibration, LabelTransfer

VERDICTS_FILE: Final = "labels.json"
CALIBRATION_FILE: Final = "calibration.json"
NOT_MEASURED: Final = (
    "gap_closed", "low", "high", "gain", "gain_low", "gain_high",
    "source_only", "transfer", "oracle",
)  # fmt: skip
NO_SUCH_LABEL: Final = "real images of the child have no such label"
ONE_VALUE: Final = "the real test images of the child do not differ in this label"


def write_verdicts(verdicts: Mapping[str, LabelTransfer], folder: Path) -> None:
    """Write the verdict on every label beside the set that it speaks of."""
    table = {name: asdict(verdict) for name, verdict in verdicts.items()}
    (folder / VERDICTS_FILE).write_text(json.dumps(table, indent=2) + "\n", "utf-8")


def read_verdicts(folder: Path) -> dict[str, LabelTransfer]:
    """The verdict on every label of a transferred set."""
    table = json.loads((folder / VERDICTS_FILE).read_text("utf-8"))
    return {name: LabelTransfer(**verdict) for name, verdict in table.items()}


def write_calibration(calibration: Calibration, folder: Path) -> None:
    """Write how far the confidence could be believed on the parent's hold-outs."""
    table = {name: label.held_out.model_dump() for name, label in calibration.items()}
    (folder / CALIBRATION_FILE).write_text(json.dumps(table, indent=2) + "\n", "utf-8")


def read_calibration(folder: Path) -> dict[str, CalibrationFigures]:
    """How far the confidence of each label could be believed on the parent's hold-outs."""
    table = json.loads((folder / CALIBRATION_FILE).read_text("utf-8"))
    return {name: CalibrationFigures.model_validate(figures) for name, figures in table.items()}


def kept_shares(folder: Path) -> dict[str, float]:
    """The share of each label's agreement that is left in the child, as metrics of a record."""
    return {f"kept.{name}": verdict.kept for name, verdict in read_verdicts(folder).items()}


def describe_unmeasured(
    verdicts: Mapping[str, LabelTransfer],
    measurable: Iterable[str],
    *,
    reason: str = NO_SUCH_LABEL,
    controls: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """Entries for transferred labels that no real child image tells of: a verdict and no figures.

    Those that the params declare as negative controls are marked, whatever the verdict.
    """
    return {
        name: dict.fromkeys(NOT_MEASURED)
        | state(verdict)
        | {"reason": reason, "control": name in controls}
        for name, verdict in verdicts.items()
        if name not in set(measurable)
    }


def state(verdict: LabelTransfer) -> dict[str, Any]:
    """The verdict as figures of an evaluation carry it."""
    return {"transferable": verdict.transferable, "not_transferable_because": verdict.reason}
