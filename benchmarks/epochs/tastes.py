"""Plain ports of models with a table of users for each modality."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.epochs.collaborative import noisy
from benchmarks.epochs.content import relation
from benchmarks.epochs.ports import GraphPort, Make, half_squares, pair_loss
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch
from mmgraph.models.multimodal.mvgae import FLAT
from mmgraph.nn.vae import LOG_VAR_RANGE


class PlainGRCN(GraphPort):
    """GRCN over lists of edges: a look-up at both ends, a softmax by receiver, a scattered sum."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        both = graph.adjacency("interacts", norm=None)
        self.sender, self.receiver = both.indices.long(), both.row_indices().long()
        self.nodes = both.shape[0]
        to_users = self.receiver < self.users
        self.routed = self.sender[to_users], self.receiver[to_users]

    def attend(self, x: Tensor, sender: Tensor, receiver: Tensor) -> tuple[Tensor, Tensor]:
        """Each receiver's mean of its senders, weighted by a softmax of dot products, and the weights."""
        score = (x[sender] * x[receiver]).sum(1)
        top = torch.full((self.nodes,), -torch.inf).scatter_reduce(0, receiver, score.detach(), "amax")
        weight = (score - top[receiver]).exp()
        weight = weight / torch.zeros(self.nodes).index_add(0, receiver, weight)[receiver]
        return torch.zeros_like(x).index_add(0, receiver, weight.unsqueeze(1) * x[sender]), weight

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        model, content, weights = self.model, [], []
        for i, (m, f) in enumerate(self.features.items()):
            video = F.normalize(F.leaky_relu(model.project[m](f)), dim=1)
            user = F.normalize(model.preference[m], dim=1)
            for _ in range(model.routings):
                near = self.attend(torch.cat([user, video]), *self.routed)[0]
                user = F.normalize(user + near[: self.users], dim=1)
            x = torch.cat([user, video])
            near, weight = self.attend(x, self.sender, self.receiver)
            content.append(x + F.leaky_relu(near))
            weights.append(weight * model.confidence[self.sender, i])
        weight = F.relu(torch.stack(weights).max(0).values).unsqueeze(1)
        states = [model.identity]
        for _ in range(2):
            message = weight * states[-1][self.sender]
            states.append(torch.zeros_like(states[-1]).index_add(0, self.receiver, message))
        out = torch.cat([torch.stack(states).sum(0), *content], 1)
        users, videos = batch.user.unique(), torch.cat([batch.positive, batch.negative[:, 0]]).unique()
        own = [
            model.identity[users],
            model.identity[videos + self.users],
            *(p[users] for p in model.preference.values()),
        ]
        l2 = torch.stack([t.square().mean() for t in own]).sum()
        return {"bpr": pair_loss(*self.split(out), batch), "l2": model.l2 * l2}


class PlainDualGNN(GraphPort):
    """DualGNN."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.minded = relation(graph, "co_watched", make)
        names = [r for _, r, _ in graph.edge_types if r.removeprefix("similar_") in self.features]
        self.alike = [relation(graph, r, make) for r in names]

    def joined(self, users: list[Tensor], videos: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Modalities summed."""
        return torch.stack(users).sum(0), torch.stack(videos).sum(0)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the L2 term."""
        model, users, videos = self.model, [], []
        weight = model.weight.softmax(1)
        for i, (m, f) in enumerate(self.features.items()):
            x = F.normalize(torch.cat([model.preference[m], model.project[m](f)]), dim=1)
            user, video = self.split(torch.stack(self.states(x, 2)).sum(0))
            users.append(weight[:, i : i + 1] * user)
            videos.append(video)
        user, video = self.joined(users, videos)
        own = [*(p[batch.user] for p in model.preference.values()), model.weight[batch.user]]
        bpr = pair_loss(user + self.minded(user), video, batch)
        return {"bpr": bpr, "l2": model.l2 * half_squares(own, batch)}


class PlainDRAGON(PlainDualGNN):
    """DRAGON."""

    def joined(self, users: list[Tensor], videos: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Modalities side by side, and like videos."""
        video = torch.cat(videos, 1)
        return torch.cat(users, 1), video + torch.stack([product(video) for product in self.alike]).sum(0)


class PlainMENTOR(PlainDRAGON):
    """MENTOR."""

    def starts(self, hide: Any = None) -> list[Tensor]:
        """What each modality propagates from, a share of its features hidden."""
        model = self.model
        content = {m: model.project[m](f if hide is None else hide(f)) for m, f in self.features.items()}
        return [F.normalize(torch.cat([model.preference[m], x]), dim=1) for m, x in content.items()]

    def noisy(self, x: Tensor) -> Tensor:
        """Two layers with noise in each, summed."""
        states = [x]
        for _ in range(2):
            states.append(noisy(self.product(states[-1]), self.model.noise))
        return torch.stack(states).sum(0)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """DRAGON's terms and the self-supervision."""
        model, starts = self.model, self.starts()
        plain = [torch.stack(self.states(x, 2)).sum(0) for x in starts]
        videos = [self.split(x)[1] for x in plain]
        every = [self.split(self.mean(model.identity, 2))[1], torch.stack(videos).mean(0), *videos]
        apart = [(a.mean() - b.mean()).abs() + (a.var() - b.var()).abs() for a, b in combinations(every, 2)]
        drawn = torch.stack([self.noisy(x) for x in starts]).mean(0)
        users, chosen = self.chosen(batch)
        at = torch.cat([users, chosen + self.users])
        guess = torch.stack([self.mean(x, 2) for x in self.starts(model.hidden)]).mean(0)
        target = torch.stack(plain).mean(0)
        mask = 1 - F.cosine_similarity(model.predict(guess[at]), target[at].detach(), dim=1).mean()
        return {
            **super().loss(batch),
            "align": model.align * torch.stack(apart).sum(),
            "noise": model.contrast * self.agreement(target, drawn, batch),
            "mask": model.mask * mask,
        }


class PlainCOHESION(PlainDualGNN):
    """COHESION."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """The adaptive BPR and the L2 term."""
        model, blocks = self.model, []
        fused = {m: ((model.video**2 + model.project[m](f) ** 2) / 2).sqrt() for m, f in self.features.items()}
        for b, video in ({"id": model.video} | fused).items():
            x = ego = torch.cat([model.preference[b], video])
            out = []
            for _ in range(model.num_layers):
                x = self.product(x)
                x = F.cosine_similarity(x, ego, dim=1).unsqueeze(1) * x
                out.append(x)
            blocks.append(torch.stack(out).sum(0))
        user, video = self.split(torch.cat(blocks, 1))
        user = user + self.minded(user)
        video = video + torch.stack([product(video) for product in self.alike]).sum(0)
        own, one, other = user[batch.user], video[batch.positive], video[batch.negative[:, 0]]
        gap = (own * (one - other)).unflatten(1, (len(blocks), -1)).sum(2)
        bpr = -F.logsigmoid(((1 - gap.softmax(1)) * gap).sum(1)).mean()
        tables = [p[batch.user] for p in model.preference.values()]
        return {"bpr": bpr, "l2": model.l2 * half_squares(tables, batch)}


class PlainMVGAE(GraphPort):
    """MVGAE."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.product = make(graph.adjacency("interacts", norm="row"))

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and KL of the joint and of each expert."""
        model, experts = self.model, []
        tables = {"id": model.video} | {m: model.project[m](f) for m, f in self.features.items()}
        for e, video in tables.items():
            x = torch.cat([model.preference[e], video])
            h = F.leaky_relu(model.hidden[e](self.product(x)) + model.own[e](x))
            near = self.product(h) + h
            experts.append((F.normalize(model.mean[e](near), dim=1), model.spread[e](near).clamp(*LOG_VAR_RANGE)))
        precision = torch.stack([(-s).exp() for _, s in experts]).sum(0) + math.exp(-FLAT)
        joint = torch.stack([m * (-s).exp() for m, s in experts]).sum(0) / precision
        users, videos = batch.user.unique(), torch.cat([batch.positive, batch.negative[:, 0]]).unique()
        rows, bpr, kl = torch.cat([users, videos + self.users]), [], []
        for mean, spread in (*experts, (joint, -precision.log())):
            z = mean
            if self.training:
                z = mean + model.noise * torch.randn_like(mean) * (0.5 * spread).exp()
            bpr.append(pair_loss(*self.split(z), batch))
            m, s = mean[rows], spread[rows]
            kl.append(-0.5 * (1 + s - m.square() - s.exp()).sum(1).mean())
        return {"bpr": torch.stack(bpr).sum(), "kl": model.beta * torch.stack(kl).mean()}
