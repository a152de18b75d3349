"""Rows of a results file: one JSON object a line, with what it was measured on."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from mmgraph.experiment.result import environment
from mmgraph.ops.compiled import library


def machine(device: str) -> dict[str, object]:
    """Hardware, versions and date."""
    import scipy
    import torch_geometric

    if device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = f"{names[0] if names else platform.processor()}, {len(names)} cores"
    return {
        "device": device,
        "hardware": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "pyg": torch_geometric.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": environment()["command"],
        "kernels": "torch" if library() is None else "compiled",
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def run_tests(paths: Iterable[str]) -> None:
    """Runs the ops' own tests; no row is written when one fails.

    Raises:
        SystemExit: a test failed.
    """
    command = [sys.executable, "-m", "pytest", "-q", *paths]
    print("tests first:", " ".join(command[1:]), flush=True)
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    print(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-500:], flush=True)
    if done.returncode:
        raise SystemExit("a test failed: no speed is reported\n" + done.stdout[-2000:])


def write(path: Path | None, rows: list[dict[str, object]], device: str) -> None:
    """Appends the rows to a JSONL file."""
    if path is None:
        return
    context = machine(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for row in rows:
            file.write(json.dumps({**row, **context}) + "\n")
    print(f"{len(rows)} rows added to {path}")
