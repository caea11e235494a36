"""The discriminator: images to logits."""

import math

import torch
from torch import Tensor, nn

from stylealign.models.config import ModelConfig
from stylealign.models.latents import Images, Labels, Logits
from stylealign.models.layers import EqualizedConv, EqualizedLinear
from stylealign.models.mapping import Mapping
from stylealign.models.operators import blur_kernel, downsample


class DiscriminatorBlock(nn.Module):
    """One halving of resolution, residual (`resnet`) or fed from the image (`skip`)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        img_channels: int,
        architecture: str,
        is_first: bool,
        clamp: float | None,
    ) -> None:
        super().__init__()
        self.fromrgb = None
        if is_first or architecture == "skip":
            self.fromrgb = EqualizedConv(img_channels, in_channels, 1, clamp=clamp)
        is_residual = architecture == "resnet"
        gain = math.sqrt(0.5) if is_residual else 1.0
        self.conv0 = EqualizedConv(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = EqualizedConv(
            in_channels, out_channels, 3, is_down=True, gain=gain, clamp=clamp
        )
        self.skip = None
        if is_residual:
            self.skip = EqualizedConv(
                in_channels, out_channels, 1, is_down=True, is_activated=False, gain=gain
            )

    def forward(self, x: Tensor | None, image: Tensor) -> Tensor:
        """Features at half the resolution, of those from above and, where used, of the image."""
        if self.fromrgb is not None:
            rgb = self.fromrgb(image)
            x = rgb if x is None else x + rgb
        y = self.conv1(self.conv0(x))
        return y if self.skip is None else y + self.skip(x)


class Discriminator(nn.Module):
    """Tells real images from generated ones; its logit is high for real.

    Shapes: images [N, img_channels, R, R], c [N, c_dim] -> [N, 1].
    Source: arXiv:1912.04958, figure 7; minibatch stddev arXiv:1710.10196, section 3;
        projection conditioning arXiv:1802.05637.
    """

    kernel: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.discriminator_widths
        architecture, clamp = config.discriminator_architecture, config.discriminator_conv_clamp
        self.blocks = nn.ModuleDict()
        for resolution in reversed(config.block_resolutions[1:]):
            self.blocks[f"b{resolution}"] = DiscriminatorBlock(
                channels[resolution],
                channels[resolution // 2],
                img_channels=config.img_channels,
                architecture=architecture,
                is_first=resolution == config.resolution,
                clamp=clamp,
            )
        width = channels[4]
        fc_dim = config.discriminator_fc_dim or width
        cmap_dim = (config.discriminator_cmap_dim or width) if config.c_dim else 0
        self.fromrgb = None
        if architecture == "skip":
            self.fromrgb = EqualizedConv(config.img_channels, width, 1)
        self.conv = EqualizedConv(width + config.mbstd_num_channels, width, 3, clamp=clamp)
        self.fc = EqualizedLinear(width * 16, fc_dim, is_activated=True)
        self.out = EqualizedLinear(fc_dim, cmap_dim or 1)
        self.mapping = None
        if config.c_dim:
            self.mapping = Mapping(
                0, config.c_dim, cmap_dim,
                num_layers=config.discriminator_mapping_layers,
                lr_multiplier=config.discriminator_mapping_lr_multiplier,
            )  # fmt: skip
        self.register_buffer("kernel", blur_kernel(), persistent=False)

    def forward(self, images: Images, c: Labels | None = None) -> Logits:
        """Logits of images: [N, channels, R, R] -> [N, 1]."""
        features = self.features(images)
        logits = self.out(self.fc(features.flatten(1)))
        if self.mapping is not None:
            embedding = self.mapping(None, c)
            logits = (logits * embedding).sum(dim=1, keepdim=True) / math.sqrt(logits.shape[1])
        return logits

    def features(self, images: Images) -> Tensor:
        """Activations at 4x4, before the dense layers: [N, C, 4, 4]."""
        expected = (self.config.img_channels, self.config.resolution, self.config.resolution)
        if tuple(images.shape[1:]) != expected:
            message = f"expected images of shape [N, {expected}], got {tuple(images.shape)}"
            raise ValueError(message)
        image = images
        if images.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            # All that follows keeps the order of what goes in: filters take half the time.
            image = images.contiguous(memory_format=torch.channels_last)
        x: Tensor | None = None
        is_skip = self.config.discriminator_architecture == "skip"
        for block in self.blocks.values():
            x = block(x, image)
            if is_skip:
                image = downsample(image, self.kernel)
        if x is None:
            message = "a discriminator has at least one block"
            raise ValueError(message)
        features: Tensor = x
        if self.fromrgb is not None:
            features = features + self.fromrgb(image)
        if self.config.mbstd_num_channels:
            features = append_minibatch_stddev(
                features, self.config.mbstd_group_size, self.config.mbstd_num_channels
            )
        return self.conv(features)


def append_minibatch_stddev(x: Tensor, group_size: int | None, num_channels: int) -> Tensor:
    """Add channels that hold the standard deviation over a group of images.

    Groups are strided through the batch: image i is with images i + k * N / group_size.

    Shapes: [N, C, H, W] -> [N, C + num_channels, H, W].
    Raises: ValueError if N is not a multiple of the group size, or 0.
    Source: arXiv:1710.10196, section 3.
    """
    batch, channels, height, width = x.shape
    group = max(1, min(group_size or batch, batch))
    if not batch or batch % group:
        message = f"batch of {batch} is not a multiple of the minibatch-stddev group of {group}"
        raise ValueError(message)
    y = x.reshape(group, -1, num_channels, channels // num_channels, height, width)
    y = (y - y.mean(dim=0)).square().mean(dim=0)
    y = (y + 1e-8).sqrt().mean(dim=[2, 3, 4])
    y = y.reshape(-1, num_channels, 1, 1).repeat(group, 1, height, width)
    return torch.cat([x, y], dim=1)
