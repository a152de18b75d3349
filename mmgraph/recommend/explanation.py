"""Why a video may suit a user: the strongest paths of the graph between them, what the model's score hangs on, and
whether an explanation is true to the model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mmgraph.constraint import Constraint
from mmgraph.models import People
from mmgraph.nn import evaluating
from mmgraph.ops import CSR, best_of, checks

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import Recommender

Deletion = Literal["graph", "fold_in"]


@dataclass(frozen=True)
class Reason:
    """One path from a user to a video.

    Attributes:
        kind: ``"co-watched"``, the modality in which the two videos are alike, or ``"model"``.
        video: row of the watched video the path goes through.
        strength: co-watched: n / sqrt(d_v' d_v), the cosine of the two videos' watcher sets; a modality: the
            cosine of their features; the model: by how much its score falls when the user had not watched that video.
        count: co-watched: how many other users watched both; 0 for a modality.
        users: rows of up to five of those users.
    """

    kind: str
    video: int
    strength: float
    count: int = 0
    users: tuple[int, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a video may suit a user: the strongest paths of the graph between them.

    Attributes:
        user: user row.
        video: video row.
        reasons: strongest first within each kind.
    """

    user: int
    video: int
    reasons: tuple[Reason, ...]

    def sentences(self, dataset: Dataset) -> list[str]:
        """One plain sentence a reason, with titles (raw ids where there are none)."""
        titles = dataset.videos["title"] if "title" in dataset.videos.columns else dataset.video_ids.ids
        out = []
        for reason in self.reasons:
            name = titles[reason.video]
            if reason.kind == "co-watched":
                people = "1 person" if reason.count == 1 else f"{reason.count} people"
                out.append(f"{people} who watched {name!r} watched this too (strength {reason.strength:.2f})")
            elif reason.kind == "model":
                out.append(f"without {name!r}, which you watched, its score were {reason.strength:.3g} lower")
            else:
                out.append(f"alike in {reason.kind} to {name!r}, which you watched (cosine {reason.strength:.2f})")
        return out


@torch.no_grad()
def explain(
    graph: MultimodalGraph, user: int, video: int, k: int = 3, *, constraint: Constraint | None = None
) -> Explanation:
    """The strongest paths between a user and a video, read from the graph alone, whatever the model.

    Two kinds. *Co-watching*: user → v' → u' → video over ``interacts`` edges, one reason for each watched v' with its
    number of paths n and strength n / sqrt(d_v' d_v), where d counts the users of a video. *Likeness*: the
    cosine between the features of the video and of each watched v', per modality, where both have it and it is above 0.

    Args:
        graph: users, videos, modalities.
        user: user row.
        video: video row; it need not be unseen, and is never its own reason.
        k: reasons of each kind, at most.
        constraint: a video that may not be shown is not explained, and none that nobody may get is named as a reason.

    Returns:
        Explanation: empty for a user without interactions.

    Raises:
        ValueError: a row out of range, or a video that the constraint forbids (whether seen or not).
    """
    k = checks.count(k, "k")
    watched = _watched(graph, user, video, constraint)
    seen = graph.seen
    if not len(watched):
        return Explanation(user, video, ())
    reasons: list[Reason] = []

    watchers = _neighbours(seen.transpose(), torch.tensor([video]))[1].unique()
    others = watchers[watchers != user]
    line, theirs = _neighbours(seen, others)
    pairs = torch.unique(torch.stack([theirs, others[line]]), dim=1)
    pairs = pairs[:, torch.isin(pairs[0], watched)]
    through, count = pairs[0].unique(return_counts=True)
    rows, users_of = _neighbours(seen.transpose(), through)
    degree = torch.bincount(torch.unique(torch.stack([rows, users_of]), dim=1)[0], minlength=len(through))
    strength = count / (degree * len(watchers)).clamp(min=1).sqrt()
    for place in best_of(strength[None].float(), min(k, len(through))).video[0].tolist():
        row = int(through[place])
        people = tuple(pairs[1, pairs[0] == row][:5].tolist())
        reasons.append(Reason("co-watched", row, float(strength[place]), int(count[place]), people))

    for modality in graph.modalities:
        features = graph.features(modality)
        have = watched.to(features.values.device)
        have = have[features.present[have]]
        if not bool(features.present[video]) or not len(have):
            continue
        cosine = torch.nn.functional.cosine_similarity(features.values[have], features.values[video][None], dim=1)
        best = best_of(cosine[None], min(k, len(have)))
        # features may be centred, and what points the other way is no likeness
        reasons += [Reason(modality, int(have[i]), float(cosine[i])) for i in best.video[0].tolist() if cosine[i] > 0]
    return Explanation(user, video, tuple(reasons))


def _neighbours(matrix: CSR, rows: Tensor) -> tuple[Tensor, Tensor]:
    block, _ = matrix.select(rows.to(matrix.device))
    return block.row_indices().long(), block.indices.long()


@torch.no_grad()
def explain_by_model(
    model: Recommender,
    graph: MultimodalGraph,
    user: int,
    video: int,
    k: int = 3,
    *,
    by: Deletion = "graph",
    constraint: Constraint | None = None,
) -> Explanation:
    """The watched videos that the model's score of a video hangs on: how far it falls without each of them.

    Args:
        model: fitted.
        graph: what it reads.
        user, video, k, constraint: as in :func:`explain`.
        by: how an interaction is taken away, see :func:`scores_without`.

    Returns:
        Explanation: reasons of kind ``"model"``, the largest fall first; only what makes the score fall.

    Raises:
        ValueError: as :func:`explain`.
    """
    k = checks.count(k, "k")
    watched = _watched(graph, user, video, constraint)
    if not len(watched):
        return Explanation(user, video, ())
    scores = scores_without(model, graph, user, video, [watched[:0], *watched[:, None]], by=by)
    fall = scores[0] - scores[1:]
    best = best_of(fall[None].float(), min(k, len(watched))).video[0].tolist()
    return Explanation(
        user, video, tuple(Reason("model", int(watched[i]), float(fall[i])) for i in best if float(fall[i]) > 0)
    )


@torch.no_grad()
def scores_without(
    model: Recommender,
    graph: MultimodalGraph,
    user: int,
    video: int,
    deletions: Sequence[Tensor],
    *,
    by: Deletion = "graph",
) -> Tensor:
    """The model's score [m] of a video for a user after each of m deletions from what the user watched.

    Args:
        model: fitted.
        graph: what it reads; not changed.
        user, video: rows.
        deletions: m times [d] video rows, whose interactions with the user are taken out.
        by: ``"graph"``: the edges leave the graph and the model encodes again, m times; a model whose rows do not read
            the graph (BPR-MF) does not notice. ``"fold_in"``: the user is folded in as a new person with the clicks
            that are left, all m at once; what is explained is that person's score.

    Raises:
        ValueError: ``by`` is neither, or the model cannot fold in clicks.
    """
    if by not in ("graph", "fold_in"):
        raise ValueError(f"by={by!r}: use 'graph' or 'fold_in'")
    asked, out = evaluating(model), []
    if by == "fold_in":
        watched = _neighbours(graph.seen, torch.tensor([user]))[1].unique()
        left = [watched[~torch.isin(watched, rows.to(watched.device))] for rows in deletions]
        line = torch.repeat_interleave(torch.arange(len(left)), torch.tensor([len(rows) for rows in left]))
        clicks = CSR.from_edges(line.to(watched.device), torch.cat(left), (len(left), graph.num_videos))
        emb = asked.fold_in(graph, People(clicks=clicks))
        people = torch.arange(len(left), device=emb.video.device)
        return asked.score(emb, people, torch.full((len(left), 1), video, device=people.device))[:, 0].double().cpu()
    for rows in deletions:
        emb = asked.encode(_without(graph, user, rows) if len(rows) else graph)
        device = emb.video.device
        pair = torch.tensor([user], device=device), torch.tensor([[video]], device=device)
        out.append(asked.score(emb, *pair)[0, 0].double().cpu())
    return torch.stack(out) if out else torch.empty(0, dtype=torch.float64)


@dataclass(frozen=True)
class Fidelity:
    """Whether explanations name what the model's scores hang on.

    Attributes:
        explained: [n] by how much each score falls without the videos that its explanation names.
        random: [n] by how much it falls without as many others of the user's, drawn at random; the mean over draws.
            Both are NaN where there is no reason, or nothing else to delete.
    """

    explained: Tensor
    random: Tensor

    @property
    def gap(self) -> float:
        """The mean of explained − random: above 0, the explanations know more than chance."""
        return float((self.explained - self.random).nanmean())

    def __repr__(self) -> str:
        known = int((~self.explained.isnan()).sum())
        falls = f"explained {float(self.explained.nanmean()):.4g}, random {float(self.random.nanmean()):.4g}"
        return f"Fidelity({falls}, over {known} of {len(self.explained)} pairs)"


@torch.no_grad()
def deletion_fidelity(
    model: Recommender,
    graph: MultimodalGraph,
    users: Tensor | Sequence[int],
    videos: Tensor | Sequence[int],
    explanation: Callable[[int, int], Explanation] | None = None,
    *,
    k: int = 1,
    draws: int = 10,
    seed: int = 0,
    by: Deletion = "graph",
) -> Fidelity:
    """How far scores fall when what an explanation names is deleted, against a deletion at random of as many.

    Args:
        model: fitted; it scores anew after each deletion, see :func:`scores_without`.
        graph: what it reads.
        users, videos: [n] pairs, such as a user and the first of their list.
        explanation: (user, video) -> :class:`Explanation`; :func:`explain` by default.
        k: delete the first k distinct videos that its reasons name.
        draws: random deletions a pair, from the watched videos (those that are named too).
        seed: of them.
        by: how interactions are taken away.
    """
    users, videos = checks.rows(users, graph.num_users, "users"), checks.rows(videos, graph.num_videos, "videos")
    k, draws = checks.count(k, "k"), checks.count(draws, "draws")
    if len(users) != len(videos):
        raise ValueError(f"{len(users)} users and {len(videos)} videos: give pairs")
    generator = torch.Generator().manual_seed(seed)
    explained, random = [], []
    for user, video in zip(users.tolist(), videos.tolist(), strict=True):
        found = explain(graph, user, video) if explanation is None else explanation(user, video)
        named = list(dict.fromkeys(reason.video for reason in found.reasons))[:k]
        watched = _watched(graph, user, video, None)
        if not named or len(watched) <= len(named):
            explained.append(torch.nan)
            random.append(torch.nan)
            continue
        chance = [watched[torch.randperm(len(watched), generator=generator)[: len(named)]] for _ in range(draws)]
        scores = scores_without(model, graph, user, video, [watched[:0], torch.tensor(named), *chance], by=by)
        explained.append(float(scores[0] - scores[1]))
        random.append(float((scores[0] - scores[2:]).mean()))
    return Fidelity(torch.tensor(explained, dtype=torch.float64), torch.tensor(random, dtype=torch.float64))


def _watched(graph: MultimodalGraph, user: int, video: int, constraint: Constraint | None) -> Tensor:
    """What the user watched and may be named, without the video itself."""
    checks.rows([user], graph.num_users, "user")
    checks.rows([video], graph.num_videos, "video")
    watched = _neighbours(graph.seen, torch.tensor([user]))[1].unique()
    watched = watched[watched != video]
    if constraint is not None:
        if not bool(constraint.with_seen(None).permits(user, torch.tensor([video]))[0]):
            raise ValueError(f"video row {video} may not be shown to user row {user}: the constraint forbids it")
        watched = watched[constraint.over(graph.num_videos).columns.to(watched.device)[watched]]
    return watched


def _without(graph: MultimodalGraph, user: int, videos: Tensor) -> MultimodalGraph:
    """The graph without a user's interactions with some videos, whatever the edges carry."""
    out = copy.copy(graph)
    for kind in (("user", "interacts", "video"), ("video", "rev_interacts", "user")):
        if kind not in graph.edge_types:
            continue
        edges = graph[kind].edge_index
        ends = edges if kind[0] == "user" else edges.flip(0)
        keep = ~((ends[0] == user) & torch.isin(ends[1], videos.to(ends.device)))
        store: Any = out[kind]
        for name, value in graph[kind].items():
            if isinstance(value, Tensor) and name != "edge_index" and value.shape[:1] == (edges.shape[1],):
                store[name] = value[keep]
        store.edge_index = edges[:, keep]
    return out
