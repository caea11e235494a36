"""The synthesis network: w_plus to images."""

import math
from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from stylealign.models.config import ModelConfig
from stylealign.models.drawing import DrawingNetwork, Noise
from stylealign.models.initial import standard_normal
from stylealign.models.latents import Images, WPlus, as_w_plus
from stylealign.models.layers import EqualizedConv, StyledConv, ToRGB
from stylealign.models.operators import blur_kernel, upsample
from stylealign.models.precision import Precision


class Block(nn.Module):
    """One resolution: (up)convolution, convolution, and its contribution to the image."""

    const: nn.Parameter | None

    def __init__(self, config: ModelConfig, resolution: int) -> None:
        super().__init__()
        width, w_dim = config.channels[resolution], config.w_dim
        layer = partial(
            StyledConv, w_dim=w_dim, resolution=resolution, has_noise=config.noise,
            clamp=config.conv_clamp,
        )  # fmt: skip
        self.const, self.skip, gain = None, None, 1.0
        if resolution == 4:
            self.const = nn.Parameter(standard_normal(width, 4, 4))
        else:
            below = config.channels[resolution // 2]
            self.conv0 = layer(below, width, is_up=True)
            if config.generator_architecture == "resnet":
                gain = math.sqrt(0.5)
                self.skip = EqualizedConv(below, width, 1, is_activated=False, gain=gain)
        self.conv1 = layer(width, width, gain=gain)
        self.torgb = None
        if config.generator_architecture == "skip" or resolution == config.resolution:
            self.torgb = ToRGB(width, config.img_channels, w_dim, clamp=config.conv_clamp)

    @property
    def conv_names(self) -> tuple[str, ...]:
        """Convolutions in the order in which they read w_plus; torgb reads what comes next."""
        return ("conv1",) if self.const is not None else ("conv0", "conv1")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """All layers that have a style."""
        return self.conv_names if self.torgb is None else (*self.conv_names, "torgb")


class Synthesis(DrawingNetwork):
    """Blocks of doubling resolution; in the `skip` architecture their tRGB outputs are summed.

    Source: arXiv:1912.04958, figure 7.
    """

    kernel: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_ws = config.num_ws
        self.blocks = nn.ModuleDict(
            {f"b{resolution}": Block(config, resolution) for resolution in config.block_resolutions}
        )
        self.register_buffer("kernel", blur_kernel(gain=4.0), persistent=False)

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        """Blocks by name, 4x4 first."""
        for name, block in self.blocks.items():
            yield name, cast("Block", block)

    def styles(self, w_plus: WPlus) -> dict[str, Tensor]:
        """Raw outputs of the affine layers: the style space S, by layer name.

        Shapes: w_plus [N, num_ws, w_dim] -> {"b4.conv1": [N, C], "b4.torgb": [N, C], ...}.
        """
        first = cast("Block", self.blocks["b4"]).conv1.affine.weight
        w_plus = as_w_plus(w_plus, self.num_ws, first)
        styles, index = {}, 0
        for block_name, block in self.named_blocks():
            for offset, layer_name in enumerate(block.layer_names):
                layer = getattr(block, layer_name)
                styles[f"{block_name}.{layer_name}"] = layer.affine(w_plus[:, index + offset])
            index += len(block.conv_names)
        return styles

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

        `noise_maps` replaces noise inputs by layer name; a dict given as `taps` receives the
        feature map of each block by block name. Processors that multiply bfloat16 draw about
        twice as fast with it, at an error of about 0.005 (root mean square) in the pixels; others
        imitate it, many times slower (`precision.is_imitated`).
        """
        dtype = torch.bfloat16 if precision == "bfloat16" else self.kernel.dtype
        maps = noise_maps or {}
        x = image = self.kernel.new_empty(0)
        for block_name, block in self.named_blocks():
            if block.const is not None:
                batch = styles[f"{block_name}.conv1"].shape[0]
                x = block.const.to(dtype).expand(batch, -1, -1, -1)
                if x.is_cuda and precision == "bfloat16":
                    # The order that tensor cores read; every layer keeps it.
                    x = x.contiguous(memory_format=torch.channels_last)
            below = x
            for layer_name in block.conv_names:
                name = f"{block_name}.{layer_name}"
                x = getattr(block, layer_name)(x, styles[name], maps.get(name, noise))
            if block.skip is not None:
                x = x + upsample(block.skip(below), self.kernel)
            if taps is not None:
                taps[block_name] = x
            if block.torgb is not None:
                rgb = block.torgb(x, styles[f"{block_name}.torgb"])
                image = upsample(image, self.kernel) + rgb if image.numel() else rgb
        return image
