"""How long the library takes to start: ``import mmgraph`` over ``import torch``, and ``mmgraph --help``.

    python -m benchmarks.imports [--repeats 9]

Each figure is the median over fresh processes, the file cache warm. One row is appended to
``benchmarks/results/imports.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from mmgraph.experiment.result import environment

RESULTS = Path(__file__).parent / "results" / "imports.jsonl"

COMMANDS = {
    "python": ["-c", "pass"],
    "torch": ["-c", "import torch"],
    "torch_mmgraph": ["-c", "import torch, mmgraph"],
    "torch_mmgraph_names": [
        "-c",
        "import torch\nfrom mmgraph import Dataset, Experiment, FitConfig, Recommender, build_graph",
    ],
    "help": ["-m", "mmgraph.cli", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def measure(repeats: int) -> dict[str, float]:
    """Median seconds of each command; the commands take turns, so that a busy moment hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(repeats + 1):
        for name, arguments in COMMANDS.items():
            spent = seconds(arguments)
            if turn:  # the first turn warms the file cache
                times[name].append(spent)
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def main() -> None:
    """Measures, prints, appends a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    found = measure(repeats)
    row = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "import_mmgraph_over_torch_seconds": round(found["torch_mmgraph"] - found["torch"], 3),
        "import_names_over_torch_seconds": round(found["torch_mmgraph_names"] - found["torch"], 3),
        "help_seconds": found["help"],
        "medians": found,
        "repeats": repeats,
        "environment": environment(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(f"import mmgraph over import torch       {row['import_mmgraph_over_torch_seconds']:.3f} s")
    print(f"its main names over import torch       {row['import_names_over_torch_seconds']:.3f} s")
    print(f"mmgraph --help                         {row['help_seconds']:.3f} s")


if __name__ == "__main__":
    main()
