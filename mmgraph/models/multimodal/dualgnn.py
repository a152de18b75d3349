"""DualGNN and DRAGON: users who watch the same things, beside who watched what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows
from mmgraph.models.multimodal.base import Common, Multimodal, user_tables
from mmgraph.nn.fusion import from_alike, like_minded, present_softmax, user_presence
from mmgraph.nn.projection import FeatureLinear
from mmgraph.nn.propagation import layer_sum
from mmgraph.ops import spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class DualGNN(Multimodal):
    """DualGNN: content propagated over the click graph a modality, weighed by each user, then over like-minded users.

    Wang et al., "DualGNN: Dual Graph Neural Network for Multimedia Recommendation", TMM 2021,
    https://doi.org/10.1109/TMM.2021.3138298. h_m = (I + Â + Â²) n([p_m ; MLP_m f_m]), p_m a user table;
    video = Σ_m h_m;  user = Σ_m softmax_m(w_um) h_um + Σ_j a_uj (…)_j over the ``co_watched`` users
    (``transforms=(UserCoInteraction(40),)``). BPR, with L2 on the batch's p_m and w.

    The public code takes w without its softmax, and a sum in place aliases the first modality, so that its user is w₀
    (h_0 + h_1) + w₁ h_1: ``as_coded``. It also keeps the last training step's rows to rank with; here they are always
    fresh.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`; must have
            ``co_watched`` edges.
        l2: weight of ½‖the batch's rows‖² / B.
        as_coded: as above.

    Raises:
        ValueError: no modality, or a graph without ``co_watched`` edges.
    """

    def __init__(
        self, graph: MultimodalGraph, *, l2: float = 1e-4, as_coded: bool = False, **more: Unpack[Common]
    ) -> None:
        super().__init__(graph, **more)
        self.l2, self.as_coded = l2, as_coded
        like_minded(graph)
        self.preference = user_tables(graph, self.modalities, self.dim)
        widths = {m: graph.feature_dims[m] for m in self.modalities}
        self.project = nn.ModuleDict({m: two_layers(m, w, self.dim) for m, w in widths.items()})
        count = len(self.modalities)
        self.weight = nn.Parameter(0.1 * torch.randn(graph.num_users, count) + as_coded / count)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or rows of them."""
        users, videos = self.views(graph)
        video = torch.stack(list(videos.values())).sum(0)
        return Embeddings(self._users(graph, users, rows), rows.of_videos(video))

    def _users(self, graph: MultimodalGraph, users: dict[str, Tensor], rows: Rows) -> Tensor:
        """Their modalities mixed, and the same of the like-minded users."""
        user = self.mixed(graph, users)
        return rows.of_users(user) + spmm(like_minded(graph), user, rows=rows.user)

    def views(self, graph: MultimodalGraph) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """h_m of users [U, D] and of videos [V, D]."""
        users, videos = {}, {}
        for m in self.modalities:
            x = F.normalize(torch.cat([self.preference[m], self.projected(graph, m)]), dim=1)
            out = layer_sum(graph.adjacency("interacts"), x, 2)
            users[m], videos[m] = out.split([graph.num_users, graph.num_videos])
        return users, videos

    def weights(self, graph: MultimodalGraph) -> Tensor:
        """Each user's weight on each modality, [U, M]: over those that the watched videos have."""
        if self.as_coded:
            return self.weight
        present = [user_presence(graph, graph.features(m).present) for m in self.modalities]
        return present_softmax(self.weight, torch.stack(present, 1) | ~torch.stack(present, 1).any(1, keepdim=True))

    def mixed(self, graph: MultimodalGraph, users: dict[str, Tensor]) -> Tensor:
        """Σ_m w_um h_um, [U, D]."""
        weight, parts = self.weights(graph), list(users.values())
        if self.as_coded:  # an addition in place: the first modality has become the sum of all
            parts[0] = torch.stack(parts).sum(0)
        return torch.stack([weight[:, i : i + 1] * h for i, h in enumerate(parts)]).sum(0)

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``) and ``l2``."""
        rows, at = batch_rows(batch, self.objective)
        terms = self.ranking_loss(graph, self.encode(graph, rows), rows, at)
        tables = [rows.of_users(self.preference[m]) for m in self.modalities]
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), *tables, rows.of_users(self.weight))}


class DRAGON(DualGNN):
    """DRAGON: DualGNN with the modalities side by side, and like videos.

    Zhou et al., "Enhancing Dyadic Relations with Homogeneous Graphs for Multimodal Recommendation", ECAI 2023,
    https://arxiv.org/abs/2301.12097. user = [w_um h_um]_m + Σ_j a_uj (…)_j;  video = [h_vm]_m + S [h_vm]_m, S the
    ``similar_<m>`` edges of all modalities together (``ModalityKNN``, shares of .1 and .9 in the paper). The paper
    calls the first an attentive concatenation; in its public code w is a free number a user and modality, whose softmax
    is taken once, at the start: ``as_coded``.

    Args:
        graph, l2, as_coded, more: as :class:`DualGNN`; must have the ``similar_<m>`` edges too. Rows are M · D wide.
    """

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, M · D], video [V, M · D], or rows of them."""
        users, videos = self.views(graph)
        video = torch.cat(list(videos.values()), 1)
        alike = from_alike(graph, self.modalities, video, rows.video)
        return Embeddings(self._users(graph, users, rows), rows.of_videos(video) + alike)

    def mixed(self, graph: MultimodalGraph, users: dict[str, Tensor]) -> Tensor:
        """[w_um h_um]_m, [U, M · D]."""
        weight = self.weights(graph)
        return torch.cat([weight[:, i : i + 1] * h for i, h in enumerate(users.values())], 1)


def two_layers(modality: str, in_dim: int, dim: int) -> nn.Sequential:
    """in_dim -> 4 dim -> dim, with a leaky ReLU between."""
    return nn.Sequential(FeatureLinear(modality, in_dim, 4 * dim), nn.LeakyReLU(), nn.Linear(4 * dim, dim))
