"""A training step alone and on a machine that others use: torch's default way of waiting, and mmgraph's.

    python -m benchmarks.contention --json benchmarks/results/contention.jsonl

A LightGCN step (3 layers, D = 64, batches of 2,048) on a random graph of TikTok's size, as many threads as torch takes.
``busy`` is beside a second training, by someone who left torch as it is, and two busy loops. A figure is the mean step
of fresh processes, the kinds in turn: threads that spin at each other do so in some rounds and not in others, and a
median would hide it. Both keep freed memory, so that only the way threads wait differs. Run it on a machine where
nothing else runs: 3 rounds take under 3 minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import IO, Any

USERS, VIDEOS, PAIRS = 9_308, 6_710, 59_541
WARM_UP, LEAST = 5, 3
IMPLS = ("torch-default", "mmgraph")
SETTINGS = ("idle", "busy")
_OURS = ("OMP_", "GOMP_", "KMP_", "THP_")


def worker(impl: str, seconds: float) -> None:
    """A process that trains: warms up, waits for a line, then prints the milliseconds of each step (0 s: for ever)."""
    from mmgraph.process import prepare_process, reuse_freed_memory

    if impl == "mmgraph":
        prepare_process()
    reuse_freed_memory()

    import torch

    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import LightGCN
    from mmgraph.train import Callback, FitConfig, StopTraining, fit

    generator = torch.Generator().manual_seed(0)
    user = (torch.rand(PAIRS, generator=generator).square() * USERS).long()
    video = (torch.rand(PAIRS, generator=generator).pow(3) * VIDEOS).long()
    graph = MultimodalGraph()
    graph["user"].num_nodes, graph["video"].num_nodes = USERS, VIDEOS
    graph["user", "interacts", "video"].edge_index = torch.stack([user, video])
    taken: list[float] = []

    class Watch(Callback):
        """Takes the time of each step."""

        steps, last, until = 0, 0.0, float("inf")

        def on_step(self, step: object) -> None:
            now = time.perf_counter()
            if self.steps > WARM_UP:
                taken.append(1e3 * (now - self.last))
            self.steps += 1
            if self.steps == WARM_UP:
                print("ready", flush=True)
                sys.stdin.readline()
                self.until = time.perf_counter() + seconds if seconds else float("inf")
            if now > self.until and len(taken) >= LEAST:
                raise StopTraining("measured")
            self.last = time.perf_counter()

    torch.manual_seed(0)
    model = LightGCN(graph, embedding_dim=64, num_layers=3)
    fit(model, graph, config=FitConfig(epochs=1_000_000), callbacks=[Watch()])
    print(json.dumps(taken), flush=True)


def _start(impl: str, seconds: float) -> subprocess.Popen[str]:
    code = f"from benchmarks.contention import worker\nworker({impl!r}, {seconds!r})"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _expect(process)
    return process


def _expect(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit("a training process failed: its message is above")


def _go(process: subprocess.Popen[str]) -> None:
    stdin: IO[str] | None = process.stdin
    assert stdin is not None
    stdin.write("go\n")
    stdin.flush()


@contextlib.contextmanager
def _others() -> Iterator[None]:
    """A second training and two busy loops."""
    others: list[subprocess.Popen[Any]] = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)
    ]
    try:
        training = _start("torch-default", 0)
        others.append(training)
        _go(training)
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def measure(impl: str, setting: str, seconds: float) -> list[float]:
    """Milliseconds of the steps of one fresh process."""
    process = _start(impl, seconds)
    try:
        with _others() if setting == "busy" else contextlib.nullcontext():
            _go(process)
            assert process.stdout is not None
            return json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measures, prints, writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=3, help="fresh processes of each kind")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured of each process, longer where a step is")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    taken: dict[tuple[str, str], list[float]] = {(setting, impl): [] for setting in SETTINGS for impl in IMPLS}
    for _ in range(options.rounds):
        for (setting, impl), means in taken.items():
            means.append(mean(measure(impl, setting, options.seconds)))
    rows: list[dict[str, object]] = []
    for (setting, impl), means in taken.items():
        ms, default = mean(means), mean(taken[setting, IMPLS[0]])
        row = {"setting": setting, "impl": impl, "ms": round(ms, 2), "times_faster": round(default / ms, 2)}
        rows.append(row | {"rounds": [round(value, 2) for value in means], "load_before": load})
        rounds = ", ".join(f"{value:.1f}" for value in means)
        print(f"{setting:5} {impl:14} {ms:9.2f} ms  {default / ms:6.2f}x  (rounds {rounds})", flush=True)
    from benchmarks.ops.rows import write

    write(options.json, rows, "cpu")


if __name__ == "__main__":
    main()
