"""Reports: one self-contained HTML page that shows what a recommender learned (see `docs/demo.md`)."""

from __future__ import annotations

from mmgraph.report.charts import drawing, jpeg_uri, sound_uri, sprite_uri, ticks
from mmgraph.report.content import (
    Because,
    Clip,
    Column,
    Curve,
    Map,
    ModalityFacts,
    Pick,
    Point,
    Report,
    Row,
    Table,
    Viewer,
)
from mmgraph.report.media import Clips
from mmgraph.report.of_audit import render_audit, write_audit
from mmgraph.report.of_run import report_of_results, runs_beside, with_model
from mmgraph.report.page import render_report, write_report
from mmgraph.report.plots import (
    Dot,
    draw_dots,
    draw_lines,
    draw_ranks,
    missing_lines,
    quality_against,
    rank_intervals,
    save_figure,
)

__all__ = [
    "Because",
    "Clip",
    "Clips",
    "Column",
    "Curve",
    "Dot",
    "Map",
    "ModalityFacts",
    "Pick",
    "Point",
    "Report",
    "Row",
    "Table",
    "Viewer",
    "draw_dots",
    "draw_lines",
    "draw_ranks",
    "drawing",
    "jpeg_uri",
    "missing_lines",
    "quality_against",
    "rank_intervals",
    "render_audit",
    "render_report",
    "report_of_results",
    "runs_beside",
    "save_figure",
    "sound_uri",
    "sprite_uri",
    "ticks",
    "with_model",
    "write_audit",
    "write_report",
]
