"""MicroLens-50k short videos as ordered lists, the last video of each user held out: protocol ``microlens50k-loo``.

``mmgraph run benchmarks.recipes.microlens50k:sasrec`` runs the seeds and prints the table with the baselines. The
last but one video is valid and chooses the epoch and every setting below; test is ranked on train + valid, over all
videos. EASE inverts a matrix of 19,220 rows (several GB), so it is not among the baselines that run by themselves.
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
NEXT_VIDEO = FitConfig(epochs=20, batch_size=1024, learning_rate=2e-3, monitor="ndcg@10", eval_every=5, patience=1)
GRAPH = FitConfig(epochs=80, batch_size=8192, learning_rate=1e-2, monitor="ndcg@10", eval_every=10, patience=1)


def microlens50k() -> Split:
    """50,000 users, 19,220 videos, 359,708 events, English titles."""
    folder = data_root() / "microlens50k"
    titles = folder / "MicroLens-50k_titles.csv"
    dataset = read_sequences(folder / "MicroLens-50k_pairs.tsv", titles=titles, name="microlens50k")
    return leave_last_one_out(dataset, name="microlens50k-loo")


def popularity() -> Experiment:
    """The most watched."""
    return Experiment(name="microlens50k-popularity", split=microlens50k, model=Popularity, evaluate=RANKING)


def itemknn() -> Experiment:
    """Co-interaction cosine."""
    args = {"k": 100, "shrink": 10.0}
    return Experiment(name="microlens50k-itemknn", split=microlens50k, model=ItemKNN, model_args=args, evaluate=RANKING)


def ease() -> Experiment:
    """EASE on interactions."""
    return Experiment(
        name="microlens50k-ease", split=microlens50k, model=EASE, model_args={"reg": 100.0}, evaluate=RANKING
    )


def _baselines() -> tuple[Experiment, ...]:
    return popularity(), itemknn()


def lightgcn() -> Experiment:
    """LightGCN: the graph without order."""
    args = {"num_layers": 3, "l2": 1e-4}
    return Experiment(
        name="microlens50k-lightgcn",
        split=microlens50k,
        model=LightGCN,
        model_args=args,
        fit=GRAPH,
        evaluate=RANKING,
        baselines=_baselines(),
    )


def sasrec() -> Experiment:
    """SASRec with 1,024 sampled negatives a step and logQ correction: order without the graph."""
    return Experiment(
        name="microlens50k-sasrec",
        split=microlens50k,
        model=SASRec,
        model_args={"dropout": 0.5, "negatives": 1024},
        fit=NEXT_VIDEO,
        evaluate=RANKING,
        baselines=_baselines(),
    )


def sasrec_full() -> Experiment:
    """SASRec with the softmax over all videos."""
    return sasrec().variant({"model_args.negatives": None}, name="microlens50k-sasrec-full")


def gru4rec() -> Experiment:
    """GRU4Rec, the same loss."""
    return sasrec().variant(name="microlens50k-gru4rec", model=GRU4Rec)


def tisasrec() -> Experiment:
    """TiSASRec; the lists have no times, so intervals are differences of places."""
    return sasrec().variant(name="microlens50k-tisasrec", model=TiSASRec)


def graph_temporal() -> Experiment:
    """LightGCN with a causal transformer over its video embeddings as the user side, gated."""
    return sasrec().variant(
        name="microlens50k-graph-temporal",
        model=TemporalGraph,
        model_args={
            "propagation": partial(LightGCN, num_layers=2),
            "temporal": partial(CausalTransformer, dropout=0.5),
            "negatives": 1024,
        },
        epoch_transforms=(EdgeDrop(0.5),),
    )
