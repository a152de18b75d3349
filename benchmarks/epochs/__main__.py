"""``python -m benchmarks.epochs --models lightgcn --data gowalla --json FILE``."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.epochs.cases import MODELS, quiet
from benchmarks.epochs.data import load
from benchmarks.ops.rows import run_tests, write
from benchmarks.ops.timing import in_turn, now, peak
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import epoch_generator
from mmgraph.models import Recommender


def main() -> None:
    """Times training batches of mmgraph and of plain ports in turn, and writes the epochs they make."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=main.__doc__)
    parser.add_argument("--models", default="lightgcn", help=f"all, or of {', '.join(MODELS)}")
    parser.add_argument("--data", default="gowalla", help="tiktok, baby-4096, …: see benchmarks/epochs/data.py")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10, help="batches timed of each")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--untested", action="store_true", help="the tests were run just before")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    names = list(MODELS) if options.models == "all" else options.models.split(",")
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"unknown {unknown}: choose from {', '.join(MODELS)}, or all")
    if not options.untested:
        run_tests(["tests/ops/test_spmm.py", "tests/ops/test_propagate.py", "tests/models/test_ports.py"])
    for data in options.data.split(","):
        graph = load(data)
        for model in names:
            write(options.json, measure(model, data, graph, options), options.device)


def batches(model: Recommender, graph: MultimodalGraph, size: int) -> Iterator[Any]:
    """Batches of one epoch after the other."""
    epoch = 0
    while True:
        yield from model.sampler(graph, size).epoch(0, epoch)
        epoch += 1


def quiet_terms(made: Any, loss: Callable[[Any], dict[str, Tensor]]) -> dict[str, Tensor]:
    """A model's or a port's terms without dropout and noise, or with the same; not ``l2``, which ports count once a
    mention of a row."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        terms = loss(quiet(copy.deepcopy(made)))  # with gradients: some terms are made of them
    return {term: value.detach() for term, value in terms.items() if term != "l2"}


def stepper(
    module: torch.nn.Module, terms: Callable[[Any], list[Tensor]], stream: Iterator[Any], device: str, **adam: Any
) -> Callable[[], dict[str, float]]:
    """One step of training, timed."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, **adam)

    def lap() -> dict[str, float]:
        batch = next(stream)
        start = now(device)
        loss = torch.stack(terms(batch)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"batch": now(device) - start}

    return lap


def measure(name: str, data: str, graph: MultimodalGraph, options: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of one model on one data set."""
    case, device = MODELS[name], options.device
    torch.manual_seed(0)
    graph = case.transform(graph)
    first = case.model(graph, embedding_dim=options.dim, **case.arguments).to(device)
    graph = graph.to(device)
    sampler = first.sampler(graph, options.batch_size)
    start = now(device)
    sample = next(iter(sampler.epoch(0, 0)))
    # what an epoch costs once: its batches and, where edges are dropped anew, its graph
    thin = graph if case.epoch_transform is None else case.epoch_transform(graph, epoch_generator(0, 0))
    if thin is not graph:
        thin.adjacency("interacts", norm="sym")
    sampling = 1e3 * (now(device) - start)
    laps = {}
    for impl, storage in ((f"mmgraph-{device}", None), (f"mmgraph-{device}-bf16", torch.bfloat16)):
        model = copy.deepcopy(first)

        def terms(batch: Any, model=model, storage=storage) -> list[Tensor]:
            if storage is None:
                return list(model.loss(thin, batch).values())
            with torch.autocast(device, storage):
                return [term.float() for term in model.loss(thin, batch).values()]

        laps[impl] = stepper(model, terms, batches(model, graph, options.batch_size), device, fused=True)
    truth = quiet_terms(first, lambda model: model.loss(thin, sample))
    for impl, make in case.products.items():
        with torch.device(device):  # ports make their own tensors wherever that is
            port = case.plain(copy.deepcopy(first), thin, make)
            same = quiet_terms(port, lambda port: port.loss(sample))
        torch.testing.assert_close(same, truth, rtol=case.close, atol=case.close / 10)

        def plain(batch: Any, port=port) -> list[Tensor]:
            with torch.device(device):
                return list(port.loss(batch).values())

        laps[impl] = stepper(port, plain, batches(first, graph, options.batch_size), device)
    times = in_turn(laps, options.rounds, options.seconds)
    ours = times[f"mmgraph-{device}"]["batch"]
    print(f"\n{name}, {data}, D={options.dim}, batches of {options.batch_size}: {len(sampler)} an epoch")
    rows = []
    for impl, parts in times.items():
        epoch = parts["batch"] * len(sampler) + sampling
        high = peak(laps[impl], device)
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
