"""A child as MLflow serves it: codes in, PNG images out; this file is the model's code."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from stylealign.checkpoints import load_model
from stylealign.images import encode_png
from stylealign.models.constants import KeptConstants
from stylealign.models.latents import unflatten_codes
from stylealign.tensors import to_uint8


class ServedModel(PythonModel):
    """Draws each row's `code`; the param `space` says what kind of code it is."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model folder that was logged with this file."""
        self.model = load_model(Path(context.artifacts["model"]))
        self.model.generator.requires_grad_(requires_grad=False)
        self.constants = KeptConstants()

    @torch.inference_mode()
    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  MLflow annotates None
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """PNG bytes in column `image`, one row per code."""
        del context
        settings: dict[str, Any] = {"space": "z", "truncation_psi": 1.0} | (params or {})
        flat = torch.tensor(list(model_input["code"]), dtype=torch.float32)
        codes = unflatten_codes(flat, settings["space"], self.model.config.num_ws)
        generator = self.model.generator
        w_plus = generator.to_w_plus(
            codes, settings["space"], truncation_psi=settings["truncation_psi"]
        )
        with self.constants.at_hand():
            images = to_uint8(generator.synthesis(w_plus))
        return pd.DataFrame({"image": [encode_png(image) for image in images]})


set_model(ServedModel())
