"""The answer first: what was carried over, how much of the gap it closes, and whether it passes."""

from collections.abc import Iterator

from stylealign.metrics.gap import HEADLINE_SEEDS
from stylealign.metrics.quality import Check, judge_child
from stylealign.report.columns import flags, mean, numbers
from stylealign.report.content import (
    Block,
    Cell,
    Column,
    Fact,
    Section,
    Table,
    Text,
    Tone,
    missing,
)
from stylealign.report.figures import ChildFigures, LabelFigures
from stylealign.report.formatting import MINUS, NO_NUMBER, number, percent, plural, ranged, words
from stylealign.report.sources import Sources

LOST = "does not transfer"
UNMEASURED = "not measured: real images have no such label"
ROUTES = ("data", "filtered", "latent", "combined")
SCORE_NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "1 - mae / mae_constant": f"1 {MINUS} MAE ratio",
}


def describe_headline(sources: Sources) -> Section:
    """The three arms per child and label, with the gap that is closed and its interval."""
    blocks: list[Block] = []
    for child in sources.children:
        figures = sources.evaluations.get(child)
        if figures is None:
            blocks.append(missing(f"Figures of {child} are", "evaluate"))
            continue
        if any(label.transfer is not None for label in figures.labels.values()):
            blocks.append(arms_table(sources, child, figures))
        else:
            text = f"There are no real labelled {child} images, so the gap cannot be measured."
            blocks.append(Text(text, "note"))
        blocks.extend(lost_table(child, figures))
        blocks.extend(routes_table(child, figures))
        blocks.append(gate_table(sources, child))
    lead = (
        "Did the transferred labels help? Three small networks learn each label under one recipe, "
        "from equally many images. Source only learns from parent images, transfer from the "
        "transferred set, oracle from real labelled child images. Each network is scored on real "
        "labelled child images that nothing else uses. Gap closed is "
        f"(transfer {MINUS} source only) / (oracle {MINUS} source only): 0 is no better than "
        "source only, 1 is as good as real labels, below 0 the transfer does harm. Brackets are "
        "95 % intervals over test images and seeds."
    )
    return Section("labels", "Labels carried over", lead, tuple(blocks))


def arms_table(sources: Sources, child: str, figures: ChildFigures) -> Table:
    """One row per label; labels that do not transfer, or that nobody could score, stand below."""
    names = [*figures.labels, *(unmeasured_labels(sources, child) - set(figures.labels))]
    apart = lost_labels(figures) | unmeasured_labels(sources, child)
    rows = [
        _arms_row(sources, child, name, figures.labels.get(name))
        for name in sorted(names, key=lambda name: (name in apart, names.index(name)))
    ]
    titles = ("source only", "transfer", "oracle", "gap closed", "gain")
    columns = (Column("label", is_number=False), *(Column(title) for title in titles))
    return Table(f"Labels carried to {child}" + _scale(figures), columns, tuple(rows))


def _scale(figures: ChildFigures) -> str:
    """How much stands behind the figures, and whether that is enough to quote them."""
    measured = [label for label in figures.labels.values() if label.num_test]
    if not measured:
        return ""
    num_seeds = measured[0].num_seeds or 0
    scale = f": {plural(measured[0].num_test or 0, 'test image')}, {plural(num_seeds, 'seed')}"
    is_quotable = num_seeds >= HEADLINE_SEEDS
    return scale + ("" if is_quotable else f" (to quote a figure takes {HEADLINE_SEEDS})")


def _arms_row(
    sources: Sources, child: str, name: str, figures: LabelFigures | None
) -> tuple[Cell, ...]:
    is_lost = figures is not None and not figures.transferable
    badge = LOST if is_lost else UNMEASURED if name in unmeasured_labels(sources, child) else ""
    tone: Tone = "control" if badge else "plain"
    if figures is None or figures.transfer is None:
        dash = Cell(NO_NUMBER, tone="muted")
        why = figures.reason if figures and figures.reason else UNMEASURED
        head = Cell(words(name), badge=badge, tone=tone)
        return (head, dash, dash, dash, Cell(NO_NUMBER, why, "muted"), dash)
    gap = ranged(figures.gap_closed, figures.low, figures.high, scale=(-0.25, 1.0))
    if figures.gap_closed is None:
        gap = Cell("no share", figures.reason or "", "muted")
    gain = ranged(
        figures.gain, figures.gain_low, figures.gain_high, scale=(-0.25, 0.75), is_signed=True
    )
    score = SCORE_NAMES.get(figures.score, figures.score)
    return (
        Cell(words(name), score, badge=badge, tone=tone),
        Cell(number(figures.source_only), words(figures.source_variant)),
        Cell(number(figures.transfer)),
        Cell(number(figures.oracle)),
        gap,
        gain,
    )  # fmt: skip


def lost_table(child: str, figures: ChildFigures) -> Iterator[Table]:
    """Labels that the transfer itself calls lost, and by what it knows."""
    lost = {name: figures.labels[name] for name in figures.labels if name in lost_labels(figures)}
    if lost:
        rows = tuple(
            (Cell(words(name), tone="control"), Cell(label.not_transferable_because))
            for name, label in lost.items()
        )
        columns = (Column("label", is_number=False), Column("what was found", is_number=False))
        yield Table(f"Do not use these labels of {child}: they do not come through", columns, rows)


def routes_table(child: str, figures: ChildFigures) -> Iterator[Table]:
    """Every route beside the headline one, where there are several."""
    known = dict.fromkeys(route for f in figures.labels.values() for route in f.routes)
    names = sorted(known, key=lambda name: ROUTES.index(name) if name in ROUTES else len(ROUTES))
    if len(names) < 2:
        return
    columns = (Column("label", is_number=False), *(Column(words(name)) for name in names))
    rows: list[tuple[Cell, ...]] = []
    for label, scores in figures.labels.items():
        if not scores.routes:
            continue
        cells = [Cell(words(label))]
        for name in names:
            route = scores.routes.get(name)
            gain = number(route.gain, is_signed=True) if route else NO_NUMBER
            cells.append(Cell(number(route.score) if route else NO_NUMBER, f"gain {gain}"))
        rows.append(tuple(cells))
    yield Table(f"Score of every route to labels for {child}", columns, tuple(rows))


def gate_table(sources: Sources, child: str) -> Table:
    """What the quality gate demands and what was reached."""
    columns = (
        Column("quality gate", is_number=False),
        Column("reached"),
        Column("demanded"),
        Column("", is_number=False),
    )
    rows: list[tuple[Cell, ...]] = []
    for check in check_child(sources, child):
        verdict = Cell("passed", tone="good") if check.is_met else Cell("not passed", tone="bad")
        if check.value is None:
            verdict = Cell("nothing to measure it by", tone="muted")
        sign = "≤" if check.is_upper else "≥"
        reached, demanded = number(check.value), f"{sign} {number(check.bound)}"
        rows.append((Cell(check.what), Cell(reached), Cell(demanded), verdict))
    return Table(f"Quality gate of {child}", columns, tuple(rows))


def check_child(sources: Sources, child: str) -> tuple[Check, ...]:
    """The demands of the gate on a child; what is not measured yet is not demanded."""
    figures = sources.evaluations.get(child, ChildFigures())
    gains = [label.gain for label in figures.labels.values() if label.transferable]
    gate = sources.gate
    return judge_child(
        distance=figures.distance,
        start_distance=figures.start_distance,
        accepted_share=accepted_share(sources, child),
        gains=[gain for gain in gains if gain is not None],
        max_fd_ratio=gate.max_fd_ratio,
        min_accepted=gate.min_accepted,
        min_gain=gate.min_gain,
    )


def describe_verdicts(sources: Sources) -> tuple[Cell, ...]:
    """One sentence per child: passed, or everything that speaks against it."""
    verdicts: list[Cell] = []
    for child in sources.children:
        checks = check_child(sources, child)
        reasons = [check.reason for check in checks if not check.is_met]
        if child not in sources.evaluations:
            verdicts.append(Cell(f"{child}: not judged yet", "not evaluated", "muted"))
        elif reasons:
            verdicts.append(Cell(f"{child}: quality gate not passed", "; ".join(reasons), "bad"))
        else:
            demands = plural(sum(check.value is not None for check in checks), "demand")
            verdicts.append(Cell(f"{child}: quality gate passed", f"{demands} met", "good"))
    return tuple(verdicts)


def describe_key_figures(sources: Sources) -> tuple[Fact, ...]:
    """The few numbers to remember; with several children those of the first."""
    child = next(iter(sources.children))
    facts: list[Fact] = []
    transferred = sources.transferred(child)
    if transferred is not None:
        accepted = int(flags(transferred.table(), "accepted").sum())
        share = percent(accepted / max(1, len(transferred)))
        facts.append(Fact(f"accepted labelled images of {child}, {share} of all", f"{accepted:,}"))
    figures = sources.evaluations.get(child, ChildFigures())
    gaps = [label.gap_closed for label in figures.labels.values() if label.transferable]
    closed = sorted(gap for gap in gaps if gap is not None)
    if closed:
        ends = dict.fromkeys((number(closed[0]), number(closed[-1])))
        text = f"gap closed, over {plural(len(closed), 'label')} with a gap"
        facts.append(Fact(text, " to ".join(ends)))
    if figures.distance is not None and figures.start_distance:
        text = f"of the parent's Fréchet distance to real {child} is left"
        facts.append(Fact(text, percent(figures.distance / figures.start_distance)))
    codes = sources.code_table
    if codes is not None:
        facts.append(
            Fact("mean PSNR of the inversions", f"{number(mean(numbers(codes, 'psnr')), 1)} dB")
        )
    return tuple(facts)


def lost_labels(figures: ChildFigures) -> set[str]:
    """Labels that the transfer says do not come through."""
    return {name for name, label in figures.labels.items() if not label.transferable}


def unmeasured_labels(sources: Sources, child: str) -> set[str]:
    """Labels of the transferred set that the real labelled child images do not have."""
    transferred, test = sources.transferred(child), sources.test_set(child)
    if transferred is None or test is None:
        return set()
    return set(transferred.schema) - set(test.schema)


def accepted_share(sources: Sources, child: str) -> float | None:
    """Share of accepted rows in the transferred set; None before there is one."""
    transferred = sources.transferred(child)
    if transferred is None or len(transferred) == 0:
        return None
    return float(flags(transferred.table(), "accepted").mean())
