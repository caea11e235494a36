"""Foreign checkpoints into model folders, and what any checkpoint is."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from stylealign.checkpoints.folder import save_model
from stylealign.checkpoints.load import Format, load_model, read_model
from stylealign.checkpoints.weights import check_config
from stylealign.errors import LineageError
from stylealign.models import ModelConfig


@dataclass(frozen=True)
class CheckpointRecord:
    """What `stylealign inspect` prints of a checkpoint.

    Units:  num_bytes on disk; num_parameters by network, `G_ema`, `G` and `D`.
    """

    path: str
    format: Format
    config: ModelConfig
    num_bytes: int
    num_parameters: dict[str, int]


def inspect_checkpoint(path: str | Path) -> CheckpointRecord:
    """Architecture, lineage, size and hash of a model of any format; reads and checks it whole.

    Raises: CheckpointError as `load_model` does.
    """
    path = Path(path)
    model, file_format = read_model(path)
    networks = {"G_ema": model.generator, "G": model.raw_generator, "D": model.discriminator}
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return CheckpointRecord(
        path=str(path),
        format=file_format,
        config=model.config,
        num_bytes=sum(file.stat().st_size for file in files),
        num_parameters={
            name: _count_parameters(network)
            for name, network in networks.items()
            if network is not None
        },
    )


def convert_checkpoint(
    path: str | Path,
    folder: str | Path,
    *,
    parent: str | Path | None = None,
    domain: str = "",
) -> ModelConfig:
    """Write a model of any format as a model folder.

    With `parent` the result is recorded as its child: `declared`, as no training of ours made it.

    Raises: CheckpointError as `load_model` does, or if the domain cannot be shown; LineageError if
        the parent is of another architecture, so that it cannot be the parent.
    """
    model = load_model(path)
    fields: dict[str, object] = {"domain": domain} if domain else {}
    if parent is not None:
        ancestor = load_model(parent)
        field = model.config.difference_from(ancestor.config)
        if field:
            own, other = (getattr(config, field) for config in (model.config, ancestor.config))
            message = (
                f"{str(parent)!r} is no parent of {str(path)!r}: another architecture, its {field} "
                f"is {other!r}, not {own!r}; give the model that this one was fine-tuned from"
            )
            raise LineageError(message)
        parent_id = ancestor.config.id
        root_id = ancestor.config.root_id or parent_id
        fields |= {"parent_id": parent_id, "root_id": root_id, "lineage": "declared"}
    model.config = check_config(model.config.model_dump(mode="json") | fields, str(folder))
    return save_model(model, folder)


def _count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
