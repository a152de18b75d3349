"""The models as the field's toolboxes write them: every layer of every node in full, at each batch.

The product with the adjacency is passed in, so each port runs over ``torch.sparse.mm`` on COO (MMRec,
RecBole-GNN) and over gather and scatter (PyG).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch
from mmgraph.models import MMGCN, LightGCN
from mmgraph.ops import CSR

Product = Callable[[Tensor], Tensor]


def products(a: CSR) -> dict[str, Product]:
    """``A x`` as COO and as PyG's LGConv."""
    from torch_geometric.nn import LGConv

    index = torch.stack([a.row_indices().long(), a.indices.long()])
    weights = a.weights()
    assert weights is not None
    coo = torch.sparse_coo_tensor(index, weights, a.shape, is_coalesced=True)
    conv, edges = LGConv(normalize=False), index.flip(0)
    return {
        "torch_coo": lambda x: torch.sparse.mm(coo, x),
        "pyg_scatter": lambda x: conv(x, edges, weights),
    }


def pair_loss(out: Tensor, users: int, batch: PairBatch) -> Tensor:
    """BPR over the rows of the batch."""
    user, video = out[:users], out[users:]
    chosen = user[batch.user]
    positive = (chosen * video[batch.positive]).sum(1)
    negative = (chosen * video[batch.negative[:, 0]]).sum(1)
    return F.softplus(negative - positive).mean()


class PlainLightGCN(nn.Module):
    """LightGCN with two tables, a concatenation a batch, all layers stacked."""

    def __init__(self, model: LightGCN, graph: MultimodalGraph, product: Product) -> None:
        super().__init__()
        split = model.embedding.detach().clone().split([graph.num_users, graph.num_videos])
        self.user, self.video = nn.Parameter(split[0].clone()), nn.Parameter(split[1].clone())
        self.product, self.num_layers, self.l2 = product, model.num_layers, model.l2

    def loss(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """BPR and the L2 term."""
        x = torch.cat([self.user, self.video])
        layers = [x]
        for _ in range(self.num_layers):
            layers.append(self.product(layers[-1]))
        bpr = pair_loss(torch.stack(layers, 1).mean(1), len(self.user), batch)
        own = [self.user[batch.user], self.video[batch.positive], self.video[batch.negative[:, 0]]]
        l2 = torch.stack([part.square().sum() for part in own]).sum() / 2 / len(batch.user)
        return bpr, self.l2 * l2


class PlainMMGCN(nn.Module):
    """MMGCN with every layer of every modality in full and the whole catalogue projected at each batch."""

    def __init__(self, model: MMGCN, graph: MultimodalGraph, product: Product) -> None:
        super().__init__()
        self.model, self.product, self.users = model, product, graph.num_users
        self.features = {m: graph.features(m) for m in model.modalities}

    def loss(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """BPR and the L2 term."""
        model, views = self.model, []
        for m in model.modalities:
            content = model.project[m](self.features[m].values) * self.features[m].present.unsqueeze(1)
            x = F.normalize(torch.cat([model.preference[m], content]), dim=1)
            for conv in model.convs[m]:
                # the paper's order: transform the nodes, then send the messages
                h = F.leaky_relu(self.product(x @ conv.conv.weight["interacts"]))
                own = F.leaky_relu(conv.own(x)) + model.identity
                x = F.leaky_relu(conv.combine(torch.cat([h, own], 1)) if conv.concat else conv.combine(h) + own)
            views.append(x)
        bpr = pair_loss(torch.stack(views).mean(0), self.users, batch)
        rows = torch.cat([batch.user, batch.positive + self.users, batch.negative[:, 0] + self.users])
        own = [model.identity[rows], *(model.preference[m][batch.user] for m in model.modalities)]
        l2 = torch.stack([part.square().sum() for part in own]).sum() / 2 / len(batch.user)
        return bpr, model.l2 * l2
