"""Several processes: the same losses, the bytes that the formula says, what they cost, and what a kill costs.

    python -m benchmarks.distributed --json benchmarks/results/distributed.json
    python -m benchmarks.distributed --only columns constants --scale 0.2

Every part gives rows ``{"bar", "value", "limit", "holds"}`` and details. Efficiency is the CPU seconds of one process
over those of all P together, for the same steps: it is 1 where sharing costs nothing. One thread a process. Rows
without a limit are facts that a bar is read against.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.ops.rows import machine
from mmgraph.distributed import (
    Buckets,
    Columns,
    Machine,
    RowTable,
    Wire,
    bucket_epoch,
    column_step_bytes,
    joined,
    read_parts,
    row_step_bytes,
)
from mmgraph.models import BPRMF, LightGCN, Recommender
from mmgraph.objectives import BPR, SampledSoftmax
from mmgraph.ops import spmm
from mmgraph.testing import make_graph
from mmgraph.train import FitConfig, fit
from mmgraph.train.together import Together

USERS, VIDEOS, PAIRS, DIM, LAYERS, BATCH = 200_000, 100_000, 2_000_000, 64, 3, 2048
COUNTED = 500_000  # pairs that the buckets train on
ROOT = Path(__file__).parents[1]


class Report:
    """Bars and details."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.details: dict[str, Any] = {}

    def bar(self, name: str, value: float, limit: float, *, least: bool = False) -> None:
        """Notes one; ``least``: the value must reach the limit, not stay below it."""
        holds = value >= limit if least else value <= limit
        self.rows.append({"bar": name, "value": float(f"{value:.6g}"), "limit": limit, "holds": bool(holds)})
        print(f"{'holds' if holds else 'FAILS':6} {name}: {value:g} (limit {limit:g})", flush=True)

    def fact(self, name: str, value: float) -> None:
        """Notes what a bar is read against; it has no limit."""
        self.rows.append({"bar": name, "value": float(f"{value:.6g}"), "limit": None, "holds": None})
        print(f"       {name}: {value:g}", flush=True)


def together(job: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
    """``job(wire, *arguments)`` in ``size`` fresh processes; the results by rank."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        queue = context.SimpleQueue()
        given = (job, size, f"file://{folder}/store", queue, arguments)
        crew = [context.Process(target=_one, args=(rank, *given)) for rank in range(size)]
        for process in crew:
            process.start()
        found = dict(queue.get() for _ in crew)
        for process in crew:
            process.join()
    if failed := [value for value in found.values() if isinstance(value, BaseException)]:
        raise failed[0]
    return [found[rank] for rank in range(size)]


def _one(rank: int, job: Callable[..., Any], size: int, store: str, queue: Any, arguments: tuple) -> None:
    torch.set_num_threads(1)
    try:
        with joined(rank, size, store) as wire:
            queue.put((rank, job(wire, *arguments)))
    except Exception as error:
        queue.put((rank, RuntimeError(f"process {rank}: {type(error).__name__}: {error}")))


def power_law(users: int, videos: int, pairs: int) -> Any:
    """A graph of random pairs with power-law degrees, ids in random order."""
    generator = torch.Generator().manual_seed(0)
    user = (torch.rand(pairs, generator=generator).pow_(2) * users).long()
    video = (torch.rand(pairs, generator=generator).pow_(3) * videos).long()
    user = torch.randperm(users, generator=generator)[user]
    video = torch.randperm(videos, generator=generator)[video]
    return make_graph(user, video, users, videos, {})


WAYS: dict[str, Callable[[Any], Recommender]] = {
    "LightGCN, BPR": lambda g: LightGCN(g, embedding_dim=DIM, num_layers=LAYERS, objective=BPR()),
    "LightGCN, cosine softmax in the batch": lambda g: LightGCN(
        g, embedding_dim=DIM, num_layers=LAYERS, objective=SampledSoftmax(temperature=0.2, cosine=True)
    ),
    "LightGCN, BPR, 128 columns": lambda g: LightGCN(g, embedding_dim=128, num_layers=LAYERS, objective=BPR()),
    "BPRMF, BPR": lambda g: BPRMF(g, embedding_dim=DIM),
}
LEAST = {2: 0.7, 4: 0.6}  # CPU efficiency, by processes


def every_way(wire: Wire | None, scale: float) -> dict[str, dict[str, Any]]:
    """Name -> what :func:`train_steps` found; the graph is made once."""
    graph = power_law(USERS, VIDEOS, PAIRS)
    return {
        way: train_steps(wire, graph, make, max(int((16 if "BPR" in way else 4) * scale), 2), "cosine" in way)
        for way, make in WAYS.items()
    }


def train_steps(
    wire: Wire | None, graph: Any, make: Callable[[Any], Recommender], steps: int, cosine: bool = False
) -> dict[str, Any]:
    """Losses, bytes and CPU seconds of some steps, after two that do not count for the seconds."""
    torch.manual_seed(0)
    model = make(graph)
    crew = Together() if wire is None else Columns(wire)
    graph = crew.shared(graph, model)
    crew.divide(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    losses, sent, said, began = [], [], [], 0.0
    batches = model.sampler(graph, BATCH).epoch(0, 0)
    for step in range(steps + 2):
        if step == 2:
            began = time.process_time()
        batch = next(batches)
        if wire is not None:
            wire.sent.clear()
        terms = crew.loss(model, graph, batch)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append([float(term.detach()) for term in terms.values()])
        sent.append(0 if wire is None else wire.sent.total())
        said.append(formula(batch, cosine))
    seconds = (time.process_time() - began) / steps
    return {"losses": losses, "sent": sent, "said": said, "cpu": seconds, "steps": steps + 2}


def formula(batch: Any, cosine: bool) -> int:
    """The bytes of a step of the column scheme."""
    if cosine:
        videos = len(batch.positive.unique())
        return column_step_bytes(len(batch.user), in_batch=videos, cosine_videos=videos)
    return column_step_bytes(len(batch.user), batch.negative.shape[1])


def columns(report: Report, folder: Path, scale: float) -> None:
    """Losses, bytes and CPU of 1, 2 and 4 processes."""
    alone = together(_alone, 1, scale)[0]
    several = {size: together(every_way, size, scale) for size in (2, 4)}
    for way, one in alone.items():
        told: dict[str, Any] = {"cpu ms a step, 1": round(1000 * one["cpu"], 1), "steps": one["steps"]}
        for size, crew in several.items():
            found = [part[way] for part in crew]
            apart = max(_apart(part["losses"], one["losses"]) for part in found)
            report.bar(f"{way}: largest difference of a loss, {size} processes", apart, 1e-5)
            wrong = max(abs(s - f) for part in found for s, f in zip(part["sent"], part["said"], strict=True))
            report.bar(f"{way}: bytes a step beside the formula, {size} processes", wrong, 0)
            efficiency = one["cpu"] / sum(part["cpu"] for part in found)
            told[f"cpu ms a step, {size}, each"] = [round(1000 * part["cpu"], 1) for part in found]
            told[f"bytes a step, {size}"] = found[0]["sent"][-1]
            told[f"efficiency, {size}"] = round(efficiency, 3)
            if way == "LightGCN, BPR":
                report.bar(f"{way}: CPU efficiency, {size} processes", efficiency, LEAST[size], least=True)
        report.details[way] = told
    by_rows = row_step_bytes(USERS + VIDEOS, DIM, LAYERS, 2)
    report.details["bytes a step if the graph were cut by rows (formula)"] = by_rows


def shares(report: Report, folder: Path, scale: float) -> None:
    """Where the CPU efficiency of LightGCN with BPR goes: three factors whose product it is, measured in one run.

    Width: one process with D/P columns, times P, against one with D. Machine: P processes with D/P columns each at once
    that exchange nothing, against one of them alone: what cores lose that share their execution units, caches and
    memory. Exchange: the same P processes as they train together. Beside them P processes at once that each do the
    whole work of one, "independent processes": what no way of sharing can beat.
    """
    steps = max(int(16 * scale), 4)

    def cpu(size: int, width: int, share: bool) -> float:
        found = together(_bpr_steps, size, width, steps, share)
        return sum(found) / size

    alone = cpu(1, DIM, False)
    for size in (2, 4):
        independent = cpu(size, DIM, False)
        narrow, beside, sharing = (
            cpu(*given) for given in ((1, DIM // size, False), (size, DIM // size, False), (size, DIM, True))
        )
        report.fact(
            f"independent processes, {size} at once: CPU of a step alone of that beside the others", alone / independent
        )
        report.details[f"LightGCN, BPR, where the CPU of {size} processes goes"] = {
            "cpu ms a step, alone": 1000 * alone,
            "independent, each": 1000 * independent,
            f"{DIM // size} columns, alone": 1000 * narrow,
            f"{DIM // size} columns, {size} at once, each": 1000 * beside,
            f"together on {DIM} columns, each": 1000 * sharing,
            "width": alone / (size * narrow),
            "machine": narrow / beside,
            "exchange": beside / sharing,
            "efficiency": alone / (size * sharing),
            "efficiency of independent processes": alone / independent,
        }


def _bpr_steps(wire: Wire, width: int, steps: int, share: bool) -> float:
    """CPU seconds of a step of LightGCN with BPR on so many columns; ``share``: divided among the processes."""
    graph = power_law(USERS, VIDEOS, PAIRS)

    def make(graph: Any) -> Recommender:
        return LightGCN(graph, embedding_dim=width, num_layers=LAYERS, objective=BPR())

    wire.sum_in_place(torch.ones(1))  # all begin at once
    return train_steps(wire if share else None, graph, make, steps)["cpu"]


def _alone(wire: Wire, scale: float) -> dict[str, dict[str, Any]]:
    return every_way(None, scale)


def _apart(some: list[list[float]], others: list[list[float]]) -> float:
    return float((torch.tensor(some) - torch.tensor(others)).abs().max())


def some_epochs(wire: Wire, folder: str, epochs: int) -> list[float]:
    """Trains up to an epoch, from the checkpoint that is there."""
    graph = power_law(3_000, 2_000, 40_000)
    torch.manual_seed(0)
    model = LightGCN(graph, embedding_dim=DIM, num_layers=2)
    config = FitConfig(epochs=epochs, batch_size=BATCH, checkpoint_seconds=0)
    report = fit(model, graph, config=config, directory=folder, resume=True, together=Columns(wire))
    return [row["loss/bpr"] for row in report.history]


def checkpoints(report: Report, folder: Path, scale: float) -> None:
    """What 2 processes wrote, read and written again by 4, and by 1."""
    held = []
    seconds = {}
    for size in (2, 4, 1):
        began = time.perf_counter()
        together(some_epochs, size, str(folder), 2)
        seconds[f"{size} processes, start to end"] = round(time.perf_counter() - began, 1)
        held.append(read_parts(folder / "checkpoint"))
    for name, other in (("2 -> 4", held[1]), ("2 -> 4 -> 1", held[2])):
        apart = max(float((a - b).abs().max()) for a, b in zip(_tensors(held[0]), _tensors(other), strict=True))
        report.bar(f"checkpoint {name}: largest difference of weights and moments", apart, 0)
    report.details["checkpoint, seconds"] = seconds


def _tensors(state: dict[str, Any]) -> list[Tensor]:
    return [state["last"]["embedding"], *(state["optimizer"]["state"][0][k] for k in ("exp_avg", "exp_avg_sq", "step"))]


EXPERIMENT = """
import os, signal
from pathlib import Path

import polars as pl
import torch
from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.models import LightGCN
from mmgraph.train import FitConfig

HERE = Path(__file__).parent


def world():
    pairs = torch.randint(0, 300, (6000, 2), generator=torch.Generator().manual_seed(0)).unique(dim=0)
    frame = pl.DataFrame(pairs.numpy(), schema=["user_id", "video_id"], orient="row")
    return random_split(Dataset.from_frames(frame, name="random"), seed=0)


def epoch_begins(graph, generator):
    rank = os.environ.get("RANK")
    count = HERE / f"epochs-{rank}"
    with count.open("a") as file:
        file.write("x")
    if rank == "1" and (HERE / "kill").exists() and count.stat().st_size == 4:
        (HERE / "kill").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return graph


def training():
    fit = FitConfig(epochs=6, batch_size=512, learning_rate=0.01, monitor="recall@20", checkpoint_seconds=0)
    return Experiment(
        name="toy", split=world, model=LightGCN, fit=fit, evaluate=EvalConfig(k=(20,)), epoch_transforms=(epoch_begins,)
    )
"""


def kills(report: Report, folder: Path, scale: float) -> None:
    """Process 1 of 2 gets kill -9 in its fourth epoch, under ``mmgraph run --nproc`` and under ``torchrun``."""
    run = ["run", "toy.py:training", "--seed", "0", "--out", "runs"]
    ways = {
        "undisturbed": [sys.executable, "-m", "mmgraph", *run, "--nproc", "2"],
        "mmgraph run --nproc 2": [sys.executable, "-m", "mmgraph", *run, "--nproc", "2"],
        "torchrun --max-restarts": [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("--max-restarts", "2", "-m", "mmgraph", *run, "--resume"),
        ],
    }
    weights = {}
    for way, command in ways.items():
        place = folder / way.replace(" ", "-")
        place.mkdir()
        (place / "toy.py").write_text(EXPERIMENT)
        if way != "undisturbed":
            (place / "kill").touch()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        began = time.perf_counter()
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
        report.details[f"{way}, seconds"] = round(time.perf_counter() - began, 1)
        weights[way] = load_file(place / "runs" / "toy" / "0" / "weights.safetensors")["embedding"]
        report.details[f"{way}, epochs begun"] = (place / "epochs-0").stat().st_size
        assert not (place / "kill").exists()
    for way in list(ways)[1:]:
        apart = float((weights[way] - weights["undisturbed"]).abs().max())
        report.bar(f"process killed under {way}: largest difference of the final weights", apart, 0)


def wire_speed(wire: Wire) -> dict[str, float]:
    """Milliseconds of an all-reduce of 8 bytes and of 16 KiB; MiB a second of one of 64 MiB; an exchange of rows."""

    def timed(job: Callable[[], Any], times: int) -> float:
        job()
        began = time.perf_counter()
        for _ in range(times):
            job()
        return (time.perf_counter() - began) / times

    small, step, large = torch.ones(2), torch.ones(4096), torch.ones(16 << 20)
    table = RowTable(wire, 200_000, DIM)
    ids = torch.randint(0, 200_000, (4096,), generator=torch.Generator().manual_seed(wire.rank))
    return {
        "8 bytes, ms": 1000 * timed(lambda: wire.sum_in_place(small), 200),
        "16 KiB, ms": 1000 * timed(lambda: wire.sum_in_place(step), 200),
        "64 MiB, MiB/s": 64 / timed(lambda: wire.sum_in_place(large), 3),
        "rows of 4,096 ids and back, ms": 1000 * timed(lambda: table(ids).sum().backward(), 10),
    }


def bucket_speed(wire: Wire, folder: str) -> dict[str, float]:
    """Pairs a CPU second of sampled training, users in 8 buckets on disk."""
    buckets, videos = Buckets.open(folder), RowTable(wire, VIDEOS, DIM)
    began, wall = time.process_time(), time.perf_counter()
    bucket_epoch(buckets, videos, batch_size=8192)
    return {"cpu": time.process_time() - began, "wall": time.perf_counter() - wall}


def constants(report: Report, folder: Path, scale: float) -> None:
    """The constants of the cost model, and what it then says of 10^9 edges."""
    graph = power_law(USERS, VIDEOS, PAIRS)
    adjacency = graph.adjacency(norm="sym")
    edge_ns = {}
    for width in (8, 16, 32, 64):
        x = torch.randn(USERS + VIDEOS, width)
        spmm(adjacency, x)
        spent = []
        for _ in range(max(int(5 * scale), 2)):
            began = time.process_time()
            spmm(adjacency, x)
            spent.append(time.process_time() - began)
        edge_ns[width] = round(1e9 * sorted(spent)[len(spent) // 2] / adjacency.num_edges, 2)
    speed = {size: together(wire_speed, size)[0] for size in (2, 4)}
    pairs = tuple(part[:COUNTED] for part in graph.interactions())
    Buckets.write(folder / "buckets", [pairs], USERS, VIDEOS, dim=DIM, count=8)
    bucket = together(bucket_speed, 1, str(folder / "buckets"))[0]
    found = Machine(edge_ns, speed[2]["64 MiB, MiB/s"], speed[2]["8 bytes, ms"], COUNTED / bucket["cpu"])
    report.details |= {"machine": asdict(found), "wire": speed, "buckets": bucket}
    report.details["10^9 edges, 1.1 * 10^8 nodes, 64 columns"] = {
        "memory, GB, 1 process": found.memory_gb(110_000_000, 10**9, DIM, 1),
        "full propagation, 3 layers, 16 columns at a time, core s": found.propagation_seconds(10**9, DIM, 3, 16),
        "epoch by buckets, core s": found.bucket_epoch_seconds(10**9, 1),
    }


PARTS: dict[str, Callable[[Report, Path, float], None]] = {
    part.__name__: part for part in (columns, shares, checkpoints, kills, constants)
}


def main() -> None:
    """Runs the parts that were asked for and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of steps")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), help="these parts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    report, load = Report(), os.getloadavg()[0]
    for name, part in PARTS.items():
        if given.only and name not in given.only:
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="mmgraph-distributed-") as folder:
            part(report, Path(folder), given.scale)
        report.details[f"{name}, seconds"] = round(time.perf_counter() - began, 1)
    about = {**machine("cpu"), "load_before": load, "load_after": os.getloadavg()[0], "scale": given.scale}
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"about": about, "rows": report.rows, "details": report.details}, indent=1))
    for name, value in report.details.items():
        print(f"{name}: {value}")
    raise SystemExit(any(row["holds"] is False for row in report.rows))


if __name__ == "__main__":
    main()
