"""MMGCN, in the paper's form and as one heterogeneous graph with modality nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import alignment, embedding_l2
from mmgraph.models.base import Embeddings, Recommender, Rows, batch_rows, chosen_modalities
from mmgraph.models.objective import pair_terms
from mmgraph.nn.conv import ModalityConv, RelationConv
from mmgraph.nn.heads import Head

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class MMGCN(Recommender):
    """MMGCN as in the paper: one user–video graph a modality, the modalities' results averaged.

    Wei et al., "MMGCN: Multi-modal Graph Convolution Network for Personalized Recommendation of Micro-video",
    ACM MM 2019, https://doi.org/10.1145/3343031.3351034. For modality m, x⁰ = normalise([p_u^m ; W_m f_v^m]), then
    ``num_layers`` of :class:`~mmgraph.nn.ModalityConv`; the layers' last states are averaged over modalities, and
    ŷ = uᵀv. BPR loss, with ½‖·‖² of the id and preference rows of the batch.

    The public code keeps the preference and id tables outside the parameters, so they are never trained;
    here they are. A video without modality m starts as 0 in m's graph.

    Args:
        graph: gives U, V and the features' widths.
        embedding_dim: D, the width of every layer.
        num_layers: at least 1.
        concat: the paper's concatenation in place of addition in each layer.
        l2: weight of the L2 term.
        modalities: which to use; all of the graph's by default.
        head: a head other than the dot product.

    Raises:
        ValueError: no modality to work with.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        concat: bool = False,
        l2: float = 1e-4,
        modalities: Sequence[str] | None = None,
        head: Head | None = None,
    ) -> None:
        super().__init__(head)
        self.modalities = chosen_modalities(graph, modalities)
        self.num_users, self.l2 = graph.num_users, l2
        nodes = graph.num_users + graph.num_videos
        self.identity = nn.Parameter(nn.init.xavier_normal_(torch.empty(nodes, embedding_dim)))
        self.preference = nn.ParameterDict(
            {m: nn.init.xavier_normal_(torch.empty(graph.num_users, embedding_dim)) for m in self.modalities}
        )
        self.project = nn.ModuleDict({m: nn.Linear(graph.feature_dims[m], embedding_dim) for m in self.modalities})
        self.convs = nn.ModuleDict(
            {
                m: nn.ModuleList(ModalityConv(embedding_dim, embedding_dim, concat) for _ in range(num_layers))
                for m in self.modalities
            }
        )

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """Mean over modalities: user [U, D], video [V, D], or the rows of them (all that the last layer computes)."""
        adjacency = graph.adjacency("interacts", norm="row")
        stacked = None if rows is None else torch.cat([rows.user, rows.video + self.num_users])
        views = []
        for m in self.modalities:
            feature = graph.features(m)
            content = self.project[m](feature.values) * feature.present.unsqueeze(1)
            x = F.normalize(torch.cat([self.preference[m], content]), dim=1)
            *first, last = self.convs[m].children()
            for conv in first:
                x = conv(x, self.identity, adjacency)
            views.append(last(x, self.identity, adjacency, rows=stacked))
        out = torch.stack(views).mean(0)
        split = self.num_users if rows is None else len(rows.user)
        return Embeddings(out[:split], out[split:])

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The head's terms (``bpr`` for the dot product) and ``l2``."""
        rows, at = batch_rows(batch)
        emb = self.encode(graph, rows)
        own = [F.embedding(torch.cat([rows.user, rows.video + self.num_users]), self.identity)]
        own += [F.embedding(rows.user, self.preference[m]) for m in self.modalities]
        l2 = embedding_l2(*own) * (len(own[0]) / len(batch.user))
        return {**pair_terms(self, emb, at), "l2": self.l2 * l2}


class HeteroMMGCN(Recommender):
    """MMGCN on one heterogeneous graph: users, videos and modality nodes, a weight matrix a relation.

    h_v^{l+1} = LReLU( W_0^l h_v + Σ_r Σ_{u∈N_r(v)} W_r^l h_u / c_vu ),  c_vu = sqrt(|N_r(v)| |N_r(u)|);  a node's
    output is the mean of its layers' states (layer 0 included). Relations: user→video, video→user, and a modality
    video→node and node→video (where c = 1). The state W_0 h_v keeps an isolated node alive: a new video has its
    modality nodes, a video without either its id. Loss: L = L_bpr + λ·L_align + L2, L_align over the modality nodes of
    the batch's positive videos (:func:`mmgraph.losses.alignment`).

    Form of the AIGC video article that mmgraph began from; W_0 and the mean over layers are ours: without them a
    node with no edge is 0.

    Args:
        graph: gives node counts and the features' widths.
        embedding_dim: D.
        num_layers: K.
        align: λ; 0 leaves the term out.
        align_kind: form of L_align.
        l2: weight of the L2 of the batch's user and video rows.
        modalities: which to use; all of the graph's by default.
        head: a head other than the dot product.

    Raises:
        ValueError: no modality to work with.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        embedding_dim: int = 64,
        num_layers: int = 2,
        align: float = 0.1,
        align_kind: str = "info_nce",
        l2: float = 1e-4,
        modalities: Sequence[str] | None = None,
        head: Head | None = None,
    ) -> None:
        super().__init__(head)
        self.modalities = chosen_modalities(graph, modalities)
        self.align, self.align_kind, self.l2 = align, align_kind, l2
        dim = embedding_dim
        self.user = nn.Parameter(nn.init.xavier_normal_(torch.empty(graph.num_users, dim)))
        self.video = nn.Parameter(nn.init.xavier_normal_(torch.empty(graph.num_videos, dim)))
        self.project = nn.ModuleDict({m: nn.Linear(graph.feature_dims[m], dim) for m in self.modalities})
        sources = {"user": ["video"], "video": ["user", *self.modalities]} | {m: ["video"] for m in self.modalities}
        self.layers = nn.ModuleList(
            nn.ModuleDict({t: RelationConv(dim, dim, sources[t], self_loop=True) for t in self._targets(last)})
            for last in [False] * (num_layers - 1) + [True]
        )

    def _targets(self, last: bool) -> list[str]:
        # the last layer's modality nodes would feed nothing but the alignment, which reads the layer before
        return ["user", "video"] if last else ["user", "video", *self.modalities]

    def nodes(self, graph: MultimodalGraph, rows: Rows | None = None) -> dict[str, Tensor]:
        """Mean of the layers' states by node type: ``user``, ``video`` (or ``rows`` of them), each modality."""
        to_video = graph.relation(("user", "interacts", "video"), norm="sym")
        has = {m: graph.relation(("video", "has", m), norm="sym") for m in self.modalities}
        sources = {"user": {"video": to_video.transpose()}, "video": {"user": to_video}}
        for m in self.modalities:
            sources["video"][m], sources[m] = has[m].transpose(), {"video": has[m]}
        x: dict[str, Tensor] = {"user": self.user, "video": self._pad(graph)}
        x |= {m: F.normalize(self.project[m](graph[m].x), dim=1) for m in self.modalities}
        kept = {t: [state] for t, state in x.items()}
        at = {} if rows is None else {"user": rows.user, "video": rows.video}
        for depth, layer in enumerate(self.layers):
            here = at if depth == len(self.layers) - 1 else {}
            own = x | {t: F.embedding(rows, x[t]) for t, rows in here.items()}
            x = {t: F.leaky_relu(conv(x, sources[t], own[t], here.get(t))) for t, conv in layer.named_children()}
            for t, state in x.items():
                kept[t].append(state)
        out = {}
        for t, states in kept.items():
            if t in at:
                states = [F.embedding(at[t], state) for state in states[:-1]] + states[-1:]
            out[t] = torch.stack(states).mean(0)
        return out

    def _pad(self, graph: MultimodalGraph) -> Tensor:
        # videos added after training (graph.with_videos) have no id: they start as 0 and live by their modalities
        extra = graph.num_videos - len(self.video)
        return F.pad(self.video, (0, 0, 0, extra)) if extra else self.video

    def encode(self, graph: MultimodalGraph, rows: Rows | None = None) -> Embeddings:
        """user [U, D], video [V, D], or the given rows of them (the last layer computes only those)."""
        nodes = self.nodes(graph, rows)
        return Embeddings(nodes["user"], nodes["video"])

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The head's terms (``bpr`` for a dot product), ``l2`` and, with λ > 0 and two modalities, ``align``."""
        rows, at = batch_rows(batch)
        nodes = self.nodes(graph, rows)
        emb = Embeddings(nodes["user"], nodes["video"])
        own = embedding_l2(F.embedding(rows.user, self.user), F.embedding(rows.video, self.video))
        terms = {**pair_terms(self, emb, at), "l2": self.l2 * own * (len(rows.user) / len(batch.user))}
        if self.align and len(self.modalities) > 1:
            views, present = {}, {}
            chosen = rows.video[torch.unique(at.positive)]
            for m in self.modalities:
                node = graph.node_of(m)[chosen]
                present[m], views[m] = node >= 0, nodes[m][node.clamp_min(0)]
            terms["align"] = self.align * alignment(views, present, self.align_kind)
        return terms
