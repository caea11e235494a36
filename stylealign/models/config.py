"""What a model is: architecture, lineage and training state, as one checked record."""

import math
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_serializer,
    model_validator,
)

from stylealign.models.bands import AliasFreeConfig

Width: TypeAlias = Annotated[int, Field(ge=1, le=65536)]
BlockResolution: TypeAlias = Annotated[int, Field(ge=1, le=4096)]
Identity: TypeAlias = Annotated[str, Field(max_length=1000)]


class ModelConfig(BaseModel):
    """Everything but the weights: two models of equal architecture share all fields of it.

    Units:  widths in channels; `kimg` in thousands of real images shown to the discriminator.
    Source: Karras et al., StyleGAN2, arXiv:1912.04958; StyleGAN2-ADA, arXiv:2006.06676.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["stylegan2", "stylegan3-t", "stylegan3-r"] = "stylegan2"
    resolution: int = Field(ge=8, le=4096)
    z_dim: int = Field(default=512, ge=1, le=65536)
    w_dim: int = Field(default=512, ge=1, le=65536)
    c_dim: int = Field(default=0, ge=0, le=65536)
    img_channels: int = Field(default=3, ge=1, le=16)

    num_mapping_layers: int = Field(default=8, ge=1, le=64)
    mapping_lr_multiplier: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    mapping_embed_dim: int | None = Field(default=None, ge=1, le=65536)
    """Width of the class embedding beside z; None = w_dim."""
    mapping_hidden_dim: int | None = Field(default=None, ge=1, le=65536)
    """Width between the mapping layers; None = w_dim."""
    channels: dict[BlockResolution, Width] = Field(default_factory=dict)
    """Width of the generator's block at each resolution, 4 to `resolution`; StyleGAN2 only."""
    generator_architecture: Literal["skip", "resnet", "orig"] = "skip"
    """`skip` sums the tRGB of all blocks, the others have it in the last alone; StyleGAN2 only."""
    alias_free: AliasFreeConfig | None = None
    """What StyleGAN3 has instead."""
    noise: bool = True
    """Whether layers add noise inputs; small images train faster without."""
    conv_clamp: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Bound on activations of networks trained in float16; None = unbounded."""

    discriminator_architecture: Literal["resnet", "skip", "orig"] = "resnet"
    discriminator_channels: dict[BlockResolution, Width] = Field(default_factory=dict)
    """Width of the discriminator's block at each resolution; empty = as the generator's."""
    discriminator_conv_clamp: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    discriminator_fc_dim: int | None = Field(default=None, ge=1, le=65536)
    """Width of the discriminator's last hidden layer; None = its width at 4x4."""
    discriminator_mapping_layers: int = Field(default=8, ge=0, le=64)
    discriminator_mapping_lr_multiplier: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    discriminator_cmap_dim: int | None = Field(default=None, ge=1, le=65536)
    """Width of the class embedding that the logits project on; None = width at 4x4."""
    mbstd_group_size: int | None = Field(default=4, ge=1, le=65536)
    """Images per minibatch-stddev group; None = the whole batch."""
    mbstd_num_channels: int = Field(default=1, ge=0, le=65536)

    domain: str = Field(default="", max_length=1000)
    id: Identity = ""
    """sha256 over names, shapes, types and bytes of G_ema's tensors; set when saved."""
    parent_id: Identity = ""
    root_id: Identity = ""
    """The first ancestor; models that share it are aligned by construction."""
    lineage: Literal["none", "trained", "declared"] = "none"
    kimg: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    data_hash: Identity = ""
    class_shares: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()
    """How often the images it was trained on have each class; empty = unknown, or none."""

    @field_validator("resolution")
    @classmethod
    def _is_power_of_two(cls, resolution: int) -> int:
        if resolution & (resolution - 1):
            message = f"resolution must be a power of two, got {resolution}"
            raise ValueError(message)
        return resolution

    @field_validator("domain", "id", "parent_id", "root_id", "data_hash")
    @classmethod
    def _can_be_shown(cls, text: str) -> str:
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            message = "control characters and halves of characters are not allowed"
            raise ValueError(message)
        return text

    @model_validator(mode="after")
    def _has_every_width(self) -> "ModelConfig":
        is_stylegan2 = self.architecture == "stylegan2"
        if is_stylegan2 == (self.alias_free is not None):
            message = f"alias_free does not go with architecture {self.architecture!r}"
            raise ValueError(message)
        for name, channels, is_needed in (
            ("channels", self.channels, is_stylegan2),
            ("discriminator_channels", self.discriminator_channels, self.discriminator_channels),
        ):
            missing = set(self.block_resolutions) - channels.keys()
            if missing and is_needed:
                message = f"{name} lacks the width at resolution {min(missing)}"
                raise ValueError(message)
            unknown = channels.keys() - set(self.block_resolutions)
            if unknown:
                message = f"{name} has a width at resolution {min(unknown)}, where no block is"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _has_whole_stddev_channels(self) -> "ModelConfig":
        width, num = self.discriminator_widths.get(4, 0), self.mbstd_num_channels
        if num and width % num:
            message = f"mbstd_num_channels is {num}, which does not divide the width of {width}"
            raise ValueError(f"{message} at resolution 4")
        return self

    @model_validator(mode="after")
    def _has_a_share_of_each_class(self) -> "ModelConfig":
        if self.class_shares and len(self.class_shares) != self.c_dim:
            message = f"class_shares are {len(self.class_shares)}, of {self.c_dim} classes"
            raise ValueError(message)
        if self.class_shares and not 0 < sum(self.class_shares) < math.inf:
            message = "class_shares are nothing all together"
            raise ValueError(message)
        return self

    @model_serializer(mode="wrap")
    def _without_unknown_shares(self, serialize: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        fields = serialize(self)
        if not fields.get("class_shares"):
            fields.pop("class_shares", None)
        return fields

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        """Resolutions of the synthesis blocks, 4 first."""
        return tuple(2**i for i in range(2, int(math.log2(self.resolution)) + 1))

    @property
    def discriminator_widths(self) -> dict[int, int]:
        """Width of each block of a discriminator, if there is one; empty = there can be none."""
        return self.discriminator_channels or self.channels

    @property
    def num_ws(self) -> int:
        """Layers that take a style: 2*log2(resolution) - 2, or StyleGAN3's layers + 2."""
        if self.alias_free is not None:
            return self.alias_free.num_layers + 2
        return 2 * int(math.log2(self.resolution)) - 2

    def require_alias_free(self) -> AliasFreeConfig:
        """The alias-free settings, for code that is only reached with them."""
        if self.alias_free is None:
            message = f"architecture {self.architecture!r} has no alias-free settings"
            raise ValueError(message)
        return self.alias_free

    def has_same_architecture(self, other: "ModelConfig") -> bool:
        """Whether weights of one fit the generator of the other."""
        return not self.difference_from(other)

    def difference_from(self, other: "ModelConfig") -> str:
        """The first field by which weights of one do not fit the generator of the other."""
        fields = (
            "architecture", "resolution", "z_dim", "w_dim", "c_dim", "img_channels",
            "num_mapping_layers", "mapping_lr_multiplier", "mapping_embed_dim",
            "mapping_hidden_dim", "channels", "generator_architecture", "noise", "alias_free",
        )  # fmt: skip
        differing = (f for f in fields if getattr(self, f) != getattr(other, f))
        return next(differing, "")


def channels_from_base(
    resolution: int, *, channel_base: int = 32768, channel_max: int = 512
) -> dict[int, int]:
    """Official widths: channel_base / resolution, at most channel_max.

    Source: NVlabs networks, `channels_dict`; channel_base = 32768 * fmaps.
    """
    resolutions = [2**i for i in range(2, int(math.log2(resolution)) + 1)]
    return {res: min(channel_base // res, channel_max) for res in resolutions}
