"""Numbers: distances between image sets, label readers, their scores, and the gap they close."""

from stylealign.metrics.distances import (
    PrecisionRecall,
    frechet_distance,
    kernel_distance,
    precision_recall,
)

__all__ = ["PrecisionRecall", "frechet_distance", "kernel_distance", "precision_recall"]
