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
        help="Latent space of the codes. `w_plus` keeps most detail between similar domains; "
        f"`z` and `z_plus` are robust between distant domains. [default: {DEFAULTS['space']}]",
        show_default=False,
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps", min=1, help=f"Optimisation steps per image. [default: {DEFAULTS['num_steps']}]"
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(help=f"Seed of the random numbers. [default: {DEFAULTS['seed']}]")
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
    bool, typer.Option("--force", help="Allow unrelated models, for control experiments.")
]


@models.command(rich_help_panel=USE)
def translate(
    folder: FolderArgument,
    parent: Annotated[
        str, typer.Option(help=f"Model that draws the domain of these images. {MODEL}")
    ],
    child: Annotated[str, typer.Option(help=f"Related model that draws the new domain. {MODEL}")],
    out: Annotated[Path, typer.Option(help="Folder for the PNGs and side-by-side.png.")],
    space: SpaceOption = None,
    num_steps: StepsOption = None,
    seed: SeedOption = None,
    truncation_psi: Annotated[
        float,
        typer.Option(
            "--psi",
            min=0,
            max=1,
            help="Truncation: 1 keeps the code as found, 0 draws the mean image.",
        ),
    ] = 1.0,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """Draw your images in another domain: invert them in the parent, draw them with the child.

    Run the command again to continue a stopped run. `side-by-side.png` shows three columns: the
    image, the parent's drawing of its code, and the child's drawing. If the parent's drawing is
    poor, the child's cannot be good. Commands that read the folder later skip `side-by-side.png`.

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
        typer.Option(help="Reader: artifacts/evaluate/CHILD/reader, or `models:/name@alias`."),
    ],
    out: Annotated[Path, typer.Option(help="Parquet table to write.")],
    device: DeviceOption = None,
) -> None:
    """Read the labels of a folder of images into a Parquet table.

    The model is a reader. Stage `evaluate` writes one reader per child and fits it on the
    transferred data set, so the reader has seen no real label of the child's domain. The table has
    columns `id`, `label.<name>`, and `confidence.<name>` where the reader gives a confidence.

    Example: `stylealign predict cats.zip --model artifacts/evaluate/cats/reader --out cats.parquet`
    """
    place = find_model(model)
    from tasks.prediction import predict_folder

    num_read, num_rejected = predict_folder(folder, place, out, device=device or project_device())
    show(f"{num_read} images read, {num_rejected} could not be; {out}")


@models.command(rich_help_panel=USE)
def morph(
    first: Annotated[
        str, typer.Argument(help="Image of the first frame: a file, or the id of a row in --codes.")
    ],
    second: Annotated[
        str, typer.Argument(help="Image of the last frame: a file, or the id of a row in --codes.")
    ],
    parent: Annotated[str, typer.Option(help=f"Model that draws the first frame. {MODEL}")],
    child: Annotated[str, typer.Option(help=f"Model that draws the last frame. {MODEL}")],
    out: Annotated[
        Path, typer.Option(help="Output file: .gif or .webp for an animation, .png for a strip.")
    ],
    num_frames: Annotated[
        int, typer.Option("--frames", min=2, help="Number of frames, both ends included.")
    ] = 60,
    codes: Annotated[Path, typer.Option(help="Folder of codes that stage `invert` wrote.")] = Path(
        "artifacts/invert"
    ),
    space: SpaceOption = None,
    num_steps: StepsOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    force: ForceOption = False,
) -> None:
    """Morph an image of one domain into an image of another: code and weights move together.

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
    is_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for programs.")
    ] = False,
) -> None:
    """Show what a checkpoint holds: architecture, lineage, size, hash.

    The command reads and checks the whole file, as every other command does, and runs nothing in
    it. Every command can use a file that passes here. The hash is that of the averaged generator's
    weights; models and their children refer to each other by this hash.

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
        str, typer.Option(help=f"Model from which this model was fine-tuned. {MODEL}")
    ] = "",
    domain: Annotated[str, typer.Option(help="Word for what the model draws, such as cats.")] = "",
) -> None:
    """Convert a checkpoint into a model folder: safetensors and JSON.

    Readable formats: NVIDIA's .pkl of the PyTorch era (stylegan2-ada-pytorch, stylegan3), also
    saved by torch as .pt; NVIDIA's .pkl of the TensorFlow era (stylegan2, stylegan2-ada);
    rosinality's .pt. The command runs nothing in the file. It refuses broken or unknown content
    and names it. Foreign files carry no lineage. Name the parent with `--parent`, and the two
    models count as related from then on.

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
