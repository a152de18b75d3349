"""The procedural world of generated videos: what each modality and each alignment loss bring, with paired tests.

One recipe:    mmgraph run mmgraph.recipes.aigc:mmgcn
All of it:     python -m mmgraph.recipes.aigc [--seeds N] [--out DIR]

Features come straight from the generator, so this needs no media packages and no data. Beside each modality `m`
the dataset holds `m_mute`, the same modality of the same world made uninformative: both lie in one protocol, so
results with one and with the other compare pair by pair.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mmgraph.data import Dataset, Features
from mmgraph.data.split import Split, global_time_split
from mmgraph.data.synthetic import MODALITIES, World, WorldConfig, generate
from mmgraph.demo import TruePreference, late_preference
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, Result, Tuning, Uniform, compare, run_all, table
from mmgraph.features import Standardiser
from mmgraph.models import EASE, CLCRec, ContentVAE, HeteroMMGCN, ItemKNN, Popularity, Recommender
from mmgraph.train import FitConfig

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

FIT = FitConfig(epochs=20, batch_size=2048, learning_rate=4e-3, eval_every=4, patience=3)
# Alignment by distance: with a catalogue this small InfoNCE over a batch's videos costs more than the model itself.
MODEL = {"align": 0.005, "align_kind": "l2", "l2": 1e-2}
# Smaller than the demo's world, so that all variants with five seeds take minutes.
CONFIG = WorldConfig(users=500, videos=600, days=20, sessions_per_week=8)
# The same users, videos and clicks, but each video lacks each modality with chance one half.
SCARCE = CONFIG.model_copy(update={"coverage": dict.fromkeys(MODALITIES, 0.5)})
SEEDS = (0, 1, 2, 3, 4)
# How much of each modality is missing in the worlds of `missing`; the clicks are the same in all of them.
MISSING = (0.0, 0.3, 0.6, 0.9)


@functools.cache
def world() -> World:
    """The world of these recipes."""
    return generate(CONFIG)


def dataset() -> Dataset:
    """Clicks, videos and features of the world, with an uninformative twin `m_mute` of each modality."""
    untold = generate(CONFIG.model_copy(update={"informative": dict.fromkeys(MODALITIES, 0.0)}))
    features = {m: _features(world(), m) for m in MODALITIES} | {f"{m}_mute": _features(untold, m) for m in MODALITIES}
    return _clicked(world(), features, "aigc")


def _features(source: World, modality: str) -> Features:
    return Features(torch.from_numpy(source.features[modality]), torch.from_numpy(source.present[modality]))


def _clicked(source: World, features: dict[str, Features], name: str) -> Dataset:
    return source.dataset(features, exposures=False, name=name)


def split() -> Split:
    """Global time 8:1:1; features standardised over the training videos."""
    return _by_time(dataset())


def scarce_split() -> Split:
    """The same, of the world where half of each modality is missing."""
    scarce = generate(SCARCE)
    return _by_time(_clicked(scarce, {m: _features(scarce, m) for m in MODALITIES}, "aigc-scarce"))


@functools.cache
def missing_split(rate: float) -> Callable[[], Split]:
    """The split of the world in which each video lacks each modality with chance ``rate``."""

    @functools.cache
    def built() -> Split:
        there = generate(CONFIG.model_copy(update={"coverage": dict.fromkeys(MODALITIES, 1 - rate)}))
        return _by_time(_clicked(there, {m: _features(there, m) for m in MODALITIES}, f"aigc-missing-{rate:g}"))

    return built


def _by_time(raw: Dataset) -> Split:
    known = torch.from_numpy(global_time_split(raw).train["video"].unique().to_numpy().copy())
    scaled = {modality: standardised(values, known) for modality, values in raw.features.items()}
    return global_time_split(raw.with_features(**scaled))


class Ceiling(TruePreference):
    """The true preference of this world, late in it. Rows of the dataset are rows of the world."""

    def __init__(self, graph: MultimodalGraph) -> None:
        super().__init__(graph, scores=late_preference(world()))


def standardised(features: Features, rows: torch.Tensor) -> Features:
    """Features on the scale of `rows` [n], the training videos, so that no later video shapes it; far values are held
    at 5 deviations."""
    scale = Standardiser.fit(features.values[rows], features.present[rows])
    return Features(scale(features.values, features.present).clamp(-5, 5), features.present)


def mmgcn() -> Experiment:
    """The MMGCN-type model with all modalities and the alignment loss, beside ceiling and baselines."""
    evaluation = EvalConfig(k=(20,), groups=("warm", "cold"), auc=False)
    base = Experiment(
        name="aigc-mmgcn",
        split=split,
        model=HeteroMMGCN,
        model_args={"modalities": list(MODALITIES), **MODEL},
        fit=FIT.model_copy(update={"batch_size": 512}),
        evaluate=evaluation,
        seeds=SEEDS,
    )
    closed = {"aigc-ceiling": (Ceiling, {}), "aigc-popularity": (Popularity, {}), "aigc-itemknn": (ItemKNN, {})}
    closed["aigc-ease-features"] = (EASE, {"reg": 200.0, "features": list(MODALITIES), "feature_weight": 10.0})
    baselines = tuple(
        base.variant(name=name, model=model, model_args=args, baselines=()) for name, (model, args) in closed.items()
    )
    space = {
        "fit.learning_rate": Uniform(4e-4, 4e-2, log=True),
        "model_args.align": Uniform(0, 0.1),
        "model_args.l2": Uniform(1e-4, 1e-1, log=True),
    }
    return base.variant(baselines=baselines, tuning=Tuning(space=space, warm_up=8))


def ease(name: str, modalities: Sequence[str]) -> Experiment:
    """EASE with features, in closed form: what these modalities are worth, in a second and without a seed."""
    args = {"reg": 200.0, "features": list(modalities), "feature_weight": 10.0}
    space = {"model_args.reg": Uniform(1, 1e4, log=True), "model_args.feature_weight": Uniform(0.1, 100, log=True)}
    changes = {"model": EASE, "model_args": args, "baselines": (), "tuning": Tuning(space=space)}
    return mmgcn().variant(name=f"aigc-ease-{name}", **changes)


def ease_variants() -> list[Experiment]:
    """EASE with each modality alone, without each, and with each made uninformative."""
    found = [ease("muted-all", [m + "_mute" for m in MODALITIES])]
    for modality in MODALITIES:
        found += [
            ease(f"only-{modality}", [modality]),
            ease(f"without-{modality}", [m for m in MODALITIES if m != modality]),
            ease(f"muted-{modality}", [m + "_mute" if m == modality else m for m in MODALITIES]),
        ]
    return found


def without_alignment() -> Experiment:
    """λ = 0."""
    return _alone(mmgcn(), "no-alignment").variant({"model_args.align": 0.0})


def scarce() -> Experiment:
    """The same model in the world where half of each modality is missing: there, one may stand in for another."""
    return _alone(mmgcn(), "scarce").variant(split=scarce_split)


def scarce_without_alignment() -> Experiment:
    """λ = 0 there."""
    return scarce().variant({"model_args.align": 0.0}, name="aigc-scarce-no-alignment")


def clcrec() -> Experiment:
    """CLCRec: content agrees with the embedding that clicks give a video (λ), and stands in for it in training (ρ)."""
    return _to_clicks("clcrec", CLCRec, 1e-1, {"align": 8.0, "mix": 0.5})


def clcrec_without_alignment() -> Experiment:
    """λ = 0: clicks train the content encoder through ρ alone; rate and ρ are the best there are for that."""
    return _to_clicks("clcrec-no-alignment", CLCRec, 1e-2, {"align": 0.0, "mix": 0.75})


def content_vae() -> Experiment:
    """ContentVAE: E[z given content] agrees with the posterior's mean."""
    return _to_clicks("content-vae", ContentVAE, 3e-4, {"align": 0.1, "cold": 1.0})


def content_vae_without_alignment() -> Experiment:
    """Weight 0: clicks train the content path by its own likelihood; rate and its weight are the best for that."""
    return _to_clicks("content-vae-no-alignment", ContentVAE, 1e-4, {"align": 0.0, "cold": 2.0})


def _to_clicks(name: str, model: type[Recommender], rate: float, args: dict[str, float]) -> Experiment:
    fit = FIT.model_copy(
        update={"batch_size": 512, "learning_rate": rate, "epochs": 60, "eval_every": 1, "patience": 10}
    )
    space = {"fit.learning_rate": Uniform(1e-5, 1, log=True), "model_args.align": Uniform(0, 16)}
    return _alone(mmgcn(), name).variant(
        model=model,
        model_args={"modalities": list(MODALITIES), **args},
        fit=fit,
        tuning=Tuning(space=space, warm_up=10),
    )


def missing(rate: float) -> tuple[Experiment, ...]:
    """A graph model, a content VAE and EASE with features where each video lacks each modality with chance ``rate``."""
    told, split_of = f"missing-{rate:.0%}".removesuffix("%"), missing_split(rate)
    rows = {"mmgcn": _alone(mmgcn(), "mmgcn"), "content-vae": content_vae(), "ease": ease("features", MODALITIES)}
    return tuple(row.variant(name=f"aigc-{told}-{name}", split=split_of) for name, row in rows.items())


def with_modalities(name: str, modalities: Sequence[str]) -> Experiment:
    """The same model on these modalities only."""
    return _alone(mmgcn(), name).variant({"model_args.modalities": list(modalities)})


def without(modality: str) -> Experiment:
    """One modality left out."""
    return with_modalities(f"without-{modality}", [m for m in MODALITIES if m != modality])


def only(modality: str) -> Experiment:
    """One modality alone."""
    return with_modalities(f"only-{modality}", [modality])


def muted(modality: str) -> Experiment:
    """One modality made uninformative, the others as they are."""
    return with_modalities(f"muted-{modality}", [m + "_mute" if m == modality else m for m in MODALITIES])


def all_muted() -> Experiment:
    """Every modality uninformative: what is left is co-watching."""
    return with_modalities("muted-all", [m + "_mute" for m in MODALITIES])


def _alone(experiment: Experiment, suffix: str) -> Experiment:
    return experiment.variant(name=f"aigc-{suffix}", baselines=())


def variants() -> list[Experiment]:
    """Every experiment of the notes in docs/synthetic-world.md but the main one."""
    found = [without_alignment(), all_muted()]
    for modality in MODALITIES:
        found += [only(modality), without(modality), muted(modality)]
    return [*found, clcrec(), clcrec_without_alignment(), content_vae(), content_vae_without_alignment()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything, print the table, then a paired test of each variant against the whole model it is one of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="*", help="names of variants, without aigc-")
    given = parser.parse_args(arguments)
    seeds = tuple(range(given.seeds))
    results: dict[str, list[Result]] = {}

    def keep(result: Result) -> None:
        results.setdefault(result.experiment, []).append(result)
        found = "  ".join(f"{g} {result.test[g]['recall@20']:.4f}" for g in ("all", "warm", "cold"))
        print(f"{result.experiment} seed {result.seed}: {found}", flush=True)

    built = split()

    def ready() -> Split:
        return built

    wanted = [v for v in variants() if given.only is None or v.name.removeprefix("aigc-") in given.only]
    for experiment in (*ease_variants(), mmgcn(), *wanted):
        baselines = tuple(baseline.variant(split=ready) for baseline in experiment.baselines)
        shared = experiment.variant(split=ready, baselines=baselines)
        run_all(shared, given.out, resume=True, seeds=seeds, report=keep)
    for experiment in (scarce(), scarce_without_alignment()):
        run_all(experiment, given.out, resume=True, seeds=seeds, report=keep)
    for protocol in dict.fromkeys(r.protocol for found in results.values() for r in found):
        mine = [r for found in results.values() for r in found if r.protocol == protocol]
        for group in ("all", "warm", "cold"):
            print(f"\n{protocol}, {group}\n{table(mine, metrics=('recall@20',), group=group).markdown()}")
    wholes = {"aigc-ease": "aigc-ease-features"} | {n: n for n in ("aigc-scarce", "aigc-clcrec", "aigc-content-vae")}
    for name, found in results.items():
        main = next((wholes[start] for start in wholes if name.startswith(start)), "aigc-mmgcn")
        if name != main and main in results:
            for group in ("all", "warm", "cold"):
                print(f"{main} against {name}: {compare(results[main], found, group=group)}")


if __name__ == "__main__":
    main()
