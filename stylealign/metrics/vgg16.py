"""VGG16 around weights of the user's own: its features, and its maps for perceptual distances."""

from dataclasses import dataclass
from functools import cache
from typing import Final

from jaxtyping import Float
from torch import Tensor, nn

from stylealign.metrics.perceptual import unit_channels
from stylealign.metrics.published import WeightsFile, load_published
from stylealign.networks import on_device

RESOLUTION: Final = 224
WIDTHS: Final = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Of each 3x3 convolution; the image is halved after each group."""


class Vgg16(nn.Module):
    """VGG16 without batch norm, named as torchvision's state dict.

    Source: Simonyan and Zisserman, arXiv:1409.1556, configuration D.
    """

    def __init__(self) -> None:
        """Lay out the known architecture."""
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for widths in WIDTHS:
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 1000),
        )  # fmt: skip

    def block_features(self, images: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N _ _ _"]]:
        """Return the last map of each group before it is halved.

        Shapes: images [N, 3, H, W] of 16 pixels or more; returns [N, C, H, W], [N, C, H / 2, W / 2]
            and so on, five of them.
        Units:  pixels in [-1, 1].
        """
        hidden, found = _normalise(images), list[Tensor]()
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                found.append(hidden)
            hidden = layer(hidden)
        return found

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N F"]:
        """Return what the classifier's last layer sees.

        Shapes: images [N, 3, 224, 224]; returns [N, 4096].
        Units:  pixels in [-1, 1].
        """
        hidden = self.features(_normalise(images)).flatten(1)
        return self.classifier[:-1](hidden)


@cache
def load_vgg16(file: WeightsFile) -> Vgg16:
    """Load the network from a state dict such as torchvision's `vgg16-397923af.pth`.

    Raises: CheckpointError as `load_published` does.
    """
    return load_published(Vgg16, file)


@dataclass(frozen=True, kw_only=True)
class Vgg16Blocks:
    """Maps of VGG16 at the image's own size, for `perceptual_distance`.

    The maps are those of LPIPS, the weights of their channels are not: all count the same.
    """

    weights: WeightsFile

    @property
    def name(self) -> str:
        """The name that metrics carry."""
        return "vgg16_blocks"

    def __call__(self, images: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N _ _ _"]]:
        """Return feature maps of falling resolution, each of unit length across channels.

        Shapes: images [N, 3, H, W]; returns a list of [N, C, H, W] and smaller.
        Units:  pixels in [-1, 1].
        """
        network = on_device(load_vgg16(self.weights), images.device)
        return [unit_channels(feature) for feature in network.block_features(images)]


def _normalise(images: Tensor) -> Tensor:
    """Turn [-1, 1] into [0, 1] less ImageNet's mean colour, over its deviation."""
    mean = images.new_tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = images.new_tensor([0.229, 0.224, 0.225])[:, None, None]
    return ((images + 1.0) / 2.0 - mean) / deviation
