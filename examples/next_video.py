"""What next? People who walk through series in order, a graph model, a sequential model, and both together."""

from __future__ import annotations

from functools import partial

import polars as pl
import torch

from mmgraph.data import Dataset, leave_last_one_out
from mmgraph.evaluate import EvalConfig, evaluate, evaluate_test
from mmgraph.graph import build_graph
from mmgraph.models import LightGCN, Popularity, SASRec, TemporalGraph
from mmgraph.train import FitConfig, fit

DAY = 86_400


def watching(users: int = 120, series: int = 6, episodes: int = 10) -> pl.DataFrame:
    """Each person watches one series in order, from some episode on and round again, a day apart."""
    rows = []
    for user in range(users):
        first, show = (7 * user) % episodes, user % series
        for step in range(7):
            episode = show * episodes + (first + step) % episodes
            rows.append((f"person-{user}", f"episode-{episode}", 1_700_000_000 + DAY * (user + step)))
    return pl.DataFrame(rows, schema=["user_id", "video_id", "timestamp"], orient="row")


def main() -> None:
    """Train three models, rank every episode for everybody, print the share of hits in first place."""
    split = leave_last_one_out(Dataset.from_frames(watching(), name="series"))
    graph, config = build_graph(split, "valid"), EvalConfig(k=(1, 10), groups=("all",), auc=False)

    past = graph.histories(before=1_700_000_000 + 20 * DAY, max_len=3)
    print(f"before the 20th day {int((past.length > 0).sum())} people had watched something")

    embedded = [partial(cls, embedding_dim=32) for cls in (LightGCN, SASRec, TemporalGraph)]
    for make in (Popularity, *embedded):
        torch.manual_seed(0)
        model = make(graph)

        def validate(model):
            return dict(evaluate(model, graph, split.valid, config)["all"])

        fit(
            model,
            graph,
            validate,
            FitConfig(epochs=15, batch_size=256, learning_rate=0.02, eval_every=5, monitor="recall@1"),
        )
        test = evaluate_test(model, build_graph(split, "test"), split, type(model).__name__, config)
        print(f"{type(model).__name__:>14}: next episode first for {test['all']['recall@1']:.0%}")


if __name__ == "__main__":
    main()
