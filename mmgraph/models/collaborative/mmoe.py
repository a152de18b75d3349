"""A multi-task recommender: click, finish, like and follow from one pair of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.graph.samplers import Draws, PairBatch, PairSampler, Sampler, epoch_generator
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Recommender, Rows, batch_rows
from mmgraph.models.collaborative.bprmf import BPRMF
from mmgraph.nn.heads.mmoe import TASKS, MMoEHead

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

EXPOSED = ("user", "exposed", "video")


class SignalBatch(NamedTuple):
    """Pairs, what came of each, and videos nobody showed.

    Attributes:
        user, positive: [B] int64, a video that the user chose, or was shown and passed by.
        negative: [B, N] int64, sampled.
        labels: [B, T] of zeros and ones, NaN where the signal is unknown.
    """

    user: Tensor
    positive: Tensor
    negative: Tensor
    labels: Tensor


class SignalSampler:
    """Interactions, and exposures that led to none, with the signals of each, and sampled negatives.

    A video that was shown and passed by has label 0 in every task, for a reason; a sampled one was not shown, and says
    something about the first task alone.

    Args:
        graph: gives the pairs, their signals (``graph["user", "interacts", "video"].like``) and ``exposed`` edges.
        batch_size: B.
        num_negatives: N.
        tasks: names of the signals; the first is the interaction itself.
    """

    def __init__(self, graph: MultimodalGraph, batch_size: int, num_negatives: int, tasks: Sequence[str]) -> None:
        self.pairs = PairSampler(graph, batch_size, num_negatives)
        self.graph, self.batch_size, self.draws = graph, batch_size, Draws(num_negatives)
        user, video = graph.interactions()
        store = graph["user", "interacts", "video"]
        ones = torch.ones(len(user), device=user.device)
        labels = torch.stack([store[t].float() if t in store else ones for t in tasks], 1)
        keep = self.pairs.edge
        self.user, self.video, self.labels = user[keep], video[keep], labels[keep]
        if EXPOSED in graph.edge_types:
            shown = graph[EXPOSED].edge_index
            key, chosen = shown[0] * graph.num_videos + shown[1], user * graph.num_videos + video
            ignored = shown[:, ~torch.isin(key, chosen)]
            self.user = torch.cat([self.user, ignored[0]])
            self.video = torch.cat([self.video, ignored[1]])
            self.labels = torch.cat([self.labels, self.labels.new_zeros(ignored.shape[1], len(tasks))])

    def __len__(self) -> int:
        return -(-len(self.user) // self.batch_size)

    def epoch(self, seed: int, epoch: int) -> Iterator[SignalBatch]:
        """Batches in an order and with negatives that depend on (seed, epoch) alone."""
        generator = epoch_generator(seed, epoch)
        order = torch.randperm(len(self.user), generator=generator).to(self.user.device)
        for at in order.split(self.batch_size):
            user = self.user[at]
            yield SignalBatch(user, self.video[at], self.draws.of(self.graph, user, generator), self.labels[at])


class MMoE(Recommender):
    """Multi-gate mixture of experts over user and video embeddings, trained on every signal that the graph has.

    Ma et al., KDD 2018, https://doi.org/10.1145/3219819.3220007; see :class:`~mmgraph.nn.MMoEHead`. Loss: for each
    task the binary cross-entropy over the pairs whose signal is known; for the first one, the click, over sampled
    videos too (label 0): a video never shown was not clicked, but nobody knows whether it would have been liked. Videos
    shown and passed by (``exposed`` edges without an interaction) are zeros of every task. A task whose signal the
    interactions do not carry is left out. Tasks are averaged.

    Args:
        graph: gives U, V, the signals and the exposures.
        embedding_dim: D.
        propagation: what makes the embeddings, ``partial(LightGCN, num_layers=2)``; tables (BPR-MF) by default.
        tasks: the signals wanted, in the order of the head's logits.
        experts: how many; 1 is the shared bottom.
        num_negatives: sampled a pair.
        l2: weight of ½‖the batch's rows‖² / B.
    """

    head: MMoEHead

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        propagation: Callable[..., Recommender] = BPRMF,
        tasks: Sequence[str] = TASKS,
        experts: int = 4,
        num_negatives: int = 4,
        l2: float = 1e-5,
    ) -> None:
        store = graph["user", "interacts", "video"]
        tasks = [t for i, t in enumerate(tasks) if i == 0 or t in store]
        super().__init__(MMoEHead(embedding_dim, tasks=tasks, experts=experts))
        self.num_negatives, self.l2 = num_negatives, l2
        self.propagation = propagation(graph, embedding_dim=embedding_dim)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """What ``propagation`` gives: user [U, D], video [V, D], or rows of them."""
        return self.propagation.encode(graph, rows)

    def loss(self, graph: MultimodalGraph, batch: SignalBatch) -> dict[str, Tensor]:
        """A term a task, and ``l2``."""
        rows, at = batch_rows(PairBatch(batch.user, batch.positive, batch.negative))
        emb = self.encode(graph, rows)
        logits = self.head.logits(emb.user[at.user], emb.video[at.candidates])
        known = batch.labels.isfinite()
        pairs = F.binary_cross_entropy_with_logits(
            logits[:, 0], batch.labels.nan_to_num(), reduction="none"
        ).masked_fill(~known, 0.0)
        sampled = F.softplus(logits[:, 1:, 0])
        count = known.sum(0).clamp_min(1)
        first = (pairs[:, 0].sum() + sampled.sum()) / (count[0] + sampled.numel())
        each = torch.cat([first.unsqueeze(0), pairs[:, 1:].sum(0) / count[1:]]) / len(self.head.tasks)
        terms = dict(zip(self.head.tasks, each.unbind(), strict=True))
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), *emb)}

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """Pairs with their signals and negatives."""
        return SignalSampler(graph, batch_size, self.num_negatives, self.head.tasks)
