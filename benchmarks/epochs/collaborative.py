"""Plain ports of models of who watched what: every layer of every node in full, with the model's own parameters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.epochs.ports import GraphPort, Make, nce
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch


def noisy(x: Tensor, size: float) -> Tensor:
    """Rows moved by ``size`` within their orthant."""
    return x + size * torch.sign(x) * F.normalize(torch.rand_like(x), dim=1)


class PlainBPRMF(GraphPort):
    """Two looked-up tables."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        return self.ranked(self.model.embedding, batch)


class PlainNGCF(GraphPort):
    """NGCF."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        x = self.model.embedding
        out = [x]
        for total, product in zip(self.model.sums, self.model.products, strict=True):
            near = self.product(x)
            x = self.model.dropout(F.leaky_relu(total(near + x) + product(near * x)))
            out.append(F.normalize(x, dim=1))
        return self.ranked(torch.cat(out, 1), batch)


class PlainLayerGCN(GraphPort):
    """LayerGCN."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        x = ego = self.model.embedding
        out = []
        for _ in range(self.model.num_layers):
            x = self.product(x)
            x = F.cosine_similarity(x, ego, dim=1).unsqueeze(1) * x
            out.append(x)
        return self.ranked(torch.stack(out).sum(0), batch, ego)


class PlainLightGCNPP(GraphPort):
    """LightGCN++."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        raw = graph.adjacency("interacts", norm=None)
        self.product, self.degree = make(raw), raw.degree().float().clamp(min=1).unsqueeze(1)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        model = self.model
        x, out = model.embedding, []
        for _ in range(model.num_layers):
            message = self.product(F.normalize(x, dim=1) * self.degree**-model.beta)
            x = message * self.degree**-model.alpha
            out.append(x)
        mixed = model.gamma * model.embedding + (1 - model.gamma) * torch.stack(out).mean(0)
        return self.ranked(mixed, batch, model.embedding)


class PlainSGL(GraphPort):
    """SGL: LightGCN on the graph and on two thinned ones."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.views = [make(graph.adjacency(name)) for name in ("view_0", "view_1")]

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the contrast."""
        ego, layers = self.model.embedding, self.model.num_layers
        terms = self.ranked(self.mean(ego, layers), batch, ego)
        first, second = (torch.stack(self.states(ego, layers, product)).mean(0) for product in self.views)
        return {**terms, "contrast": self.model.contrast * self.agreement(first, second, batch)}


class PlainSimGCL(GraphPort):
    """SimGCL: LightGCN without its zeroth layer, and twice more with noise."""

    def view(self, noise: float) -> list[Tensor]:
        """Layers 1 … L."""
        x, out = self.model.embedding, []
        for _ in range(self.model.num_layers):
            x = self.product(x)
            x = noisy(x, noise) if noise else x
            out.append(x)
        return out

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the contrast."""
        plain, first, second = (torch.stack(self.view(n)).mean(0) for n in (0.0, self.model.noise, self.model.noise))
        terms = self.ranked(plain, batch, self.model.embedding)
        return {**terms, "contrast": self.model.contrast * self.agreement(first, second, batch)}


class PlainXSimGCL(PlainSimGCL):
    """XSimGCL: one noisy propagation."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the contrast."""
        states = self.view(self.model.noise if self.training else 0.0)
        out = torch.stack(states).mean(0)
        terms = self.ranked(out, batch, self.model.embedding)
        term = self.agreement(out, states[self.model.layer - 1], batch)
        return {**terms, "contrast": self.model.contrast * term}


class PlainLightGCL(GraphPort):
    """LightGCL: LightGCN with layers summed, and the same through a decomposition."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the contrast with all nodes."""
        model = self.model
        left, basis = model.left, model.gram.basis
        states = self.states(model.embedding, model.num_layers)
        low = model.embedding
        for x in states[:-1]:
            user, video = self.split(x)
            low = low + torch.cat([left @ (basis.T @ video), basis @ (left.T @ user)])
        total = torch.stack(states).sum(0)
        terms, views = self.ranked(total, batch, model.embedding), (self.split(low), self.split(total))
        sides = zip(*views, self.chosen(batch), strict=True)
        each = [nce(a[rows], b, model.temperature, rows) for a, b, rows in sides]
        return {**terms, "contrast": model.contrast * (each[0] + each[1])}
