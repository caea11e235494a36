"""The mapping network: z (and class) to w."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from stylealign.models.latents import Labels
from stylealign.models.layers import EqualizedLinear


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale each row to unit mean square, so that only its direction counts."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class Mapping(nn.Module):
    """Dense layers from a normalised z, and a class embedding beside it, to w.

    With z_dim 0 it embeds the class alone, as the conditional discriminator does.

    Shapes: z [N, z_dim], c [N, c_dim] -> w [N, w_dim].
    Source: arXiv:1812.04948, section 2; conditioning as in arXiv:2006.06676.
    """

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        *,
        num_layers: int,
        lr_multiplier: float = 0.01,
        embed_dim: int | None = None,
        hidden_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim = z_dim, c_dim
        embed_dim = (embed_dim or w_dim) if c_dim else 0
        self.embed = EqualizedLinear(c_dim, embed_dim) if c_dim else None
        widths = [z_dim + embed_dim] + [hidden_dim or w_dim] * (num_layers - 1)
        widths += [w_dim] if num_layers else []
        self.layers = nn.ModuleList(
            EqualizedLinear(i, o, is_activated=True, lr_multiplier=lr_multiplier)
            for i, o in pairwise(widths)
        )

    def forward(self, z: Tensor | None, c: Labels | None = None) -> Tensor:
        """Codes w of z and class.

        Raises: ValueError if one that the network needs is missing or of another width.
        """
        parts = []
        if self.z_dim:
            if z is None or z.shape[1] != self.z_dim:
                got = None if z is None else tuple(z.shape)
                message = f"expected z of shape [N, {self.z_dim}], got {got}"
                raise ValueError(message)
            parts.append(normalize_second_moment(z.to(self._dtype)))
        if self.embed is not None:
            if c is None or c.shape[1] != self.c_dim:
                message = f"this model is conditional: pass c of shape [N, {self.c_dim}]"
                raise ValueError(message)
            parts.append(normalize_second_moment(self.embed(c.to(self._dtype))))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def _dtype(self) -> torch.dtype:
        """What the network computes in: float32, or float64 where it was turned into that."""
        return next((weight.dtype for weight in self.parameters()), torch.float32)
