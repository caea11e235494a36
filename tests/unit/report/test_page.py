"""The page: whole in one file, the same for the same artifacts, honest about what is missing."""

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stylealign.errors import CheckpointError, DataError
from stylealign.report import Sources, build_page, render_page
from stylealign.report.content import (
    Card,
    Cards,
    Charts,
    Page,
    Picture,
    Section,
    Table,
    Text,
)
from stylealign.report.formatting import NO_NUMBER
from stylealign.report.training import describe_training

OpenSources = Callable[..., Sources]
Attributes = list[tuple[str, str | None]]

VOID = {"meta", "link", "img", "line"}


class Outline(HTMLParser):
    """Tags in order; fails on a tag that is closed out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Attributes):  # noqa: D102
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Attributes):  # noqa: D102
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str):  # noqa: D102
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every tag of this name."""
        return [attrs for name, attrs in self.found if name == tag]


def read(sources: Sources) -> str:
    return render_page(build_page(sources))


def section(html: str, name: str) -> str:
    start = html.index(f'<section id="{name}"')
    return html[start : html.index("</section>", start)]


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_a_page_needs_nothing_beside_itself(sources: Sources):
    html = read(sources)

    outline = Outline(html)
    links = [attrs.get(key) for _, attrs in outline.found for key in ("src", "href", "xlink:href")]

    assert not outline.open
    assert all(link.startswith(("#", "data:")) for link in links if link)
    assert not outline.named("script")
    assert not re.search(r"url\((?!#)|@import", html)


def test_equal_artifacts_give_equal_bytes(open_sources: OpenSources, project: Path):
    first = read(open_sources(project))

    second = read(open_sources(project))

    assert first == second


def test_every_picture_and_chart_has_words(sources: Sources):
    outline = Outline(read(sources))

    pictures = outline.named("img")
    charts = [attrs for _, attrs in outline.found if attrs.get("role") == "img"]

    assert len(pictures) > 50
    assert all(picture["alt"] for picture in pictures)
    assert len(charts) > 10
    assert all(chart["aria-label"] for chart in charts)


def test_no_anchor_is_given_twice(sources: Sources):
    outline = Outline(read(sources))

    ids = [str(attrs["id"]) for _, attrs in outline.found if "id" in attrs]

    assert len(ids) == len(set(ids))


def test_contents_lead_to_every_section(sources: Sources):
    outline = Outline(read(sources))

    anchors = {attrs["href"] for attrs in outline.named("a")}

    assert {f"#{attrs['id']}" for attrs in outline.named("section")} < anchors


def test_the_headline_table_repeats_the_figures(sources: Sources):
    yaw = sources.evaluations["cats"].labels["yaw"]

    html = section(read(sources), "labels")

    assert f"{yaw.gap_closed:.2f}" in html
    assert f"[{yaw.low:.2f}, {yaw.high:.2f}]" in html


def test_a_gap_that_is_not_given_has_its_reason_instead(sources: Sources):
    html = section(read(sources), "labels")

    assert ">no share<" in html
    assert "there is no gap to close" in html


def test_a_label_that_does_not_transfer_is_marked_and_its_reason_told(sources: Sources):
    html = section(read(sources), "labels")

    scored, control, *_ = (
        next(row for row in html.split("<tr") if name in row) for name in ("smile", "hair color")
    )
    assert "does not transfer" in scored
    assert "0.19" in scored  # its figures are shown all the same
    assert "does not transfer" in control
    assert "real images of the child have no such label" in control
    assert "not seen in real images" in html


def test_a_child_without_real_labels_has_a_sentence_and_what_was_found_without_them(
    open_sources: OpenSources, project: Path
):
    figures = dict.fromkeys(("source_only", "transfer", "oracle", "gap_closed", "gain"))

    def forget(evaluation: Any):
        for label in evaluation["cats"]["labels"].values():
            label.update(figures, routes={})

    change_json(project / "metrics" / "evaluate.json", forget)

    html = section(read(open_sources(project)), "labels")

    assert "There are no real labelled cats images" in html
    assert "source only</th>" not in html
    assert "the cycle through the child agrees 0.11" in html
    assert "nothing to measure it by" in html


def test_a_domain_has_one_colour_in_all_diagrams_of_its_confidence(
    open_sources: OpenSources, project: Path
):
    path = project / "metrics" / "evaluate.json"
    change_json(path, lambda figures: [one.pop("child") for one in confidences(figures)])

    html = section(read(open_sources(project)), "confidence")

    assert "var(--second)" in html
    assert "var(--accent)" not in html


def confidences(figures: Any) -> list[dict[str, Any]]:
    """Calibration of every label by domain."""
    return list(figures["cats"]["confidence"].values())


def test_a_label_that_the_set_calls_lost_has_no_meter_of_confidence(sources: Sources):
    cards = section(read(sources), "transferred").split('<li class="card')[1:]

    assert all(card.index('title="does not transfer"') < card.index("smile") for card in cards)
    assert {card.count("<meter") for card in cards} == {5}  # of 7 labels


def test_figures_of_too_few_seeds_are_called_so(open_sources: OpenSources, project: Path):
    assert "to quote a figure takes" not in read(open_sources(project))

    change_json(
        project / "metrics" / "evaluate.json",
        lambda figures: [label.update(num_seeds=2) for label in figures["cats"]["labels"].values()],
    )

    assert "2 seeds (to quote a figure takes 5)" in read(open_sources(project))


def test_labels_that_do_not_transfer_do_not_count_at_the_gate(
    open_sources: OpenSources, project: Path
):
    change_json(
        project / "metrics" / "evaluate.json",
        lambda figures: figures["cats"]["labels"]["smile"].update(gain=-100.0),
    )

    assert build_page(open_sources(project)).verdicts[0].tone == "good"


def test_image_quality_stands_between_where_it_began_and_the_least_to_reach(sources: Sources):
    html = section(read(sources), "quality")

    row = next(row for row in html.split("<tr") if "fd_lite2_500" in row)

    assert [value in row for value in ("38.2", "121", "9.70")] == [True, True, True]


def test_path_length_stands_beside_the_parents_and_real_images_have_none(sources: Sources):
    html = section(read(sources), "quality")

    row = next(row for row in html.split("<tr") if "ppl_lite2_blocks_500" in row)

    assert [value in row for value in ("41.2", "34.9", NO_NUMBER)] == [True, True, True]
    assert "lower is smoother" in row


def test_the_gate_names_everything_that_speaks_against_a_child(
    open_sources: OpenSources, project: Path
):
    change_json(
        project / "metrics" / "evaluate.json",
        lambda figures: figures["cats"].update(fd_lite2_500=200.0),
    )

    page = build_page(open_sources(project))

    assert page.verdicts[0].tone == "bad"
    assert (
        "Fréchet distance to real images, child over parent is 1.65, expected at most 0.50"
        in page.verdicts[0].detail
    )


def test_a_child_that_meets_every_demand_passes(sources: Sources):
    page = build_page(sources)

    assert page.verdicts[0].tone == "good"


@pytest.mark.parametrize(
    ("gone", "name", "command"),
    [
        ("metrics/evaluate.json", "labels", "stylealign run evaluate"),
        ("metrics/analyze.json", "alignment", "stylealign run analyze"),
        ("artifacts/invert", "codes", "stylealign run invert"),
        ("artifacts/transfer/cats", "transferred", "stylealign run transfer cats"),
        ("artifacts/train_child/cats", "training", "stylealign run train_child cats"),
        ("artifacts/translate/cats", "lineage", "stylealign run translate cats"),
        ("artifacts/prepare/people", "lineage", "stylealign run prepare people"),
        ("models/people", "equal-codes", "stylealign run train_parent"),
        ("artifacts/train_child/cats", "equal-codes", "stylealign run train_child cats"),
    ],
)
def test_what_is_missing_is_named_with_the_stage_that_makes_it(
    open_sources: OpenSources, project: Path, gone: str, name: str, command: str
):
    path = project / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    html = read(open_sources(project))

    assert command in section(html, name)


def test_a_project_without_any_artifact_still_has_a_page(open_sources: OpenSources, tmp_path: Path):
    html = read(open_sources(tmp_path))

    assert html.count('class="missing"') >= 8


def test_names_from_outside_cannot_write_markup(open_sources: OpenSources, project: Path):
    def rename(figures: Any):
        labels = figures["cats"]["labels"]
        labels["<script>alert($x$)</script>"] = labels.pop("yaw")

    change_json(project / "metrics" / "evaluate.json", rename)
    change_json(
        project / "metrics" / "analyze.json",
        lambda figures: figures["cats"]["equal_z"].update(
            {"<b>$y": figures["cats"]["equal_z"].pop("yaw")}
        ),
    )

    html = read(open_sources(project, title="<i>title</i>"))

    assert not Outline(html).named("script")
    assert not Outline(html).named("b")
    assert not Outline(html).named("i")


@pytest.mark.parametrize("text", ["{", "[]", '{"cats": {"labels": {"yaw": {"gain": "much"}}}}'])
def test_figures_that_are_broken_are_refused(open_sources: OpenSources, project: Path, text: str):
    (project / "metrics" / "evaluate.json").write_text(text, "utf-8")

    with pytest.raises(DataError, match=r"evaluate\.json"):
        build_page(open_sources(project))


def test_figures_of_another_child_are_refused(open_sources: OpenSources, project: Path):
    change_json(project / "metrics" / "analyze.json", lambda figures: figures.update(dogs={}))

    with pytest.raises(DataError, match=r"\['dogs'\].*children are \['cats'\]"):
        build_page(open_sources(project))


def test_codes_of_another_model_are_refused(open_sources: OpenSources, project: Path):
    folder = project / "models" / "people"
    shutil.rmtree(folder)
    shutil.copytree(project / "artifacts" / "train_child" / "cats", folder)

    with pytest.raises(DataError, match=r"belong to model|comes from parent"):
        build_page(open_sources(project))


def test_a_prepared_set_in_place_of_a_transferred_one_is_refused(
    open_sources: OpenSources, project: Path
):
    folder = project / "artifacts" / "transfer" / "cats"
    shutil.rmtree(folder)
    shutil.copytree(project / "artifacts" / "prepare" / "cats", folder)

    with pytest.raises(DataError, match="holds a 'prepared' data set, expected a transferred one"):
        build_page(open_sources(project))


def test_a_damaged_model_is_refused(open_sources: OpenSources, project: Path):
    (project / "artifacts" / "train_child" / "cats" / "model.safetensors").write_bytes(b"broken")

    with pytest.raises(CheckpointError):
        build_page(open_sources(project))


def test_the_training_marks_the_snapshot_that_was_kept(sources: Sources):
    section = describe_training(sources)

    shown, _ = (block for block in section.blocks if isinstance(block, Charts))
    assert [chart.title for chart in shown.charts] == ["fd lite2 250", "likeness", "change"]
    assert "snapshot of 8 of 12 kimg (marked)" in shown.caption
    assert "from 60.0 to 40.0, 41.0 where the child was kept" in shown.charts[0].alt
    assert all("var(--second)" in chart.svg for chart in shown.charts)


def test_a_child_without_standings_has_its_curves_alone(sources: Sources, project: Path):
    (project / "artifacts" / "train_child" / "cats" / "standings.json").unlink()

    section = describe_training(sources)

    assert [block.kind for block in section.blocks] == ["text", "charts"]


def test_the_images_that_a_child_was_matched_by_are_told(sources: Sources, project: Path):
    yaw = {"parent": 11.87, "all": 20.1, "kept": 13.2}
    tone = {
        "parent": {"light": 0.4, "dark": 0.6},
        "all": {"light": 0.7, "dark": 0.3},
        "kept": {"light": 0.46, "dark": 0.54},
    }
    content = {"labels": {"yaw": yaw, "tone": tone}, "num_images": 2812, "num_kept": 1866}
    path = project / "artifacts" / "train_child" / "cats" / "matched.json"
    path.write_text(json.dumps(content), "utf-8")

    _, table, *_ = describe_training(sources).blocks

    assert isinstance(table, Table)
    assert "Trained on 1,866 of 2,812 images" in table.caption
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["yaw, standard deviation", "11.9", "13.2", "20.1"],
        ["tone: light", "40 %", "46 %", "70 %"],
        ["tone: dark", "60 %", "54 %", "30 %"],
    ]
    assert "1,866 of 2,812" in section(read(sources), "training")


@pytest.mark.parametrize("broken", ["", "[]", '{"num_kept": 1, "num_images": 2, "labels": [1]}'])
def test_a_broken_choice_of_images_is_refused(sources: Sources, project: Path, broken: str):
    path = project / "artifacts" / "train_child" / "cats" / "matched.json"
    path.write_text(broken, "utf-8")

    with pytest.raises(DataError, match="holds no choice of images"):
        describe_training(sources)


def write_coverage(project: Path, text: str) -> None:
    (project / "models" / "people" / "coverage.json").write_text(text, "utf-8")


def test_labels_that_the_parent_does_not_cover_are_marked(sources: Sources, project: Path):
    last = {"kimg": 8.0, "spread": {"yaw": 0.97, "smile": 0.5}, "prevalence_gap": {"tone": 0.02}}
    content = {"below": ["smile"], "min_spread": 0.9, "max_prevalence_gap": 0.05,
               "reader_scores": {"yaw": 0.9, "smile": 0.7, "tone": 0.8},
               "snapshots": [last]}  # fmt: skip
    write_coverage(project, json.dumps(content))

    heading, table, *_ = describe_training(sources).blocks

    assert isinstance(heading, Text)
    assert isinstance(table, Table)
    assert heading.text == "people, the parent"
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["yaw", "0.97", NO_NUMBER, "0.90"],
        ["smile", "0.50", NO_NUMBER, "0.70"],
        ["tone", NO_NUMBER, "2.0 points", "0.80"],
    ]
    assert [row[0].tone for row in table.rows] == ["plain", "bad", "plain"]
    assert "at 8 kimg" in table.caption
    assert "within 5 points" in table.caption
    assert "people, the parent" in section(read(sources), "training")


@pytest.mark.parametrize("broken", ["", "[]", '{"snapshots": [], "reader_scores": {}}'])
def test_broken_coverage_is_refused(sources: Sources, project: Path, broken: str):
    write_coverage(project, broken)

    with pytest.raises(DataError, match="holds no coverage"):
        describe_training(sources)


@pytest.mark.parametrize("broken", ["", "[]", '{"kept_kimg": 3, "standings": []}'])
def test_broken_standings_are_refused(sources: Sources, project: Path, broken: str):
    path = project / "artifacts" / "train_child" / "cats" / "standings.json"
    path.write_text(broken)

    with pytest.raises(DataError, match="holds no standings"):
        describe_training(sources)


def test_a_broken_history_is_refused(open_sources: OpenSources, project: Path):
    path = project / "artifacts" / "train_child" / "cats" / "history.json"
    path.write_text('[{"loss": 1}]', "utf-8")

    with pytest.raises(DataError, match="no training history"):
        build_page(open_sources(project))


def test_large_pictures_shrink_until_the_page_is_small_enough():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    card = Card((("", Picture(pixels, "noise")),), ())
    page = Page("t", "l", sections=(Section("s", "s", "l", (Cards((card,) * 5),)),))

    html = render_page(page, max_bytes=100_000)

    assert len(html) < 100_000
    assert html.count("<img") == 5


def test_a_page_that_cannot_be_made_small_is_refused(sources: Sources):
    page = build_page(sources)

    with pytest.raises(DataError, match=r"lower report\.num_samples"):
        render_page(page, max_bytes=1000)
