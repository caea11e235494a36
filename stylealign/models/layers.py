"""Equalised and modulated layers."""

import math

import torch
from torch import Tensor, nn

from stylealign.models.constants import made_of
from stylealign.models.convolution import conv3x3, convolve, mix_channels, tap_power
from stylealign.models.initial import standard_normal
from stylealign.models.operators import (
    LRELU_GAIN,
    blur,
    blur_kernel,
    downsample,
    scaled_leaky_relu,
)
from stylealign.models.styled import Layer, styled_conv


class EqualizedLinear(nn.Module):
    """A dense layer whose weight is stored at unit variance and scaled when used.

    Shapes: [N, in_features] -> [N, out_features].
    Source: equalised learning rate, arXiv:1710.10196, section 4.1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        is_activated: bool = False,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            standard_normal(out_features, in_features, divisor=lr_multiplier)
        )
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.is_activated = is_activated
        self.bias_gain = lr_multiplier
        self.weight_gain = lr_multiplier / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, add and, with `is_activated`, rectify."""
        gain = LRELU_GAIN if self.is_activated else 1.0
        x = torch.addmm(
            self.bias, x, self.weight.t(), beta=self.bias_gain * gain, alpha=self.weight_gain * gain
        )
        return scaled_leaky_relu(x) if self.is_activated else x


class EqualizedConv(nn.Module):
    """A convolution without styles, optionally halving the resolution.

    Shapes: [N, in, H, W] -> [N, out, H, W], or [N, out, H/2, W/2] with `is_down`.
    """

    kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        is_down: bool = False,
        is_activated: bool = True,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            standard_normal(out_channels, in_channels, kernel_size, kernel_size)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels)) if is_activated else None
        self.register_buffer("kernel", blur_kernel(), persistent=False)
        self.is_down = is_down
        self.clamp = None if clamp is None else clamp * gain
        activation_gain = LRELU_GAIN if is_activated else 1.0
        self.bias_gain = activation_gain * gain
        self.weight_gain = activation_gain * gain / math.sqrt(in_channels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, filtered and halved with `is_down`, and rectify."""
        size = self.weight.shape[-1]
        weight = (self.weight * self.weight_gain).to(x.dtype)
        bias = None if self.bias is None else (self.bias * self.bias_gain).to(x.dtype)
        if not self.is_down and size == 3:
            x = conv3x3(x, weight, bias)
        elif not self.is_down:
            x = convolve(x, weight, bias)
        elif size == 1:
            x = convolve(downsample(x, self.kernel), weight, bias)
        else:
            x = convolve(blur(x, self.kernel, padding=2), weight, bias, stride=2)
        if self.bias is not None:
            return scaled_leaky_relu(x, clamp=self.clamp)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class StyledConv(nn.Module):
    """A 3x3 convolution whose input channels are scaled by a style, then demodulated.

    The demodulation factor is rsqrt(s^2 @ sum(W^2) + 1e-8), the same number as that of weights
    scaled for each image.

    Shapes: x [N, in, H, W], style [N, in] -> [N, out, H, W], twice the size with `is_up`.
    Source: arXiv:1912.04958, equations 1-3.
    """

    kernel: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        is_up: bool = False,
        has_noise: bool = True,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(standard_normal(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([])) if has_noise else None
        if has_noise:
            self.register_buffer("noise_const", standard_normal(resolution, resolution))
        self.register_buffer("kernel", blur_kernel(gain=4.0), persistent=False)
        self.resolution = resolution
        self.is_up = is_up
        self.gain = LRELU_GAIN * gain
        self.clamp = None if clamp is None else clamp * gain

    def forward(self, x: Tensor, style: Tensor, noise: str | Tensor) -> Tensor:
        """Convolve under a style; `noise` is its map, or "const", "random" or "none"."""
        power = made_of(self.weight, tap_power)
        demodulation = (
            self.gain * torch.addmm(style.new_full((1,), 1e-8), style.square(), power.t()).rsqrt()
        )
        noise_map = self._noise(x, noise)
        layer = Layer(
            self.weight,
            self.bias * self.gain,
            None if noise_map is None else noise_map * self.gain,
            self.kernel if self.is_up else None,
            self.clamp,
        )
        return styled_conv(x, style, demodulation, layer)

    def _noise(self, x: Tensor, noise: str | Tensor) -> Tensor | None:
        if self.noise_strength is None or (isinstance(noise, str) and noise == "none"):
            return None
        if isinstance(noise, Tensor):
            return noise * self.noise_strength
        if noise == "random":
            size = (x.shape[0], 1, self.resolution, self.resolution)
            return torch.randn(size, device=x.device, dtype=x.dtype) * self.noise_strength
        return self.noise_const[None] * self.noise_strength


class ToRGB(nn.Module):
    """Styled 1x1 convolution to image channels, written as a batched matrix product.

    The image has the type of the weights, whatever that of the activations.

    Shapes: x [N, in, H, W], style [N, in] -> [N, img_channels, H, W].
    """

    def __init__(
        self, in_channels: int, img_channels: int, w_dim: int, *, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(standard_normal(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.clamp = clamp

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """This resolution's contribution to the image."""
        weight = self.weight.flatten(1) * (style * self.weight_gain)[:, None, :]
        if x.is_contiguous() and x.dtype == weight.dtype:
            image = torch.baddbmm(self.bias[:, None], weight, x.flatten(2))
            image = image.unflatten(2, x.shape[2:])
        else:
            image = mix_channels(x, weight.to(x.dtype)) + self.bias[:, None, None]
        return image if self.clamp is None else image.clamp(-self.clamp, self.clamp)
