"""How training and inversion went, as curves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from stylealign.checkpoints.beside import (
    COVERAGE_FILE,
    HISTORY_FILE,
    MATCHED_FILE,
    STANDINGS_FILE,
)
from stylealign.errors import DataError
from stylealign.report import charts
from stylealign.report.columns import mean, numbers
from stylealign.report.content import (
    Block,
    Cell,
    Chart,
    Charts,
    Column,
    Section,
    Table,
    Text,
    missing,
)
from stylealign.report.formatting import NO_NUMBER, number, percent, significant, words
from stylealign.report.sources import Sources

RULES = {
    "rule": "of all snapshots with nearly the best fidelity, the one most like the parent; "
    "the rule reads no label",
    "last": "the last snapshot, without a choice",
}


def describe_training(sources: Sources) -> Section:
    """Every number that was followed while the children were trained, and what the parent draws."""
    lead = (
        "The child starts from the parent's weights. The horizontal axis of each curve counts "
        "thousands of real images shown (kimg). Each point is the mean over one reporting interval."
    )
    blocks: list[Block] = []
    coverage = sources.parent_model / COVERAGE_FILE
    if coverage.exists():
        heading = Text(f"{sources.parent_dataset}, the parent", "heading")
        blocks += [heading, coverage_table(coverage)]
    for name, child in sources.children.items():
        path = child.model / HISTORY_FILE
        if not path.exists():
            blocks.append(missing(f"The training of {name} is", f"train_child {name}"))
            continue
        blocks.append(Text(name, "heading"))
        matched = child.model / MATCHED_FILE
        if matched.exists():
            blocks.append(matched_table(matched))
        standings = child.model / STANDINGS_FILE
        if standings.exists():
            blocks.append(standing_charts(name, read_standings(standings)))
        blocks.append(history_charts(name, read_history(path)))
    return Section("training", "Training", lead, tuple(blocks))


def coverage_table(path: Path) -> Table:
    """How much of its data's spread the parent draws, label by label, at its last snapshot.

    Raises: DataError if the file holds no such thing.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        last, scores = content["snapshots"][-1], content["reader_scores"]
        spread, gaps = last["spread"], last["prevalence_gap"]
        rows = [
            (
                Cell(words(name), tone="bad" if name in content["below"] else "plain"),
                Cell(number(spread.get(name))),
                Cell(f"{number(100 * gaps[name], 1)} points" if name in gaps else NO_NUMBER),
                Cell(number(scores[name])),
            )
            for name in (*spread, *gaps)
        ]
        caption = (
            f"Do the parent's samples cover the data? One reader read both at {last['kimg']:g} "
            f"kimg. A number is covered from {content['min_spread']:g} of the data's spread on, a "
            f"class if all shares are within {100 * content['max_prevalence_gap']:g} points. A "
            "child cannot inherit what its parent does not draw."
        )
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        message = f"{str(path)!r} holds no coverage ({error!r}): train the parent again"
        raise DataError(message) from error
    titles = ("spread, samples / data", "largest gap of a share", "reader's score")
    columns = (Column("label", is_number=False), *map(Column, titles))
    return Table(caption, columns, tuple(rows))


def matched_table(path: Path) -> Table:
    """Which images the child was trained on, by what a reader sees in them and in the parent's.

    Raises: DataError if the file holds no such thing.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        num_kept, num_images = int(content["num_kept"]), int(content["num_images"])
        rows: list[tuple[Cell, ...]] = []
        for name, sets in content["labels"].items():
            seen = [sets[column] for column in ("parent", "kept", "all")]
            if isinstance(seen[0], dict):
                rows += [
                    (Cell(f"{words(name)}: {value}"), *(Cell(percent(one[value])) for one in seen))
                    for value in seen[0]
                ]
            else:
                cells = (Cell(significant(float(one))) for one in seen)
                rows.append((Cell(f"{words(name)}, standard deviation"), *cells))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{str(path)!r} holds no choice of images ({error!r}): train the child again"
        raise DataError(message) from error
    caption = (
        f"Trained on {num_kept:,} of {num_images:,} images: those that resemble the parent's "
        "drawings (match). A reader of the parent's domain compared them; no label of the child "
        "was used."
    )
    titles = ("the parent draws", "images kept", "all images")
    return Table(caption, (Column("label", is_number=False), *map(Column, titles)), tuple(rows))


def read_history(path: Path) -> pd.DataFrame:
    """Numbers followed over training: `kimg` and one column each.

    Raises: DataError if the file is no such table.
    """
    try:
        return by_kimg(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{str(path)!r} is no training history ({error}): train the child again"
        raise DataError(message) from error


@dataclass(frozen=True)
class Kept:
    """Figures of every snapshot by its kimg, and which one was kept by which rule."""

    table: pd.DataFrame
    place: int
    """Row of the one that was kept."""
    rule: str


def read_standings(path: Path) -> Kept:
    """Where the child stood at each snapshot.

    Raises: DataError if the file holds no such thing.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        table = by_kimg(content["standings"])
        place = table.index.get_loc(float(content["kept_kimg"]))
        return Kept(table, int(cast(int, place)), RULES[content["choose"]])
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{str(path)!r} holds no standings ({error!r}): train the child again"
        raise DataError(message) from error


def by_kimg(rows: object) -> pd.DataFrame:
    """Rows of numbers as a table, in the order of their kimg."""
    return pd.DataFrame(rows).astype("float64").set_index("kimg").sort_index()


def standing_charts(name: str, kept: Kept) -> Charts:
    """Fidelity, likeness and change at every snapshot, the one kept marked."""
    kimg = kept.table.index.to_numpy(np.float64)
    columns, order = kept.table.columns, ("fd_", "likeness", "change")
    shown = [name for start in order for name in columns if name.startswith(start)]
    drawn: list[Chart] = []
    for column in shown:
        values = numbers(kept.table, column)
        svg = charts.curve(f"{name} standing {column}", kimg, values, kept=kept.place)
        ends = f"from {significant(float(values[0]))} to {significant(float(values[-1]))}"
        at_kept = f"{significant(float(values[kept.place]))} where the child was kept"
        drawn.append(Chart(words(column), svg, f"{words(column)} at snapshots, {ends}, {at_kept}."))
    caption = (
        f"The child is the snapshot of {kimg[kept.place]:g} of {kimg[-1]:g} kimg (marked): "
        f"{kept.rule}. Likeness and change compare the child with the parent at equal codes."
    )
    return Charts(tuple(drawn), caption)


def history_charts(name: str, history: pd.DataFrame) -> Charts:
    """One small chart per number."""
    drawn: list[Chart] = []
    for column in history.columns:
        values = numbers(history, column)
        there = ~np.isnan(values)
        if there.sum() < 2:
            continue
        kimg, values = history.index.to_numpy(np.float64)[there], values[there]
        svg = charts.curve(f"{name} {column}", kimg, values)
        ends = f"from {significant(float(values[0]))} to {significant(float(values[-1]))}"
        drawn.append(Chart(words(column), svg, f"{words(column)} over training, {ends}."))
    return Charts(tuple(drawn))


def describe_codes(sources: Sources) -> Section:
    """How well the inversions redraw their images."""
    lead = (
        "How well do the codes redraw their images? PSNR is the peak signal-to-noise ratio between "
        "each parent image and its redrawing. From the dashed line on, an inversion counts as "
        "converged."
    )
    table = sources.code_table
    if table is None:
        block = missing("Codes are", "invert")
        return Section("codes", "Quality of the inversions", lead, (block,))
    psnr, bound = numbers(table, "psnr"), sources.min_psnr
    low, high = (float(np.quantile(psnr, share)) for share in (0.1, 0.9))
    perceptual = numbers(table, "perceptual")
    told = (
        f"{len(table):,} images in {table['space'].iloc[0]}: PSNR {number(mean(psnr), 1)} dB on "
        f"average, {number(low, 1)} to {number(high, 1)} dB for the middle 80 %; "
        f"{percent(mean(numbers(table, 'converged')))} converged."
    )
    drawn = [
        Chart("PSNR", charts.histogram("psnr", psnr, unit="dB", threshold=bound), told),
        Chart(
            "Perceptual distance",
            charts.histogram("perceptual", perceptual, unit="distance"),
            f"Perceptual distance: {significant(mean(perceptual))} on average.",
        ),
    ]
    return Section("codes", "Quality of the inversions", lead, (Charts(tuple(drawn), told),))
