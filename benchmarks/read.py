"""Reading 20 million interactions: file -> Dataset -> 5-core, re-indexed; and streaming the 60 million of a challenge.

    python -m benchmarks.read                    # Parquet and CSV; appends two rows to benchmarks/results/read.jsonl
    python -m benchmarks.read kuaishou           # the exposures of the Kuaishou challenge's size, a batch at a time
    python -m benchmarks.read parquet --rows 1000000 --dry

The file is made in a temporary folder: raw ids that are neither dense nor sorted, Zipf-like popularity, times, weights
and a click signal. A fresh process then reads it with the public reader (every check on: types, times, finite weights,
repeated pairs), filters the k-core and re-indexes. Reported are its wall time, the CPU time of all its threads, peak
resident memory (``ru_maxrss``, imports included), the memory of the imports alone, and the load average before: wall
time means little on a machine that is busy with something else. The file was just written, so it is in the page cache:
this measures work, not the disk.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

RESULTS = Path(__file__).parent / "results" / "read.jsonl"
ROWS, USERS, VIDEOS, K = 20_000_000, 1_000_000, 300_000, 5
SIGNALS = {"click": 0.2, "like": 0.01, "follow": 0.005}
EXPOSURES = 52_134_536 + 8_180_616  # of the challenge's final round, train and test


def make(path: Path, rows: int) -> None:
    """Write ``rows`` distinct (user, video) pairs in random order, as .parquet or .csv."""
    rng = np.random.default_rng(0)
    users, videos = max(2, USERS * rows // ROWS), max(2, VIDEOS * rows // ROWS)
    keys = np.zeros(0, dtype=np.int64)
    while len(keys) < rows:
        want = int((rows - len(keys)) * 1.3) + 1000
        # powers of uniforms: heads, and tails around 5 on both sides, so that the core has something to drop
        user = (users * rng.random(want) ** 4).astype(np.int64)
        video = (videos * rng.random(want) ** 6).astype(np.int64)
        keys = np.unique(np.concatenate([keys, user * videos + video]))
    keys = rng.permutation(keys)[:rows]
    raw_user, raw_video = rng.permutation(users) * 7 + 1_000_003, rng.permutation(videos) * 13 + 5_000_011
    frame = pl.DataFrame(
        {
            "user_id": raw_user[keys // videos],
            "video_id": raw_video[keys % videos],
            "timestamp": rng.integers(1_600_000_000, 1_700_000_000, rows),
            "weight": rng.random(rows, dtype=np.float32).round(3),
            "click": rng.integers(0, 2, rows, dtype=np.int8),
        }
    )
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)


def make_exposures(path: Path, rows: int) -> None:
    """Write ``rows`` lines in the layout of the challenge's ``train_interaction.txt``."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, rows, 2_000_000):
            count = min(2_000_000, rows - start)
            frame = pl.DataFrame(
                {
                    "user_id": rng.integers(0, 37_821, count),
                    "photo_id": rng.integers(0, 9_204_230, count),
                    **{name: (rng.random(count) < p).astype(np.int8) for name, p in SIGNALS.items()},
                    "time": 1_500_000_000_000 + np.arange(start, start + count),
                    "playing_time": rng.integers(0, 60, count),
                    "duration_time": rng.integers(1, 60, count),
                }
            )
            frame.write_csv(file, separator="\t", include_header=False)


def stream(path: Path) -> dict[str, Any]:
    """Every exposure once, a batch at a time. Runs in a process of its own."""
    from mmgraph.data.readers.kuaishou import read_batches

    imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    rows = clicks = 0
    for batch in read_batches(path):
        rows += len(batch)
        clicks += int(batch["click"].sum())
    return {
        "interactions": rows,
        "clicks": clicks,
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - busy, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "imports_gib": round(imports / 2**20, 2),
    }


def read(path: Path) -> dict[str, Any]:
    """Read, filter, re-index; seconds of each step and peak memory. Runs in a process of its own."""
    from mmgraph.data import read_csv, read_parquet

    imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    dataset = (read_parquet if path.suffix == ".parquet" else read_csv)(path)
    middle = time.perf_counter()
    shape = (dataset.num_users, dataset.num_videos, dataset.num_interactions)
    core = dataset.k_core(K)
    end = time.perf_counter()
    return {
        "users": shape[0],
        "videos": shape[1],
        "interactions": shape[2],
        "core_users": core.num_users,
        "core_videos": core.num_videos,
        "core_interactions": core.num_interactions,
        "read_seconds": round(middle - start, 2),
        "core_seconds": round(end - middle, 2),
        "seconds": round(end - start, 2),
        "cpu_seconds": round(time.process_time() - busy, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "imports_gib": round(imports / 2**20, 2),
    }


def measure(kind: str, rows: int) -> dict[str, Any]:
    """One row of results."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"interactions.{kind}"
        # made in a process of its own too, so that its memory is gone
        subprocess.run([sys.executable, "-m", "benchmarks.read", "--make", str(path), "--rows", str(rows)], check=True)
        size = path.stat().st_size
        load = os.getloadavg()[0]
        child = [sys.executable, "-m", "benchmarks.read", "--read", str(path)]
        numbers = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
    return {
        "benchmark": "stream kuaishou" if kind == "kuaishou" else f"read {kind}, {K}-core, re-index",
        "rows": rows,
        "file_mib": round(size / 2**20),
        **numbers,
        "load_before": round(load, 1),
        "command": shlex.join(["python", "-m", "benchmarks.read", *sys.argv[1:]]),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("polars", "numpy", "torch")},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str:
    run = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*run, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(
        [*run, "status", "--porcelain", "--", "../mmgraph/data", "read.py"], capture_output=True, text=True
    ).stdout
    return head + ("+changes" if changed.strip() else "")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=["parquet", "csv"], help="parquet, csv, kuaishou")
    parser.add_argument("--rows", type=int, help=f"by default {ROWS}, of kuaishou {EXPOSURES}")
    parser.add_argument("--dry", action="store_true", help="print only")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        return (make_exposures if arguments.make.suffix == ".kuaishou" else make)(arguments.make, arguments.rows)
    if arguments.read:
        return print(json.dumps((stream if arguments.read.suffix == ".kuaishou" else read)(arguments.read)))
    for kind in arguments.kinds:
        row = json.dumps(measure(kind, arguments.rows or (EXPOSURES if kind == "kuaishou" else ROWS)))
        print(row)
        if not arguments.dry:
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(row + "\n")
    return None


if __name__ == "__main__":
    main()
