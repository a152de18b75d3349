"""DA-MRS: like videos without the pairs a modality objects to, clicks weighed by how much the content agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import bernoulli_divergence, doubts, neighbour_nce, two_way_bpr
from mmgraph.losses.softmax import block_rows
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import WithIds
from mmgraph.nn.fusion import similar
from mmgraph.nn.propagation import last_layer
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

Views = dict[str, tuple[Tensor, Tensor]]


class DAMRS(WithIds):
    """DA-MRS: LightGCN plus ids gathered over graphs of like videos, trained on pairs that it doubts.

    Xv et al., "Improving Multi-modal Recommender Systems by Denoising and Aligning Multi-modal Content and User
    Feedback", KDD 2024, https://doi.org/10.1145/3637528.3671703. Views a: each modality (``similar_<m>`` edges,
    ``DenoisedKNN(10)``) and behaviour (``watched_with``, ``VideoCoInteraction()``): h_a = S_a^L e_v; video = LightGCN +
    mean_a h_a, user = LightGCN. Features enter through the graphs alone. Terms:

    - ``bpr``: −w ln σ(ŷ_ui − ŷ_uj) − r ln σ(ŷ_uj − ŷ_ui), w and r the :func:`mmgraph.losses.doubts` of what the views
      say, p_a = σ(u·h_a/‖h_a‖).
    - ``neighbours`` γ mean_a :func:`neighbour_nce` of the batch's videos: first the ``k`` of the largest
      Σ_b P_b + P_a, P_a = softmax_j cos(h_a, h_aj), then the ``k`` of the largest P_a among the rest.
    - ``divergence`` δ symmetric KL of σ(u·e/‖e‖) and σ(u·h/‖h‖), e a video's row of LightGCN, h = mean_a h_a, over the
      batch's users × videos.

    A modality that a video lacks leaves its mean, its variance and its neighbours; behaviour is always there. The
    public code's form for three modalities takes mean_b in place of Σ_b and divides by other numbers of views here and
    there; neither of its forms uses the counts stored in its behaviour graph: ``VideoCoInteraction(counts=True)`` does.

    Args:
        graph: gives U, V; must have the ``similar_<m>`` and ``watched_with`` edges.
        embedding_dim: D.
        num_layers: of LightGCN.
        num_similar_layers: L.
        neighbours: k of the ``neighbours`` term.
        contrast: γ.
        temperature: its τ.
        align: δ.
        modalities: which to use; all of the graph's by default.

    Raises:
        ValueError: no modality, or a graph without ``similar_<m>`` or ``watched_with`` edges.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        num_similar_layers: int = 1,
        neighbours: int = 10,
        contrast: float = 1e-3,
        temperature: float = 0.2,
        align: float = 1.0,
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__(graph, embedding_dim=embedding_dim, num_layers=num_layers, modalities=modalities)
        self.num_similar_layers, self.neighbours = num_similar_layers, neighbours
        self.contrast, self.temperature, self.align = contrast, temperature, align
        self._graphs(graph)

    def _graphs(self, graph: MultimodalGraph) -> dict[str, CSR]:
        if ("video", "watched_with", "video") not in graph.edge_types:
            raise ValueError("DAMRS reads 'watched_with' edges, which this graph lacks: apply VideoCoInteraction first")
        behaviour = graph.relation("watched_with", norm=None)
        return {m: similar(graph, m) for m in self.modalities} | {"watched_with": behaviour}

    def views(self, graph: MultimodalGraph) -> Views:
        """h_a [V, D] of each view, and which videos have it, bool [V]."""
        every = torch.ones(graph.num_videos, dtype=torch.bool, device=self.video.device)
        return {
            a: (
                last_layer(s, self.video, self.num_similar_layers),
                graph.features(a).present if a in self.modalities else every,
            )
            for a, s in self._graphs(graph).items()
        }

    def _parts(self, graph: MultimodalGraph, rows: Rows) -> tuple[Embeddings, Tensor, Views]:
        """LightGCN's rows, mean_a h_a at the videos, and the views."""
        own, views = rows.split(graph, self.propagated(graph, rows)), self.views(graph)
        total = torch.stack([h * here.unsqueeze(1) for h, here in views.values()]).sum(0)
        count = torch.stack([here for _, here in views.values()]).sum(0).unsqueeze(1)
        return own, rows.of_videos(total / count), views

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        own, beside, _ = self._parts(graph, rows)
        return Embeddings(own.user, own.video + beside)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """``bpr``, ``neighbours`` and ``divergence``."""
        rows, at = batch_rows(batch)
        own, beside, views = self._parts(graph, rows)
        user, video = F.embedding(at.user, own.user), own.video + beside
        pairs = torch.cat([at.positive.unsqueeze(1), at.negative], 1)
        scores = torch.linalg.vecdot(F.embedding(pairs, video), user.unsqueeze(1))
        asked = torch.cat([batch.positive.unsqueeze(1), batch.negative], 1)
        unit = (F.embedding(asked, F.normalize(h, dim=1)) for h, _ in views.values())
        said = torch.stack([torch.linalg.vecdot(x, user.unsqueeze(1)).sigmoid() for x in unit], -1)
        weight, reverse = doubts(said, torch.stack([here[asked] for _, here in views.values()], -1))
        of_ids, of_views = (own.user @ F.normalize(x, dim=1).T for x in (own.video, beside))
        return {
            "bpr": two_way_bpr(scores[:, 0], scores[:, 1:], weight, reverse),
            "neighbours": self.contrast * self._neighbours(rows.video, views),  # type: ignore[arg-type]
            "divergence": self.align * bernoulli_divergence(of_ids, of_views),
        }

    def _neighbours(self, videos: Tensor, views: Views) -> Tensor:
        first, second = self._chosen(videos, {a: (F.normalize(h.detach(), dim=1), p) for a, (h, p) in views.items()})
        terms = []
        for i, (h, here) in enumerate(views.values()):
            mine = here[videos]
            anchor, near = F.embedding(videos[mine], h), (first[i][mine], second[i][mine])
            terms.append(neighbour_nce(anchor, h, *near, self.temperature, here))
        return torch.stack(terms).mean()

    @torch.no_grad()
    def _chosen(self, videos: Tensor, unit: Views) -> tuple[Tensor, Tensor]:
        """The two ranks of neighbours of these videos in each view, [A, n, k]; a block of rows after another."""
        k = max(min(self.neighbours, len(self.video) // 2), 1)
        found = []
        absent = [None if bool(here.all()) else ~here for _, here in unit.values()]
        for rows in videos.split(block_rows(self.video)):
            chance = self.video.new_empty(len(unit), len(rows), len(self.video))
            for own, hidden, (x, _) in zip(chance, absent, unit.values(), strict=True):
                cosine = F.embedding(rows, x) @ x.T
                own.copy_((cosine if hidden is None else cosine.masked_fill_(hidden, -torch.inf)).softmax(1))
            first = (chance + sum(chance[1:], chance[0])).topk(k, dim=2).indices
            found.append((first, chance.scatter_(2, first, -1.0).topk(k, dim=2).indices))
        return tuple(torch.cat(each, 1) for each in zip(*found, strict=True))  # type: ignore[return-value]
