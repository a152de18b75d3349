"""The models as the field's toolboxes write them: every layer of every node in full, at each batch.

The product with an adjacency is passed in, so each port runs over ``torch.sparse.mm`` on COO (MMRec, RecBole-GNN)
and over gather and scatter (PyG).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch, PairUserBatch
from mmgraph.models import FREEDOM, MMGCN, VBPR, LightGCN
from mmgraph.ops import CSR

Product = Callable[[Tensor], Tensor]
Make = Callable[[CSR], Product]


def torch_coo(a: CSR) -> Product:
    """``A x`` by ``torch.sparse.mm`` on COO."""
    index = torch.stack([a.row_indices().long(), a.indices.long()])
    # not said to be coalesced: a mix of kNN graphs names some edges twice
    weights = a.weights()
    weights = torch.ones(a.num_edges) if weights is None else weights
    coo = torch.sparse_coo_tensor(index, weights, a.shape, check_invariants=False).coalesce()
    return lambda x: torch.sparse.mm(coo, x)


def pyg_scatter(a: CSR) -> Product:
    """``A x`` by PyG's LGConv."""
    from torch_geometric.nn import LGConv

    edges = torch.stack([a.indices.long(), a.row_indices().long()])
    conv, weights = LGConv(normalize=False), a.weights()
    return lambda x: conv(x, edges, weights)


PRODUCTS: dict[str, Make] = {"torch_coo": torch_coo, "pyg_scatter": pyg_scatter}


def bpr(user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """BPR of dot products."""
    return -F.logsigmoid((user * positive).sum(1) - (user * negative).sum(1)).mean()


def pair_loss(user: Tensor, video: Tensor, batch: PairBatch | PairUserBatch) -> Tensor:
    """BPR over the rows of the batch."""
    return bpr(user[batch.user], video[batch.positive], video[batch.negative[:, 0]])


def half_squares(rows: list[Tensor], batch: PairBatch) -> Tensor:
    """½ Σ ‖row‖² / B, each row as often as the batch reads it."""
    return torch.stack([part.square().sum() for part in rows]).sum() / 2 / len(batch.user)


class Port(nn.Module):
    """A model of mmgraph's written the plain way."""

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """Its terms, named as those of the model."""
        raise NotImplementedError


def nce(anchor: Tensor, table: Tensor, temperature: float, own: Tensor | None = None) -> Tensor:
    """InfoNCE of cosines: row i of ``anchor`` belongs to row i (or ``own[i]``) of ``table``."""
    logits = F.normalize(anchor, dim=1) @ F.normalize(table, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(anchor)) if own is None else own)


class GraphPort(Port):
    """What ports of graph models share: a model, whose parameters they use, its adjacency and its features."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        self.model, self.users = model, graph.num_users
        self.product = make(graph.adjacency("interacts", norm="sym"))
        self.features = {m: graph.features(m).values for m in getattr(model, "modalities", ())}

    def states(self, x: Tensor, num_layers: int, product: Product | None = None) -> list[Tensor]:
        """Layers 0 … L."""
        out = [x]
        for _ in range(num_layers):
            out.append((product or self.product)(out[-1]))
        return out

    def mean(self, x: Tensor, num_layers: int) -> Tensor:
        """LightGCN."""
        return torch.stack(self.states(x, num_layers)).mean(0)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Users and videos."""
        return x[: self.users], x[self.users :]

    @staticmethod
    def chosen(batch: PairBatch | PairUserBatch) -> tuple[Tensor, Tensor]:
        """The batch's users and the videos they chose, each once."""
        return batch.user.unique(), batch.positive.unique()

    def agreement(self, first: Tensor, second: Tensor, batch: PairBatch) -> Tensor:
        """InfoNCE of two views of the batch's users, and of the videos they chose."""
        sides = zip(self.split(first), self.split(second), self.chosen(batch), strict=True)
        return torch.stack([nce(a[rows], b[rows], self.model.temperature) for a, b, rows in sides]).sum()

    def ranked(self, out: Tensor, batch: PairBatch, ego: Tensor | None = None) -> dict[str, Tensor]:
        """BPR of users and videos stacked, and the L2 of their rows, or of those of ``ego``."""
        user, video = self.split(out if ego is None else ego)
        own = [user[batch.user], video[batch.positive], video[batch.negative[:, 0]]]
        return {"bpr": pair_loss(*self.split(out), batch), "l2": self.model.l2 * half_squares(own, batch)}


class PlainLightGCN(Port):
    """LightGCN with two tables, a concatenation a batch, all layers stacked."""

    def __init__(self, model: LightGCN, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        split = model.embedding.detach().clone().split([graph.num_users, graph.num_videos])
        self.user, self.video = nn.Parameter(split[0].clone()), nn.Parameter(split[1].clone())
        self.product = make(graph.adjacency("interacts", norm="sym"))
        self.num_layers, self.l2 = model.num_layers, model.l2

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        x = torch.cat([self.user, self.video])
        layers = [x]
        for _ in range(self.num_layers):
            layers.append(self.product(layers[-1]))
        user, video = torch.stack(layers, 1).mean(1).split([len(self.user), len(self.video)])
        own = [self.user[batch.user], self.video[batch.positive], self.video[batch.negative[:, 0]]]
        return {"bpr": pair_loss(user, video, batch), "l2": self.l2 * half_squares(own, batch)}


class PlainVBPR(Port):
    """VBPR with the whole catalogue's features, of all modalities side by side, projected at each batch."""

    def __init__(self, model: VBPR, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        self.user, self.video, self.bias, self.l2 = model.user, model.video, model.bias, model.l2
        weight = torch.cat([cast(nn.Linear, model.project[m]).weight for m in model.modalities], 1).detach()
        self.project = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.project.weight = nn.Parameter(weight.clone())
        self.features = torch.cat([graph.features(m).values for m in model.modalities], 1)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        content = self.project(self.features)
        video = torch.cat([self.video, content[:, :-1], content[:, -1:] + self.bias], 1)
        user = torch.cat([self.user, torch.ones(len(self.user), 1)], 1)
        videos = torch.cat([batch.positive, batch.negative[:, 0]])
        own = [self.user[batch.user], self.video[videos], self.bias[videos]]
        return {"bpr": pair_loss(user, video, batch), "l2": self.l2 * half_squares(own, batch)}


class PlainFREEDOM(Port):
    """FREEDOM with both graphs in full and the whole catalogue's features projected at each batch."""

    def __init__(self, model: FREEDOM, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        self.model = model
        self.product = make(graph.adjacency("interacts", norm="sym"))
        self.alike = make(graph.adjacency(model.similar, norm=None))
        self.features = {m: graph.features(m).values for m in model.modalities}

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, and the sum of its modal forms."""
        model = self.model
        near = model.video
        for _ in range(model.num_similar_layers):
            near = self.alike(near)
        layers = [torch.cat([model.user, model.video])]
        for _ in range(model.num_layers):
            layers.append(self.product(layers[-1]))
        user, video = torch.stack(layers, 1).mean(1).split([len(model.user), len(model.video)])
        content = [pair_loss(user, model.project[m](f), batch) for m, f in self.features.items()]
        bpr = pair_loss(user, video + near, batch)
        return {"bpr": bpr, "content": model.content * torch.stack(content).sum()}


class PlainMMGCN(Port):
    """MMGCN with every layer of every modality in full and the whole catalogue projected at each batch."""

    def __init__(self, model: MMGCN, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        self.model, self.users = model, graph.num_users
        self.product = make(graph.adjacency("interacts", norm="row"))
        self.features = {m: graph.features(m) for m in model.modalities}

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        model, views = self.model, []
        for m in model.modalities:
            content = model.project[m](self.features[m].values) * self.features[m].present.unsqueeze(1)
            x = F.normalize(torch.cat([model.preference[m], content]), dim=1)
            for conv in cast(Iterable[Any], model.convs[m]):
                # the paper's order: transform the nodes, then send the messages
                h = F.leaky_relu(self.product(x @ conv.conv.weight["interacts"]))
                own = F.leaky_relu(conv.own(x)) + model.identity
                x = F.leaky_relu(conv.combine(torch.cat([h, own], 1)) if conv.concat else conv.combine(h) + own)
            views.append(x)
        out = torch.stack(views).mean(0)
        rows = torch.cat([batch.user, batch.positive + self.users, batch.negative[:, 0] + self.users])
        own = [model.identity[rows], *(model.preference[m][batch.user] for m in model.modalities)]
        bpr = pair_loss(out[: self.users], out[self.users :], batch)
        return {"bpr": bpr, "l2": model.l2 * half_squares(own, batch)}
