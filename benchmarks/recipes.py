"""Compare ways of fine-tuning people to cats: fidelity, agreement with the parent, gap closed."""

import copy
import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from rich.console import Console
from rich.progress import track

from benchmarks.carried import Carrier, find_codes
from benchmarks.drawn import (
    FEATURE_RESOLUTION,
    DrawnBatches,
    drawn,
    fit_drawn_reader,
    lite2_features,
    sample,
    schema_of,
)
from stylealign.alignment import FixedCodes
from stylealign.alignment.agreement import measure_agreement, measure_ceiling
from stylealign.checkpoints import load_model
from stylealign.data.procedural import Domain
from stylealign.images import encode_png, image_grid
from stylealign.metrics.coverage import measure_coverage
from stylealign.metrics.distances import frechet_distance
from stylealign.metrics.features import load_extractor
from stylealign.metrics.readers import Reader, load_reader
from stylealign.models import Model
from stylealign.models.allocator import keep_freed_memory
from stylealign.recipe import Recipe
from stylealign.tensors import to_uint8
from stylealign.training import Training, train

SHARED = ("yaw", "pitch", "smile", "eye_openness", "glasses", "tone")
"""Labels that mean the same in both domains."""
NUM_SAMPLES = 2000


def main(
    parent: Annotated[Path, typer.Option(help="Model folder.")] = Path("models/people32"),
    settings: Annotated[Path, typer.Option(help="Recipes to compare.")] = Path(
        "benchmarks/recipes.yaml"
    ),
    out: Annotated[Path, typer.Option(help="Figures; what is there is not run again.")] = Path(
        "build/recipes"
    ),
    seeds: Annotated[int, typer.Option(help="Runs per recipe.")] = 3,
    only: Annotated[str, typer.Option(help="Run this recipe alone.")] = "",
    threads: int = 1,
) -> None:
    """Fine-tune once per recipe and seed, and print a row per recipe, best agreement last."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    listed: dict[str, Any] = yaml.safe_load(settings.read_text("utf-8"))
    shared = out / load_model(parent).config.id[:12]
    out = shared / settings.stem
    out.mkdir(parents=True, exist_ok=True)
    readers = cached_reader("people", shared), cached_reader("cats", shared)
    carrier = find_codes(load_model(parent), shared)
    for name, changes in listed["settings"].items():
        for seed in range(seeds):
            path = out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
            if path.exists() or only not in ("", name):
                continue
            run = listed["base"] | {"num_cats": listed["num_cats"]} | changes | {"seed": seed}
            num_cats = run.pop("num_cats")
            recipe = Recipe(**run)
            batches = DrawnBatches("cats", num_cats, recipe.batch_size, seed=2)
            start = fresh(load_model(parent), seed) if listed.get("from_scratch") else None
            figures = run_recipe(load_model(parent), start, recipe, batches, readers, carrier, path)
            path.write_text(json.dumps({"name": name, **figures}, indent=1) + "\n", "utf-8")
    print_table(out)
    print_course(out)


def cached_reader(domain: Domain, out: Path) -> Reader:
    """The reader of a drawn domain, fitted once."""
    folder = out / f"reader_{domain}"
    if not folder.exists():
        fit_drawn_reader(domain).save(folder)
    return load_reader(folder)


def fresh(parent: Model, seed: int) -> Model:
    """The parent's architecture without what it learnt: where a control starts."""
    torch.manual_seed(seed)
    return Model.new(parent.config)


def run_recipe(
    parent: Model,
    start: Model | None,
    recipe: Recipe,
    batches: DrawnBatches,
    readers: tuple[Reader, Reader],
    carrier: Carrier,
    path: Path,
) -> dict[str, Any]:
    """Fine-tune one child and measure it; without `start` it starts from the parent.

    What was killed goes on from its last snapshot, beside `path`. The child is looked at there.
    """
    model = copy.deepcopy(parent) if start is None else start
    training = Training(model, parent.generator, recipe)
    course = Course(path.with_suffix(".course"), training, batches)
    snapshot = path.with_suffix(".safetensors")
    num_ticks = int(np.ceil(recipe.total_kimg / recipe.tick_kimg))
    for _ in track(
        train(training, batches, snapshot=snapshot, on_snapshot=course.look), path.stem, num_ticks
    ):
        pass
    path.with_suffix(".png").write_bytes(encode_png(pairs(parent, model)))
    for left in snapshot.parent.glob(f"{snapshot.stem}@*"):
        left.unlink()
    return {
        "recipe": recipe.model_dump(mode="json"),
        "cpu_minutes": course.cpu_minutes,
        "gap_closed": carrier.gap_closed(model, SHARED, recipe.seed),
        **measure(parent, model, readers),
    }


class Course:
    """How far the child is from cats it was not trained on, and how sure D is, at each snapshot."""

    def __init__(self, path: Path, training: Training, batches: DrawnBatches) -> None:
        self.path, self.training = path, training
        self.real = lite2_features(drawn("cats", NUM_SAMPLES, seed=6)[0])
        self.seen = lite2_features(to_uint8(batches.images))
        self.rows: dict[str, dict[str, float]] = {}
        if path.exists():
            self.rows = json.loads(path.read_text("utf-8"))
        self.started = time.process_time() - 60 * self.cpu_minutes

    @property
    def cpu_minutes(self) -> float:
        """CPU time up to the last look, of what was killed and went on too."""
        return list(self.rows.values())[-1]["CPU minutes"] if self.rows else 0.0

    def look(self) -> None:
        """Measure the child as it stands."""
        fakes = lite2_features(sample(self.training.G_ema, NUM_SAMPLES, seed=77))
        last = self.training.history[-1]
        self.rows[f"{self.training.kimg:g}"] = {
            "fd_lite2_2k": float(frechet_distance(self.real, fakes)),
            "fd to the images trained on": float(frechet_distance(self.seen, fakes)),
            "mean sign": last["d_real_sign"],
            "augment_p": last.get("augment_p", 0.0),
            "CPU minutes": (time.process_time() - self.started) / 60,
        }
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n", "utf-8")


def measure(parent: Model, child: Model, readers: tuple[Reader, Reader]) -> dict[str, Any]:
    """Distance to real cats, agreement at equal z, and coverage of the attributes."""
    schema = {name: spec for name, spec in schema_of("cats").items() if name in SHARED}
    real = drawn("cats", NUM_SAMPLES, seed=6)[0]
    fakes = sample(child.generator, NUM_SAMPLES, seed=77)
    ceilings = (
        measure_ceiling(readers[0], *drawn("people", 1000, seed=13), schema),
        measure_ceiling(readers[1], *drawn("cats", 1000, seed=13), schema),
    )
    agreement = measure_agreement(
        parent, child, readers, ceilings, schema, num_samples=NUM_SAMPLES, force=True
    )
    coverage = measure_coverage(readers[1].predict(fakes), readers[1].predict(real), schema)
    extractor = load_extractor("lite2", resolution=FEATURE_RESOLUTION)
    codes = FixedCodes(parent, lite2_features(real[:500]), extractor, num_codes=500)
    standing = codes.measure(child, 0.0)
    return {
        "likeness": standing.likeness,
        "change": standing.change,
        "fd_lite2_2k": float(frechet_distance(lite2_features(real), lite2_features(fakes))),
        "agreement": {name: vars(value) for name, value in agreement.items()},
        "spread": coverage.spread,
        "prevalence_gap": coverage.prevalence_gap,
    }


def pairs(parent: Model, child: Model) -> np.ndarray:
    """Parent rows above child rows, equal z."""
    rows = []
    above, below = (sample(model.generator, 32, seed=5) for model in (parent, child))
    for start in (0, 16):
        rows += [*above[start : start + 16], *below[start : start + 16]]
    return image_grid(np.stack(rows), 16)


def print_table(out: Path) -> None:
    """One Markdown row per recipe, mean ± deviation over its seeds, best agreement last."""
    runs: dict[str, list[dict[str, float]]] = {}
    for path in sorted(out.glob("*.json")):
        run: dict[str, Any] = json.loads(path.read_text("utf-8"))
        runs.setdefault(run["name"], []).append(columns_of(run))
    names = list(dict.fromkeys(name for rows in runs.values() for row in rows for name in row))
    console = Console(width=300)
    console.print(f"| recipe | seeds | {' | '.join(names)} |")
    console.print("| --- | --- |" + " --- |" * len(names))
    for recipe, rows in sorted(runs.items(), key=lambda item: spread_of(item[1], "agreement")):
        cells = [cell(rows, name, digits=0 if name.startswith("fd") else 2) for name in names]
        console.print(f"| {recipe} | {len(rows)} | {' | '.join(cells)} |")


def print_course(out: Path) -> None:
    """One Markdown row per snapshot of each run that has several."""
    console = Console(width=300)
    for path in sorted(out.glob("*.course")):
        rows: dict[str, dict[str, float]] = json.loads(path.read_text("utf-8"))
        if len(rows) > 1:
            names = list(next(iter(rows.values())))
            console.print(f"| {path.stem}: kimg | {' | '.join(names)} |")
            console.print("| --- |" + " --- |" * len(names))
            for kimg, row in rows.items():
                console.print(f"| {kimg} | {' | '.join(f'{row[name]:.4g}' for name in names)} |")


def columns_of(run: dict[str, Any]) -> dict[str, float]:
    """The figures of one run that go into the table; a label without a gap to close is absent."""
    agreement = {name: run["agreement"][name]["agreement"] for name in SHARED}
    return {
        "fd_lite2_2k": run["fd_lite2_2k"],
        "agreement": float(np.mean(list(agreement.values()))),
        **{f"agreement {name}": value for name, value in agreement.items()},
        **{f"gap {name}": value for name, value in sorted(run["gap_closed"].items())},
    }


def spread_of(rows: list[dict[str, float]], name: str) -> tuple[float, float]:
    """Mean and standard deviation over the seeds; no deviation of one."""
    values = [row[name] for row in rows if name in row]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def cell(rows: list[dict[str, float]], name: str, *, digits: int) -> str:
    """A figure as the table shows it; empty where no run has it."""
    if not any(name in row for row in rows):
        return ""
    mean, deviation = spread_of(rows, name)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}" if len(rows) > 1 else f"{mean:.{digits}f}"


if __name__ == "__main__":
    typer.run(main)
