"""A project of the user's own: the same stages as the demo, in its own git and DVC."""

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from flows.own_data import UNKNOWN, OwnData, infer_parent, plain_name
from flows.project import enter_project, find_model
from flows.starting_params import (
    check_tree,
    fill_params,
    merge,
    read_tree,
    source_list,
    stage_graph,
    write_tree,
)
from stylealign.errors import CheckpointError, DataError, ParamsError, StyleAlignError
from stylealign.files import require_new
from stylealign.params import load_params

SHIPPED_PARENT = Path("models/people32")
TRAIN = "train"
IGNORED = "/artifacts/\n/.stylealign/\n"


@dataclass(frozen=True)
class ProjectPlan:
    """What a new project shall hold; nothing = the demo."""

    own: OwnData = field(default_factory=OwnData)
    parent: str = ""
    """A model of any kind; `train` = from scratch; empty = the shipped one, or `train` where the
    user brings images."""
    resolution: int | None = None
    overlay: Path | None = None
    """YAML whose values go over params.yaml."""

    @property
    def is_trained(self) -> bool:
        """Whether the parent is trained by its stage."""
        return self.parent == TRAIN or (not self.parent and self.own.parent is not None)


def create_project(folder: Path, plan: ProjectPlan | None = None) -> None:
    """Write a project into a new or empty folder and commit it.

    Raises: DataError if the folder is not empty or cannot be written, or data cannot be used;
        ParamsError if options contradict each other; StyleAlignError if git is not installed.
    """
    plan = plan or ProjectPlan()
    if shutil.which("git") is None:
        raise StyleAlignError("git is not installed, and a project is a git repository: install it")
    require_new(folder)
    require_outside(folder, plan.own)
    given = find_model(plan.parent) if plan.parent and not plan.is_trained else None
    params, console = starting_params(folder, plan, given), Console()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{str(folder)!r} cannot be made: {error.strerror}") from None
    enter_project(folder)
    write_templates(folder, plan, params)
    tracked = place_parent(folder, plan, given)
    for one in plan.own.sets:
        one.copy_into(folder)
        tracked.append(one.folder)
    start_history(folder, tracked)
    console.print(next_steps(folder, plan), highlight=False, soft_wrap=True, markup=False)


def require_outside(folder: Path, own: OwnData) -> None:
    """Refuse a project among the images that it would copy.

    Raises: ParamsError that names both.
    """
    for one in own.sets:
        if folder.resolve().is_relative_to(one.images):
            raise ParamsError(
                f"{str(folder)!r} lies inside the images {str(one.images)!r}: choose another folder"
            )


def starting_params(folder: Path, plan: ProjectPlan, given: Path | None) -> str:
    """Checked text of params.yaml.

    Raises: ParamsError if options or overlay contradict each other; DataError if labels cannot
        be used; CheckpointError if the parent is no model that can be fine-tuned.
    """
    tree = read_tree(template_folder() / "params.yaml")
    resolution = plan.resolution
    if not plan.is_trained:
        drawn = parent_resolution(given or template_folder() / SHIPPED_PARENT)
        if resolution not in (None, drawn):
            raise ParamsError(
                f"the parent draws {drawn} pixels, --resolution asks for {resolution}"
            )
        resolution = drawn
    model = None if plan.is_trained else parent_place(given).as_posix()
    name = folder.resolve().name
    fill_params(tree, plan.own, name=name, parent=model, resolution=resolution)
    if plan.overlay is not None:
        merge(tree, read_tree(plan.overlay))
    check_tree(tree, "params.yaml of the new project")
    return write_tree(tree)


def parent_resolution(place: Path) -> int:
    """Side of the images that the parent draws, in pixels.

    Raises: CheckpointError if it is no model, or has no discriminator, without which no child is
        fine-tuned; ParamsError if it is no StyleGAN2; DataError if it draws by class, or other
        images than coloured ones.
    """
    from stylealign.checkpoints.convert import inspect_checkpoint
    from stylealign.inversion.inputs import require_no_classes
    from stylealign.training.requirements import require_colours, require_stylegan2

    record = inspect_checkpoint(place)
    require_stylegan2(record.config)
    require_no_classes(record.config)
    require_colours(record.config)
    if "D" not in record.num_parameters:
        raise CheckpointError(
            f"{str(place)!r} holds no discriminator, and no child can be fine-tuned without one: "
            "name a checkpoint that has it, such as the training's own snapshot"
        )
    return record.config.resolution


def parent_place(given: Path | None) -> Path:
    """Where a given parent lies inside the project."""
    return SHIPPED_PARENT if given is None else Path("models") / "parent"


def place_parent(folder: Path, plan: ProjectPlan, given: Path | None) -> list[Path]:
    """Bring the parent into the project; returns what DVC shall watch."""
    if plan.is_trained:
        return []
    if given is None:  # small enough for git
        shutil.copytree(template_folder() / SHIPPED_PARENT, folder / SHIPPED_PARENT)
        return []
    from stylealign.checkpoints.convert import convert_checkpoint

    convert_checkpoint(given, folder / parent_place(given))
    return [parent_place(given)]


def write_templates(folder: Path, plan: ProjectPlan, params: str) -> None:
    """Write the project's own files."""
    source = template_folder()
    state = "trained" if plan.is_trained else "given" if plan.parent else "shipped"
    texts = {name: (source / name).read_text("utf-8") for name in ("prefect.yaml", ".dvcignore")}
    texts["dvc.yaml"] = stage_graph((source / "dvc.yaml").read_text("utf-8"), state)
    texts["params.yaml"], texts[".gitignore"] = params, IGNORED
    texts["data/sources.yaml"] = (
        source_list(plan.own)
        if plan.own.children
        else (source / "data/sources.yaml").read_text("utf-8")
    )
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


def template_folder() -> Path:
    """Where the demo's files lie: inside the wheel, or the repository of an editable install."""
    root = Path(__file__).parents[1]
    packaged = root / "stylealign_template"
    return packaged if packaged.exists() else root


def start_history(folder: Path, tracked: list[Path]) -> None:
    """Put the project under git, and originals and a given parent under DVC.

    Raises: StyleAlignError with the command's own last line if one fails.
    """
    dvc = [sys.executable, "-m", "dvc"]
    require_success(["git", "init", "--quiet"], folder)
    require_success([*dvc, "init", "--quiet"], folder)
    require_success([*dvc, "config", "core.analytics", "false"], folder)
    if tracked:
        require_success([*dvc, "add", "--quiet", *(path.as_posix() for path in tracked)], folder)
    known = subprocess.run(
        ["git", "config", "user.email"], cwd=folder, capture_output=True, check=False
    )
    if known.returncode:  # a server that runs the schedule has no user of its own
        require_success(["git", "config", "user.name", "StyleAlign"], folder)
        require_success(["git", "config", "user.email", "stylealign@localhost"], folder)
    require_success(["git", "add", "--all"], folder)
    message = "Start a StyleAlign project"
    require_success(["git", "commit", "--quiet", "--message", message], folder)


def require_success(command: list[str], folder: Path) -> None:
    """Run a command in a folder.

    Raises: StyleAlignError with the command's own last line if it fails.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        name = " ".join(part for part in command[:3] if part != sys.executable)
        raise StyleAlignError(f"`{name}` failed in {str(folder)!r}: {said[-1]}")


def next_steps(folder: Path, plan: ProjectPlan) -> str:
    """What was made, what was guessed, and what to do now."""
    is_here = folder.resolve() == Path.cwd()
    lines = ["Made a project in this folder." if is_here else f"Made {folder}."]
    if not plain_name(folder.resolve().name):
        name = load_params(folder / "params.yaml").project.name
        lines += [f"No letter of a to z is in its name: `project.name` in params.yaml is {name!r}."]
    if plan.own.parent is not None:
        found = infer_parent(plan.own)
        lines += ["Labels, as the table reads; check each `mirror` in params.yaml, no table tells:"]
        lines += [
            f"  {name}: {spec['type']}, {spec.get('values') or spec.get('tolerance')}, "
            f"mirror {spec['mirror']}"
            for name, spec in found.labels.items()
        ]
        lines += [f"  {name}: left out, {why}" for name, why in found.left_out.items()]
    unknown = [name for name, licence in plan.own.licences.items() if licence == UNKNOWN]
    if unknown:
        lines += [f"WARNING: the licence of {', '.join(unknown)} is unknown: see data/sources.yaml"]
    edit = (
        "edit params.yaml"
        if plan.own.children
        else "put your images under data/raw/NAME, `dvc add data/raw/NAME`, edit params.yaml"
    )
    enter = [] if is_here else [f"  cd {shlex.quote(str(folder))}"]
    return "\n".join([*lines, "Next:", *enter, f"  {edit}", "  dvc repro"])
