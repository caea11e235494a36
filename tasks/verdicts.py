"""Verdicts on labels: which of them a child can carry, judged without any child label."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from stylealign.transfer import LabelTransfer

VERDICTS_FILE: Final = "labels.json"
NOT_MEASURED: Final = (
    "gap_closed", "low", "high", "gain", "gain_low", "gain_high",
    "source_only", "transfer", "oracle",
)  # fmt: skip


def write_verdicts(verdicts: Mapping[str, LabelTransfer], folder: Path) -> None:
    """Write the verdict on every label beside the set that it speaks of."""
    table = {name: asdict(verdict) for name, verdict in verdicts.items()}
    (folder / VERDICTS_FILE).write_text(json.dumps(table, indent=2) + "\n", "utf-8")


def read_verdicts(folder: Path) -> dict[str, LabelTransfer]:
    """The verdict on every label of a transferred set."""
    table = json.loads((folder / VERDICTS_FILE).read_text("utf-8"))
    return {name: LabelTransfer(**verdict) for name, verdict in table.items()}


def kept_shares(folder: Path) -> dict[str, float]:
    """The share of each label's agreement that is left in the child, as metrics of a record."""
    return {f"kept.{name}": verdict.kept for name, verdict in read_verdicts(folder).items()}


def describe_unmeasured(folder: Path, measurable: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Entries for transferred labels that no real child image has: a verdict and no figures.

    A label that is not transferable either is marked as a negative control.
    """
    entries: dict[str, dict[str, Any]] = {}
    for name, verdict in read_verdicts(folder).items():
        if name not in set(measurable):
            reason = "real images of the child have no such label"
            entries[name] = dict.fromkeys(NOT_MEASURED) | {
                "reason": f"{reason}; {verdict.reason}" if verdict.reason else reason,
                "transferable": verdict.transferable,
                "control": not verdict.transferable,
            }
    return entries
