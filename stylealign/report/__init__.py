"""The report: one self-contained page made from saved artifacts and figures."""

from stylealign.report.page import build_page, render_page
from stylealign.report.sources import ChildSources, Gate, Sources

__all__ = ["ChildSources", "Gate", "Sources", "build_page", "render_page"]
