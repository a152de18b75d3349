"""The demo: a world of generated videos, from raw media to recommendations and a report (see `docs/demo.md`)."""

from __future__ import annotations

from mmgraph.demo.ceiling import TruePreference, WorldPreference, late_preference
from mmgraph.demo.experiment import demo_experiment, split_of
from mmgraph.demo.running import DemoResult, run_demo
from mmgraph.demo.serving import export_demo, serve_demo

__all__ = [
    "DemoResult",
    "TruePreference",
    "WorldPreference",
    "demo_experiment",
    "export_demo",
    "late_preference",
    "run_demo",
    "serve_demo",
    "split_of",
]
