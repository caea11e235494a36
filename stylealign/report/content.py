"""What a page can hold: sections of plain blocks, each of which the template knows how to show."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from stylealign.images import Pixels

Tone = Literal["plain", "good", "bad", "control", "muted"]


@dataclass(frozen=True)
class Range:
    """A value with its interval, drawn as a small scale inside a cell."""

    value: float
    low: float
    high: float
    scale: tuple[float, float] = (-0.25, 1.0)
    """Ends of the scale; a value beyond them is drawn at the end."""

    def place(self, value: float) -> float:
        """Where a value lies on the scale, in per cent."""
        low, high = self.scale
        return round(100.0 * min(1.0, max(0.0, (value - low) / (high - low))), 2)


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, a smaller second line, and how it is meant."""

    text: str
    detail: str = ""
    tone: Tone = "plain"
    badge: str = ""
    """A mark behind the text, such as that of a negative control."""
    range: Range | None = None


@dataclass(frozen=True)
class Column:
    """Head of a column; numbers are set flush right."""

    title: str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first cell of a row is the row's head."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Text:
    """A paragraph: plain, a quiet note, or the line that stands in for what is missing."""

    kind: ClassVar[str] = "text"
    text: str
    role: Literal["plain", "note", "missing", "heading"] = "plain"


@dataclass(frozen=True)
class Chart:
    """A drawing as inline SVG, with the words for those who cannot see it."""

    kind: ClassVar[str] = "chart"
    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Charts:
    """Drawings side by side where there is room."""

    kind: ClassVar[str] = "charts"
    charts: tuple[Chart, ...]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """An image as pixels, and the words for those who cannot see it."""

    pixels: Pixels
    alt: str


@dataclass(frozen=True)
class Strip:
    """A row of pictures under one head."""

    title: str
    detail: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures whose columns belong together."""

    kind: ClassVar[str] = "gallery"
    groups: tuple[tuple[Strip, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Fact:
    """A name and its value, with a share from 0 to 1 that is drawn as a meter."""

    name: str
    value: str
    share: float | None = None
    is_hash: bool = False
    note: str = ""
    """Why the value is not to be used; it is then drawn faintly."""


@dataclass(frozen=True)
class Card:
    """Pictures of one thing, and what is known about it."""

    pictures: tuple[tuple[str, Picture], ...]
    """Each with its caption, which may be empty."""
    facts: tuple[Fact, ...]
    title: str = ""
    verdict: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Cards:
    """Cards in as many columns as there is room for."""

    kind: ClassVar[str] = "cards"
    cards: tuple[Card, ...]
    caption: str = ""


@dataclass(frozen=True)
class Lineage:
    """Steps from the first data sets to the last; each step holds the things made by it."""

    kind: ClassVar[str] = "lineage"
    steps: tuple[tuple[str, tuple[Card, ...]], ...]


@dataclass(frozen=True)
class Code:
    """Text to copy; folded away where it is long."""

    kind: ClassVar[str] = "code"
    text: str
    summary: str = ""


Block: TypeAlias = Table | Text | Charts | Gallery | Cards | Lineage | Code


@dataclass(frozen=True)
class Section:
    """One part of the page under its own heading."""

    name: str
    """Anchor, unique on the page."""
    title: str
    lead: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    lead: str
    verdicts: tuple[Cell, ...] = ()
    """The quality gate, one line per child."""
    figures: tuple[Fact, ...] = ()
    """The few numbers to remember, above all sections."""
    sections: tuple[Section, ...] = field(default_factory=tuple)


def missing(what: str, stage: str) -> Text:
    """The line in place of something that no stage has made yet."""
    return Text(f"{what} not there yet. Run `stylealign run {stage}`.", "missing")
