"""How good the child's images are, and how far the stated confidence can be believed."""

from stylealign.report import charts
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
from stylealign.report.figures import Calibration, ChildFigures
from stylealign.report.formatting import NO_NUMBER, number, plural, significant, words
from stylealign.report.sources import Sources

MEANINGS = {
    "fd": ("lower is better", "Fréchet distance of features, generated against real images"),
    "kid": ("lower is better", "kernel distance of features, unbiased estimate"),
    "precision": ("higher is better", "share of generated images that look like real ones"),
    "ppl": (
        "lower is smoother",
        "perceptual path length: how much the image changes along short steps between codes in w",
    ),
    "recall": ("higher is better", "share of real images that the generator covers"),
}


REFERENCES = {
    "parent": "the parent's samples (start of fine-tuning)",
    "real": "other real images (the floor)",
}


def describe_image_quality(sources: Sources) -> Section:
    """Distances between generated and real child images."""
    lead = (
        "How close are the child's images to real images of its domain? Each figure has the "
        "feature extractor and the number of images in its name. Compare only figures of the same "
        "name."
    )
    blocks: list[Block] = []
    for child in sources.children:
        if child in sources.evaluations:
            blocks.append(quality_table(child, sources.evaluations[child]))
        else:
            blocks.append(missing(f"Image quality of {child} is", "evaluate"))
    return Section("quality", "Image quality", lead, tuple(blocks))


def quality_table(child: str, figures: ChildFigures) -> Table:
    """Every distance, between where the fine-tuning began and the least it could reach."""
    references = {name: title for name, title in REFERENCES.items() if name in figures.references}
    rows: list[tuple[Cell, ...]] = []
    for name, value in figures.image_quality.items():
        direction, meaning = MEANINGS.get(name.split("_")[0], ("", ""))
        beside = (
            Cell(significant(figures.references[reference].get(name)), tone="muted")
            for reference in references
        )
        head = Cell(name, meaning)
        rows.append((head, Cell(significant(value)), *beside, Cell(direction, tone="muted")))
    columns = (
        Column("figure", is_number=False),
        Column(f"samples of {child}"),
        *(Column(title) for title in references.values()),
        Column("", is_number=False),
    )
    return Table(f"Against real images of {child}", columns, tuple(rows))


def describe_calibration(sources: Sources) -> Section:
    """Stated confidence against what came true, in the parent and in the child."""
    lead = (
        "Confidence is the probability that a transferred label is right for the child image. "
        "Held-out parent images calibrate the confidence. Where the child has real labels, they "
        "test it. On the dashed line the confidence equals the accuracy; below the line the "
        "confidence is too high."
    )
    blocks: list[Block] = []
    for child in sources.children:
        figures = sources.evaluations.get(child)
        if figures is None:
            blocks.append(missing(f"Calibration of {child} is", "evaluate"))
        elif not figures.confidence:
            text = f"The evaluation of {child} did not measure the confidence."
            blocks.append(Text(text, "note"))
        else:
            blocks.append(calibration_charts(child, figures.confidence))
            blocks.append(calibration_table(child, figures.confidence))
    return Section("confidence", "How far to trust the confidence", lead, tuple(blocks))


def calibration_charts(child: str, labels: dict[str, dict[str, Calibration]]) -> Charts:
    """One reliability diagram per label."""
    drawn: list[Chart] = []
    for label, domains in labels.items():
        curves = {
            domain: (figures.reliability.confidence, figures.reliability.accuracy)
            for domain, figures in domains.items()
            if figures.reliability is not None
        }
        if curves:
            svg = charts.reliability(f"{child} {label}", curves)
            alt = f"Reliability diagram of {words(label)}; the table below has the figures."
            drawn.append(Chart(words(label), svg, alt))
    return Charts(tuple(drawn))


def calibration_table(child: str, labels: dict[str, dict[str, Calibration]]) -> Table:
    """Expected calibration error, Brier score and AUROC per label and domain."""
    rows = tuple(
        (
            Cell(words(label)),
            Cell(domain),
            Cell(number(figures.ece, 3)),
            Cell(number(figures.brier, 3)),
            Cell(number(figures.auroc, 3)),
            Cell(f"{figures.num_rows:,}" if figures.num_rows else NO_NUMBER),
        )
        for label, domains in labels.items()
        for domain, figures in domains.items()
    )
    columns = (
        Column("label", is_number=False),
        Column("measured in", is_number=False),
        *(Column(title) for title in ("ECE", "Brier", "AUROC", "rows")),
    )
    caption = f"Calibration of the confidence for {child}, {plural(len(labels), 'label')}"
    return Table(caption, columns, rows)
