"""Numbers: distances between image sets, label readers, their scores, and the gap they close."""

from stylealign.metrics.distances import (
    PrecisionRecall,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from stylealign.metrics.path_length import perceptual_path_length

__all__ = [
    "PrecisionRecall",
    "frechet_distance",
    "kernel_distance",
    "perceptual_path_length",
    "precision_recall",
]
