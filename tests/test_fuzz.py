"""Random calls of everything public: what makes sense works, what makes none is refused in words of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_random_arguments_work_or_are_refused_clearly() -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz", "--cases", "60", "--seed", "0", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=True)
    counts = json.loads(done.stdout.splitlines()[-1])
    assert sum(counts.values()) == 60
    assert counts["works"]
    assert counts["clear"]
    assert not counts["obscure"] + counts["silent"] + counts["signal"], done.stdout
