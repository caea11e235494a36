"""What a user brings to a new project: images, labels, licences; read, checked and copied."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylealign.data.inference import InferredSchema, infer_schema
from stylealign.data.label_files import read_label_file
from stylealign.data.labels import check_labels, parse_schema
from stylealign.data.sources import open_source
from stylealign.errors import DataError, ParamsError

RAW = Path("data/raw")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class OwnSet:
    """Images of one data set, and its label table if there is one."""

    name: str
    images: Path
    labels: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the project keeps the originals."""
        return RAW / self.name

    def copy_into(self, project: Path) -> None:
        """Copy the originals into the project.

        Raises: DataError if there is no room or no permission.
        """
        folder = project / self.folder
        try:
            folder.mkdir(parents=True)
            if self.images.is_dir():
                shutil.copytree(self.images, folder / self.images.name)
            else:
                shutil.copy2(self.images, folder)
            if self.labels is not None:
                shutil.copy2(self.labels, folder)
        except (OSError, shutil.Error) as error:
            raise DataError(f"{str(self.images)!r} cannot be copied: {error}") from None


@dataclass(frozen=True)
class OwnData:
    """Everything the user names on the command line of `init`."""

    parent: OwnSet | None = None
    """None = the drawn people of the demo."""
    children: dict[str, OwnSet] = field(default_factory=dict[str, OwnSet])
    oracles: dict[str, OwnSet] = field(default_factory=dict[str, OwnSet])
    """Per child real labelled images to compare with: never seen by training or transfer."""
    tests: dict[str, OwnSet] = field(default_factory=dict[str, OwnSet])
    """Per child real labelled images that every arm is scored on."""
    licences: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def sets(self) -> list[OwnSet]:
        """All of them, the parent's first."""
        own = [self.parent] if self.parent else []
        return [*own, *self.children.values(), *self.oracles.values(), *self.tests.values()]


def read_own_data(
    images: Path | None,
    labels: Path | None,
    children: Sequence[str],
    oracles: Sequence[str],
    tests: Sequence[str],
    licences: Sequence[str],
) -> OwnData:
    """The options of `init` as data sets that exist and hold images.

    Raises: ParamsError if an option is misspelt or contradicts another; DataError if there is no
        image at a place.
    """
    if labels is not None and images is None:
        raise ParamsError("--labels describe --images: give both, or neither")
    if images is not None and not children:
        raise ParamsError("--images need at least one --child NAME=IMAGES to carry labels to")
    images, labels = _place(images), _place(labels)
    own = OwnData(
        OwnSet(slug(images.stem), images, labels) if images else None,
        _children(children, "", "--child"),
        _children(oracles, "_oracle", "--oracle"),
        _children(tests, "_test", "--test"),
    )
    names = [one.name for one in own.sets]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ParamsError(f"two data sets are called {repeated!r}: name the child otherwise")
    for child in (*own.oracles, *own.tests):
        if child not in own.children or child not in own.tests:
            raise ParamsError(f"child {child!r} needs its --child, and a --test beside an --oracle")
    for one in own.sets:
        open_source(one.images)
    own.licences.update(_licences(licences, names))
    return own


def infer_parent(own: OwnData) -> InferredSchema:
    """What the parent's label table holds.

    Raises: DataError if it cannot be read, or holds no label.
    """
    if own.parent is None or own.parent.labels is None:
        raise DataError("the parent's images need labels to carry: give --labels")
    found = infer_schema(read_label_file(own.parent.labels))
    if not found.labels:
        raise DataError(f"{str(own.parent.labels)!r} holds no label: {found.left_out}")
    return found


def shared_labels(one: OwnSet, schema: dict[str, Any]) -> dict[str, Any]:
    """Labels of the parent that a child's label table also has, in the parent's terms.

    Raises: DataError if there is none, or a value does not fit what the label means there.
    """
    if one.labels is None:
        raise DataError(f"{one.name!r} needs labels: write NAME=IMAGES,LABELS")
    table = read_label_file(one.labels)
    shared = {name: spec for name, spec in schema.items() if name in table.columns}
    if not shared:
        raise DataError(f"{str(one.labels)!r} has none of the labels {sorted(schema)}")
    check_labels(table, parse_schema(shared))
    return shared


def plain_name(text: str) -> str:
    """What is left of a text in a name that a folder can have; nothing where no letter is plain."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:48]


def slug(text: str) -> str:
    """A name that a folder can have.

    Raises: ParamsError if no letter or digit is left.
    """
    name = plain_name(text)
    if not name:
        raise ParamsError(f"no name can be made of {text!r}: use a to z and digits")
    return name


def _place(path: Path | None) -> Path | None:
    return path.resolve() if path else None


def _children(texts: Sequence[str], suffix: str, option: str) -> dict[str, OwnSet]:
    """`NAME=IMAGES`, or of a set with a suffix `NAME=IMAGES,LABELS`, by the child's name."""
    sets: dict[str, OwnSet] = {}
    for text in texts:
        name, _, places = text.partition("=")
        images, _, labels = places.partition(",") if suffix else (places, "", "")
        if not images or (suffix and not labels):
            wanted = "NAME=IMAGES,LABELS" if suffix else "NAME=IMAGES"
            raise ParamsError(f"{option} reads {wanted}, got {text!r}")
        child = slug(name)
        if child in sets:
            raise ParamsError(f"{option} names child {child!r} twice: call each otherwise")
        table = Path(labels).resolve() if labels else None
        sets[child] = OwnSet(f"{child}{suffix}", Path(images).resolve(), table)
    return sets


def _licences(texts: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """`TEXT` for all sets, or `SET=TEXT` for one."""
    licences = dict.fromkeys(names, UNKNOWN)
    for text in texts:
        name, separator, licence = text.partition("=")
        if not separator:
            licences = {one: text if was == UNKNOWN else was for one, was in licences.items()}
        elif name in licences:
            licences[name] = licence
        else:
            raise ParamsError(f"--licence names {name!r}, the data sets are {', '.join(names)}")
    return licences
