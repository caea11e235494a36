"""Transfer: labelled parent images become a labelled data set of the child's domain."""

from stylealign.transfer.calibration import Calibration, LabelCalibration, fit_calibration
from stylealign.transfer.carried import follow_redrawing
from stylealign.transfer.confidence import Confidence, LabelTransfer, score_confidence
from stylealign.transfer.cycle import Cycle, LedBack, lead_back, read_cycle
from stylealign.transfer.evidence import measure_evidence, measure_rightness
from stylealign.transfer.presence import Presence, fit_readers, measure_presence, read_with
from stylealign.transfer.prominence import Prominence, measure_prominence
from stylealign.transfer.table import build_table

__all__ = [
    "Calibration",
    "Confidence",
    "Cycle",
    "LabelCalibration",
    "LabelTransfer",
    "LedBack",
    "Presence",
    "Prominence",
    "build_table",
    "fit_calibration",
    "fit_readers",
    "follow_redrawing",
    "lead_back",
    "measure_evidence",
    "measure_presence",
    "measure_prominence",
    "measure_rightness",
    "read_cycle",
    "read_with",
    "score_confidence",
]
