"""The boundary between uint8 pixels and the float images that networks see."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stylealign.images import PixelBatch


def to_float(images: PixelBatch | UInt8[Tensor, "N H W 3"]) -> Float[Tensor, "N 3 H W"]:
    """Turn uint8 images into the float images that networks take.

    Shapes: images [N, H, W, 3]; returns [N, 3, H, W].
    Units:  uint8 0 to 255; returns float32 in [-1, 1].
    """
    pixels = torch.as_tensor(images)
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0).contiguous()


def to_uint8(images: Float[Tensor, "N 3 H W"]) -> PixelBatch:
    """Turn float images into uint8 images; values outside [-1, 1] are clipped.

    Shapes: images [N, 3, H, W]; returns [N, H, W, 3].
    Units:  float in [-1, 1]; returns uint8 0 to 255.
    """
    pixels = images.detach().to(torch.float32).mul(127.5).add_(127.5).round_().clamp_(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
