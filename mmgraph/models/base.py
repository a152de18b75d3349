"""What every recommender is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch, PairSampler, Sampler
from mmgraph.nn.heads import DotHead, Head

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Embeddings(NamedTuple):
    """What a model makes of a graph; a value, never cached on a module. user [U, D], video [V, D]."""

    user: Tensor
    video: Tensor


class Rows(NamedTuple):
    """Which rows to compute: user [B_u] and video [B_v], int64."""

    user: Tensor
    video: Tensor


class Recommender(nn.Module):
    """The contract of every model: ``Model(graph, …)``, then ``encode``, ``score``, ``loss``.

    The constructor reads sizes and feature widths from the graph and keeps no reference to it: the same weights
    encode another graph of the same users and videos (later edges, dropped edges).

    - A trained model says what its batches are (:meth:`sampler`) and what they cost (:meth:`loss`).
    - A model with ``closed_form = True`` is fitted by :meth:`solve` alone.
    """

    closed_form: ClassVar[bool] = False
    head: Head
    made_with: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keeps the arguments after the graph as ``made_with``, which is what :func:`mmgraph.save` writes."""
        out = super().__new__(cls)
        names = list(inspect.signature(cls.__init__).parameters)[1:]  # the first is the graph, where there is one
        given = dict(zip(names, args, strict=False)) | kwargs
        vars(out)["made_with"] = {name: value for name, value in given.items() if name not in names[:1]}
        return out

    def __init__(self, head: Head | None = None) -> None:
        super().__init__()
        self.head = DotHead() if head is None else head

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """Embeddings of all users and videos, or of ``rows`` only (the same numbers, less work).

        Args:
            graph: the graph to read.
            rows: rows to compute, in the order wanted back.

        Returns:
            Embeddings: user [U, D] and video [V, D], or [B_u, D] and [B_v, D].
        """
        raise NotImplementedError

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """Scores; higher is better.

        Args:
            emb: what :meth:`encode` gave.
            users: rows of ``emb.user``, [B].
            videos: rows of ``emb.video``, [B, N]; every video when None.

        Returns:
            [B, V], or [B, N] for given videos.
        """
        return self.head(F.embedding(users, emb.user), emb.video if videos is None else F.embedding(videos, emb.video))

    @property
    def scores_by_dot_product(self) -> bool:
        """Whether :meth:`score` is the dot product of the embeddings, which ``ops.topk`` ranks without all scores."""
        return type(self).score is Recommender.score and type(self.head) is DotHead

    def loss(self, graph: MultimodalGraph, batch) -> dict[str, Tensor]:
        """Named scalar terms of the loss on one batch; the trainer minimises their sum and logs each."""
        raise NotImplementedError

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """What this model's batches are: pairs with one uniform negative, unless overridden."""
        return PairSampler(graph, batch_size)

    def solve(self, graph: MultimodalGraph) -> None:
        """Fits a closed-form model to the graph; the result lies in buffers."""
        raise NotImplementedError(f"{type(self).__name__} has no closed form: train it with mmgraph.fit")


def batch_rows(batch: PairBatch) -> tuple[Rows, PairBatch]:
    """The distinct rows of a batch, and the batch with positions in those rows in place of rows.

    So that ``encode(graph, rows)`` computes each row once, however often the batch reads it.
    """
    user, user_at = torch.unique(batch.user, return_inverse=True)
    videos = torch.cat([batch.positive.unsqueeze(1), batch.negative], 1)
    video, video_at = torch.unique(videos, return_inverse=True)
    return Rows(user, video), PairBatch(user_at, video_at[:, 0], video_at[:, 1:])


def chosen_modalities(graph: MultimodalGraph, wanted: Sequence[str] | None) -> list[str]:
    """The modalities a model works with: those asked for, or all of the graph's.

    Raises:
        ValueError: none, or one that the graph does not have.
    """
    names = graph.modalities if wanted is None else list(wanted)
    if not names or any(m not in graph.modalities for m in names):
        raise ValueError(f"modalities {names} asked for, but this graph has {graph.modalities}")
    return names
