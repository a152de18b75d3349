"""Reports: one self-contained HTML page that shows what a recommender learned (see `docs/demo.md`)."""

from __future__ import annotations

from mmgraph.report.charts import jpeg_uri, line_chart, sound_uri, sprite_uri
from mmgraph.report.content import (
    Because,
    Clip,
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
from mmgraph.report.page import render_report, write_report

__all__ = [
    "Because",
    "Clip",
    "Curve",
    "Map",
    "ModalityFacts",
    "Pick",
    "Point",
    "Report",
    "Row",
    "Table",
    "Viewer",
    "jpeg_uri",
    "line_chart",
    "render_report",
    "sound_uri",
    "sprite_uri",
    "write_report",
]
