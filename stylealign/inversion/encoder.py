"""The encoder: a network that guesses the code of an image in one pass."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from stylealign.errors import CheckpointError
from stylealign.images import PixelBatch
from stylealign.inversion.inputs import check_images
from stylealign.inversion.start import code_shape, to_sphere
from stylealign.models import Latents, Model, ModelConfig, Space
from stylealign.models.latents import Images
from stylealign.models.trunk import normed_convolution
from stylealign.networks import NetworkFolder, build_with

FILES: Final = NetworkFolder("encoder", "encoder.safetensors", "config.json")

_BATCH = 128


class EncoderNetwork(nn.Module):
    """Convolutions down to 4 x 4 positions, then one dense layer to the whole code.

    Shapes: images [N, C, R, R] -> [N, *code_shape], z on its sphere, w around `center`.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self, *, resolution: int, img_channels: int, shape: tuple[int, ...], space: Space,
        width: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.is_z, self.shape = space in ("z", "z_plus"), shape
        num_stages = max(round(math.log2(resolution / 4)), 1)
        layers: list[nn.Module] = []
        channels = img_channels
        for stage in range(num_stages):
            wider = width * min(2 ** max(stage - max(num_stages - 3, 0), 0), 4)
            layers += normed_convolution(channels, wider, kernel_size=4, stride=2)
            if stage < num_stages - 1:
                layers += normed_convolution(wider, wider, kernel_size=3, stride=1)
            channels = wider
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        features = 8 * width
        self.head = nn.Sequential(
            nn.Linear(channels * 16, features, bias=False),
            nn.BatchNorm1d(features),
            nn.SiLU(),
            nn.Linear(features, math.prod(shape)),
        )
        self.register_buffer("center", torch.zeros(shape[-1]))
        self.register_buffer("scale", torch.ones([]))

    def forward(self, images: Images) -> Tensor:
        """Codes of the images."""
        codes = self.head(self.trunk(images)).unflatten(1, self.shape)
        return to_sphere(codes) if self.is_z else self.center + self.scale * codes


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
    """A fitted network, and the model and space that its codes belong to."""

    network: EncoderNetwork
    space: Space
    width: int
    model: ModelConfig
    kimg: float
    seed: int

    @torch.no_grad()
    def predict(self, images: Images | PixelBatch) -> Latents:
        """Codes that draw images like these; each depends on its own image alone.

        Shapes: images [N, 3, R, R] in [-1, 1] or uint8 [N, R, R, 3].
        Raises: DataError if the images are not of the model's size.
        """
        floats = check_images(images, self.model, self.network.center)
        self.network.eval()
        codes = [self.network(part) for part in floats.split(_BATCH)]
        return Latents(torch.cat(codes), self.space, self.model.id, self.model.root_id)

    def save(self, folder: str | Path) -> None:
        """Write the encoder as safetensors and JSON; equal encoders give equal bytes."""
        record = {
            "space": self.space,
            "width": self.width,
            "kimg": self.kimg,
            "seed": self.seed,
            "model": self.model.model_dump(mode="json"),
        }
        FILES.save(Path(folder), self.network, record)


def build_network(model: Model, space: Space, width: int) -> EncoderNetwork:
    """A network with random weights, of the size that model and space ask for."""
    return EncoderNetwork(
        resolution=model.config.resolution,
        img_channels=model.config.img_channels,
        shape=code_shape(model.generator, space),
        space=space,
        width=width,
    )


def load_encoder(folder: str | Path, model: Model) -> Encoder:
    """Load the encoder of a model from its folder.

    Raises: CheckpointError if a file is missing or damaged, or the encoder is another model's.
    """
    folder = Path(folder)
    with FILES.open(folder) as (record, tensors):
        config = ModelConfig.model_validate(record["model"])
        if config.id != model.config.id:
            message = f"encoder {str(folder)!r} is of model {config.id[:12]!r}"
            raise CheckpointError(f"{message}, not of {model.config.id[:12]!r}; fit one for it")
        space, width = record["space"], record["width"]
        network = build_with(tensors, partial(build_network, model, space, width))
        encoder = Encoder(
            network=network, space=space, width=width, model=config, kimg=record["kimg"],
            seed=record["seed"],
        )  # fmt: skip
    network.to(model.generator.w_avg.device)
    return encoder
