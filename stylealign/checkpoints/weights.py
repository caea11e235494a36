"""Tensors into networks: built without storage, checked one by one, then adopted."""

import hashlib
from collections.abc import Mapping

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from stylealign.checkpoints.unpickle import describe
from stylealign.errors import CheckpointError
from stylealign.models import Discriminator, Generator, Model, ModelConfig
from stylealign.models.classes import draw_classes

NETWORKS = ("G_ema", "G", "D")
"""Prefixes of tensor names: averaged generator, generator as trained, discriminator."""
_NUM_MEAN_CODES = 4096
_MAX_MEAN_NUMBERS = 1 << 24
"""Numbers of one layer at once while the mean of w is measured: 64 MB."""
_MAGNITUDE = ".magnitude_ema"
"""How the names of tensors end that StyleGAN3 divides by the root of."""
_MAX_AXES = 8
"""Longer shapes are not spelled out in messages."""
_ALIGNMENT = 64
"""Bytes: torch's own tensors on a CPU begin at multiples of it."""


def build_model(config: ModelConfig, tensors: Mapping[str, Tensor], source: str) -> Model:
    """Adopt tensors named `G_ema.…`, `G.…` and `D.…` as the weights of a model.

    The networks are laid out on the meta device and take over the tensors themselves, so that
    nothing is initialised at random. `G` and `D` may be absent.

    Raises: CheckpointError naming `source` and the first tensor that is missing, unknown, of
        another shape or type, or not finite.
    """
    parts = split_by_network(tensors, source)
    if "G_ema" not in parts:
        message = f"{source!r} has no generator: tensor names must start with 'G_ema.'"
        raise CheckpointError(message)
    with torch.device("meta"):
        generator = Generator(config)
        raw_generator = Generator(config) if "G" in parts else None
        discriminator = Discriminator(config) if "D" in parts else None
    adopt_weights(generator, parts["G_ema"], source, "G_ema.")
    if raw_generator is not None:
        adopt_weights(raw_generator, parts["G"], source, "G.")
    if discriminator is not None:
        adopt_weights(discriminator, parts["D"], source, "D.")
    return Model(generator, config, discriminator, raw_generator)


def check_config(fields: Mapping[str, object], source: str) -> ModelConfig:
    """The config that these fields make.

    Raises: CheckpointError naming `source` and the first field that is out of bounds.
    """
    # Choosing a text hashes what is given, and a nest of shared tuples takes exponential time.
    for field, value in fields.items():
        if isinstance(value, tuple):
            message = f"{source!r}: field {field!r}: a tuple is not allowed"
            raise CheckpointError(message)
    try:
        return ModelConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])[:100]
        what = first["msg"].removeprefix("Value error, ")
        if field:
            what = f"field {field!r}: {what}, got {describe(first['input'])}"
        raise CheckpointError(f"{source!r}: {what}") from error


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that the networks of a config can have, by name."""
    with torch.device("meta"):
        generator = Generator(config)
        networks: dict[str, nn.Module] = {"G_ema": generator, "G": generator}
        if config.discriminator_widths:
            networks["D"] = Discriminator(config)
    return {
        f"{prefix}.{name}": tuple(tensor.shape)
        for prefix, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def split_by_network(tensors: Mapping[str, Tensor], source: str) -> dict[str, dict[str, Tensor]]:
    """Tensors by network and by their name inside it."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        network, _, inner_name = name.partition(".")
        if network not in NETWORKS:
            message = f"{source!r} holds unknown tensor {name!r}; expected names from {NETWORKS}"
            raise CheckpointError(message)
        parts.setdefault(network, {})[inner_name] = tensor
    return parts


def adopt_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], source: str, prefix: str
) -> None:
    """Make checked tensors the network's own parameters and buffers.

    Where a tensor begins in memory, and its strides along axes of length 1, decide which
    instructions read it, and so the last bits of an image. Tensors that do not begin where torch
    would have put them are copied to such a place, and all have the strides of a new one: a
    network draws the same bits whatever file it came from.

    Raises: CheckpointError as `build_model` does.
    """
    expected = network.state_dict()
    for name, target in expected.items():
        if name not in tensors:
            message = f"{source!r} lacks tensor {prefix + name!r} of shape {list(target.shape)}"
            raise CheckpointError(message)
        check_tensor(tensors[name], tuple(target.shape), source, prefix + name)
    for name in tensors:
        if name not in expected:
            message = f"{source!r} holds unknown tensor {prefix + name!r}"
            raise CheckpointError(message)
    aligned = {
        name: tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor
        for name, tensor in tensors.items()
    }
    laid_out = {name: tensor.flatten().view(tensor.shape) for name, tensor in aligned.items()}
    network.load_state_dict(laid_out, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)


def check_shape(shape: tuple[int, ...], expected: tuple[int, ...], source: str, name: str) -> None:
    """Refuse a tensor of another shape."""
    if shape != expected:
        found = list(shape) if len(shape) <= _MAX_AXES else f"of {len(shape)} axes"
        message = f"{source!r}: tensor {name!r} has shape {found}, not {list(expected)}"
        raise CheckpointError(message)


def check_tensor(tensor: Tensor, shape: tuple[int, ...], source: str, name: str) -> None:
    """Refuse a tensor of another shape or type, or one that holds NaN or infinity."""
    check_shape(tuple(tensor.shape), shape, source, name)
    if tensor.dtype != torch.float32:
        message = f"{source!r}: tensor {name!r} is {tensor.dtype}, not torch.float32"
        raise CheckpointError(message)
    if name.endswith(_MAGNITUDE) and not tensor.gt(0).all():
        message = f"{source!r}: tensor {name!r} is the mean of squares and not above 0"
        raise CheckpointError(message)
    # One NaN or infinity spoils the sum; a sum may also overflow, so look closer before refusing.
    if not tensor.sum().isfinite() and not tensor.isfinite().all():
        message = f"{source!r}: tensor {name!r} holds NaN or infinite weights"
        raise CheckpointError(message)


@torch.no_grad()
def measure_w_avg(model: Model, source: str) -> None:
    """Set `w_avg` of a file that lacks it: the mean w of 4096 z, over classes drawn uniformly.

    Raises: CheckpointError naming `source` if the mean is not finite.
    """
    config, rng = model.config, torch.Generator().manual_seed(0)
    network = model.generator.mapping.network
    widest = max(max(weight.shape) for weight in network.parameters())
    # A file of narrow layers and very many classes is small, all its codes at once are not.
    num_parts = 1
    while _NUM_MEAN_CODES // num_parts * widest > _MAX_MEAN_NUMBERS:
        num_parts *= 2
    means: list[Tensor] = []
    for _ in range(num_parts):
        z = torch.randn(_NUM_MEAN_CODES // num_parts, config.z_dim, generator=rng)
        c = draw_classes(model.generator, len(z), rng)
        means.append(network(z, c).mean(dim=0))
    mean = torch.stack(means).mean(dim=0)
    check_tensor(mean, (config.w_dim,), source, "G_ema.mapping.w_avg")
    for generator in (model.generator, model.raw_generator):
        if generator is not None:
            generator.w_avg.copy_(mean)


def compute_model_id(generator: Generator) -> str:
    """sha256 over names, shapes, types and bytes of the generator's tensors, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
