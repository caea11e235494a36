"""The synthesis network of StyleGAN3-T and -R, for inference."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stylealign.models.bands import Band, design_low_pass, design_radial_low_pass, plan_bands
from stylealign.models.config import ModelConfig
from stylealign.models.drawing import DrawingNetwork, Noise
from stylealign.models.initial import standard_normal
from stylealign.models.latents import Images, WPlus, as_w_plus
from stylealign.models.layers import EqualizedLinear
from stylealign.models.operators import LRELU_GAIN, LRELU_SLOPE
from stylealign.models.precision import Precision
from stylealign.models.resampling import upfirdn2d


class FourierInput(nn.Module):
    """A spatially infinite signal of random frequencies, turned and moved by w and by the user.

    `transform` is the user's: the inverse of what is to happen to the image.

    Shapes: transform [3, 3]; style [N, 4] -> [N, C, size, size].
    Source: arXiv:2106.12423, section 3.2 "Fourier features", and appendix F.1.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, band: Band) -> None:
        super().__init__()
        channels = band.channels
        self.affine = EqualizedLinear(w_dim, 4)
        self.weight = nn.Parameter(standard_normal(channels, channels))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", standard_normal(channels, 2))
        self.register_buffer("phases", torch.zeros(channels))
        self.bandwidth, self.sampling_rate = band.cutoff, band.sampling_rate
        self.size = band.size

    def forward(self, style: Tensor) -> Tensor:
        """Draw the signal on the grid of the first layer."""
        transform = self._learned_transform(style) @ self.transform
        phases = self.phases + torch.einsum("ck,nk->nc", self.freqs, transform[:, :2, 2])
        freqs = self.freqs @ transform[:, :2, :2]
        # A user's transform may push frequencies out of the band: fade them instead of aliasing.
        room = self.sampling_rate / 2 - self.bandwidth
        amplitudes = (1 - (freqs.norm(dim=2) - self.bandwidth) / room).clamp(0, 1)
        steps = torch.arange(self.size, device=style.device, dtype=style.dtype)
        grid = (steps + 0.5 - self.size / 2) / self.sampling_rate
        along_x = freqs[:, :, 0, None] * grid
        along_y = freqs[:, :, 1, None] * grid + phases[:, :, None]
        waves = torch.sin((along_y[:, :, :, None] + along_x[:, :, None, :]) * (2 * math.pi))
        mixing = self.weight / math.sqrt(len(self.weight)) * amplitudes[:, None, :]
        return (mixing @ waves.flatten(2)).unflatten(2, (self.size, self.size))

    def _learned_transform(self, style: Tensor) -> Tensor:
        """Rotation, then translation, as 3x3 matrices of (cos, sin, x, y) up to scale."""
        cos, sin, x, y = (style / style[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rows = (
            (cos, -sin, sin * y - cos * x),
            (sin, cos, -sin * x - cos * y),
            (zero, zero, one),
        )
        return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


class AliasFreeLayer(nn.Module):
    """Modulated convolution, then a leaky ReLU at a higher rate between two low-pass filters.

    Shapes: x [N, in, size, size], style [N, in] -> [N, out, size', size'].
    Source: arXiv:2106.12423, section 3.1 and appendix B.
    """

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, config: ModelConfig, source: Band, target: Band, *, is_torgb: bool) -> None:
        super().__init__()
        settings = config.require_alias_free()
        size = 1 if is_torgb else settings.conv_kernel
        self.affine = EqualizedLinear(config.w_dim, source.channels, bias_init=1.0)
        self.weight = nn.Parameter(standard_normal(target.channels, source.channels, size, size))
        self.bias = nn.Parameter(torch.zeros(target.channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.is_torgb, self.clamp = is_torgb, config.conv_clamp
        oversampling = 1 if is_torgb else settings.lrelu_upsampling
        rate = max(source.sampling_rate, target.sampling_rate) * oversampling
        self.up, self.down = rate // source.sampling_rate, rate // target.sampling_rate
        up_taps = settings.filter_size * self.up if self.up > 1 and not is_torgb else 1
        down_taps = settings.filter_size * self.down if self.down > 1 and not is_torgb else 1
        is_radial = settings.is_radial and not target.is_critical and down_taps > 1
        design_down = design_radial_low_pass if is_radial else design_low_pass
        up_filter = design_low_pass(up_taps, source, rate)
        self.register_buffer("up_filter", up_filter, persistent=False)
        self.register_buffer("down_filter", design_down(down_taps, target, rate), persistent=False)
        # What the two filters take away must leave exactly the target's grid, centres aligned.
        total = (target.size - 1) * self.down + 1 - (source.size + size - 1) * self.up
        total += up_taps + down_taps - 2
        low = (total + self.up) // 2
        self.padding = (low, total - low, low, total - low)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Draw the layer's signal on its own grid."""
        x = self._convolve(x, style) + self.bias[:, None, None]
        x = upfirdn2d(x, self.up_filter, up=self.up, padding=self.padding, gain=float(self.up**2))
        if not self.is_torgb:
            x = F.leaky_relu(x, LRELU_SLOPE) * LRELU_GAIN
        if self.clamp is not None:
            x = x.clamp(-self.clamp, self.clamp)
        return upfirdn2d(x, self.down_filter, down=self.down)

    def _convolve(self, x: Tensor, style: Tensor) -> Tensor:
        """Scale activations by style and running magnitude, convolve, demodulate.

        The official code brings styles to unit size over the batch, so that its images depend,
        by their last digits, on their neighbours: here each is as it is there alone.
        """
        weight, size = self.weight, self.weight.shape[-1]
        if self.is_torgb:
            style = style / math.sqrt(weight.shape[1] * size**2)
            return F.conv2d(self._scaled(x, style), weight, padding=size - 1)
        weight = weight * weight.square().mean(dim=[1, 2, 3], keepdim=True).rsqrt()
        style = style * style.square().mean(dim=1, keepdim=True).rsqrt()
        power = weight.square().sum(dim=[2, 3])
        demodulation = (style.square() @ power.t() + 1e-8).rsqrt()
        x = F.conv2d(self._scaled(x, style), weight, padding=size - 1)
        return x * demodulation[:, :, None, None]

    def _scaled(self, x: Tensor, style: Tensor) -> Tensor:
        return x * (style * self.magnitude_ema.rsqrt())[:, :, None, None]


class AliasFreeSynthesis(DrawingNetwork):
    """Fourier features and a chain of alias-free layers: w_plus to images.

    Source: arXiv:2106.12423, figure 4.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        settings = config.require_alias_free()
        bands = plan_bands(settings, config.resolution)
        self.num_ws = config.num_ws
        self.output_scale = settings.output_scale
        self.input = FourierInput(config.w_dim, bands[0])
        self.layers = nn.ModuleDict()
        source = bands[0]
        for index, band in enumerate(bands):
            is_torgb = index == settings.num_layers
            layer = AliasFreeLayer(config, source, band, is_torgb=is_torgb)
            self.layers[f"L{index}_{band.size}_{band.channels}"] = layer
            source = band

    def styles(self, w_plus: WPlus) -> dict[str, Tensor]:
        """Raw outputs of the affine layers by layer name, the input's four numbers first.

        Shapes: w_plus [N, num_ws, w_dim] -> {"input": [N, 4], "L0_36_512": [N, C], ...}.
        """
        w_plus = as_w_plus(w_plus, self.num_ws, self.input.affine.weight)
        styles = {"input": self.input.affine(w_plus[:, 0])}
        for index, (name, layer) in enumerate(self.layers.items(), start=1):
            styles[name] = cast("AliasFreeLayer", layer).affine(w_plus[:, index])
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

        These networks have no noise inputs, so `noise` and `noise_maps` change nothing; a dict
        given as `taps` receives the feature map of each layer by name.

        Raises: ValueError if the precision is another than float32.
        """
        del noise, noise_maps
        if precision != "float32":
            message = f"StyleGAN3 is drawn in float32 only, got precision {precision!r}"
            raise ValueError(message)
        x = self.input(styles["input"])
        for name, layer in self.layers.items():
            x = layer(x, styles[name])
            if taps is not None:
                taps[name] = x
        return x * self.output_scale
