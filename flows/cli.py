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
    help="""Make a labelled image data set of a new domain from one of another domain.

StyleAlign fine-tunes a StyleGAN2 of the labelled domain (the parent) to the new domain (the child).
StyleAlign finds the latent code of each labelled image, and the child draws that code. The drawing
takes over the labels of the image, each with a confidence.

A project is a folder with `params.yaml` (every number) and `dvc.yaml` (every stage).
Create one with `stylealign init DIR`, edit `params.yaml`, then run `dvc repro`.
DVC reruns only the stages that a change touches.
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

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to use; 0 picks a free port.")]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Use another value of a param in this run. Repeat for more params.",
    ),
]


@app.command(rich_help_panel=MAKE)
def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the new project; new or empty.")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Labelled images: folder, zip or Parquet. Default: the demo's drawn people."
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels of --images: CSV, JSONL or Parquet.")
    ] = None,
    child: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IMAGES",
            help="Images of a new domain, without labels. Repeat for more domains.",
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IMAGES,LABELS",
            help="Labelled images of a child's domain, used only to score the results.",
        ),
    ] = None,
    oracle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IMAGES,LABELS",
            help="More labelled images of a child's domain. Readers learn from these images; their "
            "score is the oracle to which the transfer is compared.",
        ),
    ] = None,
    parent: Annotated[
        str,
        typer.Option(
            help="Model folder, .pkl or .pt file, `models:/name@alias`, or `train` to train a "
            "parent from scratch. Default: `train` with --images, else the shipped parent."
        ),
    ] = "",
    resolution: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Side of all images in pixels. Default: that of --parent, else 64 with --images.",
        ),
    ] = None,
    licence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SET=]TEXT", help="Licence of all sets, or of one set. Repeat for more sets."
        ),
    ] = None,
    params: Annotated[
        Path | None, typer.Option(help="YAML file whose values replace those of params.yaml.")
    ] = None,
) -> None:
    """Create a project of your own: params.yaml, dvc.yaml, prefect.yaml, in git and DVC.

    Without options the project holds the demo. With your images the project holds copies of them,
    versioned by DVC, and a label schema that `init` reads off your label table. Check that schema.

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
    stage: Annotated[Stage, typer.Argument(help="Stage to run.")],
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the data set (prepare) or child (train_child, translate, transfer)."
        ),
    ] = "",
    set_: Overrides = None,
) -> None:
    """Run one stage now, even if its results are up to date.

    Each stage of `dvc.yaml` calls this command. To run all stale stages, use `dvc repro`.

    Example: `stylealign run invert --set invert.num_steps=20`
    """
    from flows.run import run_stage

    run_stage(stage, name, set_ or [])


@app.command(rich_help_panel=MAKE)
def demo() -> None:
    """Run every stale stage of this project, then print the scores and the report's path."""
    from flows.run import run_pipeline

    run_pipeline(Path.cwd())


@app.command(rich_help_panel=MAKE)
def recipe(
    resolution: Annotated[
        int, typer.Option(help="Side of the images in pixels: 8, 16, up to 1024.")
    ],
    total_kimg: Annotated[
        float, typer.Option(help="Length of the training, in thousands of images.")
    ],
    child: Annotated[str, typer.Argument(help="Name of the child to train.")] = NAMELESS,
    num_devices: Annotated[
        int,
        typer.Option("--devices", min=1, help="Number of GPUs that share a batch, with torchrun."),
    ] = 1,
    classes: Annotated[
        str, typer.Option(metavar="LABEL", help="Label on which to condition the model.")
    ] = "",
    is_parent: Annotated[
        bool,
        typer.Option("--parent", help="Print a recipe and networks for a parent from scratch."),
    ] = False,
) -> None:
    """Print a training recipe for any resolution, as YAML for params.yaml.

    The numbers are those of stylegan2-ada-pytorch's automatic configuration: batch, rates, R1
    weight and networks follow from resolution and devices. A value of `auto` adapts when you
    change the batch; a comment shows its present value. This recipe is the usual start for real
    images and a GPU. The demo's networks are smaller, made for a CPU.

    Replace the recipe in params.yaml by this block (with `--parent`: `architecture` and `recipe`).
    Or pass the block to `stylealign init --params FILE`, which keeps every value of its own recipe
    that the block does not name.

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
    """Check versions, devices, stores and tools, and say how to fix each problem."""
    from flows.doctor import examine

    if not examine(Path.cwd()):
        raise typer.Exit(2)


@app.command(rich_help_panel=KEEP)
def ui(
    prefect_port: Port = 0,
    mlflow_port: Port = 0,
) -> None:
    """Serve this project's Prefect and MLflow pages on loopback until Ctrl-C.

    The command prints the address of each page.
    """
    from flows.services import show_pages

    show_pages(Path.cwd(), prefect_port, mlflow_port)


@app.command(rich_help_panel=KEEP)
def serve(
    port: Port = 0,
) -> None:
    """Refresh this project on the schedule of `prefect.yaml`, until Ctrl-C."""
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
