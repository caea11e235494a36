"""The run behind the figures of the docs: the demo's graph at full scale, as its own project."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.init import ProjectPlan, create_project, starting_params
from flows.run import run_pipeline

OVERLAY = Path(__file__).with_name("results.yaml")


def main(
    folder: Annotated[
        Path, typer.Option(help="The project; what is finished there is kept.")
    ] = Path("build/results"),
    overlay: Annotated[Path, typer.Option(help="Values over params.yaml.")] = OVERLAY,
) -> None:
    """Make the project or bring its params up to date, and run what is stale.

    The package's version stands for the code: remove the folder after a change of the code.
    """
    plan = ProjectPlan(overlay=overlay)
    if not (folder / "params.yaml").exists():
        create_project(folder, plan)
    (folder / "params.yaml").write_text(starting_params(folder, plan, None), "utf-8")
    run_pipeline(folder.resolve())
    Console().print(f"figures: {folder}/metrics/*.json", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
