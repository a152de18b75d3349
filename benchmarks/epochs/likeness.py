"""Plain ports of models that gather content over like videos, learned or given."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.epochs.collaborative import noisy
from benchmarks.epochs.content import IdPort
from benchmarks.epochs.ports import Make, half_squares, nce
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch


def weighted(views: Iterable[Tensor], weights: Tensor) -> Tensor:
    """Σ_m w_m x_m of weights [n, M]."""
    return torch.stack([w * x for w, x in zip(weights.unsqueeze(2).unbind(1), views, strict=True)]).sum(0)


class PlainLATTICE(IdPort):
    """LATTICE: all similarities of the catalogue at each batch."""

    def learned(self, names: Iterable[str], weights: Tensor) -> Tensor:
        """The normalised graph of the projected features' nearest neighbours, mixed over modalities, COO."""
        parts, count = [], self.model.video.shape[0]
        target = torch.arange(count).repeat_interleave(self.model.k)
        for m, weight in zip(names, weights, strict=True):
            unit = F.normalize(self.model.project[m](self.features[m]), dim=1)
            best = (unit @ unit.T).topk(self.model.k, dim=1)
            value = weight * best.values.flatten().clamp(min=0)
            parts.append((torch.stack([target, best.indices.flatten()]), value))
        index, value = torch.cat([index for index, _ in parts], 1), torch.cat([value for _, value in parts])
        scale = torch.zeros(count).index_add(0, index[0], value).clamp(min=1e-12).rsqrt()
        value = value * scale[index[0]] * scale[index[1]]
        return torch.sparse_coo_tensor(index, value, (count, count), check_invariants=False)

    def near(self) -> Tensor:
        """Videos gathered over both graphs."""
        model = self.model
        weights = torch.ones(1) if model.weight is None else model.weight.softmax(0)
        near = [self.alike[m](model.video) for m in self.features]
        fixed = torch.stack([w * x for w, x in zip(weights, near, strict=True)]).sum(0)
        learned = torch.sparse.mm(self.learned(self.features, weights), model.video)
        return model.raw * fixed + (1 - model.raw) * learned

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        user, video = self.split(self.ids())
        return self.ranked(torch.cat([user, video + F.normalize(self.near(), dim=1)]), batch)


class PlainMICRO(PlainLATTICE):
    """MICRO: a graph a modality, fused by attention."""

    def views(self) -> list[Tensor]:
        """Videos gathered over each modality's graphs."""
        model, one = self.model, torch.ones(1)
        learned = {m: torch.sparse.mm(self.learned([m], one), model.video) for m in self.features}
        return [model.raw * self.alike[m](model.video) + (1 - model.raw) * learned[m] for m in self.features]

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the contrast."""
        model, views, rows = self.model, self.views(), batch.positive.unique()
        scores = torch.cat([model.fuse.query(torch.tanh(model.fuse.hidden(x))) for x in views], 1)
        fused = weighted(views, scores.softmax(1))
        user, video = self.split(self.ids())
        terms, each = self.ranked(torch.cat([user, video + F.normalize(fused, dim=1)]), batch), []
        for x in views:
            a, b = F.normalize(x[rows], dim=1), F.normalize(fused[rows], dim=1)
            own = (a @ a.T / model.temperature).fill_diagonal_(-torch.inf)
            each.append(F.cross_entropy(torch.cat([a @ b.T / model.temperature, own], 1), torch.arange(len(a))))
        return {**terms, "contrast": model.contrast * torch.stack(each).sum()}


class PlainMGCN(IdPort):
    """MGCN."""

    def content(self) -> dict[str, Tensor]:
        """Features seen through the ids."""
        out = {}
        for m, f in self.features.items():
            purify = self.model.purify[m]
            out[m] = self.model.video * torch.sigmoid(purify.gate(purify.project(f)))
        return out

    def gathered(self, content: dict[str, Tensor]) -> dict[str, Tensor]:
        """Content over like videos, and from them to the users."""
        near = {m: self.alike[m](x) for m, x in content.items()}
        return {m: torch.cat([self.to_users(x), x]) for m, x in near.items()}

    def side(self, ids: Tensor, views: dict[str, Tensor]) -> Tensor:
        """The fused side view."""
        fuse, prefer = self.model.fuse, self.model.prefer
        scores = torch.cat([fuse.query(torch.tanh(fuse.hidden(x))) for x in views.values()], 1)
        common = weighted(views.values(), scores.softmax(1))
        parts = [torch.sigmoid(prefer[m](ids)) * (x - common) for m, x in views.items()]
        return (torch.stack(parts).sum(0) + common) / (len(views) + 1)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the contrast."""
        ids = self.ids()
        side = self.side(ids, self.gathered(self.content()))
        terms = self.ranked(ids + side, batch)
        return {**terms, "contrast": self.model.contrast * self.agreement(side, ids, batch)}


class PlainSMORE(PlainMGCN):
    """SMORE."""

    def content(self) -> dict[str, Tensor]:
        """Features through their filters, and the modalities' product."""
        model, out, product = self.model, {}, 1.0
        for m, f in self.features.items():
            spectrum = torch.fft.rfft(model.purify[m].project(f), dim=1, norm="ortho")
            out[m] = torch.fft.irfft(
                spectrum * torch.view_as_complex(model.filter[m]), n=model.dim, dim=1, norm="ortho"
            )
            product = product * spectrum
        product = product * torch.view_as_complex(model.filter["fused"])
        out["fused"] = torch.fft.irfft(product, n=model.dim, dim=1, norm="ortho")
        return {m: model.video * torch.sigmoid(model.purify[m].gate(x)) for m, x in out.items()}

    def side(self, ids: Tensor, views: dict[str, Tensor]) -> Tensor:
        """The mean of the views, each as a user prefers it and as the fused one asks for it."""
        model = self.model
        weights = torch.cat([model.attend[m](views["fused"]) for m in self.features], 1).softmax(1)
        asked = dict(zip(self.features, weights.split(1, 1), strict=True))
        parts = [asked.get(m, 1.0) * model.dropout(torch.sigmoid(model.prefer[m](ids))) * x for m, x in views.items()]
        return torch.stack(parts).mean(0)


class PlainGUME(PlainMGCN):
    """GUME."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.clicks, self.product = self.product, make(graph.adjacency(model.edges))

    def extended(self, content: dict[str, Tensor], noise: float) -> Tensor:
        """Users' own tables of content, propagated, with noise in each layer."""
        out = []
        for m, x in content.items():
            states = [torch.cat([self.model.extended[m], x])]
            for _ in range(2):
                message = self.clicks(states[-1])
                states.append(noisy(message, noise) if noise else message)
            out.append(torch.stack(states).mean(0))
        return torch.stack(out).mean(0)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 terms, the contrasts and the moments."""
        model, ids, content, rows = self.model, self.ids(), self.content(), batch.user.unique()
        side = self.side(ids, self.gathered(content))
        plain, one, two = (self.extended(content, n)[rows] for n in (0.0, model.noise, model.noise))
        tau = model.user_temperature
        apart = [(a.mean() - b.mean()).abs() + (a.var() - b.var()).abs() for a, b in combinations(content.values(), 2)]
        return {
            **self.ranked(ids + side, batch),
            "contrast": model.contrast * self.agreement(side, ids, batch),
            "user": model.user_weight * (nce(plain, side[rows], tau) + nce(one, two, tau)),
            "moments": model.moments * torch.stack(apart).mean(),
            "extended": 0.1 * half_squares([plain], batch),
        }
