"""MMSSL: relations learned from content against a critic, and ids seen through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2, info_nce
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, WithIds
from mmgraph.nn.critic import Critic, Tastes, gumbel_rows
from mmgraph.nn.fusion import ModalityAttention, user_presence
from mmgraph.nn.item_graph import nearest_pairs
from mmgraph.nn.projection import projections
from mmgraph.nn.propagation import half_normalised, one_sided_mean
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Parts(NamedTuple):
    """What MMSSL makes: final rows, and a modality's content rows and id views; all of users and of videos."""

    final: Embeddings
    content: dict[str, Embeddings]
    ids: dict[str, Embeddings]


class MMSSL(WithIds):
    """MMSSL: content passed between users and videos, ids passed over the relations that the content suggests.

    Wei et al., "Multi-Modal Self-Supervised Learning for Recommendation", WWW 2023, https://arxiv.org/abs/2302.10632.
    With R̄ = D_u^-1/2 R and R̃ = D_v^-1/2 Rᵀ (one side): content f_u^m = R̄ Dropout(P_m f_m), f_v^m = R̃ f_u^m; G_m joins
    each user to the ``k`` videos of the largest cos(f_u^m, f_v^m); id views Ḡ_m e_v, G̃_m e_u, z their multi-head
    attention over modalities (:class:`mmgraph.nn.fusion.ModalityAttention`); e⁰ = e + η z/‖z‖, layers R̄ and R̃, their
    mean, + ω Σ_m f^m/‖f^m‖. Terms beside BPR and L2: ``features`` their squares;  ``contrast`` c Σ_m InfoNCE(id view of
    m, final row) of the batch's users, both kinds of negatives; ``critic`` and ``generator`` of
    :class:`mmgraph.nn.Critic` between rows of learned relations, n(f_u^m · f_v^m over all videos), and
    n(softmax((R_u + Gumbel)/τ) + ζ n(z_u · z_v)).

    In the public code the learned graphs take int(1e-4 V) videos a user, none for fewer than 10,000, and are filled in
    the first batch of an epoch alone, so that they are empty for nearly all of training and at test: id views,
    attention and contrast do nothing. It also hides seen videos from the learned rows, takes each layer's videos from
    its new users, and puts a softmax over the width on the last layer. ``as_coded`` does all of that. Here G_m is built
    anew in each step from the weights; nothing is kept from one to the next.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`.
        num_layers: of ids.
        k: videos a user in G_m.
        num_heads: of the attention; D is a multiple of it.
        ids: η.
        content: ω.
        dropout: of the projected features.
        contrast: c.
        temperature: of the contrast.
        generator: weight of the generator's term.
        real_temperature, noise, scale: τ, the weight of the Gumbel noise, and ζ.
        l2: weight of ½‖the batch's rows‖² / B.
        feature_l2: weight of ½ Σ‖f^m‖² / V.
        as_coded: as above.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        k: int = 10,
        num_heads: int = 4,
        ids: float = 0.36,
        content: float = 0.55,
        dropout: float = 0.2,
        contrast: float = 0.03,
        temperature: float = 0.5,
        generator: float = 1e-4,
        real_temperature: float = 0.005,
        noise: float = 1e-5,
        scale: float = 100.0,
        l2: float = 1e-5,
        feature_l2: float = 1e-5,
        as_coded: bool = False,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, num_layers=num_layers, **more)
        self.k, self.ids, self.content, self.contrast, self.temperature = k, ids, content, contrast, temperature
        self.generator, self.real_temperature, self.noise, self.scale = generator, real_temperature, noise, scale
        self.l2, self.feature_l2, self.as_coded, self.dropout = l2, feature_l2, as_coded, nn.Dropout(dropout)
        self.project = projections(graph, self.modalities, self.dim)
        self.attend = None if as_coded else ModalityAttention(self.dim, num_heads)
        self.critic = Critic(graph.num_videos)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        return rows.of(*self.parts(graph).final)

    def parts(self, graph: MultimodalGraph) -> Parts:
        """Everything that the terms are about."""
        up, down = half_normalised(graph.seen), half_normalised(graph.seen.transpose())
        content = {}
        for m in self.modalities:
            feature = graph.features(m)
            user = spmm(up, self.dropout(self.project[m](feature.values)) * feature.present.unsqueeze(1))
            content[m] = Embeddings(user, spmm(down, user))
        views, start = self._id_views(graph, content)
        final = one_sided_mean(up, down, *start, self.num_layers, self.as_coded)
        sides = zip(*content.values(), strict=True)
        beside = (torch.stack([F.normalize(x, dim=1) for x in side]).sum(0) for side in sides)
        return Parts(Embeddings(*(e + self.content * b for e, b in zip(final, beside, strict=True))), content, views)

    def _id_views(
        self, graph: MultimodalGraph, content: dict[str, Embeddings]
    ) -> tuple[dict[str, Embeddings], Embeddings]:
        """The id views, and e⁰."""
        if self.attend is None:
            return {}, Embeddings(self.user, self.video)
        here = {m: graph.features(m).present for m in content}
        watched = {m: user_presence(graph, present) for m, present in here.items()}
        views = {}
        for m, (user, video) in content.items():
            learned = nearest_pairs(user, video, self.k, watched[m], here[m])
            back = half_normalised(learned.transpose())
            views[m] = Embeddings(spmm(half_normalised(learned), self.video), spmm(back, self.user))
        user = self.attend({m: v.user for m, v in views.items()}, watched)
        video = self.attend({m: v.video for m, v in views.items()}, here)
        both = ((self.user, user), (self.video, video))
        return views, Embeddings(*(e + self.ids * F.normalize(z, dim=1) for e, z in both))

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``), ``l2``, ``features``, ``contrast``, ``critic`` and ``generator``."""
        rows, at = batch_rows(batch, self.objective)
        parts = self.parts(graph)
        emb, users = rows.of(*parts.final), rows.user
        terms = self.ranking_loss(graph, emb, rows, at)
        terms["l2"] = self.l2 * embedding_l2(len(batch.user), *emb)
        every = [t for c in parts.content.values() for t in c]
        terms["features"] = self.feature_l2 * embedding_l2(graph.num_videos, *every)
        if parts.ids:
            each = [info_nce(rows.of_users(v.user), emb.user, self.temperature, intra=True) for v in parts.ids.values()]
            terms["contrast"] = self.contrast * torch.stack(each).sum()
        seen = graph.seen.select(users)[0].dense().clamp(max=1)  # type: ignore[arg-type]
        hidden, weights = seen if self.as_coded else None, self.critic.first
        tastes = [Tastes(rows.of_users(c.user), c.video, hidden) for c in parts.content.values()]
        real = gumbel_rows(seen, self.noise, self.real_temperature)
        own = Tastes(emb.user, parts.final.video, hidden).detach().dense()
        real = F.linear(F.normalize(real + self.scale * own, dim=1), *weights).repeat(len(tastes), 1)
        fake = torch.cat([taste.detach().through(*weights) for taste in tastes])
        learned = torch.cat([taste.through(*(w.detach() for w in weights)) for taste in tastes])
        critic, generator = self.critic.compare(real, fake, learned)
        return {**terms, "critic": critic, "generator": self.generator * generator}
