"""What a checkpoint is, in lines for a person and in fields for a program."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stylealign.checkpoints import CheckpointRecord, inspect_checkpoint
from stylealign.models import ModelConfig

_FORMATS: Final = {
    "stylealign": "model folder",
    "nvidia": "NVIDIA, PyTorch era",
    "tensorflow": "NVIDIA, TensorFlow era",
    "rosinality": "rosinality",
}


@dataclass(frozen=True)
class Inspection:
    """One checkpoint: `lines` are label and text, `fields` the whole record."""

    lines: list[tuple[str, str]]
    fields: dict[str, Any]


def inspect_model(path: Path) -> Inspection:
    """Read and check a checkpoint whole, and say what it is.

    Raises: CheckpointError naming the file and what is wrong with it.
    """
    record = inspect_checkpoint(path)
    fields = {
        "path": record.path,
        "format": record.format,
        "num_bytes": record.num_bytes,
        **{f"num_parameters.{name}": num for name, num in record.num_parameters.items()},
        **record.config.model_dump(mode="json"),
    }
    return Inspection(_lines(record), fields)


def _lines(record: CheckpointRecord) -> list[tuple[str, str]]:
    config = record.config
    parameters = (f"{name} {num:,}" for name, num in record.num_parameters.items())
    lines = [
        ("file", record.path),
        ("format", _FORMATS[record.format]),
        ("architecture", _architecture(config)),
        ("codes", f"z {config.z_dim}, w {config.w_dim}, {config.num_ws} layers take a w"),
        ("mapping", f"{config.num_mapping_layers} layers"),
        ("generator", _generator(config)),
        ("discriminator", _discriminator(config) if "D" in record.num_parameters else "none"),
        ("parameters", ", ".join(parameters)),
        ("size", f"{record.num_bytes:,} bytes"),
        ("domain", config.domain),
        ("trained", f"{config.kimg:g} thousand images" if config.kimg else ""),
        ("lineage", _lineage(config)),
        ("hash", config.id),
    ]
    return [(label, text) for label, text in lines if text]


def _architecture(config: ModelConfig) -> str:
    classes = f"{config.c_dim} classes" if config.c_dim else "no classes"
    clamp = "" if config.conv_clamp is None else f", activations within {config.conv_clamp:g}"
    size = f"{config.resolution}x{config.resolution} px"
    return f"{config.architecture}, {size}, {config.img_channels} channels, {classes}{clamp}"


def _generator(config: ModelConfig) -> str:
    if config.alias_free is not None:
        return ", ".join(str(width) for width in config.alias_free.channels)
    return f"{config.generator_architecture}, {_by_resolution(config.channels)}"


def _discriminator(config: ModelConfig) -> str:
    widths = _by_resolution(config.discriminator_channels or config.channels)
    return f"{config.discriminator_architecture}, {widths}"


def _by_resolution(channels: dict[int, int]) -> str:
    return ", ".join(f"{width} at {res}" for res, width in sorted(channels.items()))


def _lineage(config: ModelConfig) -> str:
    if config.lineage == "none":
        return "none recorded; `stylealign convert --parent` declares a parent"
    said = {"trained": "fine-tuned from", "declared": "declared a child of"}[config.lineage]
    return f"{said} {config.parent_id}, first ancestor {config.root_id}"
