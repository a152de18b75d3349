"""The OpenAPI document tells the truth: whatever it allows is answered as it says, and never by an error of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serve.conftest import Running

CASES = 12


def test_no_answer_that_is_not_documented(serving: Callable[..., Running], tmp_path: Path):
    pytest.importorskip("schemathesis", reason="the OpenAPI document is tested with schemathesis: pip install it")
    running = serving()
    words = ["run", f"{running.url}/openapi.json", "--continue-on-failure", "--no-color", "--max-examples", str(CASES)]
    program = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--seed", "1", "--generation-deterministic"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "23 passed" in done.stdout
    assert not [key for key in running.app.metrics.requests if key[2] >= 500]
