"""Stage `report`: artifacts and figures go in, one self-contained page comes out."""

from pathlib import Path

from prefect import flow

from stylealign.params import Params
from tasks.layout import artifact, metrics_file
from tasks.records import recorded
from tasks.reports import write_report


@flow(name="report")
def report(params: Params) -> Path:
    """Write the page, and keep a copy with the run's record."""
    figures = {"evaluation": metrics_file("evaluate"), "analysis": metrics_file("analyze")}
    with recorded("report", "", params.report, figures) as record:
        path = write_report(params, artifact("report"))
        record.figures([path])
    return path
