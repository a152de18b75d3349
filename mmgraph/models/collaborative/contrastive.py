"""SGL, SimGCL and XSimGCL: LightGCN beside a contrast of two views of every node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import embedding_l2, info_nce
from mmgraph.models.base import Embeddings, Rows, batch_rows
from mmgraph.models.collaborative.lightgcn import LightGCN
from mmgraph.nn.propagation import Refine, layers, noisy
from mmgraph.ops import CSR, propagate

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


def contrast(first: Embeddings, second: Embeddings, temperature: float) -> Tensor:
    """InfoNCE between two views of users and of videos, row by row, each among its own kind; summed over the two."""
    return info_nce(first.user, second.user, temperature) + info_nce(first.video, second.video, temperature)


def contrast_with_all(first: Embeddings, second: Embeddings, some: Rows, temperature: float) -> tuple[Tensor, Tensor]:
    """InfoNCE of some users of a view with all users of another, and the same of videos."""
    one, two = (
        info_nce(F.embedding(rows, a), a, temperature, among=(b, rows))  # type: ignore[arg-type]
        for rows, a, b in zip(some, first, second, strict=True)
    )
    return one, two


def agreement(first: Embeddings, second: Embeddings, at: PairBatch, temperature: float) -> Tensor:
    """:func:`contrast` of two views at a batch's rows: of its users, and of the videos that they chose."""
    videos = at.positive.unique()
    one, two = (Embeddings(view.user, F.embedding(videos, view.video)) for view in (first, second))
    return contrast(one, two, temperature)


def chosen(batch: PairBatch) -> Rows:
    """The batch's users and the videos they chose, each once: what the contrasts are about."""
    return Rows(batch.user.unique(), batch.positive.unique())


class TwoViews(LightGCN):
    """LightGCN with a contrast of weight λ and temperature τ: what SGL, SimGCL and XSimGCL share.

    Args:
        graph, more: as :class:`LightGCN`.
        contrast: λ.
        temperature: τ.
    """

    def __init__(self, graph: MultimodalGraph, *, contrast: float = 0.1, temperature: float = 0.2, **more: Any) -> None:
        super().__init__(graph, **more)
        self.contrast, self.temperature = contrast, temperature


class SGL(TwoViews):
    """SGL-ED: LightGCN, and InfoNCE between two views of the graph that each lack a random share of its edges.

    Wu et al., "Self-supervised Graph Learning for Recommendation", SIGIR 2021, https://arxiv.org/abs/2010.10783.
    Views come from an epoch transform: ``epoch_transforms=(EdgeViews(rate=0.1),)``. Negatives are the batch's other
    nodes and the term is a mean, as in SELFRec; the public TensorFlow code takes all nodes and a sum, so that its
    weights are not these.

    Args:
        graph, contrast, temperature, more: as :class:`TwoViews`.
    """

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """:class:`LightGCN`'s terms and ``contrast``.

        Raises:
            ValueError: a graph without views.
        """
        rows = chosen(batch)
        views: list[Embeddings] = []
        for name in ("view_0", "view_1"):
            if ("user", name, "video") not in graph.edge_types:
                raise ValueError(
                    f"SGL reads {name!r} edges, which this graph lacks: epoch_transforms=(EdgeViews(0.1),)"
                )
            out = propagate(graph.adjacency(name), self.embedding, self.num_layers, rows=rows.stacked(graph))
            views.append(rows.split(graph, out))
        term = contrast(views[0], views[1], self.temperature)
        return {**super().loss(graph, batch), "contrast": self.contrast * term}


class SimGCL(TwoViews):
    """SimGCL: LightGCN without its zeroth layer, and InfoNCE between two views with noise in every layer.

    Yu et al., "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for Recommendation", SIGIR 2022,
    https://arxiv.org/abs/2112.08679. Noise: :func:`mmgraph.nn.propagation.noisy`. Three propagations a step.

    Args:
        graph, num_layers, contrast, more: as :class:`TwoViews`.
        noise: ε.
    """

    def __init__(
        self, graph: MultimodalGraph, *, num_layers: int = 3, contrast: float = 0.5, noise: float = 0.1, **more: Any
    ) -> None:
        weights = [0.0] + [1.0 / max(num_layers, 1)] * num_layers
        super().__init__(graph, num_layers=num_layers, contrast=contrast, **{"layer_weights": weights, **more})
        self.noise = noise

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """:class:`LightGCN`'s terms and ``contrast``."""
        rows = chosen(batch)
        views = [self._view(graph, rows, noisy(self.noise))[0] for _ in range(2)]
        term = contrast(views[0], views[1], self.temperature)
        return {**super().loss(graph, batch), "contrast": self.contrast * term}

    def _view(self, graph: MultimodalGraph, rows: Rows, refine: Refine | None) -> tuple[Embeddings, list[Tensor]]:
        """Mean of layers 1 … L at the rows, and the layers."""
        adjacency: CSR = graph.adjacency(self.edge_types)
        states = layers(adjacency, self.embedding, self.num_layers, refine, rows.stacked(graph))
        return rows.split(graph, sum(states[1:]) / self.num_layers), states  # type: ignore[arg-type]


class XSimGCL(SimGCL):
    """XSimGCL: one noisy propagation serves both ranking and contrast, which is between its result and layer l*.

    Yu et al., "XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation", TKDE 2023,
    https://arxiv.org/abs/2209.02544.

    Args:
        graph, num_layers, contrast, temperature, noise, more: as :class:`SimGCL`.
        layer: l*, from 1.

    Raises:
        ValueError: a layer that there is not.
    """

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        num_layers: int = 3,
        contrast: float = 0.2,
        temperature: float = 0.15,
        noise: float = 0.2,
        layer: int = 1,
        **more: Any,
    ) -> None:
        if not 1 <= layer <= num_layers:
            raise ValueError(f"layer must lie in 1 … {num_layers}, got {layer}")
        given = {"contrast": contrast, "temperature": temperature, "noise": noise, **more}
        super().__init__(graph, num_layers=num_layers, **given)
        self.layer = layer

    def loss(self, graph: MultimodalGraph, batch: PairBatch) -> dict[str, Tensor]:
        """The objective's terms, ``l2`` and ``contrast``."""
        rows, at = batch_rows(batch, self.objective)
        refine = noisy(self.noise) if self.training else None
        emb, states = self._view(graph, rows, refine)
        early = rows.split(graph, states[self.layer])
        terms = self.ranking_loss(graph, emb, rows, at)
        terms["contrast"] = self.contrast * agreement(emb, early, at, self.temperature)
        return {**terms, "l2": self.l2 * embedding_l2(len(batch.user), states[0])}
