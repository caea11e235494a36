"""Latent spaces: which code is meant, and whose it is."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from jaxtyping import Float
from torch import Tensor

Space: TypeAlias = Literal["z", "z_plus", "w", "w_plus"]
SPACES: tuple[Space, ...] = get_args(Space)

Images: TypeAlias = Float[Tensor, "N channels height width"]
Z: TypeAlias = Float[Tensor, "N z_dim"]
Labels: TypeAlias = Float[Tensor, "N c_dim"]
WPlus: TypeAlias = Float[Tensor, "N num_ws w_dim"]
Logits: TypeAlias = Float[Tensor, "N 1"]


def as_w_plus(codes: Tensor, num_ws: int, like: Tensor) -> WPlus:
    """Codes of any type, such as those numpy saved, in that of the affine weights `like`.

    Shapes: codes [N, num_ws, w_dim], like [C, w_dim].
    Raises: ValueError if they are of another shape.
    """
    expected = (num_ws, like.shape[1])
    if codes.ndim != 3 or codes.shape[1:] != expected:
        message = f"expected w_plus of shape [N, {num_ws}, {expected[1]}], got {tuple(codes.shape)}"
        raise ValueError(message)
    return codes.to(like.dtype)


def unflatten_codes(flat: Tensor, space: Space, num_ws: int) -> Tensor:
    """Codes as tables hold them, one flat row each, in the shape that their space asks for.

    Shapes: flat [N, dim] or [N, num_ws * dim]; returns [N, dim] or [N, num_ws, dim].
    """
    return flat.unflatten(1, (num_ws, -1)) if space.endswith("_plus") else flat


@dataclass(frozen=True)
class Latents:
    """Codes with the space that they live in and the model that they were found in.

    `root_id`, that model's root, tells its relatives even where the model itself is not at hand.

    Shapes: codes [N, dim] in z and w, [N, num_ws, dim] in z_plus and w_plus.
    """

    codes: Tensor
    space: Space
    model_id: str
    root_id: str = ""

    def __len__(self) -> int:
        """Number of codes."""
        return len(self.codes)

    def __getitem__(self, rows: slice) -> "Latents":
        """The same space and model, some of the codes."""
        return replace(self, codes=self.codes[rows])
