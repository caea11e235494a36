"""The `stylealign` command: one word per thing to do, and help that teaches."""

import errno
import io
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from flows.model_commands import models
from flows.stop import StoppedError
from stylealign.errors import ParamsError, StyleAlignError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Make a labelled image data set of a new domain from a labelled one of another.

A StyleGAN2 of the labelled domain is fine-tuned to the new one, labelled images are inverted and
drawn there, and their labels come along, each with a confidence.

A project is a folder with `params.yaml` (every number) and `dvc.yaml` (every stage).
Start one with `stylealign init DIR`, edit `params.yaml`, then `dvc repro`:
only what a change touches runs again.
""",
)

UNUSABLE_PLACE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST,
    errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
"""What a full disk, a read-only one, permissions, and a file in a folder's place come to."""

MAKE, KEEP = "Run the pipeline", "Look after a project"

NAMELESS = "NAME"
"""Stands for a child that was not named, and is refused as the name of one."""

Stage = Literal[
    "prepare",
    "train_parent",
    "train_child",
    "invert",
    "translate",
    "transfer",
    "analyze",
    "evaluate",
    "report",
]
"""Stages of dvc.yaml, in the order in which they run."""

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 = a free one.")]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Try another value of a param in this run; may be repeated.",
    ),
]


@app.command(rich_help_panel=MAKE)
def init(
    folder: Annotated[Path, typer.Argument(help="New or empty folder.")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Labelled images: folder, zip or Parquet; without them the demo's drawn people."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Their labels: CSV, JSONL or Parquet.")
    ] = None,
    child: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IMAGES", help="Images of a new domain, no labels needed; may be repeated."
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IMAGES,LABELS",
            help="Labelled images of a child's domain: only ever scored.",
        ),
    ] = None,
    oracle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IMAGES,LABELS",
            help="More of those, for readers to learn from: the oracle that a transfer is held to.",
        ),
    ] = None,
    parent: Annotated[
        str,
        typer.Option(
            help="Model folder, .pkl or .pt file, `models:/name@alias`, or `train`: from scratch. "
            "Without it: `train` where there are --images, else the shipped one."
        ),
    ] = "",
    resolution: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Side of all images in pixels. A given parent decides it; else 64 with --images.",
        ),
    ] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(metavar="[SET=]TEXT", help="Licence of all sets, or of one; may be repeated."),
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="YAML file whose values go over those of params.yaml.")
    ] = None,
) -> None:
    """Make a project of your own: params.yaml, dvc.yaml, prefect.yaml, in git and DVC.

    Without options it holds the demo. With your images it holds copies of them, versioned by DVC,
    and a label schema read off your label table, for you to check.

    Example: `stylealign init faces --images faces.zip --labels faces.csv --child
    portraits=portraits.zip --resolution 64 --licence "CC BY 4.0"`
    """
    from flows.init import ProjectPlan, create_project
    from flows.own_data import read_own_data

    own = read_own_data(images, labels, child or [], oracle or [], test or [], licence or [])
    if own.sets and not licence and sys.stdin.isatty():
        answer = str(typer.prompt("Licence of these images", default="unknown"))
        own.licences.update(dict.fromkeys(own.licences, answer))
    create_project(folder, ProjectPlan(own, parent, resolution, params))


@app.command(rich_help_panel=MAKE)
def run(
    stage: Annotated[Stage, typer.Argument(help="What to run.")],
    name: Annotated[
        str,
        typer.Argument(
            help="Which data set (prepare) or child (train_child, translate, transfer)."
        ),
    ] = "",
    set_: Overrides = None,
) -> None:
    """Run one stage now, whether stale or not.

    This is what each stage of `dvc.yaml` calls; `dvc repro` decides which are due.

    Example: `stylealign run invert --set invert.num_steps=20`
    """
    from flows.run import run_stage

    run_stage(stage, name, set_ or [])


@app.command(rich_help_panel=MAKE)
def demo() -> None:
    """Run every stale stage of this project and print the headline table and the report's path."""
    from flows.run import run_pipeline

    run_pipeline(Path.cwd())


@app.command(rich_help_panel=MAKE)
def recipe(
    resolution: Annotated[int, typer.Option(help="Side of the images: 8, 16, up to 1024.")],
    total_kimg: Annotated[float, typer.Option(help="Thousands of images to train for.")],
    child: Annotated[str, typer.Argument(help="Child that the recipe is for.")] = NAMELESS,
    num_devices: Annotated[
        int, typer.Option("--devices", min=1, help="GPUs that share a batch, with torchrun.")
    ] = 1,
    classes: Annotated[
        str, typer.Option(metavar="LABEL", help="Label that the model is conditioned on.")
    ] = "",
    is_parent: Annotated[
        bool, typer.Option("--parent", help="For a parent from scratch, its networks included.")
    ] = False,
) -> None:
    """Print a recipe for any resolution as YAML, to paste into params.yaml.

    The numbers are those of stylegan2-ada-pytorch's automatic configuration: batch, rates, R1
    weight and networks follow from resolution and devices. Those that stand as `auto` follow
    again when you change the batch; beside them stands what they come to now. It is the usual
    start for real images and a GPU; the demo's networks are smaller, made for a CPU.

    Put it in place of the recipe that is there (with `--parent`: of `architecture` and `recipe`);
    `stylealign init --params FILE` lays it over its own, so that what it does not name stays.

    Example: `stylealign recipe portraits --resolution 256 --total-kimg 1000 --devices 8`
    """
    from flows.own_data import slug
    from flows.starting_recipe import parent_block, recipe_block

    if is_parent and child != NAMELESS:
        raise ParamsError(f"a parent's recipe belongs to no child: leave {child!r} or --parent out")
    name = child if child == NAMELESS else slug(child)
    make_block = parent_block if is_parent else partial(recipe_block, name)
    block = make_block(
        resolution=resolution, total_kimg=total_kimg, num_devices=num_devices, classes=classes
    )
    typer.echo(block, nl=False)


@app.command(rich_help_panel=KEEP)
def doctor() -> None:
    """Check versions, devices, stores and tools, and say how to mend what is wrong."""
    from flows.doctor import examine

    if not examine(Path.cwd()):
        raise typer.Exit(2)


@app.command(rich_help_panel=KEEP)
def ui(
    prefect_port: Port = 0,
    mlflow_port: Port = 0,
) -> None:
    """Serve this project's Prefect and MLflow pages on loopback, and say where, until Ctrl-C."""
    from flows.services import show_pages

    show_pages(Path.cwd(), prefect_port, mlflow_port)


@app.command(rich_help_panel=KEEP)
def serve(
    port: Port = 0,
) -> None:
    """Run the schedule of `prefect.yaml`: refresh this project whenever it is due, until Ctrl-C."""
    from flows.services import serve_schedule

    serve_schedule(Path.cwd(), port)


app.add_typer(models)


def main() -> None:
    """Entry point: what the user did wrong is one sentence and exit code 2, never a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    try:
        app()
    except StoppedError as stop:
        Console(stderr=True).print(
            str(stop), highlight=False, soft_wrap=True, markup=False, emoji=False
        )
        sys.exit(130)
    except StyleAlignError as error:
        refuse(str(error))
    except OSError as error:
        if error.errno not in UNUSABLE_PLACE:
            raise
        refuse(
            f"{error.filename or 'a file'} cannot be used ({error.strerror}): make room, or mend "
            "the path or its permissions, and run the command again; what is finished is kept"
        )


def refuse(message: str) -> NoReturn:
    """Say what the user can mend, and end."""
    said = f"[bold red]error:[/] {escape(message)}"
    Console(stderr=True).print(said, highlight=False, soft_wrap=True, emoji=False)
    sys.exit(2)


if __name__ == "__main__":
    main()
