"""Models on disk: our folders, foreign formats, and who is related to whom."""

from stylealign.checkpoints.convert import (
    CheckpointRecord,
    convert_checkpoint,
    inspect_checkpoint,
)
from stylealign.checkpoints.folder import save_model
from stylealign.checkpoints.lineage import is_related, require_related, weight_distance
from stylealign.checkpoints.load import load_model
from stylealign.checkpoints.weights import compute_model_id

__all__ = [
    "CheckpointRecord",
    "compute_model_id",
    "convert_checkpoint",
    "inspect_checkpoint",
    "is_related",
    "load_model",
    "require_related",
    "save_model",
    "weight_distance",
]
