"""MicroLens-50k short videos as ordered lists, the last video of each user held out: protocol ``microlens50k-loo``.

``mmgraph run mmgraph.recipes.microlens50k:sasrec`` runs the seeds and prints the table with the baselines. The
last but one video is valid and chooses the epoch; test is ranked on train + valid, over all videos. The models are in
``next_video.py``. ItemKNN and EASE hold a matrix of 19,220 x 19,220: several GB.
"""

from __future__ import annotations

from mmgraph.data import Split, leave_last_one_out
from mmgraph.data.readers import read_sequences
from mmgraph.experiment import Experiment
from mmgraph.objectives import FullSoftmax
from mmgraph.recipes import next_video
from mmgraph.recipes.source import data_root
from mmgraph.train import FitConfig

NEXT_VIDEO = FitConfig(epochs=24, batch_size=1024, learning_rate=2e-3, monitor="ndcg@10", eval_every=6, patience=1)
GRAPH = FitConfig(epochs=60, batch_size=8192, learning_rate=1e-2, monitor="ndcg@10", eval_every=10, patience=1)


def microlens50k() -> Split:
    """50,000 users, 19,220 videos, 359,708 events, English titles."""
    folder = data_root() / "microlens50k"
    titles = folder / "MicroLens-50k_titles.csv"
    dataset = read_sequences(folder / "MicroLens-50k_pairs.tsv", titles=titles, name="microlens50k")
    return leave_last_one_out(dataset, name="microlens50k-loo")


def popularity() -> Experiment:
    """The most watched."""
    return next_video.popularity(microlens50k, "microlens50k")


def itemknn() -> Experiment:
    """Co-interaction cosine."""
    return next_video.itemknn(microlens50k, "microlens50k")


def ease() -> Experiment:
    """EASE on interactions."""
    return next_video.ease(microlens50k, "microlens50k")


def _baselines() -> tuple[Experiment, ...]:
    return popularity(), itemknn(), ease()


def lightgcn() -> Experiment:
    """LightGCN: the graph without order."""
    return next_video.lightgcn(microlens50k, "microlens50k", GRAPH, _baselines())


def sasrec() -> Experiment:
    """SASRec with 1,024 sampled negatives a step and logQ correction: order without the graph."""
    return next_video.sasrec(microlens50k, "microlens50k", NEXT_VIDEO, _baselines())


def sasrec_full() -> Experiment:
    """SASRec with the softmax over all videos."""
    return sasrec().variant(objective=FullSoftmax(), name="microlens50k-sasrec-full")


def gru4rec() -> Experiment:
    """GRU4Rec, the same loss."""
    return next_video.gru4rec(microlens50k, "microlens50k", NEXT_VIDEO, _baselines())


def tisasrec() -> Experiment:
    """TiSASRec; the lists have no times, so intervals are differences of places."""
    return next_video.tisasrec(microlens50k, "microlens50k", NEXT_VIDEO, _baselines())


def graph_temporal() -> Experiment:
    """Graph and order, gated."""
    return next_video.graph_temporal(microlens50k, "microlens50k", NEXT_VIDEO, _baselines())
