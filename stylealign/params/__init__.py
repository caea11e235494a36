"""params.yaml as checked, frozen records: the only place where a number is chosen."""

from stylealign.params.data import AlignParams, PrepareParams, ProceduralParams, SplitParams
from stylealign.params.labels import EvaluateParams, QualityParams, TransferParams, WeightsParams
from stylealign.params.load import load_params
from stylealign.params.models import (
    AnalyzeParams,
    CoverageParams,
    InvertParams,
    MatchParams,
    ShardsParams,
    StandingParams,
    TrainChildParams,
    TrainParentParams,
    TranslateParams,
)
from stylealign.params.project import Params, ProjectParams, RefreshParams, ReportParams
from stylealign.params.section import Section

__all__ = [
    "AlignParams",
    "AnalyzeParams",
    "CoverageParams",
    "EvaluateParams",
    "InvertParams",
    "MatchParams",
    "Params",
    "PrepareParams",
    "ProceduralParams",
    "ProjectParams",
    "QualityParams",
    "RefreshParams",
    "ReportParams",
    "Section",
    "ShardsParams",
    "SplitParams",
    "StandingParams",
    "TrainChildParams",
    "TrainParentParams",
    "TransferParams",
    "TranslateParams",
    "WeightsParams",
    "load_params",
]
