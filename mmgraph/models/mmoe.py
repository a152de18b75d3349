"""A multi-task recommender: click, finish, like and follow from one pair of embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch, PairSampler, Sampler, epoch_generator
from mmgraph.losses import embedding_l2
from mmgraph.models.base import Embeddings, Recommender, Rows, batch_rows
from mmgraph.nn.heads.mmoe import TASKS, MMoEHead

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class SignalBatch(NamedTuple):
    """A :class:`~mmgraph.graph.PairBatch` and what came of each positive: labels [B, T] of zeros and ones."""

    user: Tensor
    positive: Tensor
    negative: Tensor
    labels: Tensor


class SignalSampler(PairSampler):
    """Pairs with negatives, and the signals of each pair, read from the graph's interactions (1 where it has none)."""

    def __init__(self, graph: MultimodalGraph, batch_size: int, num_negatives: int, tasks: Sequence[str]) -> None:
        super().__init__(graph, batch_size, num_negatives)
        store = graph["user", "interacts", "video"]
        ones = torch.ones(len(self.user), device=self.user.device)
        self.labels = torch.stack([store[t].float() if t in store else ones for t in tasks], 1)

    def epoch(self, seed: int, epoch: int) -> Iterator[SignalBatch]:  # type: ignore[override]
        """Batches in an order and with negatives that depend on (seed, epoch) alone."""
        generator = epoch_generator(seed, epoch)
        order = torch.randperm(len(self.user), generator=generator).to(self.user.device)
        negative = self._negatives(self.user[order], generator)
        for at, drawn in zip(order.split(self.batch_size), negative.split(self.batch_size), strict=True):
            yield SignalBatch(self.user[at], self.video[at], drawn, self.labels[at])


class MMoE(Recommender):
    """Multi-gate mixture of experts over user and video embeddings, trained on every signal that the graph has.

    Ma et al., KDD 2018, https://doi.org/10.1145/3219819.3220007; see :class:`~mmgraph.nn.MMoEHead`. Loss: for each
    task the binary cross-entropy over the pair (its label) and the sampled videos (0), tasks averaged. A task whose
    signal the interactions do not carry (``graph["user", "interacts", "video"].like``) is left out; the first one,
    the click, is the interaction itself. Embeddings are tables.

    Args:
        graph: gives U, V and the signals.
        embedding_dim: D.
        tasks: the signals wanted, in the order of the head's logits.
        experts: how many; 1 is the shared bottom.
        num_negatives: sampled a positive.
        l2: weight of ½‖the batch's rows‖² / B.
    """

    head: MMoEHead

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        tasks: Sequence[str] = TASKS,
        experts: int = 4,
        num_negatives: int = 4,
        l2: float = 1e-5,
    ) -> None:
        store = graph["user", "interacts", "video"]
        tasks = [t for i, t in enumerate(tasks) if i == 0 or t in store]
        super().__init__(MMoEHead(embedding_dim, tasks=tasks, experts=experts))
        self.num_negatives, self.l2 = num_negatives, l2
        self.user = nn.Parameter(0.1 * torch.randn(graph.num_users, embedding_dim))
        self.video = nn.Parameter(0.1 * torch.randn(graph.num_videos, embedding_dim))

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """The tables: user [U, D], video [V, D], or rows of them."""
        if rows is None:
            return Embeddings(self.user, self.video)
        return Embeddings(self.user[rows.user], self.video[rows.video])

    def loss(self, graph: MultimodalGraph, batch: SignalBatch) -> dict[str, Tensor]:
        """A term a task, and ``l2``."""
        rows, at = batch_rows(PairBatch(batch.user, batch.positive, batch.negative))
        emb = self.encode(graph, rows)
        videos = torch.cat([at.positive.unsqueeze(1), at.negative], 1)
        logits = self.head.logits(emb.user[at.user], emb.video[videos])
        labels = torch.zeros_like(logits)
        labels[:, 0] = batch.labels
        each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean((0, 1)) / len(self.head.tasks)
        l2 = embedding_l2(emb.user, emb.video) * (len(rows.user) / len(batch.user))
        return {**dict(zip(self.head.tasks, each.unbind(), strict=True)), "l2": self.l2 * l2}

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """Pairs with their signals and negatives."""
        return SignalSampler(graph, batch_size, self.num_negatives, self.head.tasks)
