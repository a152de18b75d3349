"""ContentVAE: a latent that interactions and content agree on, so that content alone can stand in for a new video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2, in_batch_nll, kl_gaussian
from mmgraph.losses.softmax import in_batch_log_q
from mmgraph.models.base import ALL, Embeddings, Rows, pad_rows, warm_videos
from mmgraph.models.clicks import ReadsClicks
from mmgraph.models.cold.base import Content, ContentModel, rarity
from mmgraph.nn.content import Experts, hide_at_random
from mmgraph.nn.profile import clicks_of_some
from mmgraph.nn.tables import normal_table
from mmgraph.nn.vae import LOG_VAR_RANGE, anneal, log_var_layer, reparameterise
from mmgraph.ops import CSR, propagate, spmm

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class ContentVAE(ReadsClicks, ContentModel):
    """Cold start by a conditional VAE: q(z | x) from who watched a video, p(z | g) from what it is made of.

    - prior p(z | g): a product of Gaussian experts, one a modality (generation metadata, text, picture, sound …),
      over those present (:class:`mmgraph.nn.content.Experts`);
    - posterior q(z | x, g) = N( E[z | g] + r_v, σ²(r_v) ), r_v the video's collaborative state: id embeddings
      propagated over the graph (LightGCN, ``num_layers``). So content and collaboration live in one space, and the KL
      keeps them near;
    - user: s_u = n(Σ_{j∈N(u)} d_j^−α E[z | g_j]) + r_u, n(·) of norm √D. In training the profile leaves out the video
      being predicted, or z would learn to recognise itself;
    - score: ŷ_uv = cos(s_u W, z_v) / τ, W starting at the identity; σ(a ŷ + b) once calibrated
      (:class:`mmgraph.recommend.ColdStart`).

    Loss, a mean over observed pairs: ``nll`` = −E_q ln p(v | u, z), p the softmax over the batch's videos with logQ
    correction; ``kl`` = β(t) · KL(q ‖ p) / d_v (so that Σ over pairs counts each video's KL once: nll + kl is the
    negative ELBO at β = 1); ``cold`` = the same −ln p with z = E[z | g], modalities dropped at random; ``align`` = 1
    − cos between that and the posterior's mean, held fixed. β rises as in :func:`mmgraph.nn.anneal`.

    At serving a cold video is z = E[z | g, content present]: closed form, for any subset of modalities. The AIGC
    article that mmgraph began from decodes raw generation parameters as if they were a latent; here they have an
    encoder.

    Args:
        graph, more: ``modalities``, ``weights``, ``whiten``: as :class:`ContentModel`.
        embedding_dim: D, width of z.
        num_layers: of the propagation behind r.
        power: α.
        temperature: τ.
        beta: last β.
        anneal_steps: batches over which it rises.
        cold: weight of the content path.
        align: weight of the alignment.
        modality_dropout: chance that a video's modality is hidden in the content path (never all of them).
        l2: weight of the L2 of the users' id rows.
    """

    step: Tensor

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 1,
        power: float = 0.5,
        temperature: float = 0.2,
        beta: float = 1.0,
        anneal_steps: int = 500,
        cold: float = 1.0,
        align: float = 0.1,
        modality_dropout: float = 0.3,
        l2: float = 1e-4,
        **more: Unpack[Content],
    ) -> None:
        super().__init__(graph, **more)
        self.experts = Experts(graph, self.content, embedding_dim)
        self.num_layers, self.power, self.temperature, self.beta = num_layers, power, temperature, beta
        self.cold, self.align, self.l2, self.anneal_steps = cold, align, l2, anneal_steps
        self.modality_dropout = modality_dropout
        self.identity = normal_table(graph.num_users + graph.num_videos, embedding_dim)
        self.spread = log_var_layer(embedding_dim)
        self.map = nn.Parameter(torch.eye(embedding_dim))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def prior(self, features: Mapping[str, Features]) -> tuple[Tensor, Tensor]:
        """μ and ln σ² of p(z | g), each [n, D], of any videos and any subset of modalities."""
        return self.experts(*self.content(features))

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Unit rows [n, D]: E[z | g, content present]."""
        return F.normalize(self.prior(features)[0], dim=1)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D] of length 1/τ; video [V, D], unit rows of E[z | x, g], or E[z | g] for cold ones; or ``rows``."""
        mean = self.experts(*self.content.of(graph))[0]
        residual = self._residuals(graph, rows)
        watched = spmm(graph.seen, mean * rarity(graph, self.power), rows=rows.user)
        return Embeddings(self._user(watched, residual.user), F.normalize(rows.of_videos(mean) + residual.video, dim=1))

    def of_clicks(self, graph: MultimodalGraph, clicks: CSR) -> Embeddings:
        """The profile of what people clicked, without an id."""
        mean = self.experts(*self.content.of(graph))[0]
        user = self._user(spmm(clicks, mean * rarity(graph, self.power)), mean.new_zeros(()))
        return Embeddings(user, self.encode(graph).video)

    def _user(self, watched: Tensor, residual: Tensor) -> Tensor:
        state = F.normalize(watched, dim=-1) * watched.shape[-1] ** 0.5 + residual
        return F.normalize(state @ self.map, dim=-1) / self.temperature

    def _residuals(self, graph: MultimodalGraph, rows: Rows) -> Embeddings:
        """r of users [U, D] and videos [V, D], or of rows; 0 for a cold video, whose id was never trained."""
        table, at = pad_rows(self.identity, graph.num_users + graph.num_videos), rows.stacked(graph)
        user, video = rows.split(graph, propagate(graph.adjacency("interacts"), table, self.num_layers, rows=at))
        return Embeddings(user, video * rows.of_videos(warm_videos(graph)).unsqueeze(1))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``nll``, ``kl``, ``cold``, ``align`` and ``l2``."""
        user, user_at = torch.unique(batch.user, return_inverse=True)
        video, video_at = torch.unique(batch.positive, return_inverse=True)
        residual_user, residual_video = self._residuals(graph, Rows(user, video))

        # content of the batch's videos and of everything its users watched, each once
        local, need, at = clicks_of_some(graph.seen, user, video)
        x, present = self.content.of(graph, need)
        mean, log_var = self.experts(x, present)
        share = rarity(graph, self.power)[need]
        profile = spmm(local, mean * share)[user_at] - (mean * share)[at][video_at]
        query = self._user(profile, residual_user[user_at])
        posterior = mean[at] + residual_video
        posterior_log_var = self.spread(residual_video).clamp(*LOG_VAR_RANGE)
        here = hide_at_random({m: p[at] for m, p in present.items()}, self.modality_dropout * self.training)
        partial = self.experts({m: v[at] for m, v in x.items()}, here)[0]
        degree, log_q = graph.seen.transpose().degree(), in_batch_log_q(graph, video)
        told = (t[video_at] for t in (posterior, posterior_log_var, mean[at], log_var[at]))
        kl = kl_gaussian(*told, weight=1.0 / degree[batch.positive].clamp_min(1))
        beta = anneal(self.step, self.beta, self.anneal_steps)
        self.step += int(self.training)
        z = reparameterise(posterior, posterior_log_var)
        gap = 1 - F.cosine_similarity(partial, posterior.detach(), dim=1).mean()
        return {
            "nll": in_batch_nll(query, F.normalize(z, dim=1), video_at, log_q),
            "kl": beta * kl,
            "cold": self.cold * in_batch_nll(query, F.normalize(partial, dim=1), video_at, log_q),
            "align": self.align * gap,
            "l2": self.l2 * embedding_l2(len(batch.user), self.identity[user]),
        }
