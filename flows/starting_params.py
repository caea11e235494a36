"""params.yaml, dvc.yaml and data/sources.yaml of a new project."""

import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from flows.own_data import UNKNOWN, OwnData, OwnSet, infer_parent, plain_name, shared_labels
from stylealign.data.procedural import label_schema
from stylealign.errors import ParamsError
from stylealign.params.load import check_params

CODE = ("stylealign/", "tasks/", "flows/")
STARTER = Path(__file__).with_name("starter.yaml")
TRAINED_PARENT = "artifacts/train_parent"
NAMELESS_PROJECT = "project"
"""Name of a project whose folder's name has no letter that a name may have."""

Tree = dict[str, Any]


def read_tree(path: Path) -> Tree:
    """A YAML mapping that keeps its comments when it is written again.

    Raises: ParamsError if it cannot be read.
    """
    try:
        tree: Any = YAML().load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, YAMLError) as error:
        raise ParamsError(f"{str(path)!r} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{str(path)!r} must hold sections of params.yaml")
    return tree


def write_tree(tree: Tree) -> str:
    """YAML text, comments included."""
    writer, buffer = YAML(), io.StringIO()
    writer.Representer = TextRepresenter
    writer.width = 110
    writer.dump(tree, buffer)
    return buffer.getvalue()


class TextRepresenter(RoundTripRepresenter):
    """Quotes text that YAML 1.1 takes for something else, a bare `no` for false, `16:9` for 969."""

    def represent_str(self, data: str) -> ScalarNode:
        """A scalar that both versions of YAML read as this text."""
        tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, data, (True, False))
        if tag == "tag:yaml.org,2002:str":
            return super().represent_str(data)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"')


TextRepresenter.add_representer(str, TextRepresenter.represent_str)


def merge(tree: Tree, overlay: Tree) -> None:
    """Put an overlay's values into a tree, section by section; lists are replaced whole."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = value


def fill_params(
    tree: Tree, own: OwnData, *, name: str, parent: str | None, resolution: int | None
) -> None:
    """Turn the demo's params into those of a project of this name on the user's images.

    `parent` is the model that is given, None where the parent is trained.
    """
    tree["project"]["name"] = plain_name(name) or NAMELESS_PROJECT
    tree["project"].insert(1, "version", version("stylealign"))
    starter, drawn = read_tree(STARTER), tree["prepare"]["people"]
    resolution = resolution or int((starter if own.children else drawn)["resolution"])
    drawn["resolution"] = resolution
    tree["train_parent"]["model"] = parent or TRAINED_PARENT
    if parent is None:
        fill_training(tree, starter, resolution)
    if not own.children:
        return
    schema: Tree = label_schema("people")
    sections: Tree = {"people": drawn}
    if own.parent is not None:
        found = infer_parent(own)
        schema, sections = found.labels, {}
        sections[own.parent.name] = prepare_section(own.parent, schema, resolution, starter)
        if found.split_column:
            sections[own.parent.name]["split_column"] = found.split_column
        merge(tree, {"invert": dict(starter["invert"])})
    merge(tree, plain(starter["stages"]))
    shared = fill_children(tree, own, sections, schema, resolution, starter)
    tree["prepare"] = sections
    domain = own.parent.name if own.parent else "people"
    tree["invert"]["dataset"] = tree["train_parent"]["dataset"] = domain
    tree["transfer"]["labels"] = list(schema)
    for section in ("analyze", "evaluate"):
        tree[section]["labels"] = [label for label in schema if label in shared]
    tree["report"]["title"] = f"{domain} to {', '.join(own.children)}".capitalize()


def fill_children(
    tree: Tree, own: OwnData, sections: Tree, schema: Tree, resolution: int, starter: Tree
) -> set[str]:
    """Sections of all children; returns the labels that all their labelled sets share."""
    (recipe,) = (entry["recipe"] for entry in list(tree["train_child"].values())[:1])
    recipe = dict(recipe) | starter["train_child"]["recipe"]
    tree["train_child"] = {
        child: {"dataset": one.name, "recipe": dict(recipe)} for child, one in own.children.items()
    }
    for one in own.children.values():
        sections[one.name] = prepare_section(one, {}, resolution, starter)
    common = set(schema)
    for one in (*own.oracles.values(), *own.tests.values()):
        labels = shared_labels(one, schema)
        sections[one.name] = prepare_section(one, labels, resolution, starter)
        common &= set(labels)
    for one in own.tests.values():
        sections[one.name]["split"] = dict(starter["test_split"])
    tree["evaluate"]["children"] = {
        child: {
            "oracle": own.oracles[child].name if child in own.oracles else None,
            "test": one.name,
        }
        for child, one in own.tests.items()
    }
    return common


def prepare_section(one: OwnSet, schema: Tree, resolution: int, starter: Tree) -> Tree:
    """How one data set is prepared."""
    section: Tree = {"source": one.folder.as_posix(), "images": one.images.name}
    if schema and one.labels is not None:
        section["labels"] = one.labels.name
        section["label_schema"] = plain(schema)
    return section | {"resolution": resolution} | plain(starter["prepare"])


def plain(value: Any) -> Any:  # noqa: ANN401  any YAML value
    """A copy that shares nothing, so that YAML writes no anchors."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return value


def fill_training(tree: Tree, starter: Tree, resolution: int) -> None:
    """Networks and recipe of a parent that is trained from scratch.

    Raises: ParamsError if there are no networks for this resolution.
    """
    section = plain(starter["train_parent"])
    widths = section["architecture"]["channels"]
    section["architecture"]["channels"] = {r: w for r, w in widths.items() if r <= resolution}
    merge(tree["train_parent"], section)


def check_tree(tree: Tree, name: str) -> None:
    """Refuse params that no stage could use.

    Raises: ParamsError that names the key, or says whence to take networks of this resolution.
    """
    params = check_params(plain(tree), name)
    section = params.train_parent
    side, networks = params.prepare[section.dataset].resolution, section.architecture
    if networks is not None and side not in networks.channels:
        raise ParamsError(
            f"there are no starting networks for {side} pixels: choose a --resolution of "
            f"{sorted(networks.channels)[1:]}, give a --parent that draws so many, or bring "
            "networks by --params FILE, such as those of `stylealign recipe --parent "
            f"--resolution {side} --total-kimg 1000`"
        )


def stage_graph(text: str, parent: str) -> str:
    """dvc.yaml of a project: no code to watch, and the parent trained, brought, or shipped."""
    tree: Any = YAML().load(without_code(text))
    if parent == "trained":
        stage = tree["stages"]["train_parent"]
        stage["desc"] = "Images of the parent's domain -> parent model"
        stage["outs"] = ["${train_parent.model}"]
        del stage["frozen"]
    elif parent == "given":  # `dvc add` watches it
        del tree["stages"]["train_parent"]
    return write_tree(tree)


def without_code(dvc_yaml: str) -> str:
    """Stages that depend on the package's version instead of on its files."""
    lines: list[str] = []
    for line in dvc_yaml.splitlines(keepends=True):
        entry = line.strip().removeprefix("- ")
        if entry.startswith(CODE):
            continue
        lines.append(line)
        if entry.strip() == "params:":
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}  - project.version\n")
    return "".join(lines)


def source_list(own: OwnData) -> str:
    """data/sources.yaml: every data set with its origin and licence."""
    lines = [
        "# Every data set this project uses: the only door in. `prepare` refuses a set that is not "
        "listed here.\n"
    ]
    if own.parent is None:
        lines.append("people:\n  origin: drawn by stylealign.data.procedural\n")
        lines.append("  licence: Apache-2.0\n")
    for one in own.sets:
        licence = own.licences[one.name]
        flag = "   # FIND OUT before you share anything made from it" if licence == UNKNOWN else ""
        entry = {
            one.name: {"origin": one.images.name, "licence": DoubleQuotedScalarString(licence)}
        }
        lines.append(write_tree(entry).rstrip("\n") + f"{flag}\n")
    return "".join(lines)
