"""Snapshots of stylegan2-ada-pytorch and stylegan3, as models of ours."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stylealign.checkpoints.arrays import StoredTensor
from stylealign.checkpoints.tables import Allowance, TensorTable
from stylealign.checkpoints.unpickle import Record, describe
from stylealign.checkpoints.weights import build_model, check_config, measure_w_avg
from stylealign.errors import CheckpointError
from stylealign.models import Model
from stylealign.models.alias_free import AliasFreeSynthesis

_BAND_ARGUMENTS = (
    "first_cutoff", "first_stopband", "last_stopband_rel", "filter_size", "lrelu_upsampling",
)  # fmt: skip
_LINEAR_LAYERS = frozenset({"affine", "embed", "out", "skip"})
"""Layers without an activation; all others have the leaky ReLU."""
_MEMBERS = ("_parameters", "_buffers", "_modules")
_MAX_MEMBERS = 20_000
"""Names in the modules of one network; the largest have about 1,000."""
_MAX_DEPTH = 8
_MAX_NAME_LENGTH = 100
RENAMED = (
    (re.compile(r"^synthesis\.(L\d+_\d+_\d+)\."), r"synthesis.layers.\1."),
    (re.compile(r"^synthesis\.(b\d+)\."), r"synthesis.blocks.\1."),
    (re.compile(r"^mapping\.fc(\d+)\."), r"mapping.network.layers.\1."),
    (re.compile(r"^mapping\.embed\."), "mapping.network.embed."),
)
RENAMED_IN_D = (
    (re.compile(r"^b4\."), ""),
    (re.compile(r"^(b\d+)\."), r"blocks.\1."),
    (re.compile(r"^mapping\.fc(\d+)\."), r"mapping.layers.\1."),
)


def import_nvidia(snapshot: dict[str, Any], source: str, num_bytes: int) -> Model:
    """A model of a snapshot's records `G_ema` and, where present, `G` and `D`.

    Widths come from the weights; the modules' own attributes say the rest, depth and noise too, so
    that a last layer that is absent is missed. A mapping network that did not track the mean of w
    has it measured.

    Raises: CheckpointError naming the file and what is missing, misshapen or not supported.
    """
    allowance = Allowance(num_bytes)
    networks = {
        name: Network(snapshot[name], f"{source}: {name}", allowance)
        for name in ("G_ema", "G", "D")
        if snapshot.get(name) is not None
    }
    if "G_ema" not in networks:
        message = f"{source!r} holds no network 'G_ema'"
        raise CheckpointError(message)
    is_alias_free = "synthesis.input.weight" in networks["G_ema"].table
    read_fields = alias_free_fields if is_alias_free else stylegan2_fields
    fields = _common_fields(networks["G_ema"]) | read_fields(networks["G_ema"])
    if "D" in networks:
        fields |= discriminator_fields(networks["D"])
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        renamed = RENAMED_IN_D if name == "D" else RENAMED
        tensors |= {f"{name}.{key}": value for key, value in network.load(renamed)}
    config = check_config(fields, source)
    tracks_w = "G_ema.mapping.w_avg" in tensors
    if not tracks_w:
        untracked = {f"{name}.mapping.w_avg" for name in networks if name != "D"}
        tensors |= {name: torch.zeros(config.w_dim) for name in untracked}
    model = build_model(config, tensors, source)
    if not tracks_w:
        measure_w_avg(model, source)
    if isinstance(model.generator.synthesis, AliasFreeSynthesis):
        _check_bands(model.generator.synthesis, networks["G_ema"])
    return model


class Network:
    """The tensors of a persistent network, and the attributes of its modules, by dotted name."""

    def __init__(self, record: object, source: str, allowance: Allowance) -> None:
        self.modules: dict[str, dict[str, Any]] = {}
        stored: dict[str, StoredTensor] = {}
        self.source = source
        for path, state in _walk(record, source):
            self.modules[path] = state
            _check_activation(path, state, source)
            for kind in ("_parameters", "_buffers"):
                for name, tensor in _dict_of(state, kind, source).items():
                    if isinstance(tensor, StoredTensor):
                        stored[f"{path}.{name}".lstrip(".")] = tensor
        self.table = TensorTable(stored, source, allowance)

    def attribute(self, module: str, name: str, default: object = None) -> Any:  # noqa: ANN401
        """An attribute of a module; the config that it goes into is what checks it."""
        return self.modules.get(module, {}).get(name, default)

    def load(
        self, renamed: tuple[tuple[re.Pattern[str], str], ...]
    ) -> Iterator[tuple[str, Tensor]]:
        """The tensors under our names, without the filters that ours hold as constants."""
        for name in self.table.names():
            if name.endswith("resample_filter"):
                self.table.check_filter(name)
            elif not name.endswith(("up_filter", "down_filter")):
                yield rename(name, renamed), self.table.load(name)


def rename(name: str, renamed: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    """Our name of a tensor: the first pattern that fits, or the name as it is."""
    for pattern, replacement in renamed:
        ours, count = pattern.subn(replacement, name)
        if count:
            return ours
    return name


def _common_fields(network: Network) -> dict[str, Any]:
    """Config fields that every generator tells."""
    table = network.table
    num_weights = table.count(r"mapping\.fc\d+\.weight")
    w_dim = network.attribute("", "w_dim")
    fields = {
        "resolution": network.attribute("", "img_resolution"),
        "z_dim": network.attribute("", "z_dim"),
        "w_dim": w_dim,
        "c_dim": network.attribute("", "c_dim"),
        "img_channels": network.attribute("", "img_channels"),
        "num_mapping_layers": network.attribute("mapping", "num_layers", num_weights),
        "mapping_lr_multiplier": network.attribute("mapping.fc0", "bias_gain"),
    }
    if num_weights > 1:
        fields["mapping_hidden_dim"] = table.width_unless("mapping.fc0.weight", w_dim)
    if "mapping.embed.weight" in table:
        fields["mapping_embed_dim"] = table.width_unless("mapping.embed.weight", w_dim)
    return fields


def stylegan2_fields(network: Network) -> dict[str, Any]:
    """Config fields of a StyleGAN2 generator alone."""
    table = network.table
    resolutions = table.resolutions(r"synthesis\.b(\d+)\.conv1\.weight")
    return {
        "channels": {r: table.size(f"synthesis.b{r}.conv1.weight") for r in resolutions},
        "generator_architecture": network.attribute("synthesis.b8", "architecture", "skip"),
        "noise": network.attribute(
            "synthesis.b4.conv1", "use_noise", "synthesis.b4.conv1.noise_strength" in table
        ),
        "conv_clamp": network.attribute("synthesis.b4.conv1", "conv_clamp"),
    }


def alias_free_fields(network: Network) -> dict[str, Any]:
    """Config fields of a StyleGAN3 generator alone."""
    layers = sorted(
        (int(match[1]), path)
        for path in network.modules
        if (match := re.fullmatch(r"synthesis\.L(\d{1,3})_\d+_\d+", path))
    )
    if not layers:
        message = f"{network.source!r} has Fourier features but no layers"
        raise CheckpointError(message)
    _, first = layers[0]
    kernel = network.attribute(first, "conv_kernel", 3)
    given = network.attribute("synthesis", "_init_kwargs", {})
    settings: dict[str, Any] = {
        name: given[name] for name in _BAND_ARGUMENTS if isinstance(given, dict) and name in given
    }
    for name in ("num_critical", "margin_size", "output_scale"):
        settings[name] = network.attribute("synthesis", name)
    settings["channels"] = tuple(network.table.size(f"{path}.weight") for _, path in layers)
    settings["conv_kernel"] = kernel
    settings["is_radial"] = network.attribute(first, "down_radial", False)
    return {
        "architecture": "stylegan3-r" if kernel == 1 else "stylegan3-t",
        "alias_free": settings,
        "noise": False,
        "conv_clamp": network.attribute(first, "conv_clamp"),
    }


def _check_bands(synthesis: AliasFreeSynthesis, network: Network) -> None:
    """Refuse a file whose filters are not those that its settings make."""
    for layer_name, layer in synthesis.layers.items():
        for filter_name in ("up_filter", "down_filter"):
            name = f"synthesis.{layer_name}.{filter_name}"
            if name not in network.table:
                continue
            ours, theirs = getattr(layer, filter_name), network.table.load(name)
            if ours.shape != theirs.shape or not (ours - theirs).abs().max() <= 1e-5:
                message = f"{network.source}: filter {name!r} is not what its settings make"
                raise CheckpointError(message)


def discriminator_fields(network: Network) -> dict[str, Any]:
    """Config fields that a discriminator tells."""
    table = network.table
    above_4 = table.resolutions(r"b(\d+)\.conv0\.weight")
    fields = {
        "discriminator_architecture": network.attribute("b4", "architecture"),
        "discriminator_channels": {res: table.size(f"b{res}.conv0.weight") for res in above_4}
        | {4: table.size("b4.conv.weight")},
        "discriminator_conv_clamp": network.attribute("b4.conv", "conv_clamp"),
        "discriminator_fc_dim": table.size("b4.fc.weight"),
        "discriminator_mapping_lr_multiplier": network.attribute("mapping.fc0", "bias_gain", 0.01),
        "mbstd_group_size": network.attribute("b4.mbstd", "group_size"),
        "mbstd_num_channels": network.attribute("b4.mbstd", "num_channels", 0),
    }
    if network.attribute("", "c_dim"):
        fields["discriminator_cmap_dim"] = table.size("b4.out.weight")
        num_weights = table.count(r"mapping\.fc\d+\.weight")
        num_layers = network.attribute("mapping", "num_layers", num_weights)
        fields["discriminator_mapping_layers"] = num_layers
    return fields


def _check_activation(path: str, state: dict[str, Any], source: str) -> None:
    """Refuse a module whose activation is not the one that ours computes."""
    expected = "linear" if path.rpartition(".")[2] in _LINEAR_LAYERS else "lrelu"
    activation = state.get("activation", expected)
    if activation != expected:
        message = (
            f"{source}: activation {describe(activation)} of {path!r} is not supported, "
            f"only {expected!r}"
        )
        raise CheckpointError(message)


def _walk(record: object, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Modules by dotted name, each once, not too deep, and with not too many names in all.

    A file may hold cycles, and modules may share one dict of names.
    """
    seen: set[int] = set()
    num_members = 0
    waiting: list[tuple[str, object]] = [("", record)]
    while waiting:
        path, module = waiting.pop()
        if not isinstance(module, Record) or id(module) in seen or path.count(".") > _MAX_DEPTH:
            message = f"{source}: {path or 'the network'!r} is no module, or part of a cycle"
            raise CheckpointError(message)
        seen.add(id(module))
        num_members += sum(len(_dict_of(module.state, kind, source)) for kind in _MEMBERS)
        if num_members > _MAX_MEMBERS:
            message = f"{source}: its modules as far as {path!r} have over {_MAX_MEMBERS} members"
            raise CheckpointError(message)
        yield path, module.state
        for name, child in _dict_of(module.state, "_modules", source).items():
            if child is not None:
                waiting.append((f"{path}.{name}".lstrip("."), child))


def _dict_of(state: dict[str, Any], name: str, source: str) -> dict[str, Any]:
    members = state.get(name, {})
    if not isinstance(members, dict) or not all(
        isinstance(key, str) and len(key) <= _MAX_NAME_LENGTH for key in members
    ):
        message = f"{source}: {name!r} of a module is no dict of short names"
        raise CheckpointError(message)
    return members
