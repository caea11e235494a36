"""Where each stage's outputs lie inside a project."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stylealign.params import Params, ShardsParams, TrainChildParams, TrainParentParams

PAGE_FILE: Final = "index.html"
"""Of the report's folder."""


def artifact(stage: str, name: str = "") -> Path:
    """Folder of a stage's outputs, with the data set's or child's name as the last part."""
    return Path("artifacts") / stage / name


def metrics_file(stage: str) -> Path:
    """JSON of a stage's figures; in git, the only figures the docs quote."""
    return Path("metrics") / f"{stage}.json"


def snapshot_folder() -> Path:
    """Resumable training states; outside the outputs, which DVC deletes before a rerun."""
    return Path(".stylealign") / "snapshots"


def feature_folder() -> Path:
    """Features of real images, which any stage may take up; made anew where they are missing."""
    return Path(".stylealign") / "features"


def reader_folder() -> Path:
    """Readers that a training or `analyze` measures by; fitted anew where they are missing."""
    return Path(".stylealign") / "readers"


def record_folder() -> Path:
    """Figures and registered models of the MLflow runs; the runs' numbers lie in its database."""
    return Path(".stylealign") / "mlflow"


def training_images(section: TrainChildParams | TrainParentParams) -> Path | ShardsParams:
    """Where the images lie that a model is trained on."""
    return section.shards or artifact("prepare", section.dataset)


@dataclass(frozen=True)
class LabelledSets:
    """Where labelled images of both domains lie, by whose readers a child is measured."""

    parent: Path
    child: Path


def labelled_sets(params: Params, name: str) -> LabelledSets | None:
    """The labelled sets that one child is read with; None where it has none of its own."""
    sets = params.evaluate.children.get(name)
    if sets is None or sets.oracle is None:
        return None
    return LabelledSets(
        parent=artifact("prepare", params.invert.dataset), child=artifact("prepare", sets.oracle)
    )


@dataclass(frozen=True)
class ChildPlaces:
    """Where everything lies that leads from labelled parent images to one child's labelled set."""

    name: str
    parent: Path
    """The parent's model."""
    images: Path
    """Labelled images of the parent's domain."""
    codes: Path
    real: Path
    """Images of the child's domain that the child was trained on."""
    child: Path
    """The child's model."""
    translated: Path
    transferred: Path
    instruments: Path
    """The child's encoder and the reader of the parent's domain, which lead back and read."""

    @property
    def models(self) -> tuple[Path, Path]:
        """Parent and child."""
        return self.parent, self.child


def child_places(params: Params, name: str) -> ChildPlaces:
    """The places of one child."""
    return ChildPlaces(
        name=name,
        parent=Path(params.train_parent.model),
        images=artifact("prepare", params.invert.dataset),
        codes=artifact("invert"),
        real=artifact("prepare", params.train_child[name].dataset),
        child=artifact("train_child", name),
        translated=artifact("translate", name),
        transferred=artifact("transfer", name),
        instruments=artifact("instruments", name),
    )
