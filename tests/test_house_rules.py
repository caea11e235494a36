"""House rules: what is promised about the whole is checked on the whole."""

import ast
import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer
import yaml

import stylealign
from flows.cli import Stage, app
from flows.starting_params import CODE
from stylealign.params import Params
from tasks.reports import UNRELATED

ROOT = Path(__file__).parents[1]
TOPS = ("stylealign", "tasks", "flows")
STAGES = sorted(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
DOCS = "\n".join(
    path.read_text("utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
)
COMMANDS = sorted(typer.main.get_group(app).commands)
PACKAGES = ["stylealign"] + [
    module.name
    for module in pkgutil.walk_packages(stylealign.__path__, "stylealign.")
    if module.ispkg
]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_flow_a_section_and_a_row_in_the_docs(stage):
    flow = getattr(importlib.import_module(f"flows.{stage}"), stage)

    assert flow.name == stage
    assert stage in Params.model_fields
    assert re.search(rf"^\| `{stage}` \|", DOCS, re.MULTILINE)


def test_stages_of_the_command_are_those_of_the_graph():
    assert sorted(get_args(Stage)) == STAGES


def test_a_stage_watches_no_section_but_its_own_and_those_it_judges_by():
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    sections = {
        stage: {param.split(".")[0] for param in body.get("do", body)["params"]}
        for stage, body in graph.items()
    }

    assert all(stage in watched for stage, watched in sections.items())
    assert not {"project", "refresh"} & set().union(*sections.values())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_watches_every_module_that_decides_what_it_makes(stage):
    body = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    watched = {ROOT / dep for dep in body.get("do", body)["deps"]}

    used = imported_by(ROOT / "flows" / f"{stage}.py")

    unwatched = [path for path in used if not watched & {path, *path.parents}]
    assert sorted(str(path.relative_to(ROOT)) for path in unwatched) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_watches_only_modules_that_there_are(stage):
    body = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    code = [dep for dep in body.get("do", body)["deps"] if dep.startswith(CODE)]

    assert code
    assert all((ROOT / dep).exists() for dep in code)
    assert len(set(code)) == len(code)


SILENT = {
    "stylealign/errors.py", "tasks/devices.py", "tasks/interrupts.py", "tasks/layout.py",
    "tasks/processes.py", "tasks/progress.py", "tasks/readings.py", "tasks/records.py",
    "tasks/registry.py", "tasks/saying.py", "tasks/store.py", "tasks/terminal.py",
    "tasks/watching.py",
}  # fmt: skip
"""Modules that decide no byte of an artifact: where it is made, how it is seen and recorded."""
CHECKED = ROOT / "stylealign/params"
"""Watched by its values, section by section."""


def imported_by(path: Path) -> set[Path]:
    """A module and all of ours that it imports, directly or not, wherever in the file."""
    found: set[Path] = set()
    todo = [path]
    while todo:
        module = todo.pop()
        is_silent = module.relative_to(ROOT).as_posix() in SILENT or CHECKED in module.parents
        if module not in found and not is_silent:
            found.add(module)
            todo += imported_in(module)
    return found


def imported_in(path: Path) -> list[Path]:
    """Modules of ours that a module names in its imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    places = [ROOT / name.replace(".", "/") for name in names if name.split(".")[0] in TOPS]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return [file for file in files if file.exists()]


def test_the_page_is_stale_once_a_section_that_it_shows_changes():
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]

    assert set(graph["report"]["params"]) == set(Params.model_fields) - UNRELATED


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_documented(command):
    assert f"stylealign {command}" in DOCS


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_sorted_and_complete(name):
    package = importlib.import_module(name)
    tree = ast.parse(Path(str(package.__file__)).read_text("utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("stylealign")
        for alias in node.names
    }

    listed = getattr(package, "__all__", [])

    assert list(listed) == sorted(listed, key=in_house_order)
    assert imported <= set(listed)
    assert all(hasattr(package, public) for public in listed)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_public_function_that_takes_a_path_takes_its_text_too(name):
    package = importlib.import_module(name)
    public = [getattr(package, listed) for listed in getattr(package, "__all__", [])]
    doors = [one for one in public if inspect.isfunction(one)]
    classes = [one for one in public if inspect.isclass(one)]
    doors += [vars(one)[verb] for one in classes for verb in ("save", "load") if verb in vars(one)]

    parameters = [
        (f"{door.__qualname__}({one.name})", [one.annotation, *get_args(one.annotation)])
        for door in doors
        for one in inspect.signature(door).parameters.values()
    ]

    assert not [place for place, types in parameters if Path in types and str not in types]


def in_house_order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions, as ruff sorts them."""
    return not name.isupper(), not name[0].isupper(), name


def test_every_module_of_the_library_has_its_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = " ".join(contracts["contracts"][0]["layers"])
    modules = {module.name for module in pkgutil.iter_modules(stylealign.__path__)}

    assert modules == set(re.findall(r"stylealign\.(\w+)", layers))


def test_no_module_is_a_drawer_for_the_rest():
    drawers = {"utils", "helpers", "common", "misc", "base"}
    modules = [
        path for top in ("stylealign", "tasks", "flows") for path in (ROOT / top).rglob("*.py")
    ]

    assert not [path for path in modules if path.stem in drawers]
