"""``python -m benchmarks.epochs --models lightgcn --data gowalla --json FILE``."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.epochs.ports import PlainLightGCN, PlainMMGCN, products
from benchmarks.ops.rows import run_tests, write
from benchmarks.ops.timing import in_turn, peak
from benchmarks.recipes.gowalla import gowalla
from benchmarks.recipes.tiktok import tiktok
from mmgraph.graph import build_graph
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch
from mmgraph.models import MMGCN, LightGCN
from mmgraph.train import reuse_freed_memory

DATA = {"gowalla": gowalla, "tiktok": tiktok}
MODELS = {
    "lightgcn": (LightGCN, PlainLightGCN, "sym", {"num_layers": 3}),
    "mmgcn": (MMGCN, PlainMMGCN, "row", {"num_layers": 2}),
}


def main() -> None:
    """Times training batches of mmgraph and of plain ports in turn, and writes the epochs they make."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=main.__doc__)
    parser.add_argument("--models", default="lightgcn", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--data", default="gowalla", help=f"of {', '.join(DATA)}")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10, help="batches timed of each")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    for name, known in (
        (n, k) for names, k in ((options.models, MODELS), (options.data, DATA)) for n in names.split(",")
    ):
        if name not in known:
            parser.error(f"unknown {name!r}: choose from {', '.join(known)}")
    run_tests(["tests/ops/test_spmm.py", "tests/ops/test_propagate.py", "tests/models/test_lightgcn.py"])
    reuse_freed_memory()  # as ``fit`` does; for all contenders alike
    rows: list[dict[str, object]] = []
    for data in options.data.split(","):
        graph = build_graph(DATA[data]())
        for model in options.models.split(","):
            rows += measure(model, data, graph, options)
    write(options.json, rows, "cpu")


def batches(model: LightGCN | MMGCN, graph: MultimodalGraph, size: int) -> Iterator[PairBatch]:
    """Batches of one epoch after the other."""
    epoch = 0
    while True:
        yield from model.sampler(graph, size).epoch(0, epoch)
        epoch += 1


def stepper(
    module: torch.nn.Module, terms: Callable[[PairBatch], list[Tensor]], stream: Iterator[PairBatch], **adam: object
) -> Callable[[], dict[str, float]]:
    """One step of training, timed."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, **adam)

    def lap() -> dict[str, float]:
        batch = next(stream)
        start = time.perf_counter()
        loss = torch.stack(terms(batch)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"batch": time.perf_counter() - start}

    return lap


def measure(name: str, data: str, graph: MultimodalGraph, options: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of one model on one data set."""
    kind, plain, norm, arguments = MODELS[name]
    torch.manual_seed(0)
    first = kind(graph, embedding_dim=options.dim, **arguments)
    sampler = first.sampler(graph, options.batch_size)
    start = time.perf_counter()
    sample = next(iter(sampler.epoch(0, 0)))
    sampling = 1e3 * (time.perf_counter() - start)
    laps = {}
    for impl, storage in (("mmgraph-cpu", None), ("mmgraph-cpu-bf16", torch.bfloat16)):
        model = copy.deepcopy(first)

        def terms(batch: PairBatch, model=model, storage=storage) -> list[Tensor]:
            if storage is None:
                return list(model.loss(graph, batch).values())
            with torch.autocast("cpu", storage):
                return [term.float() for term in model.loss(graph, batch).values()]

        laps[impl] = stepper(model, terms, batches(model, graph, options.batch_size), fused=True)
    truth = first.loss(graph, sample)["bpr"].detach()
    for impl, product in products(graph.adjacency("interacts", norm=norm)).items():
        port = plain(copy.deepcopy(first), graph, product)
        torch.testing.assert_close(port.loss(sample)[0].detach(), truth, rtol=1e-4, atol=1e-5)
        laps[impl] = stepper(port, lambda b, port=port: list(port.loss(b)), batches(first, graph, options.batch_size))
    times = in_turn(laps, options.rounds, options.seconds)
    ours = times["mmgraph-cpu"]["batch"]
    print(f"\n{name}, {data}, D={options.dim}, batches of {options.batch_size}: {len(sampler)} an epoch")
    rows = []
    for impl, parts in times.items():
        epoch = parts["batch"] * len(sampler) + sampling
        high = peak(laps[impl], "cpu")
        rows.append(
            {
                "op": f"epoch-{name}",
                "impl": impl,
                "shape": data,
                "dim": options.dim,
                "direction": "epoch",
                "ms": round(epoch, 1),
                "peak_bytes": high,
                "ms_per_batch": round(parts["batch"], 2),
                "batches": len(sampler),
                "batches_timed": options.rounds,
                "sampling_ms": round(sampling, 1),
                "times_mmgraph": round(parts["batch"] / ours, 2),
            }
        )
        print(
            f"  {impl:17} {parts['batch']:9.2f} ms a batch {epoch / 1e3:8.1f} s an epoch"
            f" {parts['batch'] / ours:7.2f}x {high / 2**20:7.0f} MiB"
        )
    return rows


if __name__ == "__main__":
    main()
