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
from mmgraph.report.of_run import report_of_results, runs_beside, with_model
from mmgraph.report.page import render_report, write_report

__all__ = [
    "Because",
    "Clip",
    "Clips",
    "Column",
    "Curve",
    "Map",
    "ModalityFacts",
    "Pick",
    "Point",
    "Report",
    "Row",
    "Table",
    "Viewer",
    "drawing",
    "jpeg_uri",
    "render_report",
    "report_of_results",
    "runs_beside",
    "sound_uri",
    "sprite_uri",
    "ticks",
    "with_model",
    "write_report",
]
