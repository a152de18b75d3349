"""``python -m mmgraph.cli``."""

from __future__ import annotations

from mmgraph.cli.app import app

app(prog_name="mmgraph")
