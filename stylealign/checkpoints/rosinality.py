"""Checkpoints of rosinality's stylegan2-pytorch, as models of ours."""

import re
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from stylealign.checkpoints.arrays import NumpyArray, StoredTensor
from stylealign.checkpoints.state_dicts import find_state_dicts
from stylealign.checkpoints.tables import Allowance, TensorTable
from stylealign.checkpoints.unpickle import describe
from stylealign.checkpoints.weights import build_model, check_config, measure_w_avg
from stylealign.errors import CheckpointError
from stylealign.models import Model, ModelConfig

_NUM_AXES: Final = {"noise_strength": 0, "bias": 1, "w_avg": 1, "noise_const": 2, "const": 3}
_STYLED: Final = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
}
_TO_RGB: Final = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "bias": "bias",
}
_BLOCK_OF_D: Final = {
    "conv1.0.weight": "conv0.weight",
    "conv1.1.bias": "conv0.bias",
    "conv2.1.weight": "conv1.weight",
    "conv2.2.bias": "conv1.bias",
    "skip.1.weight": "skip.weight",
}
_TAIL_OF_D: Final = {
    "final_conv.0.weight": "conv.weight",
    "final_conv.1.bias": "conv.bias",
    "final_linear.0.weight": "fc.weight",
    "final_linear.0.bias": "fc.bias",
    "final_linear.1.weight": "out.weight",
    "final_linear.1.bias": "out.bias",
}


def import_rosinality(checkpoint: dict[str, Any], source: str, num_bytes: int) -> Model:
    """A model of the state dicts `g_ema` and, where present, `g` and `d`, or of a generator alone.

    The file says nothing but weights, so widths and depths come from them. Where `latent_avg` is
    absent it is measured, as the repository does before it truncates. The repository's first
    files have no noise maps, it drew new ones for each image: theirs are drawn here, once. Others
    have maps for more layers than there are: those are left.

    Raises: CheckpointError naming the file and what is missing, misshapen or not supported.
    """
    allowance = Allowance(num_bytes)
    tables = {
        network: _table(state, f"{source}: {network}", allowance)
        for network, state in find_state_dicts(checkpoint, source).items()
    }
    config = check_config(_fields(tables["G_ema"], tables.get("D")), source)
    w_avg = _mean_w(checkpoint.get("latent_avg"), config, source)
    mean = torch.zeros(config.w_dim) if w_avg is None else w_avg
    tensors: dict[str, Tensor] = {}
    for network, table in tables.items():
        names = discriminator_names(config) if network == "D" else generator_names(config)
        tensors |= {f"{network}.{name}": tensor for name, tensor in _renamed(table, names)}
        if network != "D":
            tensors[f"{network}.mapping.w_avg"] = mean.clone()
            if not table.count(r"noises\..*"):
                tensors |= _drawn_noise(config, network)
    model = build_model(config, tensors, source)
    if w_avg is None:
        measure_w_avg(model, source)
    return model


def _mean_w(w_avg: object, config: ModelConfig, source: str) -> Tensor | None:
    """The mean of w that a file has, as one row though it may have the same for every layer."""
    if w_avg is None:
        return None
    if not isinstance(w_avg, StoredTensor | NumpyArray):
        message = f"{source!r}: 'latent_avg' is {describe(w_avg)}, not a tensor"
        raise CheckpointError(message)
    mean = _without_unit_axes(w_avg.load(), "w_avg")
    if mean.ndim == 2 and len(mean) == config.num_ws and bool((mean == mean[0]).all()):
        return mean[0]
    return mean


def generator_names(config: ModelConfig) -> dict[str, str]:
    """Our names of a generator's tensors by theirs."""
    blocks = "synthesis.blocks"
    names = {
        f"style.{i + 1}.{leaf}": f"mapping.network.layers.{i}.{leaf}"
        for i in range(config.num_mapping_layers)
        for leaf in ("weight", "bias")
    }
    names["input.input"] = f"{blocks}.b4.const"
    layers = [("conv1", f"{blocks}.b4.conv1")]
    to_rgbs = [("to_rgb1", f"{blocks}.b4.torgb")]
    for i, resolution in enumerate(config.block_resolutions[1:]):
        layers += [(f"convs.{2 * i + j}", f"{blocks}.b{resolution}.conv{j}") for j in range(2)]
        to_rgbs.append((f"to_rgbs.{i}", f"{blocks}.b{resolution}.torgb"))
    for i, (theirs, ours) in enumerate(layers):
        names |= {f"{theirs}.{leaf}": f"{ours}.{our_leaf}" for leaf, our_leaf in _STYLED.items()}
        names[f"noises.noise_{i}"] = f"{ours}.noise_const"
    for theirs, ours in to_rgbs:
        names |= {f"{theirs}.{leaf}": f"{ours}.{our_leaf}" for leaf, our_leaf in _TO_RGB.items()}
    return names


def discriminator_names(config: ModelConfig) -> dict[str, str]:
    """Our names of a discriminator's tensors by theirs."""
    resolutions = config.block_resolutions[:0:-1]
    names = {
        "convs.0.0.weight": f"blocks.b{config.resolution}.fromrgb.weight",
        "convs.0.1.bias": f"blocks.b{config.resolution}.fromrgb.bias",
    }
    for i, resolution in enumerate(resolutions, start=1):
        names |= {
            f"convs.{i}.{leaf}": f"blocks.b{resolution}.{ours}"
            for leaf, ours in _BLOCK_OF_D.items()
        }
    return names | _TAIL_OF_D


def _fields(generator: TensorTable, discriminator: TensorTable | None) -> dict[str, Any]:
    num_doublings = min(generator.count(r"to_rgbs\.\d+\.bias"), 16)
    resolutions = [4 * 2**i for i in range(num_doublings + 1)]
    widths = [generator.size("conv1.conv.weight", 1)]
    widths += [generator.size(f"convs.{2 * i}.conv.weight", 1) for i in range(num_doublings)]
    fields: dict[str, Any] = {
        "resolution": resolutions[-1],
        "z_dim": generator.size("style.1.weight", 1),
        "w_dim": generator.size("style.1.weight", 0),
        "img_channels": generator.size("to_rgb1.conv.weight", 1),
        "num_mapping_layers": generator.count(r"style\.\d+\.weight"),
        "channels": dict(zip(resolutions, widths, strict=True)),
    }
    if discriminator is not None:
        widths = [discriminator.size("final_conv.0.weight")]
        widths += [
            discriminator.size(f"convs.{num_doublings - i}.conv1.0.weight")
            for i in range(num_doublings)
        ]
        fields["discriminator_channels"] = dict(zip(resolutions, widths, strict=True))
        fields["discriminator_fc_dim"] = discriminator.size("final_linear.0.weight")
    return fields


def _table(state: dict[str, Any], source: str, allowance: Allowance) -> TensorTable:
    stored = {name: tensor for name, tensor in state.items() if isinstance(tensor, StoredTensor)}
    return TensorTable(stored, source, allowance)


def _drawn_noise(config: ModelConfig, network: str) -> dict[str, Tensor]:
    """Noise maps for a file that has none, the same each time that it is read."""
    rng = torch.Generator().manual_seed(0)
    layers = [(4, "conv1")]
    layers += [(r, conv) for r in config.block_resolutions[1:] for conv in ("conv0", "conv1")]
    return {
        f"{network}.synthesis.blocks.b{resolution}.{conv}.noise_const": torch.randn(
            resolution, resolution, generator=rng
        )
        for resolution, conv in layers
    }


def _renamed(table: TensorTable, names: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    for name in table.names():
        if name.endswith(".kernel"):
            table.check_filter(name)
            continue
        if name not in names and re.fullmatch(r"noises\.noise_[1-9]\d*", name):
            continue
        if name not in names:
            message = f"{table.source!r} holds unknown tensor {name!r}"
            raise CheckpointError(message)
        ours = names[name]
        yield ours, _without_unit_axes(table.load(name), ours.rpartition(".")[2])


def _without_unit_axes(tensor: Tensor, leaf: str) -> Tensor:
    """Drop the batch axis, and others of length 1, that their tensors have and ours do not."""
    num_axes = _NUM_AXES.get(leaf, 4)
    while tensor.ndim > num_axes and tensor.shape[0] == 1:
        tensor = tensor[0]
    while tensor.ndim > num_axes and tensor.shape[-1] == 1:
        tensor = tensor[..., 0]
    return tensor
