"""Where the page of a project lies."""

from pathlib import Path

from stylealign.params import load_params
from tasks import reports

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def test_the_stage_ends_with_the_path_of_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("Sources", "build_page", "render_page"):
        monkeypatch.setattr(reports, name, lambda *_, **__: "the page")

    page = reports.write_report.fn(PARAMS, Path("report [1]"))

    assert page.read_text() == "the page"
    assert capsys.readouterr().err == f"report: {page}\n"
