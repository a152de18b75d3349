"""Which tables serve a model's scores, checked against the model itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Embeddings, Recommender

_CHECKED = 32  # users whose scores are compared
_TOLERANCE = 1e-4  # of the largest score


class RefusedModelError(ValueError):
    """A model whose scores no table of a bundle gives; the message says why and what would do."""


class Served(NamedTuple):
    """Tables that give a model's ranking.

    Attributes:
        kind: ``factors``: dot products of rows of ``user`` and ``video``; ``linear``: sums of the rows of ``video``,
            here [V, V], that belong to a user's clicks.
        user: [U, D], or None for ``linear``.
        video: [V, D] or [V, V], row j what a click on j adds to every video's score.
        history: the tower that made ``user`` of histories, where the tables are distilled; their order is near the
            model's, not the same.
        pair: the model's own rows, where its head re-scores what the distilled tables find.
        about: of ``history``, in words.
    """

    kind: Literal["factors", "linear"]
    user: Tensor | None
    video: Tensor
    history: nn.Module | None = None
    pair: Embeddings | None = None
    about: str = ""


@torch.no_grad()
def served(model: Recommender, graph: MultimodalGraph, distilled: bool = False, dim: int = 64) -> Served:
    """The tables for this model: what it calls its factors, or an item matrix, found to rank as ``score`` does.

    Args:
        model: trained.
        graph: what it reads.
        distilled: where its score is neither, fit rows to it (:func:`mmgraph.bundle.distil.distil`).
        dim: their width.

    Raises:
        RefusedModelError: its score is neither, and ``distilled`` is off.
    """
    from mmgraph.nn.evaluating import evaluating  # layers are training code, which reading a bundle does without

    asked = evaluating(model)
    emb = asked.encode(graph)
    found = _factors(asked, emb) or _item_matrix(emb, graph)
    if found is None and distilled:
        return _distilled(asked, emb, graph, dim)
    if found is None:
        name, head = type(model).__name__, type(model.head).__name__
        raise RefusedModelError(
            f"{name} scores a pair through {head}, which is no dot product and no item matrix: a bundle would have to "
            f"score every video by the network. Distil it into rows (distil=True), or train {name} with a DotHead or "
            "CosineHead"
        )
    _compare(asked, emb, graph, found)
    return found


def _distilled(model: Any, emb: Embeddings, graph: MultimodalGraph, dim: int) -> Served:
    from mmgraph.bundle.distil import distil
    from mmgraph.models.base import Recommender

    made = distil(lambda users: model.score(emb, users), graph, embedding_dim=dim)
    by_head = type(model).score is Recommender.score and isinstance(emb.user, Tensor)
    pair = type(emb)(*(rows.detach().float().cpu() for rows in emb)) if by_head else None
    return Served("factors", made.user, made.video, made.history, pair, made.about)


def _factors(model: Any, emb: Embeddings) -> Served | None:
    rows = model.factors(emb)
    if rows is None:
        return None
    return Served("factors", rows.user.float().contiguous().clone(), rows.video.float().contiguous().clone())


def _item_matrix(emb: Embeddings, graph: MultimodalGraph) -> Served | None:
    size = graph.num_videos
    if not isinstance(emb.user, CSR) or tuple(emb.video.shape) != (size, size):
        return None
    rows = emb.video.dense() if isinstance(emb.video, CSR) else emb.video
    return Served("linear", None, rows.T.float().contiguous().clone())


def _compare(model: Any, emb: Embeddings, graph: MultimodalGraph, found: Served) -> None:
    """That the tables rank as the model does, on users spread over the table.

    Raises:
        RefusedModelError: they do not.
    """
    users = torch.linspace(0, graph.num_users - 1, min(_CHECKED, graph.num_users)).long().unique()
    wanted = model.score(emb, users).float().cpu()
    if found.user is not None:
        ours = found.user[users].cpu() @ found.video.cpu().T
    else:
        ours = torch.stack([found.video[clicked(graph, int(user))].sum(0) for user in users]).cpu()
    finite = wanted.isfinite()
    # a temperature or a shift a user ranks alike: compare what is left of them
    ours, wanted = _standard(ours, finite), _standard(wanted, finite)
    worst = float((ours - wanted).abs().max())
    if not worst <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise RefusedModelError(
            f"{type(model).__name__}: the tables' scores differ from its own by up to {worst:.3g} standard deviations; "
            "its factors() and its score() must rank alike"
        )


def clicked(graph: MultimodalGraph, user: int) -> Tensor:
    """The distinct videos of a user, ascending."""
    seen = graph.seen
    return seen.indices[seen.indptr[user] : seen.indptr[user + 1]].long().unique()


def _standard(scores: Tensor, finite: Tensor) -> Tensor:
    scores = scores.double().masked_fill(~finite, 0)
    centred = scores - scores.mean(1, keepdim=True)
    return centred / centred.std(1, keepdim=True).clamp_min(1e-9)
