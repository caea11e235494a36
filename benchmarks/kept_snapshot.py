"""Does the rule that keeps a snapshot, which reads no label, keep the one that readers would?"""

import copy
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
import yaml
from rich.console import Console
from rich.progress import track

from benchmarks.drawn import FEATURE_RESOLUTION, DrawnBatches, drawn, lite2_features
from benchmarks.recipes import SHARED, cached_reader, measure
from stylealign.alignment import FixedCodes, Rule, Standing
from stylealign.checkpoints import load_model
from stylealign.metrics.features import load_extractor
from stylealign.models.allocator import keep_freed_memory
from stylealign.recipe import Recipe
from stylealign.training import Training, train

EVERY_KIMG = 4.0
NUM_CODES, NUM_REAL = 250, 4000
"""As the demo: what the rule sees is 250 codes and the images that the child is trained on."""


def main(
    parent: Annotated[Path, typer.Option(help="Model folder.")] = Path("models/people32"),
    params: Annotated[Path, typer.Option(help="Whose child and rule to follow.")] = Path(
        "params.yaml"
    ),
    out: Annotated[Path, typer.Option(help="Figures and readers.")] = Path("build/recipes"),
    total_kimg: Annotated[float, typer.Option(help="Length of the training.")] = 60,
    seed: int = 0,
    threads: int = 1,
) -> None:
    """Train the demo's child for longer, and measure every snapshot as the rule and by readers."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    listed: dict[str, Any] = yaml.safe_load(params.read_text("utf-8"))
    ancestor = load_model(parent)
    out = out / ancestor.config.id[:12]
    readers = cached_reader("people", out), cached_reader("cats", out)
    changes = {"total_kimg": total_kimg, "tick_kimg": EVERY_KIMG, "seed": seed}
    recipe = Recipe(**(listed["train_child"]["cats"]["recipe"] | changes))
    batches = DrawnBatches("cats", NUM_REAL, recipe.batch_size, seed=2)
    codes = FixedCodes(
        ancestor,
        lite2_features(drawn("cats", NUM_REAL, seed=2)[0]),
        load_extractor("lite2", resolution=FEATURE_RESOLUTION),
        num_codes=NUM_CODES,
    )
    child = copy.deepcopy(ancestor)
    training = Training(child, ancestor.generator, recipe)
    rows: list[dict[str, Any]] = []
    standings: list[Standing] = []
    for tick in track(train(training, batches), "train", int(total_kimg / EVERY_KIMG)):
        standing = codes.measure(child, tick.kimg)
        standings.append(standing)
        measured = measure(ancestor, child, readers)
        agreement = [measured["agreement"][name]["agreement"] for name in SHARED]
        rows.append(
            {
                "kimg": tick.kimg,
                "fidelity": standing.fidelity,
                "likeness": standing.likeness,
                "fd_lite2_2k": measured["fd_lite2_2k"],
                "agreement": float(np.mean(agreement)),
            }
        )
        (out / f"kept_snapshot-{seed}.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    rule = Rule(tolerance=listed["standing"]["tolerance"], margin=listed["standing"]["margin"])
    print_table(rows, rule.choose(standings).kimg)


def print_table(rows: list[dict[str, Any]], kept: float) -> None:
    """One Markdown row per snapshot, and how the rule's figures rank them against the readers'."""
    console = Console(width=200)
    console.print(f"| {' | '.join(rows[0])} |\n|{' --- |' * len(rows[0])}")
    for row in rows:
        mark = " (kept)" if row["kimg"] == kept else ""
        console.print(
            f"| {row['kimg']:.0f}{mark} | {row['fidelity']:.0f} | {row['likeness']:.3f} "
            f"| {row['fd_lite2_2k']:.0f} | {row['agreement']:.3f} |"
        )
    ranks = pd.DataFrame(rows).corr(method="spearman")
    for ours, readers in (("fidelity", "fd_lite2_2k"), ("likeness", "agreement")):
        console.print(f"rank correlation of {ours} and {readers}: {ranks.loc[ours, readers]:.2f}")


if __name__ == "__main__":
    typer.run(main)
