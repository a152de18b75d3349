"""``python -m benchmarks.ops --ops spmm,topk --shapes amazon-book --dims 64 --json FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.ops.contenders import LAPS, TESTS
from benchmarks.ops.rows import run_tests, write
from benchmarks.ops.shapes import SHAPES
from benchmarks.ops.timing import copy_bandwidth, in_turn, peak
from mmgraph.ops.memory import available_bytes


def main() -> None:
    """Runs the tests of each op, then times it, prints ratios and writes the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops", description=main.__doc__)
    parser.add_argument("--ops", default="spmm,attend,topk,knn", help=f"of {', '.join(LAPS)}")
    parser.add_argument("--shapes", default="tiktok,gowalla,amazon-book", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--dims", default="64,128,192")
    parser.add_argument("--json", type=Path, default=None, help="JSONL file to append to")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60, help="time for one op, shape and width")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--untested", action="store_true", help="the tests were run just before")
    options = parser.parse_args()
    ops = options.ops.split(",")
    for name, known in (*((op, LAPS) for op in ops), *((s, SHAPES) for s in options.shapes.split(","))):
        if name not in known:
            parser.error(f"unknown {name!r}: choose from {', '.join(known)}")
    if not options.untested:
        run_tests(sorted({path for op in ops for path in TESTS[op]}))
    bandwidth = copy_bandwidth(options.device)
    print(f"copy: {bandwidth / 1e9:.1f} GB/s read + written, {torch.get_num_threads()} threads")
    rows: list[dict[str, object]] = []
    for op in ops:
        for shape in options.shapes.split(","):
            for dim in map(int, options.dims.split(",")):
                rows += measure(op, shape, dim, options, bandwidth)
    write(options.json, rows, options.device)


def measure(op: str, shape: str, dim: int, options: argparse.Namespace, bandwidth: float) -> list[dict[str, object]]:
    """The rows of one op, shape and width."""
    laps, traffic = LAPS[op](shape, dim, options.device, available_bytes(options.device))
    times = in_turn(laps, options.rounds, options.seconds)
    ours = next(name for name in times if name.startswith("mmgraph"))
    rows = []
    print(f"\n{op}, {shape}, D={dim}")
    for name, parts in times.items():
        high = peak(laps[name], options.device)
        for direction, ms in parts.items():
            row: dict[str, object] = {
                "op": op,
                "impl": name,
                "shape": shape,
                "dim": dim,
                "direction": direction,
                "ms": round(ms, 3),
                "peak_bytes": high,
                "times_mmgraph": round(ms / times[ours][direction], 2),
            }
            if direction in traffic:
                row["copy_bandwidth_share"] = round(traffic[direction] / (ms / 1e3) / bandwidth, 3)
            rows.append(row)
            ratio = ms / times[ours][direction]
            print(f"  {name:14} {direction:17} {ms:10.2f} ms  {ratio:6.2f}x  {high / 2**20:8.0f} MiB")
    return rows


if __name__ == "__main__":
    main()
