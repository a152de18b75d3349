"""MMGCN on one heterogeneous graph with modality nodes and entity nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import alignment, embedding_l2
from mmgraph.models.base import ALL, Embeddings, Rows, batch_rows, pad_rows
from mmgraph.models.multimodal.base import Common, Multimodal
from mmgraph.nn.conv import RelationConv
from mmgraph.nn.frames import TemporalConv
from mmgraph.nn.projection import FeatureLinear
from mmgraph.nn.tables import xavier_table

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class HeteroMMGCN(Multimodal):
    """MMGCN on one heterogeneous graph: users, videos and modality nodes, a weight matrix a relation.

    h_v^{l+1} = LReLU( W_0^l h_v + Σ_r Σ_{u∈N_r(v)} W_r^l h_u / c_vu ),  c_vu = sqrt(|N_r(v)| |N_r(u)|);  a node's
    output is the mean of its layers' states (layer 0 included). Relations: user→video, video→user, and a modality
    video→node and node→video (where c = 1), likewise an entity type. The state W_0 h_v keeps an isolated node alive: a
    new video has its modality nodes, a video without either its id. Loss: L = L_bpr + λ·L_align + L2, L_align over the
    modality nodes of the batch's positive videos (:func:`mmgraph.losses.alignment`).

    Form of the AIGC video article that mmgraph began from; W_0 and the mean over layers are ours: without them a
    node with no edge is 0.

    Args:
        graph, more: ``embedding_dim``, ``modalities``, ``head``, ``objective``: as :class:`Multimodal`.
        num_layers: K.
        align: λ; 0 leaves the term out.
        align_kind: form of L_align.
        l2: weight of the L2 of the batch's user and video rows.
        entities: entity types to read too (``"tag"``, ``"creator"``), each with a table of embeddings.
        frames: modality -> T, where its features are T frame vectors one after the other (``extract(…,
            frames="flat")``): read by :class:`mmgraph.nn.TemporalConv`, the others by a linear map.

    Raises:
        ValueError: no modality to work with, or an entity type that the graph does not have; frames of a modality that
            is not used, or that do not divide its features.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 2,
        align: float = 0.1,
        align_kind: str = "info_nce",
        l2: float = 1e-4,
        entities: Sequence[str] = (),
        frames: Mapping[str, int] | None = None,
        **more: Unpack[Common],
    ) -> None:
        super().__init__(graph, **more)
        if unknown := [t for t in entities if t not in graph.entity_types]:
            raise ValueError(f"entities {unknown} asked for, but this graph has {graph.entity_types}")
        clips = dict(frames or {})
        if unknown := sorted(clips.keys() - set(self.modalities)):
            raise ValueError(f"frames of {unknown} given, but the model reads {self.modalities}")
        self.align, self.align_kind, self.l2 = align, align_kind, l2
        dim = self.dim
        self.user = xavier_table(graph.num_users, dim, normal=True)
        self.video = xavier_table(graph.num_videos, dim, normal=True)
        widths = {m: graph.feature_dims[m] for m in self.modalities}
        self.project = nn.ModuleDict(
            {m: TemporalConv(clips[m], w, dim) if m in clips else FeatureLinear(m, w, dim) for m, w in widths.items()}
        )
        sizes = {t: int(graph[t].num_nodes) for t in entities}
        self.entity = nn.ParameterDict({t: xavier_table(n, dim, normal=True) for t, n in sizes.items()})
        attached = [*self.modalities, *entities]
        sources = {"user": ["video"], "video": ["user", *attached]} | {t: ["video"] for t in attached}
        self.layers = nn.ModuleList(
            nn.ModuleDict({t: RelationConv(dim, dim, sources[t], self_loop=True) for t in self._targets(last)})
            for last in [False] * (num_layers - 1) + [True]
        )

    def _targets(self, last: bool) -> list[str]:
        # the last layer's modality nodes would feed nothing but the alignment, which reads the layer before
        return ["user", "video"] if last else ["user", "video", *self.modalities, *self.entity]

    def nodes(self, graph: MultimodalGraph, rows: Rows = ALL) -> dict[str, Tensor]:
        """Mean of the layers' states by node type: ``user``, ``video`` (or ``rows`` of them), modalities, entities."""
        to_video = graph.relation(("user", "interacts", "video"), norm="sym")
        sources = {"user": {"video": to_video.transpose()}, "video": {"user": to_video}}
        edges = {m: "has" for m in self.modalities} | {t: "belongs_to" for t in self.entity}
        for t, name in edges.items():
            attached = graph.relation(("video", name, t), norm="sym")
            sources["video"][t], sources[t] = attached.transpose(), {"video": attached}
        # videos added after training (graph.with_videos) have no id: they start as 0 and live by what they are made of
        x: dict[str, Tensor] = {"user": self.user, "video": pad_rows(self.video, graph.num_videos)}
        x |= {m: F.normalize(self.project[m](graph[m].x), dim=1) for m in self.modalities} | dict(self.entity.items())
        kept = {t: [state] for t, state in x.items()}
        at = {t: own for t, own in (("user", rows.user), ("video", rows.video)) if own is not None}
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

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, D], video [V, D], or the given rows of them (the last layer computes only those)."""
        nodes = self.nodes(graph, rows)
        return Embeddings(nodes["user"], nodes["video"])

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms (``bpr``), ``l2`` and, with λ > 0 and two modalities, ``align``."""
        rows, at = batch_rows(batch, self.objective)
        nodes = self.nodes(graph, rows)
        terms = self.ranking_loss(graph, Embeddings(nodes["user"], nodes["video"]), rows, at)
        terms["l2"] = self.l2 * embedding_l2(len(batch.user), *rows.of(self.user, self.video))
        if self.align and len(self.modalities) > 1:
            views, present = {}, {}
            chosen = torch.unique(batch.positive)
            for m in self.modalities:
                node = graph.node_of(m)[chosen]
                present[m], views[m] = node >= 0, F.embedding(node.clamp_min(0), nodes[m])
            terms["align"] = self.align * alignment(views, present, self.align_kind)
        return terms
