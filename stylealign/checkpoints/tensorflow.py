"""Snapshots of the TensorFlow era, StyleGAN2 and StyleGAN2-ADA, as models of ours."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import numpy as np
import torch
from torch import Tensor

from stylealign.checkpoints.arrays import NumpyArray
from stylealign.checkpoints.tables import Allowance, TensorTable
from stylealign.checkpoints.unpickle import Record, describe
from stylealign.checkpoints.weights import build_model, check_config
from stylealign.errors import CheckpointError
from stylealign.models import Model

_FUNCTIONS: Final = frozenset({
    "G_main", "G_mapping", "G_synthesis", "G_synthesis_stylegan2", "D_main", "D_stylegan2",
})  # fmt: skip
_MAX_NAME_LENGTH: Final = 100
_ORIGINAL_D: Final = "D_stylegan2"
_ONLY: Final[dict[str, tuple[object, ...]]] = {
    "nonlinearity": ("lrelu",), "mapping_nonlinearity": ("lrelu",),
    "normalize_latents": (True,), "dtype": ("float32",), "use_pagan": (False,),
    "use_spectral_norm": (False,), "adaptive_dropout": (0,), "augment_strength": (0,),
    "score_size": (1,), "score_max": (1,), "is_training": (False,),
}  # fmt: skip
"""Arguments that change the computation, with the values that ours computes."""
_HARMLESS: Final = frozenset({
    "num_channels", "resolution", "label_size", "label_fmaps", "latent_size", "dlatent_size",
    "mapping_layers", "mapping_fmaps", "mapping_lrmul", "fmap_base", "fmap_decay", "fmap_min",
    "fmap_max", "fmap_const", "architecture", "use_noise", "randomize_noise", "num_fp16_res",
    "conv_clamp", "resample_kernel", "fused_modconv", "mbstd_group_size", "mbstd_num_features",
    "truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val",
    "dlatent_avg_beta", "w_avg_beta", "style_mixing_prob", "mapping_func", "synthesis_func",
    "dlatent_broadcast", "freeze_layers", "pagan_num", "pagan_fade", "structure", "conditioning",
})  # fmt: skip
"""Arguments that are read below, show in the arrays' shapes, or matter in training alone."""

_CONVS: Final = {
    "Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "Skip": "skip", "ToRGB": "torgb",
}  # fmt: skip
_CONVS_OF_D: Final = {
    "FromRGB": "fromrgb", "Conv0": "conv0", "Conv1_down": "conv1", "Skip": "skip",
    "Conv": "conv", "Dense0": "fc",
}  # fmt: skip
_LEAVES: Final = {
    "weight": "weight", "bias": "bias", "noise_strength": "noise_strength",
    "mod_weight": "affine.weight", "mod_bias": "affine.bias",
}  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """An array with the change of layout that ours needs."""

    array: np.ndarray
    is_weight: bool = True
    is_flipped: bool = False
    offset: float = 0.0

    @property
    def size(self) -> tuple[int, ...]:
        """The shape in our layout."""
        return tuple(self.array.shape[axis] for axis in self._axes())

    def load(self) -> Tensor:
        """The numbers in our layout, float32."""
        array = self.array[::-1, ::-1] if self.is_flipped else self.array
        with np.errstate(over="ignore"):  # infinite weights are refused by name later
            array = np.array(array.transpose(self._axes()), np.float32, order="C")
        return torch.from_numpy(array).add_(self.offset)

    def _axes(self) -> tuple[int, ...]:
        """[kh, kw, in, out] to [out, in, kh, kw], and [in, out] to [out, in]."""
        if self.is_weight and self.array.ndim == 4:
            return (3, 2, 0, 1)
        axes = tuple(range(self.array.ndim))
        return axes[::-1] if self.is_weight else axes


def import_tensorflow(snapshot: tuple[Any, ...], source: str, num_bytes: int) -> Model:
    """A model of the networks (G, D, Gs), whose source text is never looked at.

    Raises: CheckpointError naming the file and the first variable or argument that does not fit.
    """
    if len(snapshot) != 3 or not all(_is_network(network) for network in snapshot):
        message = f"{source!r} is no tuple of three networks (G, D, Gs)"
        raise CheckpointError(message)
    G, D, G_ema = (network.state for network in snapshot)
    allowance = Allowance(num_bytes)
    tables = {
        "G_ema": TensorTable(dict(_generator(G_ema, f"{source}: Gs")), f"{source}: Gs", allowance),
        "G": TensorTable(dict(_generator(G, f"{source}: G")), f"{source}: G", allowance),
        "D": TensorTable(dict(_discriminator(D, f"{source}: D")), f"{source}: D", allowance),
    }
    fields = _generator_fields(tables["G_ema"], G_ema) | _discriminator_fields(tables["D"], D)
    config = check_config(fields, source)
    if config.c_dim and D.get("build_func_name") == _ORIGINAL_D:
        message = f"{source!r}: conditional models are supported from StyleGAN2-ADA on"
        raise CheckpointError(message)
    tensors = {
        f"{network}.{name}": table.load(name)
        for network, table in tables.items()
        for name in table.names()
    }
    return build_model(config, tensors, source)


def _is_network(network: object) -> bool:
    return isinstance(network, Record) and network.class_name == "Network"


def _generator_fields(table: TensorTable, state: dict[str, Any]) -> dict[str, Any]:
    kwargs = state["static_kwargs"]
    pattern = r"synthesis\.blocks\.b(\d+)\.conv1\.weight"
    resolutions = table.resolutions(pattern)
    w_dim = table.size("mapping.w_avg")
    num_mapping_layers = table.count(r"mapping\.network\.layers\.\d+\.weight")
    embedding, first = "mapping.network.embed.weight", "mapping.network.layers.0.weight"
    embed_dim = table.size(embedding) if embedding in table else 0
    fields = {
        "resolution": kwargs.get("resolution", max(resolutions, default=None)),
        "z_dim": table.size(first, 1) - embed_dim,
        "w_dim": w_dim,
        "c_dim": table.size(embedding, 1) if embed_dim else 0,
        "img_channels": table.size(f"synthesis.blocks.b{max(resolutions, default=4)}.torgb.weight"),
        "num_mapping_layers": kwargs.get("mapping_layers", num_mapping_layers),
        "mapping_lr_multiplier": kwargs.get("mapping_lrmul", 0.01),
        "channels": {r: table.size(f"synthesis.blocks.b{r}.conv1.weight") for r in resolutions},
        "generator_architecture": kwargs.get("architecture", "skip"),
        "noise": kwargs.get("use_noise", "synthesis.blocks.b4.conv1.noise_strength" in table),
        "conv_clamp": kwargs.get("conv_clamp"),
    }
    if num_mapping_layers > 1:
        fields["mapping_hidden_dim"] = table.width_unless(first, w_dim)
    if embed_dim:
        fields["mapping_embed_dim"] = table.width_unless(embedding, w_dim)
    return fields


def _discriminator_fields(table: TensorTable, state: dict[str, Any]) -> dict[str, Any]:
    kwargs = state["static_kwargs"]
    default_group = 4 if state.get("build_func_name") == _ORIGINAL_D else None
    num_inputs, width = table.size("conv.weight", 1), table.size("conv.weight")
    fields = {
        "discriminator_architecture": kwargs.get("architecture", "resnet"),
        "discriminator_channels": {
            r: table.size(f"blocks.b{r}.conv0.weight")
            for r in table.resolutions(r"blocks\.b(\d+)\.conv0\.weight")
        }
        | {4: width},
        "discriminator_conv_clamp": kwargs.get("conv_clamp"),
        "discriminator_fc_dim": table.size("fc.weight"),
        "discriminator_mapping_layers": kwargs.get(
            "mapping_layers", table.count(r"mapping\.layers\.\d+\.weight")
        ),
        "discriminator_mapping_lr_multiplier": kwargs.get("mapping_lrmul", 0.1),
        # The original turns the layer off with a group of 0 or 1: what is left shows in the shape.
        "mbstd_group_size": kwargs.get("mbstd_group_size", default_group) or default_group,
        "mbstd_num_channels": max(num_inputs - width, 0),
    }
    if "mapping.embed.weight" in table:
        fields["discriminator_cmap_dim"] = table.size("out.weight")
    return fields


def _generator(state: dict[str, Any], source: str) -> Iterator[tuple[str, Variable]]:
    components = state.get("components")
    if not isinstance(components, dict) or not all(
        _is_network(components.get(name)) for name in ("mapping", "synthesis")
    ):
        message = f"{source}: its components are not 'mapping' and 'synthesis'"
        raise CheckpointError(message)
    for name, array in _variables(state, source):
        if name == "dlatent_avg":
            yield "mapping.w_avg", Variable(array)
        else:
            raise _unknown(source, name)
    for name, array in _variables(components["mapping"].state, source):
        yield f"mapping.network.{_dense_name(name, source, 'Dense')}", Variable(array)
    for name, array in _variables(components["synthesis"].state, source):
        yield _synthesis_variable(name, array, source)


def _synthesis_variable(name: str, array: np.ndarray, source: str) -> tuple[str, Variable]:
    noise = re.fullmatch(r"noise(\d{1,2})", name)
    if noise and array.ndim == 4 and array.shape[:2] == (1, 1):
        index = int(noise[1])
        resolution = 2 ** ((index + 5) // 2)
        layer = f"synthesis.blocks.b{resolution}.conv{1 - index % 2}"
        return f"{layer}.noise_const", Variable(array[0, 0], is_weight=False)
    block, _, rest = name.partition("/")
    layer, _, leaf = rest.partition("/")
    resolution = _resolution(block, source, name)
    if rest == "Const/const" and array.ndim == 4 and len(array) == 1:
        return "synthesis.blocks.b4.const", Variable(array[0], is_weight=False)
    if layer not in _CONVS or leaf not in _LEAVES:
        raise _unknown(source, name)
    ours = f"synthesis.blocks.b{resolution}.{_CONVS[layer]}.{_LEAVES[leaf]}"
    is_flipped = layer == "Conv0_up" and leaf == "weight" and array.ndim == 4
    offset = 1.0 if leaf == "mod_bias" else 0.0
    return ours, Variable(array, is_flipped=is_flipped, offset=offset)


def _discriminator(state: dict[str, Any], source: str) -> Iterator[tuple[str, Variable]]:
    for name, array in _variables(state, source):
        block, _, rest = name.partition("/")
        layer, _, leaf = rest.partition("/")
        if leaf not in ("weight", "bias") and rest not in ("weight", "bias"):
            raise _unknown(source, name)
        if block == "Output":
            yield f"out.{rest}", Variable(array)
        elif layer in _CONVS_OF_D:
            resolution = _resolution(block, source, name)
            prefix = "" if resolution == 4 else f"blocks.b{resolution}."
            yield f"{prefix}{_CONVS_OF_D[layer]}.{leaf}", Variable(array)
        else:
            yield f"mapping.{_dense_name(name, source, 'Mapping')}", Variable(array)


def _dense_name(name: str, source: str, layer: str) -> str:
    match = re.fullmatch(rf"(?:{layer}(\d{{1,2}})|LabelEmbed)/(weight|bias)", name)
    if match is None:
        raise _unknown(source, name)
    return f"embed.{match[2]}" if match[1] is None else f"layers.{match[1]}.{match[2]}"


def _resolution(block: str, source: str, name: str) -> int:
    match = re.fullmatch(r"(\d{1,5})x\1", block)
    if match is None:
        raise _unknown(source, name)
    return int(match[1])


def _unknown(source: str, name: str) -> CheckpointError:
    return CheckpointError(f"{source!r} holds unknown variable {name[:100]!r}")


def _variables(state: dict[str, Any], source: str) -> Iterator[tuple[str, np.ndarray]]:
    """Named arrays of one network, after its arguments were checked; `lod` is dropped."""
    _check_arguments(state, source)
    variables = state.get("variables")
    if not isinstance(variables, list):
        message = f"{source}: its variables are no list"
        raise CheckpointError(message)
    for variable in variables:
        is_pair = isinstance(variable, tuple | list) and len(variable) == 2
        name, value = variable if is_pair else (None, None)
        if isinstance(value, NumpyArray):
            value = value.array
        is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53)
        if not _is_name(name) or not (is_number or isinstance(value, np.ndarray)):
            message = f"{source}: variable {describe(name)} is no named array"
            raise CheckpointError(message)
        if name != "lod":
            # Left as it is until the table has counted: many names may share one array.
            yield name, np.asarray(value)


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and len(name) <= _MAX_NAME_LENGTH


def _check_arguments(state: dict[str, Any], source: str) -> None:
    function, kwargs = state.get("build_func_name"), state.get("static_kwargs")
    if not isinstance(function, str) or function not in _FUNCTIONS:
        message = f"{source}: network function {describe(function)} is not supported"
        raise CheckpointError(message)
    if not isinstance(kwargs, dict):
        message = f"{source}: its static_kwargs are no dict"
        raise CheckpointError(message)
    # Nests of shared lists take exponential time to compare, so that nothing but a number is asked.
    resolution = kwargs.get("resolution")
    sides = (resolution,) if type(resolution) is int else ()
    only = _ONLY | {
        "resample_kernel": ([1, 3, 3, 1], (1, 3, 3, 1)), "resolution_w": sides,
        "resolution_h": sides,
    }  # fmt: skip
    for name, value in kwargs.items():
        is_known = name in _HARMLESS or name in only
        if not is_known or (name in only and value not in only[name]):
            message = f"{source}: argument {describe(name)} = {describe(value)} is not supported"
            raise CheckpointError(message)
