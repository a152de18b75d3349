"""Speed, recipes, committed results and the tables made of them."""

from __future__ import annotations

import sys

from mmgraph.process import prepare_process

if sys.argv[:1] == ["-m"]:  # what Python puts there while it looks for the module of `python -m benchmarks.…`
    prepare_process()
