"""The generator: mapping and synthesis together."""

import torch
from torch import Tensor, nn

from stylealign.models.alias_free import AliasFreeSynthesis
from stylealign.models.config import ModelConfig
from stylealign.models.drawing import Noise
from stylealign.models.latents import Images, Labels, Space, WPlus, Z
from stylealign.models.mapping import Mapping
from stylealign.models.synthesis import Synthesis


class MappingToWPlus(nn.Module):
    """The mapping network with truncation, repeated for every layer that takes a style."""

    w_avg: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.network = Mapping(
            config.z_dim, config.c_dim, config.w_dim,
            num_layers=config.num_mapping_layers,
            lr_multiplier=config.mapping_lr_multiplier,
            embed_dim=config.mapping_embed_dim,
            hidden_dim=config.mapping_hidden_dim,
        )  # fmt: skip
        self.num_ws = config.num_ws
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(
        self,
        z: Z,
        c: Labels | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> WPlus:
        """Codes of every layer, pulled towards `w_avg` by truncation_psi.

        Shapes: z [N, z_dim] -> [N, num_ws, w_dim].
        Units:  truncation_psi 1 leaves codes as they are, 0 gives the mean image;
            truncation_cutoff is the number of first layers that are truncated, None = all.
        Source: arXiv:1812.04948, section 2.
        """
        w_plus = self.network(z, c)[:, None].repeat(1, self.num_ws, 1)
        return self.truncate(w_plus, truncation_psi, truncation_cutoff)

    def truncate(self, w_plus: WPlus, psi: float, cutoff: int | None = None) -> WPlus:
        """Pull the first `cutoff` layers of w_plus towards `w_avg`."""
        if psi == 1:
            return w_plus
        w_plus = w_plus.to(self.w_avg.dtype)
        head = self.w_avg.lerp(w_plus[:, :cutoff], psi)
        return head if cutoff is None else torch.cat([head, w_plus[:, cutoff:]], dim=1)


class Generator(nn.Module):
    """A StyleGAN2 or StyleGAN3 generator.

    `mapping(z, c, truncation_psi=…, truncation_cutoff=…)` gives w_plus,
    `synthesis(w_plus, noise="const" | "random" | "none")` draws it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mapping = MappingToWPlus(config)
        is_stylegan2 = config.architecture == "stylegan2"
        self.synthesis = Synthesis(config) if is_stylegan2 else AliasFreeSynthesis(config)

    @property
    def w_avg(self) -> Tensor:
        """Running mean of w, [w_dim]."""
        return self.mapping.w_avg

    def styles(self, w_plus: WPlus) -> dict[str, Tensor]:
        """Raw outputs of the affine layers by layer name, each [N, C]."""
        return self.synthesis.styles(w_plus)

    def forward(
        self,
        z: Z,
        c: Labels | None = None,
        *,
        truncation_psi: float = 1.0,
        noise: Noise = "const",
    ) -> Images:
        """Images of z codes: [N, z_dim] -> [N, 3, H, W], nominally in [-1, 1]."""
        return self.synthesis(self.mapping(z, c, truncation_psi=truncation_psi), noise=noise)

    def to_w_plus(
        self,
        codes: Tensor,
        space: Space,
        c: Labels | None = None,
        *,
        truncation_psi: float = 1.0,
    ) -> WPlus:
        """Codes of any space as w_plus, through this model's own mapping where they are z.

        In z_plus every layer's z is mapped alone and gives that layer's w.

        Shapes: codes [N, dim] or [N, num_ws, dim] -> [N, num_ws, w_dim].
        """
        num_ws = self.mapping.num_ws
        if space == "z":
            w_plus = self.mapping(codes, c)
        elif space == "z_plus":
            labels = None if c is None else c.repeat_interleave(num_ws, dim=0)
            w_plus = self.mapping.network(codes.flatten(0, 1), labels).unflatten(0, (-1, num_ws))
        elif space == "w":
            w_plus = codes[:, None].repeat(1, num_ws, 1)
        else:
            w_plus = codes
        return self.mapping.truncate(w_plus, truncation_psi)
