"""StyleAlign: aligned generators and what can be done with them.

Names are imported when they are first used, so `import stylealign` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylealign import metrics
    from stylealign.checkpoints import load_model, require_related, save_model
    from stylealign.data.batches import TrainingBatches
    from stylealign.data.dataset import open_dataset
    from stylealign.inversion import invert
    from stylealign.models import Latents, Model, ModelConfig
    from stylealign.models.export import export_generator
    from stylealign.morphing import morph
    from stylealign.recipe import Recipe
    from stylealign.standings import Standings
    from stylealign.training import Training, train
    from stylealign.translation import translate

__all__ = [
    "Latents",
    "Model",
    "ModelConfig",
    "Recipe",
    "Standings",
    "Training",
    "TrainingBatches",
    "export_generator",
    "invert",
    "load_model",
    "metrics",
    "morph",
    "open_dataset",
    "require_related",
    "save_model",
    "train",
    "translate",
]

_HOMES = {
    "Latents": "stylealign.models",
    "Model": "stylealign.models",
    "ModelConfig": "stylealign.models",
    "Recipe": "stylealign.recipe",
    "Standings": "stylealign.standings",
    "Training": "stylealign.training",
    "TrainingBatches": "stylealign.data.batches",
    "export_generator": "stylealign.models.export",
    "invert": "stylealign.inversion",
    "load_model": "stylealign.checkpoints",
    "morph": "stylealign.morphing",
    "open_dataset": "stylealign.data.dataset",
    "require_related": "stylealign.checkpoints",
    "save_model": "stylealign.checkpoints",
    "train": "stylealign.training",
    "translate": "stylealign.translation",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name of the library
    if name == "metrics":
        return import_module("stylealign.metrics")
    if name not in _HOMES:
        message = f"module 'stylealign' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
