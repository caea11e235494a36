"""Charts as inline SVG that follows the page's colours and is the same for the same numbers."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stylealign.report.columns import Numbers

POINTS_PER_INCH: Final = 72.0
"""One point of matplotlib is one pixel of the SVG."""

INK, MUTED, LINE, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
}
"""Colours that no chart shows as such: each stands for a colour of the page, light or dark."""

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.75,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": INK,
    "lines.linewidth": 1.75,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def draw(name: str, size: tuple[int, int], paint: Callable[[Axes], None]) -> str:
    """An SVG element of this size in pixels, painted by the caller; equal input, equal text."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        width, height = size
        figure = Figure((width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")
        paint(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", dpi=POINTS_PER_INCH, metadata=nothing)
    return _inline(buffer.getvalue())


def curve(name: str, kimg: Numbers, values: Numbers, *, kept: int | None = None) -> str:
    """One number over training, in thousands of real images shown.

    `kept` is the position of the snapshot that was kept, where each value is one of a snapshot.
    """

    def paint(axes: Axes) -> None:
        axes.plot(kimg, values, color=ACCENT, marker=None if kept is None else ".")
        if kept is not None:
            axes.plot(kimg[kept], values[kept], "o", color=SECOND, markersize=9)
        axes.set_xlabel("kimg")
        axes.margins(x=0.02, y=0.12)
        axes.locator_params(nbins=5)

    return draw(f"curve {name}", (320, 190), paint)


def histogram(name: str, values: Numbers, *, unit: str, threshold: float | None = None) -> str:
    """How often each size of a number occurs, and the threshold that it is held to."""

    def paint(axes: Axes) -> None:
        axes.hist(values, bins=30, color=ACCENT, rwidth=0.92)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(unit)
        axes.set_ylabel("images")
        if threshold is not None:
            axes.axvline(threshold, color=SECOND, linestyle="--")

    return draw(f"histogram {name}", (500, 220), paint)


def dots(
    name: str,
    rows: Mapping[str, tuple[float, float, float]],
    ceilings: Mapping[str, tuple[float, ...]],
) -> str:
    """A value with its interval per label, and the ceilings that it cannot pass as open marks."""

    def paint(axes: Axes) -> None:
        places = np.arange(len(rows))[::-1]
        values = np.array(list(rows.values()))
        axes.hlines(places, values[:, 1], values[:, 2], color=ACCENT, linewidth=3, alpha=0.45)
        axes.plot(values[:, 0], places, "o", color=ACCENT, markersize=7, label="agreement")
        for index, style in enumerate((">", "<")):
            marks = [ceilings[label][index] for label in rows]
            side = ("parent", "child")[index]
            axes.plot(
                marks, places, style, color=SECOND, markersize=7, fillstyle="none",
                label=f"ceiling in {side}",
            )  # fmt: skip
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(places, list(rows), color=INK)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(min(-0.1, float(values[:, 1].min()) - 0.05), 1.05)
        axes.grid(visible=False, axis="y")
        _legend_above(axes, 3)

    return draw(f"dots {name}", (480, 64 + 28 * len(rows)), paint)


def bars(name: str, values: Mapping[str, float], *, unit: str) -> str:
    """One bar per name, in the order given."""

    def paint(axes: Axes) -> None:
        places = np.arange(len(values))[::-1]
        axes.barh(places, list(values.values()), height=0.62, color=ACCENT)
        axes.set_yticks(places, list(values), color=INK)
        axes.set_ylim(-0.6, len(values) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel(unit)
        axes.locator_params(axis="x", nbins=4)

    return draw(f"bars {name}", (330, 52 + 22 * len(values)), paint)


def reliability(name: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Confidence that was stated against accuracy that came true; the diagonal is honest.

    Curves are those of `child` and `parent`, each of one colour in all diagrams.
    """
    styles = {"child": (ACCENT, "o"), "parent": (SECOND, "s")}

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        for label, (confidence, accuracy) in curves.items():
            color, marker = styles[label]
            axes.plot(confidence, accuracy, marker=marker, markersize=4.5, color=color, label=label)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_aspect("equal")
        axes.set_xlabel("confidence")
        axes.set_ylabel("correct")
        axes.locator_params(nbins=5)
        _legend_above(axes, 2)

    return draw(f"reliability {name}", (300, 310), paint)


def _legend_above(axes: Axes, num_columns: int) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=num_columns, fontsize=10,
        borderaxespad=0.2, handletextpad=0.4, columnspacing=1.2, handlelength=1.4,
    )  # fmt: skip


def _inline(text: str) -> str:
    """The SVG element alone, with the page's colours and font, and no id that nothing refers to."""
    svg = text[text.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    for color, variable in _VARIABLES.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    return re.sub(r'^<svg ([^>]*?)width="([\d.]+)pt" height="[\d.]+pt"', _sized, svg, count=1)


def _sized(match: re.Match[str]) -> str:
    return f'<svg style="max-width: {float(match[2]):.0f}px" focusable="false" {match[1]}'
