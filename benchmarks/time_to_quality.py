"""``python -m benchmarks.time_to_quality gowalla --json FILE``: seconds to a published quality, trained and untrained.

Settings are the authors' of each model; ``--stage valid`` trains on train alone and ranks valid, to choose by. Each row
of ``--stage test`` trains once on train + valid, as the published protocol does, and the test is ranked once at its
end. Published maxima were chosen on test.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.ops.rows import write
from mmgraph.evaluate import EvalConfig, evaluate
from mmgraph.graph import build_graph
from mmgraph.models import BSPM, GFCF, ChebyCF, LightGCN, Recommender
from mmgraph.objectives import SampledSoftmax
from mmgraph.process import prepare_process
from mmgraph.recipes.gowalla import gowalla_published
from mmgraph.train import FitConfig, fit

# BSL on cosines over the batch, ranked by dot products; one layer: from its authors' logs
OBJECTIVE = SampledSoftmax(temperature=0.12, cosine=True, exponent=0.84)
SOLVED: dict[str, Callable[..., Recommender]] = {
    "gfcf": GFCF,
    "bspm": BSPM,
    "chebycf": lambda graph: ChebyCF(graph, as_coded=True),
}
CONFIG = EvalConfig(k=(20,), groups=("all",), auc=False)


def main() -> None:
    """Trains and solves in turn, and writes a row for each with seconds, epochs, Recall@20 and NDCG@20."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.time_to_quality", description=main.__doc__)
    parser.add_argument("data", choices=["gowalla"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[12, 20], help="of LightGCN, each a run of its own")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--only", default="", help=f"of lightgcn, {', '.join(SOLVED)}; all by default")
    parser.add_argument("--stage", choices=["valid", "test"], default="test")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    split = gowalla_published()
    graph = build_graph(split, given.stage)
    wanted = given.only.split(",") if given.only else ["lightgcn", *SOLVED]
    rows = []

    def judge(impl: str, model: Recommender, seconds: float, epochs: int) -> None:
        if given.stage == "valid":
            found = evaluate(model, graph, split.valid, CONFIG)
        else:
            from mmgraph.evaluate import evaluate_test

            found = evaluate_test(model, graph, split, f"time-to-quality/{impl}/{epochs}", CONFIG)
        row = {"impl": impl, "data": given.data, "stage": given.stage, "seconds": round(seconds, 1), "epochs": epochs}
        rows.append(row | {m: round(found["all"][m], 5) for m in ("recall@20", "ndcg@20")})
        print(rows[-1], flush=True)

    for name in wanted:
        if name == "lightgcn":
            for epochs in given.epochs:
                torch.manual_seed(0)
                start = time.perf_counter()
                model = LightGCN(graph, num_layers=given.layers, l2=1e-5, objective=OBJECTIVE)
                fit(model, graph, config=FitConfig(epochs=epochs, batch_size=2048, learning_rate=given.rate))
                judge("lightgcn-bsl", model, time.perf_counter() - start, epochs)
        else:
            start = time.perf_counter()
            model = SOLVED[name](graph)
            model.solve(graph)
            judge(name, model, time.perf_counter() - start, 0)
    write(given.json, rows, "cpu")


if __name__ == "__main__":
    prepare_process()
    main()
