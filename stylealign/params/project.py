"""The whole of params.yaml, and the sections that speak of the project itself."""

from typing import Literal

from pydantic import Field, model_validator

from stylealign.params.data import PrepareParams
from stylealign.params.labels import EvaluateParams, QualityParams, TransferParams
from stylealign.params.models import (
    AnalyzeParams,
    InvertParams,
    StandingParams,
    TrainChildParams,
    TrainParentParams,
    TranslateParams,
)
from stylealign.params.section import Count, Name, Section, Seed


class ProjectParams(Section):
    """Who the project is and what it runs on."""

    name: Name
    device: Literal["auto", "cpu", "cuda"]
    """`auto` = the first CUDA device, or the CPU where there is none."""
    num_threads: int = Field(ge=1, le=1024)
    """CPU threads of one process; equal bytes are promised for equal thread counts."""
    version: str | None = None
    """Package version that made the artifacts; None = the code itself is tracked."""


class ReportParams(Section):
    """The page at the end."""

    title: str
    num_samples: Count
    """Columns of the figures."""
    seed: Seed


class RefreshParams(Section):
    """What a scheduled run does with its results; the schedule itself stands in prefect.yaml."""

    commit: bool
    """Commit dvc.lock and the metrics after a run."""
    push: bool
    """Push data to the DVC remote and the commit to the git remote."""


class Params(Section):
    """params.yaml: one field per section, in the order in which the stages run."""

    project: ProjectParams
    prepare: dict[Name, PrepareParams]
    train_parent: TrainParentParams
    train_child: dict[Name, TrainChildParams]
    standing: StandingParams
    invert: InvertParams
    translate: TranslateParams
    transfer: TransferParams
    analyze: AnalyzeParams
    evaluate: EvaluateParams
    quality: QualityParams
    report: ReportParams
    refresh: RefreshParams

    @model_validator(mode="after")
    def _names_meet(self) -> "Params":
        """Every data set and child that a section names is declared."""
        named = {"train_parent.dataset": self.train_parent.dataset}
        named["invert.dataset"] = self.invert.dataset
        for child, params in self.train_child.items():
            named[f"train_child.{child}.dataset"] = params.dataset
        for child, sets in self.evaluate.children.items():
            if sets.oracle is not None:
                named[f"evaluate.children.{child}.oracle"] = sets.oracle
            named[f"evaluate.children.{child}.test"] = sets.test
            if child not in self.train_child:
                message = f"evaluate.children names {child!r}, train_child has no such child"
                raise ValueError(message)
        for key, dataset in named.items():
            if dataset not in self.prepare:
                message = f"{key} is {dataset!r}, but prepare has only {sorted(self.prepare)}"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _labels_are_transferred(self) -> "Params":
        """Whatever is evaluated is carried over first."""
        carried = self.transfer.labels
        evaluated = {"labels": self.evaluate.labels, "controls": self.evaluate.controls}
        for key, names in evaluated.items():
            lost = next((name for name in names if name not in carried), None)
            if lost is not None:
                message = f"evaluate.{key} names {lost!r}, but transfer.labels has only"
                raise ValueError(f"{message} {sorted(carried)}: add it there, or leave it out here")
        return self
