"""Top-k recommendation with filters, raw ids out, and the paths that explain one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from torch import Tensor

from mmgraph.data.errors import UnknownIdError
from mmgraph.ops import CSR, TopK, best_of

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset, Vocabulary
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Embeddings, Recommender

# Scores held at once: 64 MiB of float32, far more than the caches hold, far less than memory.
BLOCK_SCORES = 2**24


def score_block(model: Recommender, emb: Embeddings, users: Tensor, seen: CSR | None = None) -> Tensor:
    """Scores of some users for all videos, what they have seen at -inf; the caller may write to the result.

    Args:
        model: its ``score`` is called.
        emb: what ``model.encode`` returned.
        users: [B] user rows.
        seen: CSR [U, V] of the pairs to mask, or None.

    Returns:
        [B, V] floating point; -inf is a model's way to say never.

    Raises:
        ValueError: a score is NaN, whose place in a ranking would mean nothing.
    """
    scores = model.score(emb, users)
    if not scores.is_floating_point():
        scores = scores.float()
    if bool(scores.sum().isnan()) and bool(scores.isnan().any()):  # the sum is cheap, but inf - inf is NaN too
        bad = scores.isnan().nonzero()
        row, column = bad[0].tolist()
        raise ValueError(
            f"{type(model).__name__} gave {len(bad)} NaN scores, the first for user row {int(users[row])} "
            f"and video row {column}. Look for a diverged training run (lower learning_rate) or NaN features."
        )
    # A model may hand out a table it keeps, or an expanded row: never write into those.
    kept = {t.untyped_storage().data_ptr() for t in (*emb, *model.buffers(), *model.parameters()) if not _sparse(t)}
    storage = scores.untyped_storage()
    if storage.data_ptr() in kept or storage.nbytes() != scores.numel() * scores.element_size():
        scores = scores.clone()
    if seen is not None:
        block, _ = seen.select(users)
        scores[block.row_indices().long(), block.indices.long()] = -torch.inf
    return scores


def _sparse(tensor: Tensor) -> bool:
    return tensor.layout is not torch.strided


def ranks_by_dot_product(model: Recommender, emb: Embeddings) -> bool:
    """Whether ``ops.topk`` finds the best by itself: scores are dot products of the embeddings, and none is NaN."""
    return model.scores_by_dot_product and not any(_sparse(t) or bool(t.isnan().any()) for t in emb)


def user_blocks(users: Tensor, num_videos: int, block_size: int | None = None) -> Iterator[Tensor]:
    """Slices of ``users`` small enough that their scores for all videos fit in a block of fixed memory."""
    yield from users.split(block_size or max(1, BLOCK_SCORES // max(num_videos, 1)))


@torch.no_grad()
def recommend(
    model: Recommender,
    graph: MultimodalGraph,
    users: Tensor | Sequence[int],
    k: int = 10,
    *,
    exclude_seen: bool = True,
    candidates: Tensor | Sequence[int] | None = None,
    exclude: Tensor | Sequence[int] | None = None,
    emb: Embeddings | None = None,
) -> TopK:
    """The k best videos for each of some users.

    Args:
        model: any recommender; ``encode`` runs once, ``score`` once a block of users.
        graph: the graph it reads, whose interactions count as seen.
        users: [B] user rows, in any order, repeats allowed.
        k: how many.
        exclude_seen: leave out what a user has interacted with.
        candidates: video rows that may be recommended (all by default).
        exclude: video rows that may not.
        emb: embeddings from an earlier ``model.encode(graph)``, to save that step.

    Returns:
        TopK: score [B, k] and video [B, k], on the model's device; -1 and -inf where too few were left. Equal
        scores come in the order of their rows.

    Raises:
        IndexError: a user or video row out of range.
        ValueError: a NaN score, or k < 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    users = _rows(users, graph.num_users, "user")
    columns = None if candidates is None else _rows(candidates, graph.num_videos, "candidate video").unique()
    barred = None if exclude is None else _rows(exclude, graph.num_videos, "excluded video")
    training = model.training
    model.eval()
    try:
        emb = model.encode(graph) if emb is None else emb
        device = emb.video.device
        seen = graph.seen.to(device) if exclude_seen else None
        found = []
        for block in user_blocks(users.to(device), graph.num_videos):
            scores = score_block(model, emb, block, seen)
            if barred is not None:
                scores[:, barred.to(device)] = -torch.inf
            if columns is not None:
                scores = scores.index_select(1, columns.to(device))
            found.append(best_of(scores, k))
    finally:
        model.train(training)
    video = torch.cat([f.video for f in found]) if found else torch.empty(0, k, dtype=torch.int64)
    score = torch.cat([f.score for f in found]) if found else torch.empty(0, k)
    if columns is not None:
        video = torch.where(video < 0, -1, columns.to(video.device)[video.clamp(min=0)])
    return TopK(score, video)


def _rows(rows: Tensor | Sequence[int], size: int, what: str) -> Tensor:
    rows = torch.as_tensor(rows, dtype=torch.int64).flatten()
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= size):
        raise IndexError(f"{what} rows must lie in [0, {size}); got {int(rows.min())}..{int(rows.max())}")
    return rows


@dataclass(frozen=True)
class Recommendations:
    """Recommendations in raw ids.

    Attributes:
        frame: one row a recommended video: ``user`` (raw id), ``rank`` (from 1), ``video`` (raw id), ``title`` where
            the videos have one, ``score``.
    """

    frame: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """The table, as polars."""
        return self.frame

    def __len__(self) -> int:
        return len(self.frame)


def recommend_ids(
    model: Recommender,
    graph: MultimodalGraph,
    dataset: Dataset,
    user_ids: Sequence[Any],
    k: int = 10,
    *,
    exclude_seen: bool = True,
    candidates: Sequence[Any] | None = None,
    exclude: Sequence[Any] | None = None,
) -> Recommendations:
    """:func:`recommend`, raw ids in, raw ids and titles out.

    Args:
        model, graph, k, exclude_seen: as there.
        dataset: where the graph came from; it holds the vocabularies and titles.
        user_ids: raw user ids. Text is read as a number where the data's ids are numbers.
        candidates, exclude: raw video ids.

    Raises:
        UnknownIdError: (a KeyError) an unknown raw id; the message shows close ones.
    """
    users = find_rows(dataset.user_ids, user_ids, "user")
    only, barred = (
        None if ids is None else find_rows(dataset.video_ids, ids, "video") for ids in (candidates, exclude)
    )
    ranking = recommend(model, graph, users, k, exclude_seen=exclude_seen, candidates=only, exclude=barred)
    line, place = (ranking.video >= 0).nonzero().cpu().unbind(1)
    rows = ranking.video.cpu()[line, place]
    columns: dict[str, Any] = {
        "user": dataset.user_ids.raw(users[line].numpy()),
        "rank": (place + 1).numpy(),
        "video": dataset.video_ids.raw(rows.numpy()),
    }
    if "title" in dataset.videos.columns:
        columns["title"] = dataset.videos["title"][rows.numpy()]
    columns["score"] = ranking.score.cpu()[line, place].float().numpy()
    return Recommendations(pl.DataFrame(columns))


def find_rows(vocabulary: Vocabulary, raw_ids: Sequence[Any], kind: str = "id") -> Tensor:
    """Rows [n] int64 of raw ids in a vocabulary; ``"7"`` finds the number 7.

    Args:
        vocabulary: the ids.
        raw_ids: what to look up.
        kind: the word for the error message.

    Raises:
        UnknownIdError: (a KeyError) an id is unknown; the message shows the closest ones.
    """
    rows = vocabulary.find([str(raw) for raw in raw_ids])
    for raw, row in zip(raw_ids, rows, strict=True):
        if row < 0:
            raise UnknownIdError(f"unknown {kind} {raw!r} among {len(vocabulary):,}", fix=_close(vocabulary.ids, raw))
    return torch.tensor(rows)


def _close(ids: pl.Series, raw: Any) -> str:
    close: list[Any] = []
    if ids.dtype.is_numeric():
        number = pl.Series([str(raw)]).cast(pl.Int64, strict=False)[0]
        if number is not None:
            close = ids.to_frame("id").sort((pl.col("id") - number).abs())["id"].head(3).to_list()
    else:
        text = ids.cast(pl.String)
        near = text.filter((text.str.len_chars().cast(pl.Int64) - len(str(raw))).abs() <= 2)
        close = difflib.get_close_matches(str(raw), near.head(20_000).to_list(), n=3, cutoff=0.5)
    shown = ", ".join(map(str, close or ids.head(3).to_list()))
    return f"use one that exists; {'close to it' if close else 'for example'}: {shown}"


@dataclass(frozen=True)
class Reason:
    """One path from a user to a video.

    Attributes:
        kind: ``"co-watched"``, or the modality in which the two videos are alike.
        video: row of the watched video the path goes through.
        strength: co-watched: n / sqrt(d_v' d_v), the cosine of the two videos' watcher sets; a modality: the
            cosine of their features.
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
            else:
                out.append(f"alike in {reason.kind} to {name!r}, which you watched (cosine {reason.strength:.2f})")
        return out


@torch.no_grad()
def explain(graph: MultimodalGraph, user: int, video: int, k: int = 3) -> Explanation:
    """The strongest paths between a user and a video, read from the graph alone, whatever the model.

    Two kinds. *Co-watching*: user → v' → u' → video over ``interacts`` edges, one reason for each watched v' with its
    number of paths n and strength n / sqrt(d_v' d_v), where d counts the users of a video. *Likeness*: the
    cosine between the features of the video and of each watched v', per modality, where both have it and it is above 0.

    Args:
        graph: users, videos, modalities.
        user: user row.
        video: video row; it need not be unseen, and is never its own reason.
        k: reasons of each kind, at most.

    Returns:
        Explanation: empty for a user without interactions.

    Raises:
        IndexError: a row out of range.
    """
    _rows([user], graph.num_users, "user")
    _rows([video], graph.num_videos, "video")
    seen = graph.seen
    watched = _neighbours(seen, torch.tensor([user]))[1].unique()
    watched = watched[watched != video]
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
