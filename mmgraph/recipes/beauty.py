"""Amazon Beauty as ordered lists, the last video of each user held out: protocol ``beauty-loo``.

``mmgraph run mmgraph.recipes.beauty:sasrec`` runs the seeds and prints the table with the baselines. The last but
one video is valid and chooses the epoch and every setting; test is ranked on train + valid, over all videos. The
models are in ``next_video.py``; docs/sequential.md says what was measured.
"""

from __future__ import annotations

from mmgraph.data import Split, leave_last_one_out
from mmgraph.data.readers import read_sequences
from mmgraph.experiment import Experiment
from mmgraph.objectives import FullSoftmax
from mmgraph.recipes import next_video
from mmgraph.recipes.source import data_root
from mmgraph.train import FitConfig

NEXT_VIDEO = FitConfig(epochs=24, batch_size=1024, learning_rate=2e-3, monitor="ndcg@10", eval_every=4, patience=2)
GRAPH = FitConfig(epochs=80, batch_size=8192, learning_rate=1e-2, monitor="ndcg@10", eval_every=10, patience=1)


def beauty() -> Split:
    """22,363 users, 12,101 videos, 198,502 events."""
    dataset = read_sequences(data_root() / "sequences" / "Beauty.txt", name="beauty")
    return leave_last_one_out(dataset, name="beauty-loo")


def popularity() -> Experiment:
    """The most watched."""
    return next_video.popularity(beauty, "beauty")


def itemknn() -> Experiment:
    """Co-interaction cosine."""
    return next_video.itemknn(beauty, "beauty")


def ease() -> Experiment:
    """EASE on interactions."""
    return next_video.ease(beauty, "beauty")


def _baselines() -> tuple[Experiment, ...]:
    return popularity(), itemknn(), ease()


def lightgcn() -> Experiment:
    """LightGCN: the graph without order."""
    return next_video.lightgcn(beauty, "beauty", GRAPH, _baselines())


def sasrec() -> Experiment:
    """SASRec with 1,024 sampled negatives a step and logQ correction: order without the graph."""
    return next_video.sasrec(beauty, "beauty", NEXT_VIDEO, _baselines())


def sasrec_full() -> Experiment:
    """SASRec with the softmax over all videos."""
    return sasrec().variant(objective=FullSoftmax(), name="beauty-sasrec-full")


def gru4rec() -> Experiment:
    """GRU4Rec, the same loss."""
    return next_video.gru4rec(beauty, "beauty", NEXT_VIDEO, _baselines())


def tisasrec() -> Experiment:
    """TiSASRec; the lists have no times, so intervals are differences of places."""
    return next_video.tisasrec(beauty, "beauty", NEXT_VIDEO, _baselines())


def graph_temporal() -> Experiment:
    """Graph and order, gated."""
    return next_video.graph_temporal(beauty, "beauty", NEXT_VIDEO, _baselines())


def graph_temporal_full() -> Experiment:
    """The same with the softmax over all videos."""
    return graph_temporal().variant(objective=FullSoftmax(), name="beauty-graph-temporal-full")
