"""Commands that use finished models on any images; they need no project."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.project import find_model, project_device
from stylealign.files import require_new

models = typer.Typer(rich_markup_mode="markdown")

USE = "Use models"

Space = Literal["z", "z_plus", "w", "w_plus"]
"""Latent spaces, most robust first."""

MODEL = "Model folder, .pkl or .pt file, or `models:/name@alias`."
DEFAULTS = {"space": "z_plus", "num_steps": 100, "seed": 0}
"""Those of `stylealign.invert`, which would have to be imported to be asked; a test compares."""

FolderArgument = Annotated[
    Path, typer.Argument(help="Folder, zip or Parquet of images.", show_default=False)
]
SpaceOption = Annotated[
    Space | None,
    typer.Option(
        help="Latent space of the codes. `w_plus` keeps most detail between near domains, "
        f"`z` and `z_plus` stay robust between distant ones. [default: {DEFAULTS['space']}]",
        show_default=False,
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps", min=1, help=f"Descent steps per image. [default: {DEFAULTS['num_steps']}]"
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(help=f"Where randomness starts. [default: {DEFAULTS['seed']}]")
]
Device = Literal["auto", "cpu", "cuda"]

DeviceOption = Annotated[
    Device | None,
    typer.Option(
        help="Where to compute; auto = a GPU where there is one. [default: `project.device` of "
        "the project in this folder, auto without one]",
        show_default=False,
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Go on though the models are unrelated: for controls.")
]


@models.command(rich_help_panel=USE)
def translate(
    folder: FolderArgument,
    parent: Annotated[str, typer.Option(help=f"Model that knows these images. {MODEL}")],
    child: Annotated[str, typer.Option(help=f"A relative that draws them anew. {MODEL}")],
    out: Annotated[Path, typer.Option(help="Folder for PNGs and side-by-side.png.")],
    space: SpaceOption = None,
    num_steps: StepsOption = None,
    seed: SeedOption = None,
    truncation_psi: Annotated[
        float, typer.Option("--psi", min=0, max=1, help="1 = as found, 0 = the mean image.")
    ] = 1.0,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """Draw any images in another domain: invert them in the parent, draw with the child.

    A run that was stopped goes on where it was. `side-by-side.png` shows image, the parent's own
    drawing of its code, and the child's: where the middle is poor, the right cannot be good.
    Commands that read the folder later leave that picture out.

    Example: `stylealign translate faces.zip --parent models/faces --child
    models:/faces-to-cats-cats@champion --out cats/`
    """
    places = find_model(parent), find_model(child)
    from tasks.folders import translate_folder

    done = translate_folder(
        folder, *places, out, use_force=force, truncation_psi=truncation_psi,
        device=device or project_device(), space=space, num_steps=num_steps, seed=seed,
    )  # fmt: skip
    show(
        f"{done.num_made} images drawn, {done.num_kept} kept from an earlier run, "
        f"{done.num_rejected} left out (rejected.parquet); inversion {done.psnr_mean:.1f} dB; {out}"
    )


@models.command(rich_help_panel=USE)
def predict(
    folder: FolderArgument,
    model: Annotated[
        str,
        typer.Option(help="A reader: artifacts/evaluate/CHILD/reader, or `models:/name@alias`."),
    ],
    out: Annotated[Path, typer.Option(help="Parquet table to write.")],
    device: DeviceOption = None,
) -> None:
    """Read the labels of a folder of images into a Parquet table.

    The model is a reader: stage `evaluate` leaves one per child, fitted on the transferred data
    set, so that it has seen no real label of the child's domain. The table has
    columns `id`, `label.<name>`, and `confidence.<name>` where the reader can tell.

    Example: `stylealign predict cats.zip --model artifacts/evaluate/cats/reader --out cats.parquet`
    """
    place = find_model(model)
    from tasks.folders import predict_folder

    num_read, num_rejected = predict_folder(folder, place, out, device=device or project_device())
    show(f"{num_read} images read, {num_rejected} could not be; {out}")


@models.command(rich_help_panel=USE)
def morph(
    first: Annotated[str, typer.Argument(help="Image file, or id of a row in --codes.")],
    second: Annotated[str, typer.Argument(help="The same, for the last frame.")],
    parent: Annotated[str, typer.Option(help=f"Draws the first frame. {MODEL}")],
    child: Annotated[str, typer.Option(help=f"Draws the last frame. {MODEL}")],
    out: Annotated[Path, typer.Option(help=".gif or .webp = animation, .png = strip.")],
    num_frames: Annotated[int, typer.Option("--frames", min=2, help="Both ends included.")] = 60,
    codes: Annotated[
        Path, typer.Option(help="Folder of codes, as stage `invert` writes it.")
    ] = Path("artifacts/invert"),
    space: SpaceOption = None,
    num_steps: StepsOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """Go from an image of one domain to an image of another: code and weights move together.

    Example: `stylealign morph me.jpg cat.jpg --parent models/faces --child models/cats
    --out morph.gif`
    """
    places = find_model(parent), find_model(child)
    from tasks.morphing import morph_images

    num = morph_images(
        first, second, places, out, codes=codes, num_frames=num_frames, use_force=force,
        device=device or project_device(), space=space, num_steps=num_steps, seed=seed,
    )  # fmt: skip
    show(f"{num} frames; {out}")


@models.command(rich_help_panel=USE)
def inspect(
    file: Annotated[str, typer.Argument(help=MODEL)],
    is_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False,
) -> None:
    """Say what a checkpoint holds: architecture, lineage, size, hash.

    The file is read and checked whole, as every other command would, and nothing in it is run:
    a file that passes here can be used. The hash is that of the averaged generator's weights,
    by which models and their children know each other.

    Example: `stylealign inspect afhqcat.pkl`
    """
    place = find_model(file)
    from tasks.inspection import inspect_model

    inspection = inspect_model(place)
    if is_json:
        Console().print_json(data=inspection.fields, ensure_ascii=True)
        return
    for label, text in inspection.lines:
        show(f"{label:<13} {text}")


@models.command(rich_help_panel=USE)
def convert(
    file: Annotated[str, typer.Argument(help=MODEL)],
    out: Annotated[Path, typer.Argument(help="Model folder to write; new or empty.")],
    parent: Annotated[
        str, typer.Option(help=f"Declares what the model was fine-tuned from. {MODEL}")
    ] = "",
    domain: Annotated[str, typer.Option(help="What the model draws, in a word.")] = "",
) -> None:
    """Bring any checkpoint into a model folder: safetensors and JSON.

    Reads NVIDIA's .pkl of the PyTorch era (stylegan2-ada-pytorch, stylegan3), also saved by torch
    as .pt, and of the TensorFlow era (stylegan2, stylegan2-ada), and rosinality's .pt; nothing in
    them is run, and what is broken or unknown is refused by name. Foreign files carry no lineage:
    with `--parent` the two count as related from then on.

    Example: `stylealign convert afhqcat.pkl models/cats --parent models/ffhq --domain cats`
    """
    require_new(out)
    from stylealign.checkpoints.convert import convert_checkpoint

    ancestor = find_model(parent) if parent else None
    config = convert_checkpoint(find_model(file), out, parent=ancestor, domain=domain)
    show(f"model {config.id[:12]}, {config.resolution} pixels; {out}")


def show(text: str) -> None:
    """One line that says what was done."""
    Console().print(text, highlight=False, soft_wrap=True, markup=False, emoji=False)
