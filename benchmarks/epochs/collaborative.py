"""Plain ports of models of who watched what: every layer of every node in full, with the model's own parameters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.epochs.ports import GraphPort, Make, Port, nce
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch, RowBatch


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


class PlainUltraGCN(Port):
    """UltraGCN: looked-up rows and weighted cross-entropies, without a graph."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        self.model = model

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """Pairs, negatives, like videos and the L2 term."""
        model, (w1, w2, w3, w4) = self.model, self.model.weights
        user, own = F.embedding(batch.user, model.user), F.embedding(batch.positive, model.video)
        other, near = (
            F.embedding(batch.negative, model.video),
            F.embedding(model.neighbour[batch.positive], model.video),
        )
        of_user = model.user_scale[batch.user]
        score, others = (user * own).sum(1), (user.unsqueeze(1) * other).sum(2)
        weight = w1 + w2 * of_user * model.video_scale[batch.positive]
        positive = F.binary_cross_entropy_with_logits(score, torch.ones_like(score), weight, reduction="sum")
        weight = w3 + w4 * of_user.unsqueeze(1) * model.video_scale[batch.negative]
        negative = F.binary_cross_entropy_with_logits(others, torch.zeros_like(others), weight, reduction="none")
        like = -model.likeness[batch.positive] * F.logsigmoid((user.unsqueeze(1) * near).sum(2))
        users, videos = batch.user.unique(), torch.cat([batch.positive, batch.negative.flatten()]).unique()
        squares = model.user[users].square().sum() + model.video[videos].square().sum()
        return {
            "positive": positive,
            "negative": model.negative_weight * negative.mean(1).sum(),
            "videos": model.videos * like.sum(),
            "l2": model.l2 * squares / 2,
        }


class PlainMultVAE(Port):
    """Mult-VAE: dense rows through dense layers."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        self.model = model

    def loss(self, batch: RowBatch) -> dict[str, Tensor]:
        """The multinomial likelihood and the KL."""
        model, head = self.model, self.model.head
        x = F.dropout(F.normalize(batch.row, dim=1), model.dropout, self.training)
        mean, spread = head.posterior.out(torch.tanh(x @ model.weight + model.bias)).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        logits = torch.tanh(head.map(z)) @ model.video.T + model.video_bias.T
        kl = -0.5 * (1 + spread - mean.square() - spread.exp()).sum(1).mean()
        return {"nll": -(F.log_softmax(logits, 1) * batch.row).sum(1).mean(), "kl": head.next_beta() * kl}
