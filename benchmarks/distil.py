"""How near distilled towers come to their teacher: NDCG@20 on valid, users as the history tower makes them.

    python -m benchmarks.distil [--json OUT] [--only world tiktok microlens50k]

``tiktok`` and ``microlens50k``: LightGCN, briefly trained; its videos' rows, users by the history tower over what they
watched in training. ``world``: Hybrid on a world of generated videos; rows distilled from its scores, and beside it
those of every video nobody watched by the content tower alone. The bar: at most 2% of the teacher's NDCG@20 is lost.
``ridge``: users by ridge regression on the videos' rows (fold-in), which needs no training. A row a set goes to OUT.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ops.rows import machine
from mmgraph.bundle.distil import content_tower, distil, history_tower, rows_of_users
from mmgraph.bundle.listwise import teacher_lists
from mmgraph.data.synthetic import WorldConfig, generate, write
from mmgraph.demo import demo_experiment
from mmgraph.evaluate import EvalConfig, evaluate
from mmgraph.experiment import Experiment, Prepared, prepare
from mmgraph.models import ALL, Embeddings, Recommender, Rows, ridge_users
from mmgraph.nn import evaluating
from mmgraph.recipes import microlens50k, tiktok
from mmgraph.train import fit

LIMIT = 0.02
_JUDGE = EvalConfig(k=(20,), groups=("warm", "cold"), auc=False)


class Table(Recommender):
    """Rows that are given.

    Args:
        user: [U, D].
        video: [V, D].
    """

    def __init__(self, user: Tensor, video: Tensor) -> None:
        super().__init__()
        self.user, self.video = user, video

    def encode(self, graph: Any, rows: Rows = ALL) -> Embeddings:
        """The rows."""
        return rows.of(self.user, self.video)


def judged(ready: Prepared, model: Recommender) -> dict[str, float]:
    """NDCG@20 on valid: all, and the videos nobody watched in training."""
    found = evaluate(model, ready.graph, ready.split.valid, _JUDGE, seen=ready.seen)
    return {group: round(found[group]["ndcg@20"], 6) for group in ("all", "cold") if group in found}


def graph_teacher(experiment: Experiment) -> dict[str, Any]:
    """A LightGCN, and its users by the history tower."""
    ready = prepare(experiment, 0)
    fit(ready.model, ready.graph, None, experiment.fit, seed=0)
    rows = ready.model.factors(evaluating(ready.model).encode(ready.graph))
    assert rows is not None
    user, video = (part.detach() for part in rows)
    lists = teacher_lists(lambda some: user[some] @ video.T, ready.graph.seen)
    tower, _, about = history_tower(ready.graph, video, user[lists.user], lists)
    return {
        "teacher": judged(ready, Table(user, video)),
        "towers": judged(ready, Table(rows_of_users(tower, ready.graph, video), video)),
        "ridge": judged(ready, Table(ridge_users(video, ready.graph.seen), video)),
        "about": about,
    }


def world_teacher() -> dict[str, Any]:
    """Hybrid, its distilled rows, and new videos by the content tower alone."""
    with tempfile.TemporaryDirectory() as folder:
        write(generate(WorldConfig()), Path(folder), features=True)
        ready = prepare(demo_experiment(folder), 0)
    ready.model.solve(ready.graph)
    model = evaluating(ready.model)
    emb = model.encode(ready.graph)
    made = distil(torch.no_grad()(lambda some: model.score(emb, some)), ready.graph)
    cold = ready.graph.seen.transpose().degree() == 0
    names = list(ready.graph.modalities)
    tower, about = content_tower(ready.graph, made.video, names, user=made.user, learn_from=~cold)
    with torch.no_grad():
        new = tower(*(t for m in names for t in (ready.graph.features(m).values, ready.graph.features(m).present)))
    mixed = torch.where(cold.unsqueeze(1), new, made.video)
    everything, _ = content_tower(ready.graph, made.video, names, user=made.user, learn_from=torch.ones_like(cold))
    with torch.no_grad():
        served = everything(
            *(t for m in names for t in (ready.graph.features(m).values, ready.graph.features(m).present))
        )
    return {
        "teacher": judged(ready, ready.model),
        "towers": judged(ready, Table(made.user, made.video)),
        "new_by_content_of_watched": judged(ready, Table(made.user, mixed)),
        "new_by_content": judged(ready, Table(made.user, torch.where(cold.unsqueeze(1), served, made.video))),
        "about": f"{made.about}; {about}",
    }


SETS: dict[str, Callable[[], dict[str, Any]]] = {
    "world": world_teacher,
    "tiktok": lambda: graph_teacher(tiktok.lightgcn().variant({"fit.learning_rate": 1e-2, "fit.epochs": 30})),
    "microlens50k": lambda: graph_teacher(microlens50k.lightgcn().variant({"fit.epochs": 10})),
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="results file to append to")
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    given = parser.parse_args()
    kept = True
    for name in given.only:
        found = SETS[name]()
        lost = 1 - found["towers"]["all"] / found["teacher"]["all"]
        kept &= lost <= LIMIT
        bar = {
            "bar": f"NDCG@20 lost by towers, {name}",
            "value": round(lost, 4),
            "limit": LIMIT,
            "holds": lost <= LIMIT,
        }
        print(json.dumps(bar | found), flush=True)
        if given.json is not None:
            with given.json.open("a") as file:
                file.write(json.dumps(bar | {"set": name} | found | machine("cpu")) + "\n")
    raise SystemExit(not kept)


if __name__ == "__main__":
    main()
