"""``python -m benchmarks.time_to_quality gowalla --json FILE``: seconds to a published quality, trained and untrained.

Settings are the authors' of each model. ``--stage valid`` trains on train alone and ranks valid, to choose the epochs
by. ``--stage test`` trains on train + valid, as the published protocol does, and ranks the test after each of the
epochs asked for, fixed beforehand: a point of the curve is a run of its own in all but the seconds it would cost to
train the same epochs again. Seconds are of building the graph, drawing and training, ranking apart. Published maxima
were chosen on test.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.ops.rows import write
from mmgraph.data import Split
from mmgraph.evaluate import EvalConfig, evaluate, evaluate_test
from mmgraph.graph import MultimodalGraph, build_graph
from mmgraph.models import BSPM, GFCF, ChebyCF, LightGCN, Recommender
from mmgraph.objectives import SampledSoftmax
from mmgraph.process import prepare_process
from mmgraph.recipes.gowalla import gowalla_published
from mmgraph.train import FitConfig, fit

# BSL on cosines over the batch, ranked by dot products; one layer: from its authors' logs. Their rate is 1e-3, from
# weights a tenth of ours; on valid 5e-3 has after 6 epochs what 1e-3 has after 18, and 1e-2 a little less
OBJECTIVE = SampledSoftmax(temperature=0.12, cosine=True, exponent=0.84)
SOLVED: dict[str, Callable[..., Recommender]] = {
    "gfcf": GFCF,
    "bspm": BSPM,
    "chebycf": ChebyCF,
    "chebycf-as-coded": lambda graph: ChebyCF(graph, as_coded=True),
}
CONFIG = EvalConfig(k=(20,), groups=("all",), auc=False)
METRICS = ("recall@20", "ndcg@20")


class Curve:
    """The points of one run's curve."""

    def __init__(self, split: Split, stage: Literal["valid", "test"], device: str) -> None:
        self.split, self.device = split, device
        self.stage: Literal["valid", "test"] = stage
        self.rows: list[dict[str, Any]] = []

    def judge(self, impl: str, graph: MultimodalGraph, model: Recommender, seconds: float, epochs: int) -> None:
        """Adds a point."""
        if self.stage == "valid":
            found = evaluate(model, graph, self.split.valid, CONFIG, self.device)
        else:
            opener = f"time-to-quality/{impl}/{epochs}"
            found = evaluate_test(model, graph, self.split, opener, CONFIG, self.device)
        row = {"impl": impl, "data": "gowalla", "stage": self.stage, "seconds": round(seconds, 1), "epochs": epochs}
        self.rows.append(row | {m: round(found["all"][m], 5) for m in METRICS})
        print(self.rows[-1], flush=True)

    def train(self, epochs: Sequence[int], layers: int, rate: float, dim: int) -> None:
        """LightGCN under BSL's softmax, judged after some of its epochs."""
        torch.manual_seed(0)
        start, ranking, done = time.perf_counter(), 0.0, 0
        graph = build_graph(self.split, self.stage)
        model = LightGCN(graph, embedding_dim=dim, num_layers=layers, l2=1e-5, objective=OBJECTIVE)

        def after_epoch(model: Recommender) -> dict[str, float]:
            nonlocal ranking, done
            done += 1
            now = time.perf_counter()
            if done in epochs:
                self.judge(f"lightgcn-bsl-d{dim}", graph, model, now - start - ranking, done)
            ranking += time.perf_counter() - now
            return {"recall@20": float(done)}  # nothing is chosen here: the last epoch is kept

        config = FitConfig(
            epochs=max(epochs), batch_size=2048, learning_rate=rate, patience=max(epochs), device=self.device
        )
        fit(model, graph, validate=after_epoch, config=config)

    def solve(self, name: str) -> None:
        """A filter without training."""
        start = time.perf_counter()
        graph = build_graph(self.split, self.stage)
        model = SOLVED[name](graph)
        model.solve(graph)
        self.judge(name, graph, model, time.perf_counter() - start, 0)


def main() -> None:
    """Trains and solves in turn, and writes a row for each point with seconds, epochs, Recall@20 and NDCG@20."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_quality", description=main.__doc__)
    parser.add_argument("data", choices=["gowalla"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[12, 20, 40], help="of LightGCN, to judge after")
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 128], help="widths of LightGCN, a run each")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--only", default="", help=f"of lightgcn, {', '.join(SOLVED)}; all by default")
    parser.add_argument("--stage", choices=["valid", "test"], default="test")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    curve = Curve(gowalla_published(), given.stage, given.device)
    for name in given.only.split(",") if given.only else ["lightgcn", *SOLVED]:
        if name == "lightgcn":
            for dim in given.dims:
                curve.train(given.epochs, given.layers, given.rate, dim)
        else:
            curve.solve(name)
    write(given.json, curve.rows, given.device)


if __name__ == "__main__":
    prepare_process()
    main()
