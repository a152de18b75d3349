"""The people of a report: what they watched, what a model would show them, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl
import torch
from torch import Tensor

from mmgraph.data import Dataset
from mmgraph.ops import CSR
from mmgraph.recommend import explain, recommend
from mmgraph.report.content import Because, Pick, Viewer
from mmgraph.report.media import Clips

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import Recommender

_WATCHED, _PICKS, _REASONS = 10, 6, 3


def different_users(seen: CSR, count: int = 3, among: int = 60) -> list[int]:
    """Rows of active users who watched different things: the most active, then whose overlap with those is least.

    Args:
        seen: CSR [U, V].
        count: how many.
        among: the most active users, from whom they are taken.
    """
    degree = seen.degree()
    active = torch.argsort(degree, descending=True, stable=True)[:among]
    active = active[degree[active] > 0]
    watched = [set(seen.indices[seen.indptr[u] : seen.indptr[u + 1]].tolist()) for u in active.tolist()]
    chosen: list[int] = []
    while len(chosen) < min(count, len(active)):
        left = [at for at in range(len(active)) if at not in chosen]
        shared = {at: max((_overlap(watched[at], watched[other]) for other in chosen), default=0.0) for at in left}
        chosen.append(min(left, key=lambda at: (shared[at], at)))
    return [int(active[at]) for at in chosen]


def _overlap(one: set[int], other: set[int]) -> float:
    return len(one & other) / max(1, len(one | other))


def viewers(
    model: Recommender,
    graph: MultimodalGraph,
    dataset: Dataset,
    train: pl.DataFrame,
    users: Sequence[int],
    clips: Clips,
    *,
    tastes: Callable[[int], Sequence[str]] | None = None,
) -> list[Viewer]:
    """The users (rows) with what they watched last and what the model shows them.

    Args:
        model, graph, dataset: what recommends, from what.
        train: the training interactions, ``user`` and ``video`` rows, with ``time`` or ``position`` where there is one.
        users: rows.
        clips: the videos' cards.
        tastes: user row -> words about them, where something is known.
    """
    lists = recommend(model, graph, torch.tensor(users), _PICKS).video.cpu()
    counts = graph.seen.transpose().degree().cpu()
    return [
        _viewer(graph, dataset, train, user, row[row >= 0].tolist(), counts, clips, tastes)
        for user, row in zip(users, lists, strict=True)
    ]


def _viewer(
    graph: MultimodalGraph,
    dataset: Dataset,
    train: pl.DataFrame,
    user: int,
    picks: Sequence[int],
    counts: Tensor,
    clips: Clips,
    tastes: Callable[[int], Sequence[str]] | None,
) -> Viewer:
    history = train.filter(pl.col("user") == user)
    order = [name for name in ("time", "position") if name in history.columns]
    history = history.sort(order, descending=True) if order else history.reverse()
    about = dataset.users.row(user, named=True) if len(dataset.users) else {}
    words = [str(about[key]) for key in ("age", "gender") if about.get(key) is not None]
    said = f"{', '.join(words)} · " if words else ""
    said += f"{len(history)} {'click' if len(history) == 1 else 'clicks'} in training"
    return Viewer(
        name=f"User {dataset.user_ids.ids[user]}",
        about=said + (". True taste today, which the model never saw:" if tastes is not None else ""),
        tastes=() if tastes is None else tastes(user),
        watched=[clips.clip(video, (96, 128)) for video in history["video"].head(_WATCHED).to_list()],
        picks=[
            Pick(clips.clip(video), _reasons(graph, clips, user, video), ("new",) if counts[video] == 0 else ())
            for video in picks
        ],
    )


def _reasons(graph: MultimodalGraph, clips: Clips, user: int, video: int) -> list[Because]:
    """The strongest path of each kind, those first that stand out most among all videos."""
    known: list[tuple[float, Because]] = []
    for reason in explain(graph, user, video, k=1).reasons:
        clip = clips.clip(reason.video, (36, 48), sound=False)
        if reason.kind == "co-watched":
            if reason.count >= 3:  # one or two people in common are chance
                text = f"by {reason.count} people who watched {clip.title}"
                known.append((0.97, Because(reason.kind, text, reason.strength, clip)))
            continue
        share = _less_alike(graph, reason.kind, reason.video, video)
        if share >= 0.9:  # a likeness that one in ten videos has is no reason
            known.append((share, Because(reason.kind, f"with {clip.title}", reason.strength, clip)))
    ordered = sorted(known, key=lambda each: -each[0])
    return [because for _, because in ordered[:_REASONS]]


def _less_alike(graph: MultimodalGraph, modality: str, watched: int, video: int) -> float:
    """The share of videos that are less like the watched one than `video` is."""
    features = graph.features(modality)
    values = features.values[features.present]
    cosine = torch.nn.functional.cosine_similarity(values, features.values[watched][None])
    own = torch.nn.functional.cosine_similarity(features.values[video], features.values[watched], dim=0)
    return float((cosine < own).float().mean())
