"""A reader as MLflow serves it: encoded images in, labels out; this file is the model's code."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from stylealign.images import crop_and_resize, decode
from stylealign.metrics.readers import load_reader


class ServedReader(PythonModel):
    """Reads the labels of each row's `image`, in any format that Pillow decodes by itself."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the reader's folder that was logged with this file."""
        self.reader = load_reader(Path(context.artifacts["reader"]))

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  MLflow annotates None
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One column per label, and `confidence.<label>` of classes, one row per image."""
        del context, params
        side = self.reader.resolution
        images = [crop_and_resize(decode(data), side) for data in model_input["image"]]
        return self.reader.predict(np.stack(images))


set_model(ServedReader())
