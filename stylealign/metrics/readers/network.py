"""The network of a reader: a small convolutional trunk and one head for all labels."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stylealign.errors import DataError
from stylealign.models.trunk import normed_convolution

MIN_RESOLUTION = 16

_GRID = 4


class ReaderNetwork(nn.Module):
    """Halve the image down to 4 by 4 positions, then read every label from one vector.

    Positions are kept up to the last layer, because pose is a matter of where things lie.
    """

    def __init__(
        self, *, resolution: int, num_outputs: int, width: int, num_features: int = 128
    ) -> None:
        """Build a trunk whose depth follows the resolution.

        Raises: DataError if the resolution is under 16.
        """
        super().__init__()
        if resolution < MIN_RESOLUTION:
            message = f"images of {resolution} px are too small to read"
            raise DataError(f"{message}, expected at least {MIN_RESOLUTION} px")
        num_stages = round(math.log2(resolution / _GRID)) - 1
        layers = [*normed_convolution(3, width, kernel_size=4, stride=2)]
        channels = width
        for stage in range(num_stages):
            # at high resolutions the first stages stay narrow, else they take all the time
            is_late = stage >= num_stages - 2
            wider = min(channels * 2, 4 * width) if is_late else channels
            layers += normed_convolution(channels, channels, kernel_size=3, stride=1)
            layers += normed_convolution(channels, wider, kernel_size=4, stride=2)
            channels = wider
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(_GRID), nn.Flatten())
        self.features = nn.Sequential(
            nn.Linear(channels * _GRID**2, num_features, bias=False),
            nn.BatchNorm1d(num_features),
            nn.SiLU(),
        )
        self.head = nn.Linear(num_features, num_outputs)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.contiguous(memory_format=torch.channels_last)

    def forward(
        self, images: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N L"], Float[Tensor, "N F"]]:
        """Return the raw outputs of all labels and the features they are read from.

        Shapes: images [N, 3, H, W]; returns [N, num_outputs] and [N, num_features].
        Units:  pixels in [-1, 1].
        """
        images = images.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        features = self.features(self.trunk(images))
        return self.head(features), features
