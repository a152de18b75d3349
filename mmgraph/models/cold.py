"""Models that can rank a video nobody has seen, and the object that serves it: baselines and ``ColdStart``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2, info_nce
from mmgraph.models.base import Embeddings, Recommender, Rows, batch_rows
from mmgraph.models.objective import pair_terms
from mmgraph.nn.content import ContentInput
from mmgraph.ops import in_batch_logits, spmm

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class ContentModel(Recommender):
    """Base of the models that make a video's row out of its content alone.

    A video without an edge in the graph (cold) gets the row that :meth:`embed` gives; the others may have more. So
    ``graph.with_videos`` followed by ``encode`` ranks new videos, and :class:`ColdStart` does it without a graph.
    """

    content: ContentInput

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Rows [n, D] of videos never seen, comparable with ``encode(graph).video``.

        Args:
            features: modality -> features of the n videos; any subset of the model's modalities, and within one any
                subset of the videos.

        Raises:
            ValueError: no modality that the model reads, or one of another width.
        """
        raise NotImplementedError


class ContentMean(ContentModel):
    """Content mean: a user is the mean of the watched videos' content, ranked by cosine. No training.

    x_v = the modalities of v side by side, each standardised by column and of unit norm times its weight;
    u = Σ_{j∈N(u)} d_j^−α x_j / ‖·‖;  ŷ_uv = uᵀ x_v / ‖x_v‖. α = 0 is the plain mean; α > 0 lets a video that
    everybody watched say less about a user.

    Args:
        graph: gives the features' widths.
        modalities: which to use; all by default.
        weights: modality -> weight; 1 where left out.
        whiten: modalities to whiten before that (:class:`mmgraph.nn.ContentInput`).
        power: α.
    """

    closed_form = True

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        modalities: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        whiten: Sequence[str] = (),
        power: float = 0.0,
    ) -> None:
        super().__init__()
        self.content, self.power = ContentInput(graph, modalities, weights, whiten), power

    def solve(self, graph: MultimodalGraph) -> None:
        """Takes the features' means and deviations from the graph."""
        self.content.fit(graph)

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Unit rows [n, ΣD_m]."""
        return self._join(self.content(features)[0])

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """Unit rows: user [U, ΣD_m] (0 for a user without content), video [V, ΣD_m], or rows of them."""
        video = self._join(self.content.of(graph)[0])
        users = None if rows is None else rows.user
        user = F.normalize(spmm(graph.seen, video * rarity(graph, self.power), rows=users), dim=1)
        return Embeddings(user, video if rows is None else video[rows.video])

    def _join(self, x: Mapping[str, Tensor]) -> Tensor:
        return F.normalize(torch.cat([v / self.content.dims[m] ** 0.5 for m, v in x.items()], 1), dim=1)


def rarity(graph: MultimodalGraph, power: float) -> Tensor:
    """d_v^−power of each video, [V, 1]; 1 for a video without an edge."""
    return graph.seen.transpose().degree().float().clamp_min(1).pow(-power).unsqueeze(1)


class DropoutNet(ContentModel):
    """DropoutNet: one network reads id and content, and in training the id is often missing.

    Volkovs et al., "DropoutNet: Addressing Cold Start in Recommender Systems", NeurIPS 2017,
    https://papers.nips.cc/paper/7081. video = s + MLP(s), s = b_v · id_v + Σ_m W_m x_v^m, with b_v = 0 for a cold
    video and, in training, for a random share of the batch's videos; user = s + MLP(s), s = b_u · id_u + mean of W_m
    x over the watched. The paper distils a finished factorisation; here the ids are learned along, by BPR.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        hidden: width of each MLP.
        dropout: share of users and of videos whose id is dropped.
        l2: weight of the L2 of the batch's id rows.
        modalities: which to read; all by default.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        hidden: int = 128,
        dropout: float = 0.5,
        l2: float = 1e-4,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.content, self.dropout, self.l2 = ContentInput(graph, modalities), dropout, l2
        self.user = nn.Parameter(0.1 * torch.randn(graph.num_users, embedding_dim))
        self.video = nn.Parameter(0.1 * torch.randn(graph.num_videos, embedding_dim))
        self.project = nn.ModuleDict({m: _small(d, embedding_dim) for m, d in self.content.dims.items()})
        self.user_net = _net(embedding_dim, hidden)
        self.video_net = _net(embedding_dim, hidden)

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Rows [n, D] from content, ids missing."""
        return self._video(self._project(self.content(features)[0]))

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """user [U, D], video [V, D], or rows of them; a cold video has no id."""
        return self._encode(graph, rows)

    def _encode(self, graph: MultimodalGraph, rows: Rows | None, drop: float = 0.0) -> Embeddings:
        content = self._project(self.content.of(graph)[0])
        degree = graph.seen.degree().clamp_min(1).float().unsqueeze(1)
        warm = (graph.seen.transpose().degree() > 0).float().unsqueeze(1)
        own = pad_rows(self.video, graph.num_videos) * warm
        users, videos = (slice(None), slice(None)) if rows is None else (rows.user, rows.video)
        watched = spmm(graph.seen, content, rows=None if rows is None else rows.user) / degree[users]
        user, video = self.user[users], own[videos]
        if drop:
            user = user * (torch.rand(len(user), 1, device=user.device) >= drop)
            video = video * (torch.rand(len(video), 1, device=video.device) >= drop)
        user = user + watched
        return Embeddings(user + self.user_net(user), self._video(video + content[videos]))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``bpr`` and ``l2``."""
        rows, at = batch_rows(batch)
        emb = self._encode(graph, rows, self.dropout if self.training else 0.0)
        l2 = embedding_l2(self.user[rows.user], self.video[rows.video]) * (len(rows.user) / len(batch.user))
        return {**pair_terms(self, emb, at), "l2": self.l2 * l2}

    def _project(self, x: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.project[m](v) for m, v in x.items()]).sum(0)

    def _video(self, state: Tensor) -> Tensor:
        return state + self.video_net(state)


class CLCRec(ContentModel):
    """Contrastive cold start: a content encoder that agrees with the collaborative embedding of its video.

    Wei et al., "Contrastive Learning for Cold-Start Recommendation", ACM MM 2021, https://arxiv.org/abs/2107.05315.
    Tables e_u, e_v and an encoder c_v = MLP(x_v); two contrasts, both InfoNCE with the batch as negatives: users
    against videos, where each video is its e_v or, with chance ρ, its c_v; and e_v against c_v, weight λ. A cold
    video is c_v.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D.
        hidden: width of the encoder's middle layer.
        temperature: τ of both contrasts.
        mix: ρ.
        align: λ.
        l2: weight of the L2 of the batch's table rows.
        modalities: which to read; all by default.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        hidden: int = 256,
        temperature: float = 0.2,
        mix: float = 0.5,
        align: float = 0.5,
        l2: float = 1e-4,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.content = ContentInput(graph, modalities)
        self.temperature, self.mix, self.align, self.l2 = temperature, mix, align, l2
        self.user = nn.Parameter(0.1 * torch.randn(graph.num_users, embedding_dim))
        self.video = nn.Parameter(0.1 * torch.randn(graph.num_videos, embedding_dim))
        self.encoder = nn.Sequential(
            nn.Linear(sum(self.content.dims.values()), hidden), nn.LeakyReLU(), _small(hidden, embedding_dim)
        )

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Unit rows [n, D]: c_v / ‖c_v‖."""
        return F.normalize(self._encode_content(self.content(features)[0]), dim=1)

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """Unit rows: user [U, D], video [V, D] (e_v, or c_v for a cold one), or rows of them."""
        videos = torch.arange(graph.num_videos, device=self.video.device) if rows is None else rows.video
        content = self._encode_content(self.content.of(graph, videos)[0])
        warm = (graph.seen.transpose().degree() > 0)[videos].unsqueeze(1)
        video = torch.where(warm, pad_rows(self.video, graph.num_videos)[videos], content)
        user = self.user if rows is None else self.user[rows.user]
        return Embeddings(F.normalize(user, dim=1), F.normalize(video, dim=1))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``contrast``, ``align`` and ``l2``."""
        user, user_at = torch.unique(batch.user, return_inverse=True)
        video, video_at = torch.unique(batch.positive, return_inverse=True)
        own, content = self.video[video], self._encode_content(self.content.of(graph, video)[0])
        swap = torch.rand(len(video), 1, device=own.device) < self.mix
        mixed = torch.where(swap, content, own)
        users, videos = F.normalize(self.user[user], dim=1)[user_at], F.normalize(mixed, dim=1)[video_at]
        scores = users @ videos.T / self.temperature
        terms = {
            "contrast": F.cross_entropy(
                in_batch_logits(scores, batch.positive), torch.arange(len(scores)).to(scores.device)
            ),
            "align": self.align * info_nce(own, content, self.temperature),
        }
        l2 = embedding_l2(self.user[user], own) * (len(user) / len(batch.user))
        return {**terms, "l2": self.l2 * l2}

    def _encode_content(self, x: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(torch.cat(list(x.values()), 1))


def pad_rows(table: Tensor, count: int) -> Tensor:
    """A table of videos with rows of zeros for those that came after training."""
    return F.pad(table, (0, 0, 0, count - len(table))) if count > len(table) else table


def _small(in_dim: int, out_dim: int) -> nn.Linear:
    layer = nn.Linear(in_dim, out_dim)
    nn.init.normal_(layer.weight, std=0.3 / in_dim**0.5)
    nn.init.zeros_(layer.bias)
    return layer


def _net(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(), nn.Linear(hidden, width))
