"""Tasks of stage `report`: saved artifacts and figures become one page."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from stylealign.params import Params
from stylealign.report import ChildSources, Gate, Sources, build_page, render_page
from tasks.layout import PAGE_FILE, artifact, metrics_file
from tasks.saying import tell

UNRELATED = {"project", "refresh"}
"""Sections that change no artifact, so the page must not change with them."""


@task(cache_policy=NO_CACHE)
def write_report(params: Params, folder: Path) -> Path:
    """One self-contained page of everything that was made and measured."""
    page = build_page(
        Sources(
            title=params.report.title,
            prepared={name: artifact("prepare", name) for name in params.prepare},
            parent_dataset=params.invert.dataset,
            parent_model=Path(params.train_parent.model),
            codes=artifact("invert"),
            children=child_sources(params),
            evaluation=metrics_file("evaluate"),
            analysis=metrics_file("analyze"),
            gate=Gate(**params.quality.model_dump()),
            min_psnr=params.invert.min_psnr,
            params=params.model_dump(mode="json", exclude=UNRELATED),
            num_samples=params.report.num_samples,
            seed=params.report.seed,
        )
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE_FILE
    path.write_text(render_page(page), "utf-8")
    tell(f"report: {path}")
    return path


def child_sources(params: Params) -> dict[str, ChildSources]:
    """Where each child's artifacts lie."""
    tests = {child: sets.test for child, sets in params.evaluate.children.items()}
    return {
        child: ChildSources(
            dataset=section.dataset,
            model=artifact("train_child", child),
            translated=artifact("translate", child),
            transferred=artifact("transfer", child),
            test=tests.get(child, ""),
        )
        for child, section in params.train_child.items()
    }
