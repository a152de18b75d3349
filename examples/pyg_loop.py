"""mmgraph's graph and layers in a plain PyG training loop: no fit, no recommender class.

The graph is a HeteroData, so PyG's own layers take it as it is; mmgraph's layers take its matrices.

python examples/pyg_loop.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from mmgraph.data import Features, random_split
from mmgraph.data.synthetic import MODALITIES, WorldConfig, generate
from mmgraph.graph import MultimodalGraph, build_graph
from mmgraph.nn import ModalityConv
from mmgraph.ops import CSR


class TwoLayers(nn.Module):
    """A SAGEConv of PyG from modality nodes to videos, then a ModalityConv of mmgraph over users and videos."""

    def __init__(self, graph: MultimodalGraph, dim: int = 32) -> None:
        super().__init__()
        self.users, self.videos = graph.num_users, graph.num_videos
        self.identity = nn.Parameter(0.1 * torch.randn(self.users + self.videos, dim))
        self.reads = nn.ModuleDict({m: SAGEConv((graph.feature_dims[m], dim), dim) for m in graph.modalities})
        self.spreads = ModalityConv(dim, dim)

    def forward(self, graph: MultimodalGraph, adjacency: CSR) -> tuple[Tensor, Tensor]:
        user, video = self.identity.split([self.users, self.videos])
        for modality, layer in self.reads.items():
            edges = graph[modality, "rev_has", "video"].edge_index  # a missing modality is a missing edge
            video = video + layer((graph[modality].x, video), edges) / len(self.reads)
        states = self.spreads(torch.cat([user, video]), self.identity, adjacency)
        user, video = states.split([self.users, self.videos])
        return user, video


def auc(user: Tensor, video: Tensor, pairs: Tensor, chance: torch.Generator) -> float:
    """The share of held-out pairs that score above a pair at random."""
    other = torch.randint(len(video), (pairs.shape[1],), generator=chance)
    right = (user[pairs[0]] * video[pairs[1]]).sum(1)
    wrong = (user[pairs[0]] * video[other]).sum(1)
    return float((right > wrong).float().mean())


def main() -> None:
    """Thirty epochs of BPR over all edges at once."""
    torch.manual_seed(0)
    chance = torch.Generator().manual_seed(0)
    world = generate(WorldConfig(users=200, videos=200, days=20, sessions_per_week=6))
    features = {m: Features.of(world.features[m], world.present[m]) for m in MODALITIES}
    split = random_split(world.dataset(features, name="small-world"), seed=0)
    graph = build_graph(split)
    adjacency = graph.adjacency("interacts", norm="row")
    held_out = torch.stack([torch.tensor(split.valid[name].to_numpy()) for name in ("user", "video")])

    model = TwoLayers(graph)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    user, positive = graph.interactions()
    for epoch in range(30):
        users, videos = model(graph, adjacency)
        negative = torch.randint(graph.num_videos, positive.shape, generator=chance)
        margin = (users[user] * (videos[positive] - videos[negative])).sum(1)
        loss = F.softplus(-margin).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch % 10 == 9:
            with torch.no_grad():
                users, videos = model(graph, adjacency)
                found = auc(users, videos, held_out, chance)
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}, AUC on valid {found:.3f}")


if __name__ == "__main__":
    main()
