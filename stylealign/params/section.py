"""What all sections of params.yaml share: frozen, no unknown keys, numbers in range."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One section of params.yaml: frozen, and a key that nobody declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
"""A data set, child or label: lower case, digits, `-` and `_`, as it becomes a folder's name."""

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
LatentSpace = Literal["z", "z_plus", "w", "w_plus"]
Split = Literal["train", "val", "test"]
