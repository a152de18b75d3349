"""The demo: a world of generated videos, from raw media to recommendations and a report (see `docs/demo.md`)."""

from __future__ import annotations

from mmgraph.demo.ceiling import TruePreference, WorldPreference, late_preference
from mmgraph.demo.experiment import demo_experiment, split_of
from mmgraph.demo.running import DemoResult, run_demo

__all__ = [
    "DemoResult",
    "TruePreference",
    "WorldPreference",
    "demo_experiment",
    "late_preference",
    "run_demo",
    "split_of",
]
