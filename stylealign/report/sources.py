"""Where the artifacts lie that a page is made from, and how each of them is opened or refused."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa
from pydantic import JsonValue, ValidationError

from stylealign.checkpoints import load_model
from stylealign.data.dataset import ImageDataset, open_dataset
from stylealign.data.manifest import MANIFEST_FILE, Manifest, read_manifest
from stylealign.data.shards import read_shard
from stylealign.errors import DataError
from stylealign.models import Model
from stylealign.report.figures import ANALYSES, EVALUATIONS, ChildAnalysis, ChildFigures

Figures = TypeVar("Figures")

CODE_COLUMNS = ["id", "space", "psnr", "perceptual", "converged", "model_id"]
TRANSFER_COLUMNS = {"id", "parent_id", "accepted", "reject_reason", "confidence", "reconstruction"}


@dataclass(frozen=True, kw_only=True)
class ChildSources:
    """What belongs to one child."""

    dataset: str
    """Name of the data set it was trained on."""
    model: Path
    translated: Path
    transferred: Path
    test: str = ""
    """Name of the data set with real child labels; empty where there is none."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a child must reach; see section `quality` of params.yaml."""

    max_fd_ratio: float
    min_accepted: float
    min_gain: float


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Everything that a page can be made from; each artifact is read once, when first asked for."""

    title: str
    prepared: Mapping[str, Path]
    parent_dataset: str
    """Name of the labelled data set of the parent's domain."""
    parent_model: Path
    codes: Path
    children: Mapping[str, ChildSources]
    evaluation: Path
    analysis: Path
    gate: Gate
    min_psnr: float
    """Reconstruction from which an inversion counts as converged, in dB."""
    params: Mapping[str, JsonValue]
    """Sections of params.yaml as they were used."""
    num_samples: int
    seed: int
    _sets: dict[Path, ImageDataset | None] = field(default_factory=dict, repr=False)
    _models: dict[Path, Model | None] = field(default_factory=dict, repr=False)

    def open_set(self, folder: Path) -> ImageDataset | None:
        """A finished data set, or None where no stage has made it.

        Raises: DataError if the folder holds something else.
        """
        if folder not in self._sets:
            is_there = (folder / MANIFEST_FILE).exists()
            self._sets[folder] = open_dataset(folder) if is_there else None
        return self._sets[folder]

    def open_model(self, path: Path) -> Model | None:
        """A model, or None where no stage has made it.

        Raises: CheckpointError if what lies there is no model.
        """
        if path not in self._models:
            self._models[path] = load_model(path) if path.exists() else None
        return self._models[path]

    @property
    def parent_set(self) -> ImageDataset | None:
        """The labelled images of the parent's domain."""
        return self.open_set(self.prepared[self.parent_dataset])

    @property
    def parent(self) -> Model | None:
        """The parent's networks."""
        return self.open_model(self.parent_model)

    def child(self, name: str) -> Model | None:
        """A child's networks.

        Raises: DataError if the child was made from another parent.
        """
        model, parent = self.open_model(self.children[name].model), self.parent
        if model is None or parent is None:
            return model
        if parent.config.id not in (model.config.parent_id, model.config.root_id):
            raise DataError(
                f"child {name!r} comes from parent {model.config.parent_id[:12]!r}, but "
                f"{str(self.parent_model)!r} is {parent.config.id[:12]!r}: train the child again"
            )
        return model

    def translated(self, name: str) -> ImageDataset | None:
        """The inverted images as a child draws them."""
        return self.open_set(self.children[name].translated)

    def transferred(self, name: str) -> ImageDataset | None:
        """The labelled child data set.

        Raises: DataError if columns are missing that every transferred set has.
        """
        dataset = self.open_set(self.children[name].transferred)
        if dataset is not None and dataset.manifest.kind != "transferred":
            raise DataError(
                f"{str(dataset.folder)!r} holds a {dataset.manifest.kind!r} data set, "
                "expected a transferred one; run its stage again"
            )
        if dataset is not None:
            require_columns(dataset.table(), TRANSFER_COLUMNS, self.children[name].transferred)
        return dataset

    def test_set(self, name: str) -> ImageDataset | None:
        """Real child images with labels, where there are any."""
        test = self.children[name].test
        return self.open_set(self.prepared[test]) if test else None

    @cached_property
    def codes_manifest(self) -> Manifest | None:
        """What the folder of codes holds; None before the first inversion."""
        is_there = (self.codes / MANIFEST_FILE).exists()
        return read_manifest(self.codes) if is_there else None

    @cached_property
    def code_table(self) -> pd.DataFrame | None:
        """All that is known about the codes but the codes, sorted by id.

        Raises: DataError if they are codes of another model, or the folder holds no codes.
        """
        if self.codes_manifest is None:
            return None
        files = [self.codes / record.file for record in self.codes_manifest.shards]
        tables = [_read_columns(path, CODE_COLUMNS).to_pandas() for path in files]
        if not tables:
            raise DataError(f"{str(self.codes)!r} holds no codes; run stage `invert` again")
        table = pd.concat(tables).sort_values("id", ignore_index=True)
        table = table.astype({"psnr": "float64", "perceptual": "float64"})
        parent = self.parent
        foreign = set(table["model_id"]) - {parent.config.id} if parent else set()
        if parent and foreign:
            raise DataError(
                f"codes in {str(self.codes)!r} belong to model {min(foreign)[:12]!r}, the parent "
                f"is {parent.config.id[:12]!r}: run stage `invert` again"
            )
        return table

    def read_codes(self, ids: list[str]) -> dict[str, list[float]]:
        """Flat codes of these ids, as far as there are any; one shard in memory at a time."""
        found: dict[str, list[float]] = {}
        for record in self.codes_manifest.shards if self.codes_manifest else ():
            table = _read_columns(self.codes / record.file, ["id", "code"])
            for row, name in enumerate(table.column("id").to_pylist()):
                if name in ids:
                    found[name] = table.column("code")[row].as_py()
        return found

    @cached_property
    def evaluations(self) -> dict[str, ChildFigures]:
        """Figures of stage `evaluate` per child; empty before it ran."""
        return self._read_figures(self.evaluation, EVALUATIONS.validate_python)

    @cached_property
    def analyses(self) -> dict[str, ChildAnalysis]:
        """Figures of stage `analyze` per child; empty before it ran."""
        return self._read_figures(self.analysis, ANALYSES.validate_python)

    def _read_figures(
        self, path: Path, check: Callable[[object], dict[str, Figures]]
    ) -> dict[str, Figures]:
        if not path.exists():
            return {}
        figures = read_json(path, check)
        unknown = sorted(set(figures) - set(self.children))
        if unknown:
            raise DataError(
                f"{str(path)!r} speaks of {unknown!r}, but the children are "
                f"{sorted(self.children)!r}; run stage `{path.stem}` again"
            )
        return figures


def read_json(path: Path, check: Callable[[object], Figures]) -> Figures:
    """A JSON file of figures, checked.

    Raises: DataError naming the file and the first place that is not as expected.
    """
    try:
        return check(json.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        message = f"{str(path)!r} cannot be read as JSON: {error}; run stage `{path.stem}` again"
        raise DataError(message) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        message = f"{str(path)!r} is not as its stage writes it: {place}: {first['msg']}"
        raise DataError(f"{message}; run the stage again") from error


def require_columns(table: pd.DataFrame, columns: set[str], folder: Path) -> None:
    """Refuse a table of another format.

    Raises: DataError naming the columns that are missing.
    """
    lacking = sorted(columns - set(table.columns))
    if lacking:
        raise DataError(f"{str(folder)!r} lacks the columns {lacking!r}; run its stage again")


def _read_columns(path: Path, columns: list[str]) -> pa.Table:
    table = read_shard(path, columns)
    lacking = sorted(set(columns) - set(table.column_names))
    if lacking:
        raise DataError(f"{str(path)!r} lacks the columns {lacking!r}; run its stage again")
    return table
