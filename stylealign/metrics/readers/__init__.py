"""Readers: small networks that read labels from images."""

from stylealign.metrics.readers.augmentation import Augmentation
from stylealign.metrics.readers.fitting import Recipe, fit_reader
from stylealign.metrics.readers.reader import Reader, load_reader
from stylealign.metrics.readers.targets import Readings, average, decide

__all__ = [
    "Augmentation",
    "Reader",
    "Readings",
    "Recipe",
    "average",
    "decide",
    "fit_reader",
    "load_reader",
]
