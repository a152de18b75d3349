"""What is compared on every set of ordered lists; ``beauty.py`` and ``microlens50k.py`` give the data and the training.

Each function takes the ``split``, the ``name`` of the data, which begins the experiment's, and how to ``fit``. All
rankings are full, on train + valid. The settings were chosen on Beauty's valid and serve every set of lists.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmgraph.data import Split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, Integer, Tuning, Uniform
from mmgraph.graph import EdgeDrop
from mmgraph.models import EASE, GRU4Rec, ItemKNN, LightGCN, Popularity, SASRec, TemporalGraph, TiSASRec
from mmgraph.nn import CausalTransformer
from mmgraph.objectives import SampledSoftmax
from mmgraph.train import FitConfig

RANKING = EvalConfig(k=(5, 10, 20), groups=("all",), auc=False)
# 1,024 videos a step for the whole batch, logQ-corrected: an estimate of the softmax over all of them.
SAMPLED = SampledSoftmax(negatives=1024, shared=True, log_q=True)
RATE = {"fit.learning_rate": Uniform(2e-4, 1e-1, log=True)}
WARM_UP = 8  # epochs, of which some 24 are made
Baselines = tuple[Experiment, ...]


def popularity(split: Callable[[], Split], name: str) -> Experiment:
    """The most watched."""
    return Experiment(name=f"{name}-popularity", split=split, model=Popularity, evaluate=RANKING)


def itemknn(split: Callable[[], Split], name: str) -> Experiment:
    """Co-interaction cosine."""
    args = {"k": 100, "shrink": 10.0}
    tuning = Tuning(space={"model_args.k": Integer(10, 1000, log=True), "model_args.shrink": Uniform(0, 1000)})
    return Experiment(
        name=f"{name}-itemknn", split=split, model=ItemKNN, model_args=args, evaluate=RANKING, tuning=tuning
    )


def ease(split: Callable[[], Split], name: str) -> Experiment:
    """EASE on interactions."""
    tuning = Tuning(space={"model_args.reg": Uniform(1, 1e4, log=True)})
    return Experiment(
        name=f"{name}-ease", split=split, model=EASE, model_args={"reg": 100.0}, evaluate=RANKING, tuning=tuning
    )


def lightgcn(split: Callable[[], Split], name: str, fit: FitConfig, baselines: Baselines) -> Experiment:
    """LightGCN: the graph without order."""
    return Experiment(
        name=f"{name}-lightgcn",
        split=split,
        model=LightGCN,
        model_args={"num_layers": 3, "l2": 1e-4},
        fit=fit,
        evaluate=RANKING,
        baselines=baselines,
        tuning=Tuning(
            space=RATE | {"model_args.num_layers": Integer(1, 4), "model_args.l2": Uniform(1e-6, 1e-2, log=True)},
            warm_up=3 * WARM_UP,
        ),
    )


def sasrec(split: Callable[[], Split], name: str, fit: FitConfig, baselines: Baselines) -> Experiment:
    """SASRec with 1,024 sampled negatives a step and logQ correction: order without the graph."""
    return Experiment(
        name=f"{name}-sasrec",
        split=split,
        model=SASRec,
        model_args={"dropout": 0.5},
        objective=SAMPLED,
        fit=fit,
        evaluate=RANKING,
        baselines=baselines,
        tuning=Tuning(space=RATE | {"model_args.dropout": Uniform(0, 0.8)}, warm_up=WARM_UP),
    )


def gru4rec(split: Callable[[], Split], name: str, fit: FitConfig, baselines: Baselines) -> Experiment:
    """GRU4Rec, the same loss."""
    return sasrec(split, name, fit, baselines).variant(name=f"{name}-gru4rec", model=GRU4Rec)


def tisasrec(split: Callable[[], Split], name: str, fit: FitConfig, baselines: Baselines) -> Experiment:
    """TiSASRec; lists without times have differences of places for intervals."""
    return sasrec(split, name, fit, baselines).variant(name=f"{name}-tisasrec", model=TiSASRec)


def graph_temporal(split: Callable[[], Split], name: str, fit: FitConfig, baselines: Baselines) -> Experiment:
    """LightGCN with SASRec's transformer over its video embeddings as the user side, gated.

    The long-term side is made from edges that hold the targets: so it sees a fifth of them, drawn anew each epoch, is
    hidden from half of the examples, and the gate begins away from it. Half of the edges, never hidden, overfitted on
    Beauty's valid after 12 epochs; two layers were no better than one.
    """
    return sasrec(split, name, fit, baselines).variant(
        name=f"{name}-graph-temporal",
        model=TemporalGraph,
        model_args={
            "propagation": partial(LightGCN, num_layers=1, layer_weights=[1.0, 0.5]),
            "temporal": partial(CausalTransformer, dropout=0.5),
            "long_dropout": 0.5,
            "gate_bias": -2.0,
        },
        epoch_transforms=(EdgeDrop(0.8),),
        tuning=Tuning(
            space=RATE | {"model_args.long_dropout": Uniform(0, 0.9), "model_args.gate_bias": Uniform(-4, 1)},
            warm_up=WARM_UP,
        ),
    )
