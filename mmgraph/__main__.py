"""``python -m mmgraph``, and ``torchrun -m mmgraph``."""

from __future__ import annotations

from mmgraph.cli.app import app

app(prog_name="mmgraph")
