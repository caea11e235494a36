"""Transfer: labelled parent images become a labelled data set of the child's domain."""

from stylealign.transfer.calibration import Calibration, LabelCalibration, fit_calibration
from stylealign.transfer.confidence import Confidence, LabelTransfer, score_confidence
from stylealign.transfer.cycle import Cycle, LedBack, lead_back, read_cycle
from stylealign.transfer.evidence import measure_evidence, measure_rightness
from stylealign.transfer.table import build_table

__all__ = [
    "Calibration",
    "Confidence",
    "Cycle",
    "LabelCalibration",
    "LabelTransfer",
    "LedBack",
    "build_table",
    "fit_calibration",
    "lead_back",
    "measure_evidence",
    "measure_rightness",
    "read_cycle",
    "score_confidence",
]
