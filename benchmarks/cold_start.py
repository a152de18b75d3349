"""Videos in their first minute, in the synthetic world: what generation metadata brings, what missing modalities cost.

    python -m benchmarks.cold_start            # rows, paired tests, and docs/_static/missing-modality.svg

World: `WORLD`, clicks, global time 8:1:1. A video is cold when nobody clicked it before the cut: it is ranked
by what it is made of, among the other cold ones, for the users who then clicked one. Nothing here is tuned on
what it reports; models see the training clicks only, and every figure is over valid's cold rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.ops.rows import machine
from mmgraph.data import Features, global_time_split
from mmgraph.data.synthetic import MODALITIES, WorldConfig, generate
from mmgraph.experiment.resampling import paired_t_test
from mmgraph.graph import build_graph
from mmgraph.models import CLCRec, ContentMean, ContentVAE
from mmgraph.models.cold.base import ContentModel
from mmgraph.train import FitConfig, fit

FIGURE = Path(__file__).parents[1] / "docs" / "_static" / "missing-modality.svg"
RESULTS = Path(__file__).parent / "results" / "cold_start.jsonl"
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FIT = FitConfig(epochs=10, batch_size=512, learning_rate=1e-3)
METRICS = ("recall@20", "user_auc")
WORLD = WorldConfig(users=1000, videos=1000, days=40)


class ColdRows:
    """The cold videos of a split, the users who clicked one, and how well a ranking of them does."""

    def __init__(self, config: WorldConfig) -> None:
        world = generate(config)
        features = {m: Features.of(world.features[m], world.present[m]) for m in MODALITIES}
        split = global_time_split(world.dataset(features, exposures=False, name="aigc"))
        self.fingerprint = split.dataset.fingerprint()
        self.graph = build_graph(split)
        cold = self.graph.seen.transpose().degree() == 0
        user, video = (torch.tensor(split.valid[c].to_numpy()) for c in ("user", "video"))
        user, video = user[cold[video]], video[cold[video]]
        self.videos = cold.nonzero().flatten()
        self.users, line = torch.unique(user, return_inverse=True)
        self.target = torch.zeros(len(self.users), len(self.videos), dtype=torch.bool)
        self.target[line, torch.searchsorted(self.videos, video)] = True
        self.features = {m: self.graph.features(m).take(self.videos) for m in MODALITIES}

    @torch.no_grad()
    def measure(self, model: ContentModel, features: Mapping[str, Features]) -> dict[str, Tensor]:
        """Recall@20 and AUC [n] of each user, the cold videos embedded from these features."""
        model.eval()
        scores = model.encode(self.graph).user[self.users] @ model.embed(features).T
        # equal scores come in an order of their own, not in that of the rows
        order = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(0))
        scores, target = scores[:, order].double(), self.target[:, order]
        top = target.gather(1, scores.topk(20, dim=1).indices)
        recall = top.sum(1).double() / target.sum(1)
        auc = [
            ((s[t][:, None] > s[~t]).double() + 0.5 * (s[t][:, None] == s[~t])).mean()
            for s, t in zip(scores, target, strict=True)
        ]
        return {"recall@20": recall, "user_auc": torch.stack(auc)}


def hide(features: Mapping[str, Features], rate: float, seed: int, zeros: bool = False) -> dict[str, Features]:
    """Each modality of each video gone with chance ``rate``: absent, or, with ``zeros``, there and all 0."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, f in features.items():
        gone = torch.rand(len(f.present), generator=generator) < rate
        values = f.values * ~gone.unsqueeze(1)
        out[name] = Features(values, torch.ones_like(gone)) if zeros else Features(values, f.present & ~gone)
    return out


def trained(rows: ColdRows, seed: int, modalities: tuple[str, ...] = MODALITIES) -> ContentVAE:
    """ContentVAE on these modalities."""
    torch.manual_seed(seed)
    model = ContentVAE(rows.graph, modalities=modalities, embedding_dim=64)
    fit(model, rows.graph, config=FIT, seed=seed)
    return model


def concatenation(rows: ColdRows, seed: int) -> CLCRec:
    """One network over all modalities side by side, trained on the videos as they are: nothing hidden."""
    torch.manual_seed(seed)
    model = CLCRec(rows.graph, embedding_dim=64)
    fit(model, rows.graph, config=FIT.model_copy(update={"learning_rate": 1e-2}), seed=seed)
    return model


def curve(rows: ColdRows, model: ContentModel, zeros: bool, draws: int = 3) -> list[float]:
    """Recall@20 at each of :data:`RATES`, a mean over draws of what is gone."""

    def found(rate: float, seed: int) -> float:
        return float(rows.measure(model, hide(rows.features, rate, seed, zeros))["recall@20"].mean())

    return [sum(found(rate, seed) for seed in range(draws)) / draws for rate in RATES]


def paired(a: str, b: str, found: Mapping[str, list[dict[str, Tensor]]], metric: str) -> dict[str, object]:
    """t-tests of a against b: over users, each user's values averaged over seeds, and over seeds."""
    first, second = (torch.stack([run[metric] for run in found[name]]) for name in (a, b))
    users, seeds = (first.mean(0) - second.mean(0)).numpy(), (first.mean(1) - second.mean(1)).numpy()
    return {
        "test": f"{a} against {b}",
        "metric": metric,
        "difference": float(users.mean()),
        "p_users": paired_t_test(users)[1],
        "p_seeds": paired_t_test(seeds)[1],
    }


def draw(curves: Mapping[str, list[float]], chance: float, path: Path) -> None:
    """The curves as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "mmgraph"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8))
    for (name, values), style in zip(curves.items(), ("-o", "--s", "-.d", ":^"), strict=False):
        axes.plot(RATES, values, style, label=name, markersize=4)
    axes.axhline(chance, color="grey", linewidth=0.8, label="chance")
    axes.set(xlabel="chance that a modality of a new video is missing", ylabel="Recall@20, cold videos", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Trains, measures, draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    rows = ColdRows(WORLD)
    found: dict[str, list[dict[str, Tensor]]] = {}
    vaes = [trained(rows, seed) for seed in range(given.seeds)]
    bare = tuple(m for m in MODALITIES if m != "generation")
    found["ContentVAE"] = [rows.measure(model, rows.features) for model in vaes]
    found["ContentVAE without generation"] = [
        rows.measure(trained(rows, seed, bare), rows.features) for seed in range(given.seeds)
    ]
    joined = [concatenation(rows, seed) for seed in range(given.seeds)]
    found["CLCRec"] = [rows.measure(model, rows.features) for model in joined]
    mean = ContentMean(rows.graph)
    mean.solve(rows.graph)
    found["content mean"] = [rows.measure(mean, rows.features)]
    lines = [
        {"model": name, "seed": seed, "users": len(rows.users), "videos": len(rows.videos)}
        | {metric: float(value.mean()) for metric, value in values.items()}
        for name, runs in found.items()
        for seed, values in enumerate(runs)
    ]
    lines += [paired("ContentVAE", other, found, metric) for other in list(found)[1:] for metric in METRICS]
    curves = {
        "ContentVAE, experts of what is there": curve(rows, vaes[0], zeros=False),
        "ContentVAE, zeros for what is missing": curve(rows, vaes[0], zeros=True),
        "concatenation (CLCRec), zeros for what is missing": curve(rows, joined[0], zeros=True),
        "content mean, zeros for what is missing": curve(rows, mean, zeros=True),
    }
    lines += [{"model": name, "rates": RATES, "recall@20": values} for name, values in curves.items()]
    context = {"data": rows.fingerprint, **machine("cpu")}
    lines = [line | context for line in lines]
    for line in lines:
        print(json.dumps(line))
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw(curves, 20 / len(rows.videos), FIGURE)


if __name__ == "__main__":
    main()
