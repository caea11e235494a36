"""The Inception network of the Fréchet inception distance, around weights of the user's own."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stylealign.metrics.published import WeightsFile, load_published

RESOLUTION: Final = 299
NUM_CLASSES: Final = 1008
"""The published weights end in a classifier, which features do not pass through."""

Pool: TypeAlias = Literal["average", "max", "shrink"]


class Inception(nn.Module):
    """Inception v3 as the FID's TensorFlow graph of 2015 has it, named as its PyTorch state dict.

    It differs from the network of the same name for classification: averages leave the padding
    out, and the last block pools by the maximum.

    Source: Szegedy et al., arXiv:1512.00567; Heusel et al., arXiv:1706.08500.
    """

    def __init__(self) -> None:
        """Lay out the known architecture."""
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, (3, 3), stride=2, is_padded=False)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, (3, 3), is_padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = _Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Convolution(80, 192, (3, 3), is_padded=False)
        self.Mixed_5b = _Block(192, _fine(), "average", num_pooled=32)
        self.Mixed_5c = _Block(256, _fine(), "average", num_pooled=64)
        self.Mixed_5d = _Block(288, _fine(), "average", num_pooled=64)
        self.Mixed_6a = _Block(288, _FINE_TO_MIDDLE, "shrink")
        self.Mixed_6b = _Block(768, _middle(128), "average", num_pooled=192)
        self.Mixed_6c = _Block(768, _middle(160), "average", num_pooled=192)
        self.Mixed_6d = _Block(768, _middle(160), "average", num_pooled=192)
        self.Mixed_6e = _Block(768, _middle(192), "average", num_pooled=192)
        self.Mixed_7a = _Block(768, _MIDDLE_TO_COARSE, "shrink")
        self.Mixed_7b = _Block(1280, _COARSE, "average", num_pooled=192)
        self.Mixed_7c = _Block(2048, _COARSE, "max", num_pooled=192)
        self.fc = nn.Linear(2048, NUM_CLASSES)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N F"]:
        """Return pooled penultimate features.

        Shapes: images [N, 3, 299, 299]; returns [N, 2048].
        Units:  pixels in [-1, 1].
        """
        hidden = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        hidden = functional.max_pool2d(hidden, 3, stride=2)
        hidden = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(hidden))
        hidden = functional.max_pool2d(hidden, 3, stride=2)
        for block in self.children():
            if isinstance(block, _Block):
                hidden = block(hidden)
        return hidden.mean((2, 3))


@cache
def load_inception(file: WeightsFile) -> Inception:
    """Load the network from a state dict such as `pt_inception-2015-12-05-6726825d.pth`.

    Raises: CheckpointError as `load_published` does.
    """
    return load_published(Inception, file)


def _fine() -> dict[str, str]:
    return {
        "branch1x1": "64:1x1",
        "branch5x5": "48:1x1 64:5x5",
        "branch3x3dbl": "64:1x1 96:3x3 96:3x3",
    }


def _middle(width: int) -> dict[str, str]:
    return {
        "branch1x1": "192:1x1",
        "branch7x7": f"{width}:1x1 {width}:1x7 192:7x1",
        "branch7x7dbl": f"{width}:1x1 {width}:7x1 {width}:1x7 {width}:7x1 192:1x7",
    }


_FINE_TO_MIDDLE: Final = {
    "branch3x3": "384:3x3",
    "branch3x3dbl": "64:1x1 96:3x3 96:3x3",
}
_MIDDLE_TO_COARSE: Final = {
    "branch3x3": "192:1x1 320:3x3",
    "branch7x7x3": "192:1x1 192:1x7 192:7x1 192:3x3",
}
_COARSE: Final = {
    "branch1x1": "320:1x1",
    "branch3x3": "384:1x1 384:1x3+384:3x1",
    "branch3x3dbl": "448:1x1 384:3x3 384:1x3+384:3x1",
}


class _Convolution(nn.Module):
    """A convolution without bias, batch norm and ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        *,
        stride: int = 1,
        is_padded: bool = True,
    ) -> None:
        super().__init__()
        height, width = kernel
        padding = (height // 2, width // 2) if is_padded else 0
        self.conv = nn.Conv2d(
            in_channels, out_channels, (height, width), stride, padding, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, inputs: Float[Tensor, "N _ _ _"]) -> Float[Tensor, "N _ _ _"]:
        return functional.relu(self.bn(self.conv(inputs)))


class _Block(nn.Module):
    """Branches side by side, then a pooled one; their outputs are stacked.

    A branch is written as its steps, `width:kernel`; at `+` it forks, and what both prongs see is
    stacked. A block that shrinks halves the image in the last step of each branch.
    """

    def __init__(
        self, in_channels: int, branches: Mapping[str, str], pool: Pool, num_pooled: int = 0
    ) -> None:
        super().__init__()
        self.pool: Pool = pool
        self.chains = [
            self._add_branch(in_channels, name, steps.split()) for name, steps in branches.items()
        ]
        if num_pooled:
            self.branch_pool = _Convolution(in_channels, num_pooled, (1, 1))

    def forward(self, inputs: Float[Tensor, "N _ _ _"]) -> Float[Tensor, "N _ _ _"]:
        outputs: list[Tensor] = []
        for chain in self.chains:
            hidden = inputs
            for prongs in chain:
                hidden = torch.cat([self.get_submodule(name)(hidden) for name in prongs], 1)
            outputs.append(hidden)
        return torch.cat([*outputs, self._pooled(inputs)], 1)

    def _add_branch(self, width: int, name: str, steps: list[str]) -> list[list[str]]:
        """Add a branch's convolutions; returns their names, step by step."""
        chain: list[list[str]] = []
        for number, step in enumerate(steps, 1):
            stem = f"{name}_{number}" if len(steps) > 1 else name
            shrinks = self.pool == "shrink" and number == len(steps)
            prongs = step.split("+")
            names = [stem] if len(prongs) == 1 else [f"{stem}{letter}" for letter in "ab"]
            shapes = [tuple(map(int, re.findall(r"\d+", prong))) for prong in prongs]
            for full_name, (out_channels, *kernel) in zip(names, shapes, strict=True):
                stride, is_padded = (2, False) if shrinks else (1, True)
                one = _Convolution(width, out_channels, kernel, stride=stride, is_padded=is_padded)
                self.add_module(full_name, one)
            width = sum(out_channels for out_channels, *_ in shapes)
            chain.append(names)
        return chain

    def _pooled(self, inputs: Tensor) -> Tensor:
        if self.pool == "shrink":
            return functional.max_pool2d(inputs, 3, stride=2)
        if self.pool == "max":
            return self.branch_pool(functional.max_pool2d(inputs, 3, stride=1, padding=1))
        mean = functional.avg_pool2d(inputs, 3, stride=1, padding=1, count_include_pad=False)
        return self.branch_pool(mean)
