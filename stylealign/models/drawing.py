"""What all synthesis networks have in common: codes become styles, and styles become images."""

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from stylealign.models.latents import Images, WPlus
from stylealign.models.precision import Precision

Noise = Literal["const", "random", "none"]


class DrawingNetwork(nn.Module, ABC):
    """A synthesis network: w_plus to images by way of the style space."""

    num_ws: int

    @abstractmethod
    def styles(self, w_plus: WPlus) -> dict[str, Tensor]:
        """Raw outputs of the affine layers by layer name: the style space S.

        Shapes: w_plus [N, num_ws, w_dim] -> [N, C] each.
        """

    def forward(
        self,
        w_plus: WPlus,
        *,
        noise: Noise = "const",
        noise_maps: dict[str, Tensor] | None = None,
        taps: dict[str, Tensor] | None = None,
        precision: Precision = "float32",
    ) -> Images:
        """Images of the codes, nominally in [-1, 1]; arguments as in `draw`."""
        return self.draw(
            self.styles(w_plus), noise=noise, noise_maps=noise_maps, taps=taps, precision=precision
        )

    @abstractmethod
    def draw(
        self,
        styles: dict[str, Tensor],
        *,
        noise: Noise = "const",
        noise_maps: dict[str, Tensor] | None = None,
        taps: dict[str, Tensor] | None = None,
        precision: Precision = "float32",
    ) -> Images:
        """Images of style-space codes.

        `noise_maps` replaces noise inputs by layer name; a dict given as `taps` receives feature
        maps by name.
        """
