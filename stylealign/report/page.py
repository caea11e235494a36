"""The page as one HTML file that needs nothing beside itself."""

import base64
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from stylealign.errors import DataError
from stylealign.images import crop_and_resize, encode_png
from stylealign.report.alignment import describe_alignment
from stylealign.report.content import Page, Picture
from stylealign.report.formatting import plural
from stylealign.report.headline import (
    describe_headline,
    describe_key_figures,
    describe_verdicts,
)
from stylealign.report.lineage import describe_lineage, describe_rejects, describe_reproduction
from stylealign.report.quality import describe_calibration, describe_image_quality
from stylealign.report.samples import (
    describe_equal_codes,
    describe_inversions,
    describe_transferred,
)
from stylealign.report.sources import Sources
from stylealign.report.training import describe_codes, describe_training

MAX_BYTES: Final = 5_000_000
"""A page that is mailed around stays below this."""

SIDES: Final = (256, 128, 96, 64, 32)
"""Largest side of an image on the page; smaller ones are tried until the page is small enough."""

SHOWN_SIDE: Final = 128
"""Small images are shown about this large, by a whole factor so that pixels stay square."""

SECTIONS: Final = (
    describe_headline,
    describe_equal_codes,
    describe_inversions,
    describe_transferred,
    describe_image_quality,
    describe_alignment,
    describe_calibration,
    describe_codes,
    describe_training,
    describe_lineage,
    describe_rejects,
    describe_reproduction,
)


def build_page(sources: Sources) -> Page:
    """Everything that the artifacts have to say, in the order in which it is read.

    What no stage has made yet is named in one line; what is there but broken is an error.

    Raises: DataError, CheckpointError or LineageError if an artifact is damaged or belongs to
        other models.
    """
    return Page(
        sources.title,
        summary(sources),
        describe_verdicts(sources),
        describe_key_figures(sources),
        tuple(describe(sources) for describe in SECTIONS),
    )


def summary(sources: Sources) -> str:
    """What this is, in three sentences."""
    children = " and ".join(sources.children)
    codes = sources.code_table
    many = f"{plural(len(codes), 'labelled image')}" if codes is not None else "Labelled images"
    return (
        f"A generator of {sources.parent_dataset} was fine-tuned to draw {children}. {many} of "
        f"{sources.parent_dataset} were inverted to codes and drawn again as {children}. Each "
        "drawing takes over the labels of its image, so nobody had to label the new images."
    )


def render_page(page: Page, *, max_bytes: int = MAX_BYTES) -> str:
    """HTML of the page, with images as large as the page's size allows.

    Raises: DataError if the page is too large even with the smallest images.
    """
    for side in SIDES:
        html = _render(page, side)
        if len(html.encode()) < max_bytes:
            return html
    raise DataError(
        f"the page does not fit into {max_bytes} bytes even with images of {SIDES[-1]} pixels: "
        "lower report.num_samples"
    )


def _render(page: Page, max_side: int) -> str:
    environment = Environment(
        loader=PackageLoader("stylealign.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Jinja declares its filters by those it brings along
    filters = cast("dict[str, Callable[..., object]]", environment.filters)
    filters["source"] = partial(data_uri, max_side=max_side)
    filters["shown_side"] = shown_side
    filters["code_parts"] = code_parts
    return environment.get_template("page.html").render(page=page)


def data_uri(picture: Picture, max_side: int) -> str:
    """The picture as a PNG inside the page, shrunk to this side if it is larger."""
    pixels = picture.pixels
    if max(pixels.shape[:2]) > max_side:
        pixels = crop_and_resize(pixels, max_side)
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()


def shown_side(picture: Picture) -> int:
    """Width on the page in CSS pixels: a whole multiple of small images."""
    side = picture.pixels.shape[1]
    return side * max(1, round(SHOWN_SIDE / side)) if side < SHOWN_SIDE else min(side, 128)


def code_parts(text: str) -> Iterator[tuple[bool, str]]:
    """A sentence cut at its backticks: whether each part is code, and the part."""
    for number, part in enumerate(text.split("`")):
        if part:
            yield number % 2 == 1, part
