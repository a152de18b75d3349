"""Plain ports of models with content: the whole catalogue projected and every node propagated at each batch.

These and those beside are written for graphs in which no video lacks a modality, as the public code is.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.epochs.ports import GraphPort, Make, Port, half_squares, nce, pair_loss
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch
from mmgraph.losses import doubts
from mmgraph.nn.fusion import users_of


def relation(graph: MultimodalGraph, name: str, make: Make) -> Any:
    """The product with a relation's stored weights."""
    return make(graph.relation(name, norm=None))


class IdPort(GraphPort):
    """With tables of users and of videos, and the kNN graphs that the model reads."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        names = [r for _, r, _ in graph.edge_types if r.startswith("similar_")]
        self.alike = {r.removeprefix("similar_"): relation(graph, r, make) for r in names}
        self.to_users = make(users_of(graph))

    def ids(self) -> Tensor:
        """LightGCN of the tables."""
        return self.mean(torch.cat([self.model.user, self.model.video]), self.model.num_layers)


class PlainBM3(IdPort):
    """BM3."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """Pairs, content and norms."""
        model = self.model
        user, video = self.split(self.ids())
        video = video + model.video
        kept = model.dropout(user.detach()), model.dropout(video.detach())

        def apart(a: Tensor, b: Tensor) -> Tensor:
            return 1 - F.cosine_similarity(a, b, dim=1).mean()

        said, aim = model.predict(user)[batch.user], kept[1][batch.positive]
        content = []
        for m, f in self.features.items():
            own = model.project[m](f)
            predicted = model.predict(own)[batch.positive]
            content += [apart(predicted, aim), apart(predicted, model.dropout(own.detach())[batch.positive])]
        users, videos = self.chosen(batch)
        return {
            "pair": apart(said, aim) + apart(model.predict(video)[batch.positive], kept[0][batch.user]),
            "content": model.content * torch.stack(content).sum(),
            "norm": model.norm * (user[users].norm() + video[videos].norm()) / len(video),
        }


class PlainSLMRec(IdPort):
    """SLMRec."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """The softmax over the batch, and the chain of contrasts."""
        model, rows = self.model, batch.positive.unique()
        tables = {"id": model.video} | {m: model.project[m](f) for m, f in self.features.items()}
        views = {c: self.split(self.mean(torch.cat([model.user, x]), model.num_layers)) for c, x in tables.items()}
        user, video = (torch.cat([v[i] for v in views.values()], 1) for i in (0, 1))
        user, video = model.join_user(user)[batch.user], model.join_video(video)[batch.positive]
        logits = F.normalize(user, dim=1) @ F.normalize(video, dim=1).T / model.temperature
        same = batch.positive.unsqueeze(1) == batch.positive
        logits = logits.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool), -torch.inf)
        guides = [model.guide[c](v[1][rows]) for c, v in views.items()]
        chain = [nce(a, b, model.temperature) for a, b in pairwise(guides)]
        softmax = F.cross_entropy(logits, torch.arange(len(logits)))
        return {"softmax": softmax, "contrast": model.contrast * torch.stack(chain).sum()}


class PlainLGMRec(IdPort):
    """LGMRec."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.watched = make(graph.seen)
        self.count = graph.seen.degree().clamp(min=1).unsqueeze(1)

    def hyperedges(self, traits: Tensor) -> Tensor:
        """Which hyperedges each row is in."""
        if self.training:
            traits = traits - torch.log(-torch.log(torch.rand_like(traits).clamp(1e-10, 1 - 1e-7)))
        return self.model.dropout((traits / self.model.temperature).softmax(1))

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the contrast of the global views."""
        model, ids, content, views = self.model, self.ids(), [], []
        for m, f in self.features.items():
            video, traits = model.project[m](f), model.trait[m](f)
            own = torch.cat([self.watched(video) / self.count, video])
            content.append(F.normalize(self.states(own, model.content_layers)[-1], dim=1))
            of_video, of_user = self.hyperedges(traits), self.hyperedges(self.to_users(traits))
            videos = self.split(ids)[1]
            for _ in range(model.hyper_layers):
                shared = of_video.T @ videos
                videos = of_video @ shared
            views.append(torch.cat([of_user @ shared, videos]))
        joint = F.normalize(torch.stack(views).sum(0), dim=1)
        out = ids + torch.stack(content).sum(0) + model.hyper * joint
        terms, each = self.ranked(out, batch), []
        for i, a in enumerate(views):
            for b in views[i + 1 :]:
                sides = zip(self.split(a), self.split(b), self.chosen(batch), strict=True)
                each += [nce(x[rows], y[rows], model.contrast_temperature) for x, y, rows in sides]
        return {**terms, "contrast": model.contrast * torch.stack(each).sum()}


class PlainPGL(IdPort):
    """PGL."""

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR and the contrast of two dropouts."""
        model = self.model
        video = torch.cat([F.normalize(model.project[m](f), dim=1) for m, f in self.features.items()], 1)
        user, own = self.split(self.mean(torch.cat([model.user, video]), model.num_layers))
        own = own + torch.stack([self.alike[m](video) for m in self.features]).sum(0)
        users, videos = self.chosen(batch)
        each = [nce(model.dropout(x), model.dropout(x), model.temperature) for x in (user[users], own[videos])]
        return {"bpr": pair_loss(user, own, batch), "contrast": model.contrast / 2 * torch.stack(each).sum()}


class PlainDAMRS(IdPort):
    """DA-MRS."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.graphs = [self.alike[m] for m in self.features] + [relation(graph, "watched_with", make)]

    def neighbours(self, views: list[Tensor], rows: Tensor) -> Tensor:
        """Neighbours that the views agree on, then those of one view."""
        model, units = self.model, [F.normalize(h, dim=1) for h in views]
        logits = [u[rows] @ u.T for u in units]
        chance = [x.detach().softmax(1) for x in logits]
        total, k, each = torch.stack(chance).sum(0), min(model.neighbours, len(units[0]) // 2), []
        for mine, own in zip(logits, chance, strict=True):
            first = (total + own).topk(k, dim=1).indices
            second = own.scatter(1, first, -1.0).topk(k, dim=1).indices
            share = (mine / model.temperature).softmax(1)
            near, beside = share.gather(1, first).sum(1), share.gather(1, second).sum(1)
            each.append(-(near.log() + (beside / (1 - near)).log()).mean())
        return torch.stack(each).mean()

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """The doubting BPR, the neighbours and the divergence."""
        model = self.model
        views = [self.states(model.video, model.num_similar_layers, product)[-1] for product in self.graphs]
        user, ids = self.split(self.ids())
        beside = torch.stack(views).mean(0)
        own, pairs = user[batch.user], torch.stack([batch.positive, batch.negative[:, 0]], 1)
        said = torch.stack([(own.unsqueeze(1) * F.normalize(h, dim=1)[pairs]).sum(2).sigmoid() for h in views], 2)
        weight, reverse = doubts(said.detach(), torch.ones_like(said, dtype=torch.bool))
        gap = ((ids + beside)[pairs] * own.unsqueeze(1)).sum(2)
        gap = gap[:, :1] - gap[:, 1:]
        users, videos = batch.user.unique(), torch.cat([batch.positive, batch.negative[:, 0]]).unique()
        p, q = (user[users] @ F.normalize(x[videos], dim=1).T for x in (ids, beside))
        return {
            "bpr": (weight * F.softplus(-gap) + reverse * F.softplus(gap)).mean(),
            "neighbours": model.contrast * self.neighbours(views, videos),
            "divergence": model.align * ((p.sigmoid() - q.sigmoid()) * (p - q)).mean(),
        }


class PlainPinSage(GraphPort):
    """PinSage over all videos, and the mean of what every user watched."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.walked, self.watched = relation(graph, "walked", make), make(graph.seen)
        self.count = graph.seen.degree().unsqueeze(1)

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """The hinge, what is predicted left out of the mean."""
        model = self.model
        x = model.video + torch.stack([model.project[m](f) for m, f in self.features.items()]).sum(0)
        for message, update in zip(model.message, model.update, strict=True):
            near = self.walked(F.relu(message(x)))
            x = F.normalize(F.leaky_relu(update(torch.cat([near, x], 1))), dim=1)
        own, other = x[batch.positive], x[batch.negative[:, 0]]
        user = (self.watched(x)[batch.user] - own) / (self.count[batch.user] - 1).clamp(min=1)
        return {"margin": F.relu(1 + (user * other).sum(1) - (user * own).sum(1)).mean()}


class PlainHeteroMMGCN(Port):
    """The heterogeneous MMGCN: a product and a matrix for every relation, of every node, in the paper's order."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__()
        self.model = model
        self.features = {m: graph[m].x for m in model.modalities}
        self.node = {m: graph.node_of(m) for m in model.modalities}
        to_video = graph.relation(("user", "interacts", "video"), norm="sym")
        self.products = {("video", "user"): make(to_video), ("user", "video"): make(to_video.transpose())}
        for m in model.modalities:
            attached = graph.relation(("video", "has", m), norm="sym")
            self.products |= {(m, "video"): make(attached), ("video", m): make(attached.transpose())}

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, the L2 term and the alignment of modality nodes."""
        model = self.model
        x = {"user": model.user, "video": model.video}
        x |= {m: F.normalize(model.project[m](f), dim=1) for m, f in self.features.items()}
        kept = {t: [state] for t, state in x.items()}
        for layer in model.layers:
            new = {}
            for t, conv in layer.named_children():
                near = [self.products[t, r](x[r] @ weight) for r, weight in conv.weight.items()]
                new[t] = F.leaky_relu(torch.stack([*near, x[t] @ conv.loop]).sum(0))
                kept[t].append(new[t])
            x = new
        out = {t: torch.stack(states).mean(0) for t, states in kept.items()}
        rows, align = batch.positive.unique(), []
        for m, n in combinations(self.features, 2):
            a, b = out[m][self.node[m][rows]], out[n][self.node[n][rows]]
            align.append((nce(a, b, 0.2) + nce(b, a, 0.2)) / 2)
        own = [model.user[batch.user], model.video[batch.positive], model.video[batch.negative[:, 0]]]
        return {
            "bpr": pair_loss(out["user"], out["video"], batch),
            "l2": model.l2 * half_squares(own, batch),
            "align": model.align * torch.stack(align).mean(),
        }
