"""The same networks in each implementation and setting, with the same weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from benchmarks.peers.checkouts import import_nvlabs, import_rosinality
from stylealign.checkpoints.nvidia import RENAMED, RENAMED_IN_D, rename
from stylealign.checkpoints.rosinality import discriminator_names, generator_names
from stylealign.models import Discriminator, Generator, Model, ModelConfig
from stylealign.models.config import channels_from_base
from stylealign.models.precision import Precision, is_imitated

OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One implementation in one setting; all take [N, ...] and know no options but these."""

    name: str
    peer: str
    """Whose networks these are."""
    is_default: bool
    """Whether this is what the peer's own programs do when they are told nothing."""
    generator: nn.Module
    discriminator: nn.Module
    map_codes: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor, bool], Tensor]
    """Images of w_plus, with the constant noise or, asked for with True, random noise."""
    judge: Callable[[Tensor], Tensor]
    is_trainable: bool = True
    """Whether the setting is also one to train in."""
    freezes_weights: bool = True
    """Whether an inversion takes no gradient of the weights."""


def model_config(resolution: int) -> ModelConfig:
    """The official widths: channel_base 16384 up to 256 pixels, and FFHQ's 32768 above."""
    base = 16384 if resolution <= 256 else 32768
    return ModelConfig(
        resolution=resolution, channels=channels_from_base(resolution, channel_base=base)
    )


def new_model(config: ModelConfig) -> Model:
    """A model whose biases and noise are not zero, so that a mistake in them would show."""
    torch.manual_seed(0)
    model = Model.new(config)
    with torch.no_grad():
        for name, parameter in model.generator.named_parameters():
            is_shift = name.endswith((".bias", "noise_strength")) and "affine" not in name
            if is_shift and not name.startswith("mapping"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def build_contenders(peers: Path, model: Model) -> Iterator[Contender]:
    """Ours first, then each peer as it is told nothing, then in its other settings.

    Without bfloat16 where the processor imitates it.
    """
    generator, discriminator = model.generator, model.discriminator
    if discriminator is None:
        message = "a model to be compared needs a discriminator"
        raise ValueError(message)
    yield ours(generator, discriminator)
    if not is_imitated("bfloat16", torch.device("cpu")):
        yield ours(generator, discriminator, "bfloat16")
    yield from _nvlabs(import_nvlabs(peers), model.config, generator, discriminator)
    yield from _rosinality(import_rosinality(peers), model.config, generator, discriminator)


def ours(
    generator: Generator, discriminator: Discriminator, precision: Precision = "float32"
) -> Contender:
    """Our networks, with activations of this type."""

    def draw(w_plus: Tensor, is_random: bool) -> Tensor:
        noise = "random" if is_random else "const"
        return generator.synthesis(w_plus, noise=noise, precision=precision)

    def judge(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return discriminator(images).float()

    return Contender(
        name=f"{OURS} {precision}",
        peer=OURS,
        is_default=precision == "float32",
        generator=generator,
        discriminator=discriminator,
        map_codes=generator.mapping,
        draw=draw,
        judge=judge,
    )


def _nvlabs(
    networks: ModuleType, config: ModelConfig, generator: Generator, discriminator: Discriminator
) -> Iterator[Contender]:
    base = config.channels[config.resolution] * config.resolution
    sizes = {"c_dim": 0, "img_resolution": config.resolution, "img_channels": 3}
    G = networks.Generator(
        z_dim=512, w_dim=512, **sizes, synthesis_kwargs={"channel_base": base}
    ).eval()
    D = networks.Discriminator(**sizes, channel_base=base).eval()
    _copy_weights(G, generator, partial(rename, renamed=RENAMED))
    _copy_weights(D, discriminator, partial(rename, renamed=RENAMED_IN_D))

    def draw(w_plus: Tensor, is_random: bool, *, is_fused: bool) -> Tensor:
        mode = "random" if is_random else "const"
        return G.synthesis(w_plus, noise_mode=mode, fused_modconv=is_fused)

    for is_fused in (True, False):
        yield Contender(
            name="NVlabs fused" if is_fused else "NVlabs non-fused",
            peer="NVlabs",
            is_default=is_fused,
            generator=G,
            discriminator=D,
            map_codes=lambda z: G.mapping(z, None),
            draw=partial(draw, is_fused=is_fused),
            judge=lambda images: D(images, None),
            is_trainable=not is_fused,  # in training mode its networks choose non-fused
        )


def _rosinality(
    networks: ModuleType, config: ModelConfig, generator: Generator, discriminator: Discriminator
) -> Iterator[Contender]:
    multiplier = config.channels[config.resolution] * config.resolution // 16384
    G: nn.Module = networks.Generator(config.resolution, 512, 8, multiplier).eval()
    D: nn.Module = networks.Discriminator(config.resolution, multiplier).eval()
    _copy_weights(G, generator, generator_names(config).get)
    _copy_weights(D, discriminator, discriminator_names(config).get)

    def map_codes(z: Tensor) -> Tensor:
        w: Tensor = G.get_submodule("style")(z)
        return w[:, None].repeat(1, config.num_ws, 1)

    def draw(w_plus: Tensor, is_random: bool, *, is_fused: bool) -> Tensor:
        for module in G.modules():
            if isinstance(module, networks.ModulatedConv2d):
                vars(module)["fused"] = is_fused
        return G([w_plus], input_is_latent=True, randomize_noise=is_random)[0]

    for is_fused, is_frozen in ((True, False), (True, True), (False, True)):
        name = "rosinality fused" if is_fused else "rosinality non-fused"
        yield Contender(
            name=name if is_frozen else f"{name}, weights not frozen",
            peer="rosinality",
            is_default=not is_frozen,
            generator=G,
            discriminator=D,
            map_codes=map_codes,
            draw=partial(draw, is_fused=is_fused),
            judge=D,
            is_trainable=is_frozen,
            freezes_weights=is_frozen,
        )


def _copy_weights(
    peer: nn.Module, network: nn.Module, our_name: Callable[[str], str | None]
) -> None:
    """Fill the peer's network with ours; its filters are constants in ours."""
    weights = network.state_dict()
    for name, tensor in peer.state_dict().items():
        if name.endswith(("resample_filter", ".kernel")):
            continue
        source = our_name(name)
        if source is None:
            message = f"the peer has a tensor {name!r} that our network lacks"
            raise ValueError(message)
        tensor.copy_(weights[source].reshape(tensor.shape))
