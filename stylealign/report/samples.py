"""Pictures at equal codes, inversions, and the labelled child data set to look at."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from stylealign.data.choosing import draw_lots
from stylealign.data.dataset import ImageDataset
from stylealign.data.tables import CONFIDENCE_PREFIX, LABEL_PREFIX
from stylealign.images import Pixels
from stylealign.models import Latents, Model
from stylealign.models.latents import unflatten_codes
from stylealign.report.columns import flags, select
from stylealign.report.content import (
    Block,
    Card,
    Cards,
    Fact,
    Gallery,
    Picture,
    Section,
    Strip,
    Text,
    missing,
)
from stylealign.report.formatting import label_text, number, percent, plural, words
from stylealign.report.sources import Sources
from stylealign.tensors import to_uint8
from stylealign.translation import translate

NUM_GROUPS = 2
"""Groups of rows of the pictures at equal codes."""


def describe_equal_codes(sources: Sources) -> Section:
    """The parent above its children, column by column from one code."""
    lead = (
        "Each column shows one random code, drawn by the parent and by its child. The child has "
        "inherited whatever stays the same from row to row. A seed chose the codes; nobody picked "
        "them."
    )
    models = {"parent": sources.parent} | {name: sources.child(name) for name in sources.children}
    there = {name: model for name, model in models.items() if model is not None}
    stages = {"parent": "train_parent"} | {name: f"train_child {name}" for name in sources.children}
    blocks: list[Block] = [
        missing(f"The model {name!r} is", stage)
        for name, stage in stages.items()
        if name not in there
    ]
    if there:
        blocks.insert(0, equal_code_gallery(there, sources.num_samples, sources.seed))
    return Section("equal-codes", "Parent and child at equal codes", lead, tuple(blocks))


@torch.no_grad()
def equal_code_gallery(models: dict[str, Model], num_columns: int, seed: int) -> Gallery:
    """Rows of models, columns of codes."""
    rng = torch.Generator().manual_seed(seed)
    first = next(iter(models.values())).config
    z = torch.randn(NUM_GROUPS * num_columns, first.z_dim, generator=rng)
    classes = torch.arange(len(z)) % max(1, first.c_dim)
    c = torch.nn.functional.one_hot(classes, first.c_dim).float() if first.c_dim else None
    drawn = {name: to_uint8(model.generator(z, c)) for name, model in models.items()}
    groups: list[tuple[Strip, ...]] = []
    for start in range(0, len(z), num_columns):
        columns = range(start, start + num_columns)
        groups.append(
            tuple(
                Strip(
                    name,
                    models[name].config.domain if name == "parent" else "",
                    tuple(Picture(pixels[i], f"{name}, code {i + 1}") for i in columns),
                )
                for name, pixels in drawn.items()
            )
        )
    return Gallery(tuple(groups))


def describe_inversions(sources: Sources) -> Section:
    """Original, reconstruction and translation of some images, and some that were rejected."""
    lead = (
        "Each labelled parent image was inverted to a code. The parent redrew that code, and the "
        "child drew it. The drawing takes over the labels of the image. A seed chose the images; "
        "nobody picked them."
    )
    blocks: list[Block] = []
    if sources.code_table is None:
        blocks.append(missing("Codes are", "invert"))
    for child in sources.children:
        dataset = sources.transferred(child)
        if dataset is None:
            blocks.append(missing(f"The labelled data set of {child} is", f"transfer {child}"))
            continue
        table = dataset.table()
        is_accepted = flags(table, "accepted")
        accepted = choose(select(table, is_accepted), sources.num_samples, sources.seed)
        rejected = choose_by_reason(select(table, ~is_accepted), sources.num_samples, sources.seed)
        blocks.append(Text(f"Accepted for {child}", "heading"))
        blocks.append(Cards(inversion_cards(sources, dataset, accepted)))
        if len(rejected):
            blocks.append(Text(f"Rejected for {child}", "heading"))
            blocks.append(Cards(inversion_cards(sources, dataset, rejected)))
    return Section("inversions", "Inverted, redrawn, translated", lead, tuple(blocks))


def inversion_cards(
    sources: Sources, dataset: ImageDataset, table: pd.DataFrame
) -> tuple[Card, ...]:
    """One card per row: three pictures, the labels, how well it went, why it was left out."""
    parents = [str(name) for name in table["parent_id"]]
    originals = sources.parent_set.images(parents) if sources.parent_set and parents else None
    redrawn = redraw(sources, parents)
    children = dataset.images(table["id"].tolist())
    cards: list[Card] = []
    for place, row in enumerate(table.to_dict("records")):
        pictures = [] if originals is None else [("original", originals[place])]
        if parents[place] in redrawn:
            pictures.append(("redrawn", redrawn[parents[place]]))
        pictures.append(("translated", children[place]))
        name = str(row["id"])
        cards.append(
            Card(
                tuple((title, Picture(pixels, f"{title}, {name}")) for title, pixels in pictures),
                label_facts(row, dataset),
                title=f"{number(row['reconstruction'], 1)} dB",
                verdict=words(str(row["reject_reason"])) if not bool(row["accepted"]) else "",
                tone="plain" if bool(row["accepted"]) else "bad",
            )
        )
    return tuple(cards)


def redraw(sources: Sources, ids: Sequence[str]) -> dict[str, Pixels]:
    """Reconstructions by the parent of those images that have a code."""
    parent, table = sources.parent, sources.code_table
    if parent is None or table is None or parent.config.c_dim:
        return {}
    codes = sources.read_codes(list(ids))
    if not codes:
        return {}
    config, space = parent.config, table["space"].iloc[0]
    found = unflatten_codes(torch.tensor(list(codes.values())), space, config.num_ws)
    latents = Latents(found, space, config.id, config.root_id)
    return dict(zip(codes, to_uint8(translate(latents, parent)), strict=True))


def describe_transferred(sources: Sources) -> Section:
    """A page of the product itself: child images with the labels they were given."""
    lead = (
        "These are rows of the data set as its users get them. A meter shows the confidence that "
        "a label is right for this image. Do not use faint labels: they do not transfer. Rows "
        "below the thresholds stay in the set, marked as not accepted."
    )
    blocks: list[Block] = []
    for child in sources.children:
        dataset = sources.transferred(child)
        if dataset is None:
            blocks.append(missing(f"The labelled data set of {child} is", f"transfer {child}"))
            continue
        table = dataset.table()
        accepted = select(table, flags(table, "accepted"))
        page = choose(accepted, 3 * sources.num_samples, sources.seed + 1)
        counts = f"{plural(len(accepted), 'accepted row')} of {len(table):,}"
        cards = tuple(
            Card(
                (("", Picture(pixels, f"{child} image {row['id']}")),),
                label_facts(row, dataset),
                title=percent(float(row["confidence"])),
            )
            for pixels, row in zip(
                dataset.images(page["id"].tolist()), page.to_dict("records"), strict=True
            )
        )
        caption = f"{child}: {counts}. {describe_carry(dataset)}{describe_confidence(table)}"
        blocks.append(Cards(cards, caption))
    return Section("transferred", "The labelled child data set", lead, tuple(blocks))


def describe_confidence(table: pd.DataFrame) -> str:
    """What the number on each card means."""
    if any(name.startswith(CONFIDENCE_PREFIX) for name in table.columns):
        return "The percentage is the confidence of the row; each meter shows that of one label."
    return "The percentage is the confidence of the row."


def label_facts(row: Mapping[Hashable, Any], dataset: ImageDataset) -> tuple[Fact, ...]:
    """The labels of a row with their confidence; those that do not transfer stand last."""
    lost = lost_labels(dataset)
    facts: list[Fact] = []
    for name, spec in sorted(dataset.schema.items(), key=lambda item: item[0] in lost):
        text = label_text(row[f"{LABEL_PREFIX}{name}"], spec)
        if name in lost:
            facts.append(Fact(words(name), text, note="does not transfer"))
            continue
        share = row.get(f"{CONFIDENCE_PREFIX}{name}")
        known = None if share is None or pd.isna(share) else float(share)
        facts.append(Fact(words(name), text, known))
    return tuple(facts)


def describe_carry(dataset: ImageDataset) -> str:
    """That labels are not quite the ones of the originals, where that is so; ends in a space."""
    if dataset.manifest.lineage.get("labels_as") != "redrawn":
        return ""
    return "Each label moved from the given value to what the parent's redrawing shows. "


def lost_labels(dataset: ImageDataset) -> set[str]:
    """Labels that the transferred set itself calls lost."""
    lost = dataset.manifest.lineage.get("labels_not_transferable")
    return set(lost) if isinstance(lost, dict) else set()


def choose(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Some rows, by the hash of seed and id: the same ones however the table grew."""
    return (
        table.assign(_key=draw_lots(table["id"].tolist(), seed))
        .sort_values("_key")
        .head(count)
        .drop(columns="_key")
    )


def choose_by_reason(table: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Some rows of every reason, in turn, so that rare reasons are seen too."""
    shuffled = choose(table, len(table), seed)
    turn = shuffled.groupby("reject_reason", dropna=False).cumcount()
    return shuffled.assign(_turn=turn).sort_values("_turn", kind="stable").head(count)
