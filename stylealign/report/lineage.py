"""Where everything comes from, what was left out and why, and how to make it again."""

from typing import Final

import yaml

from stylealign.data.dataset import ImageDataset
from stylealign.data.splits import SPLITS
from stylealign.models import Model
from stylealign.report.content import (
    Block,
    Card,
    Cell,
    Code,
    Column,
    Fact,
    Lineage,
    Section,
    Table,
    Text,
)
from stylealign.report.formatting import NO_NUMBER, percent, plural, short_hash, words
from stylealign.report.sources import Sources

COMMANDS: Final = """\
dvc pull    # artifacts and data of this version, where a remote holds them
dvc repro   # runs what is stale, and only that
dvc status  # says what is stale, and why

stylealign run transfer {child}  # one stage by itself"""

READING: Final = """\
from datasets import load_dataset

rows = load_dataset("{folder}", split="train")
rows = rows.filter(lambda row: row["accepted"])"""


def describe_lineage(sources: Sources) -> Section:
    """From the data sets to the labelled child set, each with its content hash."""
    lead = (
        "A hash of its content identifies every artifact. Each artifact names the hashes of its "
        "inputs. Equal inputs and parameters give equal hashes."
    )
    steps = (
        ("Data", tuple(_data_card(sources, name) for name in sources.prepared)),
        ("Models", _model_cards(sources)),
        ("Codes", (_codes_card(sources),)),
        ("Drawn by the child", tuple(_drawn_cards(sources))),
    )
    return Section("lineage", "Lineage", lead, (Lineage(steps),))


def _data_card(sources: Sources, name: str) -> Card:
    dataset = sources.open_set(sources.prepared[name])
    if dataset is None:
        return _absent(name, f"prepare {name}")
    counts = dataset.manifest.counts
    order = sorted(counts, key=lambda split: (*SPLITS, split).index(split))
    splits = " / ".join(f"{counts[split]:,} {split}" for split in order if counts[split])
    return Card((), (*_set_facts(dataset), Fact("splits", splits)), title=name)


def _model_cards(sources: Sources) -> tuple[Card, ...]:
    parent = sources.parent
    cards = [_model_card("parent", parent) if parent else _absent("parent", "train_parent")]
    for name in sources.children:
        model = sources.child(name)
        card = _model_card(f"child {name}", model) if model else None
        cards.append(card or _absent(f"child {name}", f"train_child {name}"))
    return tuple(cards)


def _model_card(title: str, model: Model) -> Card:
    config = model.config
    size = sum(weight.numel() for weight in model.generator.parameters())
    facts = [
        Fact("id", short_hash(config.id), is_hash=True),
        Fact("parent", short_hash(config.parent_id), is_hash=True) if config.parent_id else None,
        Fact("data", short_hash(config.data_hash), is_hash=True) if config.data_hash else None,
        Fact("trained", f"{config.kimg:g} kimg"),
        Fact("weights", f"{size / 1e6:.2f} M"),
        Fact("draws", f"{config.resolution} px"),
    ]
    return Card((), tuple(fact for fact in facts if fact), title=title)


def _codes_card(sources: Sources) -> Card:
    manifest = sources.codes_manifest
    if manifest is None:
        return _absent("codes", "invert")
    facts = (
        Fact("hash", short_hash(manifest.content_hash), is_hash=True),
        Fact("codes", f"{manifest.num_rows:,}"),
        *_lineage_facts(manifest.lineage),
    )
    return Card((), facts, title=f"{sources.parent_dataset}, inverted")


def _drawn_cards(sources: Sources) -> list[Card]:
    cards: list[Card] = []
    for name in sources.children:
        for title, stage, dataset in (
            (f"{name}, translated", "translate", sources.translated(name)),
            (f"{name}, labelled", "transfer", sources.transferred(name)),
        ):
            if dataset is None:
                cards.append(_absent(title, f"{stage} {name}"))
            else:
                facts = (*_set_facts(dataset), *_lineage_facts(dataset.manifest.lineage))
                cards.append(Card((), facts, title=title))
    return cards


def _set_facts(dataset: ImageDataset) -> tuple[Fact, ...]:
    manifest = dataset.manifest
    return (
        Fact("hash", short_hash(manifest.content_hash), is_hash=True),
        Fact("images", f"{manifest.num_rows:,} of {dataset.resolution} px"),
    )


def _lineage_facts(lineage: dict[str, object]) -> tuple[Fact, ...]:
    """Hashes among the plain facts of a manifest's lineage."""
    hashes = {name: value for name, value in lineage.items() if _is_hash(value)}
    return tuple(
        Fact(words(name), short_hash(str(value)), is_hash=True) for name, value in hashes.items()
    )


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) >= 32 and set(value) <= set("0123456789abcdef")


def _absent(title: str, stage: str) -> Card:
    return Card((), (Fact("not there yet", f"stylealign run {stage}"),), title=title, tone="muted")


def describe_rejects(sources: Sources) -> Section:
    """Rows that were left out or not accepted, by reason."""
    lead = (
        "No image disappears silently: this table counts every image that was left out, by reason."
    )
    rows: list[tuple[Cell, ...]] = []
    blocks: list[Block] = []
    for name, folder in sources.prepared.items():
        dataset = sources.open_set(folder)
        rejected = dataset.manifest.rejected if dataset else {}
        total = (len(dataset) if dataset else 0) + sum(rejected.values())
        rows += [_reject_row(f"prepare {name}", why, n, total) for why, n in rejected.items() if n]
    for name in sources.children:
        dataset = sources.transferred(name)
        if dataset is not None:
            table = dataset.table()
            left_out = table.loc[~table["accepted"].astype(bool), "reject_reason"]
            counts = left_out.fillna("no reason given").value_counts()
            rows += [
                _reject_row(f"transfer {name}", str(why), int(n), len(table))
                for why, n in sorted(counts.items())
            ]
    if rows:
        columns = (
            Column("stage", is_number=False),
            Column("reason", is_number=False),
            Column("images"),
            Column("of all"),
        )
        blocks.append(Table("Left out, and why", columns, tuple(rows)))
    else:
        blocks.append(Text("No image was left out.", "note"))
    return Section("rejects", "Left out, and why", lead, tuple(blocks))


def _reject_row(stage: str, reason: str, count: int, total: int) -> tuple[Cell, ...]:
    share = percent(count / total) if total else NO_NUMBER
    return (Cell(stage), Cell(words(reason)), Cell(f"{count:,}"), Cell(share))


def describe_reproduction(sources: Sources) -> Section:
    """Commands that make all of this again, and the parameters that were used."""
    lead = (
        "This page uses only the saved artifacts, and the same artifacts give the same bytes. "
        "These commands make all of them again."
    )
    child = next(iter(sources.children))
    folder = sources.children[child].transferred.as_posix()
    params = yaml.safe_dump(dict(sources.params), sort_keys=False, allow_unicode=True)
    blocks: list[Block] = [
        Text("Make it again", "heading"),
        Code(COMMANDS.format(child=child)),
        Text("Read the labelled child data set", "heading"),
        Code(READING.format(folder=folder)),
        Code(params, f"All parameters: {plural(len(sources.params), 'section')} of params.yaml"),
    ]
    return Section("reproduce", "How to reproduce it", lead, tuple(blocks))
