"""Suites for ``mmgraph bench NAME``: which recipes make a table, over which seeds, tuned with which budget.

``quick`` needs no data and takes minutes; the others read ``MMGRAPH_DATA`` like their recipes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import polars as pl

from mmgraph.data import Dataset, Split, random_split
from mmgraph.data.synthetic import WorldConfig, generate
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Choice, Experiment, Suite, Tuning, Uniform
from mmgraph.models import BPRMF, EASE, ItemKNN, LightGCN, Popularity
from mmgraph.train import FitConfig

TIKTOK_SECONDS = 600.0  # of training, that each row of the suite may be tuned for at most
# The smallest world in which tastes can be told from chance.
QUICK = WorldConfig(users=200, videos=240, days=20, sessions_per_week=8)


@functools.cache
def _quick_dataset() -> Dataset:
    world = generate(QUICK)
    clicks = world.interactions.filter(pl.col("click") == 1)
    return Dataset.from_frames(clicks, world.users, world.videos, name="quick", duplicates="first")


def quick_split() -> Split:
    """Clicks of a world of 200 users, at random 8:1:1."""
    return random_split(_quick_dataset(), seed=0)


def _quick(name: str, model: type, args: dict | None = None, **fields) -> Experiment:
    evaluate = EvalConfig(k=(10, 20), groups=("all",), auc=False)
    return Experiment(
        name=f"quick-{name}", split=quick_split, model=model, model_args=args or {}, evaluate=evaluate, **fields
    )


def quick() -> Suite:
    """Three closed forms, matrix factorisation and LightGCN, tuned over six settings each: minutes, without data."""
    space = {"fit.learning_rate": Uniform(1e-3, 1e-1, log=True), "model_args.l2": Choice(1e-4, 1e-3, 1e-2)}
    fit = FitConfig(epochs=30, batch_size=512, learning_rate=1e-2, patience=5)
    trained = {"fit": fit, "tuning": Tuning(space=space, startup=4, batch=2, warm_up=5)}
    rows = (
        _quick("popularity", Popularity),
        _quick("itemknn", ItemKNN, {"k": 20}),
        _quick("ease", EASE, {"reg": 30.0}),
        _quick("bprmf", BPRMF, {"l2": 1e-3, "embedding_dim": 32}, **trained),
        _quick("lightgcn", LightGCN, {"l2": 1e-3, "embedding_dim": 32, "num_layers": 2}, **trained),
    )
    return Suite(name="quick", experiments=rows, seeds=(0, 1, 2), trials=6)


def _tiktok(name: str, of: Callable[[str], bool], device: str = "cpu") -> Suite:
    """The trained recipes that are ``of`` it, on that device, and the closed forms."""
    from mmgraph.recipes import tiktok as recipes
    from mmgraph.recipes.tiktok.budget import within_budget

    made = [make() for make in (*recipes.COLLABORATIVE, *recipes.MULTIMODAL)]
    trained = [each.variant({"fit.device": device}) for each in made if of(each.name.removeprefix("tiktok-"))]
    closed = [make() for make in recipes.CLOSED]
    rows = tuple(within_budget(each) for each in (*closed, *trained))
    return Suite(name=name, experiments=rows, seeds=(0, 1, 2), trials=6, seconds=TIKTOK_SECONDS)


def tiktok() -> Suite:
    """The trained recipes of :mod:`mmgraph.recipes.tiktok` but the two below, each tuned over six settings.

    The closed forms beside them have the settings that ``tiktok_closed`` chose with the same number of trials.
    """
    from mmgraph.recipes.tiktok.budget import HEAVIEST, HEAVY

    return _tiktok("tiktok", lambda name: name not in (*HEAVY, *HEAVIEST))


def tiktok_heavy() -> Suite:
    """Those that train for a quarter of an hour to hours on one core, beside the same closed forms."""
    from mmgraph.recipes.tiktok.budget import HEAVY

    return _tiktok("tiktok-heavy", HEAVY.__contains__)


def tiktok_cuda() -> Suite:
    """Those whose every training takes a core ten minutes to an hour, on a GPU."""
    from mmgraph.recipes.tiktok.budget import HEAVIEST

    return _tiktok("tiktok-cuda", HEAVIEST.__contains__, "cuda")


def tiktok_coded() -> Suite:
    """Models whose public code does something else than their paper: both, tuned alike; run it where ``tiktok`` ran."""
    from mmgraph.recipes.tiktok.budget import CODED

    members = (*tiktok().members(), *tiktok_heavy().members())
    papers = [each for each in members if each.name.removeprefix("tiktok-") in CODED]
    rows = (*papers, *map(_coded, papers))
    return Suite(name="tiktok-coded", experiments=rows, seeds=(0, 1, 2), trials=6, seconds=TIKTOK_SECONDS)


def tiktok_long_coded() -> Suite:
    """The same of DiffMM, at the setting that its paper's form was tuned to; run it where ``tiktok_long`` ran."""
    paper = next(each for each in tiktok_long().members() if each.name == "tiktok-diffmm-long")
    return Suite(name="tiktok-long-coded", experiments=(paper, _coded(paper)), seeds=(0, 1, 2))


def _coded(paper: Experiment) -> Experiment:
    return paper.variant({"model_args.as_coded": True}, name=f"{paper.name}-coded")


def tiktok_top() -> Suite:
    """The seven trained models that ``tiktok`` had highest on valid, under five seeds; run it where ``tiktok`` ran."""
    from mmgraph.recipes.tiktok.budget import TOP

    rows = tuple(each for each in tiktok().members() if each.name.removeprefix("tiktok-") in TOP)
    return Suite(name="tiktok-top", experiments=rows, seeds=(0, 1, 2, 3, 4), trials=6, seconds=TIKTOK_SECONDS)


def tiktok_long() -> Suite:
    """Models that gain for longer than ``tiktok`` gives them, three seeds, not tuned.

    BM3 at a setting that seed 0 chose on valid, the others at those that ``tiktok_cuda`` chose.
    """
    from mmgraph.recipes import tiktok as recipes
    from mmgraph.recipes.tiktok.budget import LONG

    made = {make().name.removeprefix("tiktok-"): make() for make in recipes.MULTIMODAL}
    long = (made[name].variant(changes, name=f"tiktok-{name}-long") for name, changes in LONG.items())
    return Suite(name="tiktok-long", experiments=(recipes.ease_features(), *long), seeds=(0, 1, 2))


def tiktok_best() -> Suite:
    """What came first of ``tiktok`` on valid, beside its baselines, at the recipes' own settings, three seeds."""
    from mmgraph.recipes import tiktok as recipes

    rows = (recipes.ease_features(), recipes.lightgcn(), recipes.smore(), recipes.mgcn(), recipes.freedom())
    return Suite(name="tiktok-best", experiments=rows, seeds=(0, 1, 2))


def tiktok_closed() -> Suite:
    """What is solved, in seconds (SLIM: minutes), and BPR-MF, at settings that six trials each chose on valid."""
    from mmgraph.recipes import tiktok as recipes

    rows = (*recipes.CLOSED, recipes.bprmf)
    return Suite(name="tiktok-closed", experiments=tuple(make() for make in rows), seeds=(0,))


def gowalla() -> Suite:
    """LightGCN and its baselines on the published split."""
    from mmgraph.recipes import gowalla as recipes

    return Suite(name="gowalla", experiments=(recipes.lightgcn(),))


def cold() -> Suite:
    """TikTok's videos that nobody in training touched."""
    from mmgraph.recipes import tiktok_cold as recipes

    return Suite(name="cold", experiments=(recipes.content_vae(),), metrics=("recall@20", "user_auc"))


def sequence() -> Suite:
    """Beauty as ordered lists: order, graph, and both."""
    from mmgraph.recipes import beauty as recipes

    rows = (recipes.lightgcn(), recipes.sasrec(), recipes.gru4rec(), recipes.tisasrec(), recipes.graph_temporal())
    return Suite(name="sequence", experiments=rows, metrics=("recall@10", "ndcg@10"))


def masks() -> Suite:
    """MovieLens-1M with four modalities, 39 % of the films lacking one: two models with a mask, and with zeros."""
    return _masks("masks", "cpu", "mmgcn", "dualgnn")


def masks_cuda() -> Suite:
    """The same of two that rise for more than forty epochs, on a GPU."""
    return _masks("masks-cuda", "cuda", "freedom", "mgcn")


def _masks(name: str, device: str, *models: str) -> Suite:
    from mmgraph.recipes import ml1m as recipes

    masked = [recipes.PAIRS[model]().variant({"fit.device": device}) for model in models]
    rows = tuple(row for each in masked for row in (each, recipes.filled(each)))
    return Suite(name=name, experiments=rows)


def ml1m() -> Suite:
    """Two epochs of every multimodal model on the same films: that each runs, whatever a film lacks."""
    from mmgraph.recipes import ml1m as recipes

    return Suite(name="ml1m", experiments=tuple(map(recipes.short, recipes.EVERY)), seeds=(0,))


def world() -> Suite:
    """The generated world: what each modality brings."""
    from mmgraph.recipes import aigc as recipes

    return Suite(name="world", experiments=(recipes.mmgcn(),))


def missing() -> Suite:
    """The generated world with 0 to 90 % of each modality missing: a graph model, a content VAE, EASE with features."""
    from mmgraph.recipes import aigc as recipes

    rows = tuple(row for rate in recipes.MISSING for row in recipes.missing(rate))
    return Suite(name="missing", experiments=rows, seeds=(0, 1, 2), metrics=("recall@20", "ndcg@20"))


def speed() -> Suite:
    """How long training takes on TikTok until valid stops it, beside what it reaches; seconds are of one machine."""
    from mmgraph.recipes import tiktok as recipes

    rows = (recipes.ease(), recipes.bprmf(), recipes.lightgcn(), recipes.lightgcn_bf16(), recipes.lightgcn_softmax())
    metrics = ("recall@20", "ndcg@20", "seconds", "epochs")
    return Suite(name="speed", experiments=(*rows, recipes.mgcn()), seeds=(0, 1, 2), metrics=metrics)
