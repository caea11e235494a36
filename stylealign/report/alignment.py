"""What parent and child share: agreement at equal codes, weights that moved, directions."""

from stylealign.report import charts
from stylealign.report.content import (
    Block,
    Cell,
    Chart,
    Charts,
    Column,
    Section,
    Table,
    missing,
)
from stylealign.report.figures import ChildAnalysis
from stylealign.report.formatting import interval, number, significant, words
from stylealign.report.sources import Sources


def describe_alignment(sources: Sources) -> Section:
    """Everything that stage `analyze` measured."""
    lead = (
        "Do parent and child show the same at equal codes? A reader of each domain, trained on "
        "true labels, reads the images of its own domain. Agreement is the correlation of the two "
        "readings (Cohen's κ for classes). The readers' own errors limit the agreement; the "
        "ceilings show that limit."
    )
    blocks: list[Block] = []
    for child in sources.children:
        analysis = sources.analyses.get(child)
        if analysis is None:
            blocks.append(missing(f"The analysis of {child} is", "analyze"))
            continue
        if analysis.equal_z:
            blocks.append(Charts(_agreement_chart(child, analysis)))
            blocks.append(agreement_table(child, analysis))
        if analysis.groups:
            blocks.append(Charts(_group_charts(child, analysis)))
        if analysis.directions:
            blocks.append(direction_table(child, analysis))
    return Section("alignment", "What the child keeps of the parent", lead, tuple(blocks))


def agreement_table(child: str, analysis: ChildAnalysis) -> Table:
    """Agreement per label with its interval and both ceilings."""
    rows = tuple(
        (
            Cell(words(label)),
            Cell(number(figures.agreement), interval(figures.low, figures.high)),
            Cell(number(figures.parent_ceiling)),
            Cell(number(figures.child_ceiling)),
        )
        for label, figures in analysis.equal_z.items()
    )
    titles = ("agreement", "ceiling in parent", "ceiling in child")
    columns = (Column("label", is_number=False), *(Column(title) for title in titles))
    return Table(f"Agreement of parent and {child} at equal codes", columns, rows)


def direction_table(child: str, analysis: ChildAnalysis) -> Table:
    """Slope of each attribute along its direction, found in the parent and tried in the child."""
    rows: list[tuple[Cell, ...]] = []
    for label, slopes in analysis.directions.items():
        parent, of_child = slopes.parent_slope, slopes.child_slope
        ratio = of_child / parent if parent and of_child is not None else None
        cells = (Cell(significant(parent)), Cell(significant(of_child)), Cell(number(ratio)))
        rows.append((Cell(words(label)), *cells))
    titles = ("slope in parent", f"slope in {child}", "ratio")
    columns = (Column("label", is_number=False), *(Column(title) for title in titles))
    return Table(
        "Directions in code space, found in the parent from labels and tried in both",
        columns,
        tuple(rows),
    )


def _agreement_chart(child: str, analysis: ChildAnalysis) -> tuple[Chart, ...]:
    measured = {
        words(name): figures
        for name, figures in analysis.equal_z.items()
        if figures.agreement is not None
    }
    if not measured:
        return ()
    rows = {
        name: (_or(f.agreement), _or(f.low, f.agreement), _or(f.high, f.agreement))
        for name, f in measured.items()
    }
    ceilings = {name: (_or(f.parent_ceiling), _or(f.child_ceiling)) for name, f in measured.items()}
    svg = charts.dots(child, rows, ceilings)
    alt = f"Agreement of parent and {child} per label; the table below has the figures."
    return (Chart("Agreement at equal codes", svg, alt),)


def _group_charts(child: str, analysis: ChildAnalysis) -> tuple[Chart, ...]:
    fields = {
        "weight_distance": ("Weights moved", "normalised distance"),
        "reset_perceptual": ("Reset to the parent: image change", "perceptual distance"),
        "reset_fd": ("Reset to the parent: image quality lost", "rise of the Fréchet distance"),
    }
    drawn: list[Chart] = []
    for field, (title, unit) in fields.items():
        values = {name: getattr(group, field) for name, group in analysis.groups.items()}
        there = {words(name): value for name, value in values.items() if value is not None}
        if there:
            told = ", ".join(f"{name} {significant(value)}" for name, value in there.items())
            svg = charts.bars(f"{child} {field}", there, unit=unit)
            drawn.append(Chart(title, svg, f"{title}, per group of weights: {told}."))
    return tuple(drawn)


def _or(value: float | None, instead: float | None = None) -> float:
    """The value, or what stands for it; NaN leaves a mark out."""
    if value is not None:
        return value
    return float("nan") if instead is None else instead
