"""Full ranking of all users against the plain way: ``python -m benchmarks.ranking --data gowalla --json FILE``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.ops.rows import run_tests, write
from benchmarks.ops.timing import in_turn, peak
from mmgraph.evaluate import EvalConfig, evaluate
from mmgraph.graph import build_graph
from mmgraph.models import LightGCN
from mmgraph.models.base import Embeddings, Recommender
from mmgraph.ops import CSR
from mmgraph.recipes.gowalla import gowalla
from mmgraph.recipes.tiktok import tiktok
from mmgraph.train import FitConfig, fit

DATA = {"gowalla": gowalla, "tiktok": tiktok}


class Fixed(Recommender):
    """Embeddings that were made before: what is timed is ranking, not encoding."""

    def __init__(self, rows: Embeddings) -> None:
        super().__init__()
        self.rows = rows

    def encode(self, graph, rows=None) -> Embeddings:
        """The embeddings."""
        return self.rows


def plain(emb: Embeddings, seen: CSR, targets: CSR, users: Tensor, k: int, batch: int) -> dict[str, float]:
    """``matmul``, mask, ``torch.topk``, and the metrics of each batch by a dense table of targets."""
    parts = []
    discount = 1 / torch.arange(2, k + 2).float().log2()
    for rows in users.split(batch):
        scores = emb.user[rows] @ emb.video.T
        part, _ = seen.select(rows)
        scores[part.row_indices().long(), part.indices.long()] = -torch.inf
        best = scores.topk(k).indices
        wanted = torch.zeros(len(rows), len(emb.video), dtype=torch.bool)
        part, _ = targets.select(rows)
        wanted[part.row_indices().long(), part.indices.long()] = True
        hit, count = wanted.gather(1, best).float(), wanted.sum(1)
        ideal = discount.cumsum(0)[count.clamp(max=k) - 1]
        rank = torch.arange(1, k + 1)
        metrics = {
            "recall": hit.sum(1) / count,
            "ndcg": (hit * discount).sum(1) / ideal,
            "precision": hit.sum(1) / k,
            "map": (hit * hit.cumsum(1) / rank).sum(1) / count.clamp(max=k),
            "mrr": (hit / rank).amax(1),
            "hit_rate": hit.amax(1),
        }
        parts.append(torch.stack(list(metrics.values())))
    return dict(zip([f"{name}@{k}" for name in metrics], torch.cat(parts, 1).mean(1).tolist(), strict=True))


def main() -> None:
    """Ranks all videos for all users with valid targets both ways, in turn; compares the metrics, writes the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking", description=main.__doc__)
    parser.add_argument("--data", default="gowalla", help=f"of {', '.join(DATA)}")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3, help="of LightGCN, whose embeddings are ranked")
    parser.add_argument("--batch", type=int, default=1024, help="users of a batch of the plain way")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    if given.data not in DATA:
        parser.error(f"unknown {given.data!r}: choose from {', '.join(DATA)}")
    run_tests(["tests/ops/test_topk.py", "tests/evaluate/test_evaluate.py"])
    split = DATA[given.data]()
    graph = build_graph(split)
    torch.manual_seed(0)
    model = LightGCN(graph, embedding_dim=given.dim)
    fit(model, graph, config=FitConfig(epochs=given.epochs, learning_rate=5e-3))
    with torch.no_grad():
        emb = Embeddings(*(rows.clone() for rows in model.encode(graph)))
    user, video = (torch.tensor(split.valid[name].to_numpy(), dtype=torch.int64) for name in ("user", "video"))
    targets = CSR.from_edges(user, video, (graph.num_users, graph.num_videos))
    users = user.unique()
    config = EvalConfig(k=(given.k,), groups=("all",), auc=False)
    found: dict[str, dict[str, float]] = {}

    def ours() -> dict[str, float]:
        start = time.perf_counter()
        found["mmgraph-cpu"] = evaluate(Fixed(emb), graph, split.valid, config)["all"]
        return {"all": time.perf_counter() - start}

    def theirs() -> dict[str, float]:
        start = time.perf_counter()
        found["torch_topk"] = plain(emb, graph.seen, targets, users, given.k, given.batch)
        return {"all": time.perf_counter() - start}

    laps = {"torch_topk": theirs, "mmgraph-cpu": ours}
    times = in_turn(laps, given.rounds, 600)
    for name, value in found["torch_topk"].items():
        assert abs(value - found["mmgraph-cpu"][name]) < 1e-4, (name, value, found["mmgraph-cpu"][name])
    rows = []
    print(f"\n{given.data}: {len(users)} users x {graph.num_videos} videos, top {given.k}, D = {given.dim}")
    for name, parts in times.items():
        high, ratio = peak(laps[name], "cpu"), parts["all"] / times["mmgraph-cpu"]["all"]
        row = {"op": "ranking", "impl": name, "shape": given.data, "dim": given.dim, "direction": "all metrics"}
        rows.append(row | {"ms": round(parts["all"], 1), "peak_bytes": high, "times_mmgraph": round(ratio, 2)})
        print(f"  {name:12} {parts['all'] / 1e3:7.2f} s {ratio:6.2f}x {high / 2**20:7.0f} MiB")
    write(given.json, rows, "cpu")


if __name__ == "__main__":
    main()
