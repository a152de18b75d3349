"""Amazon Beauty as ordered lists, the last video of each user held out: protocol ``beauty-loo``.

``mmgraph run benchmarks.recipes.beauty:sasrec`` runs the seeds and prints the table with the baselines. The last but
one video is valid and chooses the epoch and every setting below; test is ranked on train + valid, over all videos.
docs/sequential.md says what was measured.
"""

from __future__ import annotations

from functools import partial

from benchmarks.recipes.source import data_root
from mmgraph.data import Split, leave_last_one_out
from mmgraph.data.readers import read_sequences
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.graph import EdgeDrop
from mmgraph.models import EASE, GRU4Rec, ItemKNN, LightGCN, Popularity, SASRec, TemporalGraph, TiSASRec
from mmgraph.nn import CausalTransformer
from mmgraph.train import FitConfig

RANKING = EvalConfig(k=(5, 10, 20), groups=("all",), auc=False)
NEXT_VIDEO = FitConfig(epochs=24, batch_size=1024, learning_rate=2e-3, monitor="ndcg@10", eval_every=4, patience=2)
GRAPH = FitConfig(epochs=80, batch_size=8192, learning_rate=1e-2, monitor="ndcg@10", eval_every=10, patience=1)


def beauty() -> Split:
    """22,363 users, 12,101 videos, 198,502 events."""
    dataset = read_sequences(data_root() / "sequences" / "Beauty.txt", name="beauty")
    return leave_last_one_out(dataset, name="beauty-loo")


def popularity() -> Experiment:
    """The most bought."""
    return Experiment(name="beauty-popularity", split=beauty, model=Popularity, evaluate=RANKING)


def itemknn() -> Experiment:
    """Co-interaction cosine."""
    args = {"k": 100, "shrink": 10.0}
    return Experiment(name="beauty-itemknn", split=beauty, model=ItemKNN, model_args=args, evaluate=RANKING)


def ease() -> Experiment:
    """EASE on interactions."""
    return Experiment(name="beauty-ease", split=beauty, model=EASE, model_args={"reg": 100.0}, evaluate=RANKING)


def _baselines() -> tuple[Experiment, ...]:
    return popularity(), itemknn(), ease()


def lightgcn() -> Experiment:
    """LightGCN: the graph without order."""
    args = {"num_layers": 3, "l2": 1e-4}
    return Experiment(
        name="beauty-lightgcn",
        split=beauty,
        model=LightGCN,
        model_args=args,
        fit=GRAPH,
        evaluate=RANKING,
        baselines=_baselines(),
    )


def sasrec() -> Experiment:
    """SASRec with 1,024 sampled negatives a step and logQ correction: order without the graph."""
    return Experiment(
        name="beauty-sasrec",
        split=beauty,
        model=SASRec,
        model_args={"dropout": 0.5, "negatives": 1024},
        fit=NEXT_VIDEO,
        evaluate=RANKING,
        baselines=_baselines(),
    )


def sasrec_full() -> Experiment:
    """SASRec with the softmax over all videos."""
    return sasrec().variant({"model_args.negatives": None}, name="beauty-sasrec-full")


def gru4rec() -> Experiment:
    """GRU4Rec, the same loss."""
    return sasrec().variant(name="beauty-gru4rec", model=GRU4Rec)


def tisasrec() -> Experiment:
    """TiSASRec; the lists have no times, so intervals are differences of places."""
    return sasrec().variant(name="beauty-tisasrec", model=TiSASRec)


def graph_temporal() -> Experiment:
    """LightGCN with a causal transformer over its video embeddings as the user side, gated."""
    return sasrec().variant(
        name="beauty-graph-temporal",
        model=TemporalGraph,
        model_args={
            "propagation": partial(LightGCN, num_layers=2),
            "temporal": partial(CausalTransformer, dropout=0.5),
            "negatives": 1024,
        },
        epoch_transforms=(EdgeDrop(0.5),),
    )
