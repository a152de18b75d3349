"""Lists by rows: for known people, for people who came after training; who to show a video to; what is alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.constraint import Constraint
from mmgraph.models import People
from mmgraph.nn import evaluating
from mmgraph.ops import CSR, TopK, TopKIndex, best_of, checks, topk
from mmgraph.recommend.scores import ranking_factors, require_fitted, score_block, score_given, user_blocks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Embeddings, Recommender

_LONGEST = 2**24  # places of a list

UnknownUser = Literal["popular", "model", "error"]


class Lists(NamedTuple):
    """What is recommended: score [B, k] and video [B, k], best first; -inf and -1 where too few were left.

    ``fallback``, one a list: None where the model knows the user by interactions; ``"profile"`` where it was asked by
    the user's features alone; ``"popular"`` where nothing is known that it reads.
    """

    score: Tensor
    video: Tensor
    fallback: tuple[str | None, ...]


class Audience(NamedTuple):
    """Whom to show a video to: score [M, k] and user [M, k], best first; -inf and -1 where too few were left."""

    score: Tensor
    user: Tensor


@torch.no_grad()
def recommend(
    model: Recommender,
    graph: MultimodalGraph,
    users: Tensor | Sequence[int] | None = None,
    k: int = 10,
    *,
    people: People | None = None,
    exclude_seen: bool = True,
    candidates: Tensor | Sequence[int] | None = None,
    exclude: Tensor | Sequence[int] | None = None,
    constraint: Constraint | None = None,
    unknown_user: UnknownUser = "popular",
    emb: Embeddings | None = None,
    index: TopKIndex | None = None,
) -> Lists:
    """The k best videos for each of some users.

    A user without an edge has a row that was never trained: ranking by it would be noise. Where the graph has user
    features and the model can fold them in, such users are ranked by their profile, else they get the most interacted
    videos; ``fallback`` says which.

    Args:
        model: any recommender; ``encode`` runs once, ``score`` once a block of users, or not at all where the scores
            are dot products (:func:`mmgraph.ops.topk` finds the best by itself).
        graph: the graph it reads, whose interactions count as seen.
        users: [B] user rows, in any order, repeats allowed.
        k: how many.
        people: in place of ``users``, people who came after training, through ``model.fold_in``: what they clicked (in
            order, with times), or their profile. Their clicks count as seen.
        exclude_seen: leave out what a user has interacted with.
        candidates: video rows that may be recommended (all by default).
        exclude: video rows that may not.
        constraint: what else decides which videos a user may get now; its own ``seen`` counts beside the graph's.
        unknown_user: ``"popular"`` as above; ``"model"`` ranks them by their untrained rows all the same; ``"error"``
            refuses.
        emb: embeddings from an earlier ``model.encode(graph)``, to save that step.
        index: one kept over the videos' factors (``ranking_factors(model, emb).video``), so that a call for a few users
            does not read them anew. What it hides is not recommended.

    Raises:
        TypeError: rows that are not whole numbers.
        ValueError: a user or video row out of range, a NaN score, k < 1, an index of other videos, both or neither of
            ``users`` and ``people``, or an unfitted model.
    """
    k = checks.count(k, "k", 1, _LONGEST)
    if (users is None) == (people is None):
        raise ValueError("give either users (rows of the graph) or people (who came after training)")
    if unknown_user not in ("popular", "model", "error"):
        raise ValueError(f"unknown_user={unknown_user!r}: use 'popular', 'model' or 'error'")
    require_fitted(model)
    columns = None if candidates is None else checks.rows(candidates, graph.num_videos, "candidates").cpu()
    barred = None if exclude is None else checks.rows(exclude, graph.num_videos, "exclude").cpu()
    asked = evaluating(model)
    if people is not None:
        emb, clicks = asked.fold_in(graph, people), people.click_matrix(graph.num_videos)
        place, who = torch.arange(len(people)), "person"
        chosen = torch.zeros(len(place), dtype=torch.bool) if clicks is None else clicks.degree().cpu() > 0
        source = ["interactions" if c else None if people.features is None else "profile" for c in chosen.tolist()]
        # behind the known users: what a constraint knows of these is not theirs
        rows, history = place + graph.num_users, None if clicks is None else _behind(clicks, graph.num_users)
    else:
        assert users is not None
        rows, who, history = checks.rows(users, graph.num_users, "users").cpu(), "user row", graph.seen
        place = rows
        emb = asked.encode(graph) if emb is None else emb
        reads = _reads_features(model, graph)
        chosen = (history.degree().cpu()[rows] > 0).tolist()
        source = ["interactions" if c else "profile" if reads else None for c in chosen]
    if emb.video.shape[0] != graph.num_videos:
        raise ValueError(
            f"{type(model).__name__} gave {emb.video.shape[0]} video rows, the graph has {graph.num_videos} videos: "
            "give the graph it was made for, or a model that embeds new videos from their content"
        )
    device = emb.video.device
    limits = _limits(graph.num_videos, columns, barred, constraint)
    seen = history.to(device) if exclude_seen and history is not None else None
    if people is None:
        seen = _both(seen, None if limits.seen is None else limits.seen.to(device))
    limits, rows, place = limits.with_seen(seen), rows.to(device), place.to(device)
    unknown = [line for line, known in enumerate(source) if known is None]
    by_profile = None
    if unknown and people is None and unknown_user != "model":
        by_profile = _by_profile(asked, graph, rows[unknown])
        if by_profile is not None:
            source = [known or "profile" for known in source]
    if unknown and unknown_user == "error" and by_profile is None:
        raise ValueError(f"{who} {int(place[unknown[0]])} has no interaction, and the model reads nothing else of them")
    score = torch.full((len(rows), k), -torch.inf, device=device)
    video = torch.full((len(rows), k), -1, device=device)
    untrained = set(unknown) if unknown_user != "model" else set()
    known = [line for line in range(len(rows)) if line not in untrained]
    for lines, ranked_by in ((known, emb), (sorted(untrained), by_profile)):
        if lines:
            some = rows[lines]
            if ranked_by is None:
                best = _popular(graph, some, k, limits)
            else:
                at = place[lines] if ranked_by is emb else torch.arange(len(some), device=device)
                best = _best(asked, ranked_by, at, some, k, limits, index)
            score = score.to(torch.promote_types(score.dtype, best.score.dtype))
            score[lines], video[lines] = best.score.to(score.dtype), best.video
    said = {"interactions": None, "profile": "profile", None: None if unknown_user == "model" else "popular"}
    return Lists(score, video, tuple(said[known] for known in source))


def _by_profile(model: Recommender, graph: MultimodalGraph, users: Tensor) -> Embeddings | None:
    """What the model makes of users' features alone; None where there are none, or it cannot read them."""
    if "user" not in getattr(graph, "node_types", ()) or "x" not in graph["user"]:
        return None
    try:
        return model.fold_in(graph, People(features=graph["user"].x[users.to(graph["user"].x.device)]))
    except ValueError:
        return None


def _best(
    model: Recommender,
    emb: Embeddings,
    place: Tensor,
    users: Tensor,
    k: int,
    limits: Constraint,
    index: TopKIndex | None,
) -> TopK:
    """The best by the model, through the index or ``ops.topk`` where the scores are dot products.

    ``place`` [B] are the rows of ``emb.user``, ``users`` [B] those that the constraint knows.
    """
    factors = None if limits.per_user and index is None else ranking_factors(model, emb)
    if index is not None and (factors is None or factors.video.shape != index.video.shape):
        raise ValueError(
            f"an index over {list(index.video.shape)} does not rank as {type(model).__name__} does: make it of "
            "ranking_factors(model, emb).video"
        )
    if factors is not None:
        open_columns = (limits.mask(users) if limits.per_user else limits.columns).to(users.device)

        def by_products(columns: Tensor | None, n: int) -> TopK:
            wanted = open_columns if columns is None else open_columns & columns.to(users.device)
            given = {"seen": limits.seen, "users": users, "candidates": None if bool(wanted.all()) else wanted}
            if index is not None:
                return index.search(factors.user[place], n, **given)
            return topk(factors.user[place], factors.video, n, **given)

        return limits.fill(k, by_products)
    blocks = zip(*(user_blocks(rows, emb.video.shape[0]) for rows in (place, users)), strict=True)
    return _joined([_of_scores(limits.hide(score_block(model, emb, at), who), k, limits) for at, who in blocks])


def _popular(graph: MultimodalGraph, users: Tensor, k: int, limits: Constraint) -> TopK:
    """The most interacted videos that each user may get."""
    count = torch.bincount(graph.seen.indices.long(), minlength=graph.num_videos).to(users.device).float()
    blocks = user_blocks(users, graph.num_videos)
    scores = (limits.hide(count.expand(len(block), -1).clone(), block) for block in blocks)
    return _joined([_of_scores(block, k, limits) for block in scores])


def _joined(parts: list[TopK]) -> TopK:
    return TopK(torch.cat([p.score for p in parts]), torch.cat([p.video for p in parts]))


def _of_scores(scores: Tensor, k: int, limits: Constraint) -> TopK:
    def best(columns: Tensor | None, n: int) -> TopK:
        hidden = scores if columns is None else scores.masked_fill(~columns.to(scores.device), -torch.inf)
        return best_of(hidden, n)

    return limits.fill(k, best)


@torch.no_grad()
def predict(
    model: Recommender, graph: MultimodalGraph, users: Tensor | Sequence[int], videos: Tensor | Sequence[int]
) -> Tensor:
    """The model's scores [n] of n pairs of a user and a video; higher is better, and nothing is masked.

    Args:
        model: fitted.
        graph: what it reads.
        users, videos: rows [n].

    Raises:
        TypeError: rows that are not whole numbers.
        ValueError: a row out of range, lengths that differ, a NaN score, an unfitted model.
    """
    require_fitted(model)
    user, video = checks.rows(users, graph.num_users, "users"), checks.rows(videos, graph.num_videos, "videos")
    if len(user) != len(video):
        raise ValueError(f"{len(user)} users and {len(video)} videos: give pairs")
    asked = evaluating(model)
    emb = asked.encode(graph)
    device = emb.video.device
    parts = [
        score_given(asked, emb, u, v[:, None])[:, 0]
        for u, v in zip(user.to(device).split(4096), video.to(device).split(4096), strict=True)
    ]
    return torch.cat(parts) if parts else torch.empty(0, device=device)


@torch.no_grad()
def audience(
    model: Recommender,
    graph: MultimodalGraph,
    videos: Tensor | Sequence[int],
    k: int = 10,
    *,
    exclude_seen: bool = True,
    constraint: Constraint | None = None,
    emb: Embeddings | None = None,
) -> Audience:
    """Whom to show a video to: the k users with the highest scores for each of some videos.

    Users without an edge are left out, unless the model reads their features: their rows were never trained. Scores of
    different users are compared as the model gives them.

    Args:
        model: fitted.
        graph: what it reads; a new video is a row of ``graph.with_videos(…)``.
        videos: [M] video rows.
        k: how many users.
        exclude_seen: leave out who has interacted with the video.
        constraint: who may not get the video is left out.
        emb: embeddings from an earlier ``model.encode(graph)``.

    Raises:
        TypeError: rows that are not whole numbers.
        ValueError: a video row out of range, a NaN score, k < 1, an unfitted model.
    """
    k = checks.count(k, "k", 1, _LONGEST)
    require_fitted(model)
    video = checks.rows(videos, graph.num_videos, "videos")
    asked = evaluating(model)
    emb = asked.encode(graph) if emb is None else emb
    device = emb.video.device
    video, seen = video.to(device), graph.seen.to(device)
    known = seen.degree() > 0
    if _reads_features(model, graph):
        known = torch.ones_like(known)
    limits = (constraint or Constraint(graph.num_videos)).over(graph.num_videos)
    limits = limits.with_seen(
        _both(seen if exclude_seen else None, None if limits.seen is None else limits.seen.to(device))
    )
    users = known.nonzero().flatten()
    best = [
        TopK(torch.full((len(video), k), -torch.inf, device=device), torch.full((len(video), k), -1, device=device))
    ]
    for block in user_blocks(users, graph.num_videos):
        if limits.per_user or 4 * len(video) > graph.num_videos:
            scores = limits.hide(score_block(asked, emb, block), block)[:, video].T
        else:
            scores = score_given(asked, emb, block, video.expand(len(block), -1))
            scores = scores.masked_fill(~limits.mask(block)[:, video], -torch.inf).T
        part = best_of(scores.contiguous(), k)
        best.append(
            TopK(part.score.to(best[0].score.dtype), torch.where(part.video < 0, -1, block[part.video.clamp(min=0)]))
        )
    # blocks ascend, so a stable sort keeps equal scores in the order of user rows
    score, user = torch.cat([b.score for b in best], 1), torch.cat([b.video for b in best], 1)
    order = score.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return Audience(score.gather(1, order), user.gather(1, order))


@torch.no_grad()
def similar(
    model: Recommender | None,
    graph: MultimodalGraph,
    videos: Tensor | Sequence[int],
    k: int = 10,
    *,
    modality: str | None = None,
    constraint: Constraint | None = None,
    emb: Embeddings | None = None,
) -> TopK:
    """The k videos most alike to each of some videos: by the cosine of their rows, or of one modality's features.

    Args:
        model: whose video rows are compared; None with ``modality``.
        graph: what it reads.
        videos: [M] video rows; none is its own neighbour.
        k: how many.
        modality: compare these features instead; a video without them has no neighbours and is nobody's.
        constraint: what nobody may get is left out.
        emb: embeddings from an earlier ``model.encode(graph)``.

    Returns:
        TopK: score [M, k], the cosine, and video [M, k]; -inf and -1 where there were too few.

    Raises:
        TypeError: rows that are not whole numbers.
        KeyError: a modality that the graph does not have.
        ValueError: a video row out of range, k < 1, or neither a model nor a modality.
    """
    k = checks.count(k, "k", 1, _LONGEST)
    asked = checks.rows(videos, graph.num_videos, "videos")
    limits = (constraint or Constraint(graph.num_videos)).over(graph.num_videos)
    if modality is not None:
        features = graph.features(modality)
        rows, present = features.values, features.present
    elif model is None:
        raise ValueError("give a model, or the modality to compare")
    else:
        require_fitted(model)
        emb = evaluating(model).encode(graph) if emb is None else emb
        rows = emb.video.dense() if isinstance(emb.video, CSR) else emb.video
        present = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    unit = F.normalize(rows, dim=1)
    asked, device = asked.to(unit.device), unit.device
    none = CSR.from_edges(torch.arange(len(asked), device=device), asked, (len(asked), graph.num_videos))
    columns = present & limits.columns.to(device)
    best = topk(unit[asked], unit, k, seen=none, candidates=None if bool(columns.all()) else columns)
    lone = ~present[asked][:, None]
    return TopK(best.score.masked_fill(lone, -torch.inf), best.video.masked_fill(lone, -1))


def _reads_features(model: Recommender, graph: MultimodalGraph) -> bool:
    """Whether a row of ``encode`` is more than an untrained one though its user has no edge."""
    return bool(getattr(model, "reads_user_features", False)) and "x" in graph["user"]


def _behind(clicks: CSR, count: int) -> CSR:
    """The same rows after ``count`` empty ones."""
    indptr = torch.cat([clicks.indptr.new_zeros(count), clicks.indptr])
    return CSR(indptr, clicks.indices, None, (count + clicks.shape[0], clicks.shape[1]))


def _limits(
    num_videos: int, columns: Tensor | None, barred: Tensor | None, constraint: Constraint | None
) -> Constraint:
    limits = (constraint or Constraint(num_videos)).over(num_videos)
    if columns is not None or barred is not None:
        permitted = limits.columns if columns is None else torch.zeros(num_videos, dtype=torch.bool)
        if columns is not None:
            permitted[columns] = True
        if barred is not None:
            permitted[barred] = False
        limits = limits.only(permitted)
    return limits


def _both(first: CSR | None, second: CSR | None) -> CSR | None:
    """The pairs of either."""
    if first is None or second is None:
        return first if second is None else second
    if first is second:
        return first
    if first.shape != second.shape:
        raise ValueError(f"the constraint's seen is {list(second.shape)}, the graph's {list(first.shape)}")
    row = torch.cat([first.row_indices(), second.row_indices()])
    return CSR.from_edges(row, torch.cat([first.indices, second.indices]), first.shape)
