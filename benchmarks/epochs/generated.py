"""Plain ports of models that learn or generate relations of users and videos, dense where the public code is dense."""

from __future__ import annotations

import copy
import math
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.epochs.ports import GraphPort, Make, half_squares, nce, pair_loss
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.graph.samplers import PairBatch, PairUserBatch
from mmgraph.nn.propagation import half_normalised


class PlainMMSSL(GraphPort):
    """MMSSL: cosines of all users and all videos, and the best of each user as a sparse matrix, at each batch."""

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        self.up, self.down = make(half_normalised(graph.seen)), make(half_normalised(graph.seen.transpose()))
        self.seen = graph.seen
        self.active = (graph.seen.degree() > 0).nonzero().squeeze(1)

    def seen_through(self, content: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Ids of users and of videos gathered over the pairs that the content suggests."""
        with torch.no_grad():
            user, video = (F.normalize(x, dim=1) for x in content)
            best = (user[self.active] @ video.T).topk(min(self.model.k, len(video)), dim=1).indices
            pair = torch.stack([self.active.repeat_interleave(best.shape[1]), best.flatten()])
            count = torch.bincount(pair[1], minlength=len(video)).clamp(min=1).float()
            own = torch.full_like(pair[0], best.shape[1]).float()
            size = len(user), len(video)
            to_user = torch.sparse_coo_tensor(pair, own.rsqrt(), size, check_invariants=False)
            weight = count.rsqrt()[pair[1]]
            to_video = torch.sparse_coo_tensor(pair.flip(0), weight, size[::-1], check_invariants=False)
        return torch.sparse.mm(to_user, self.model.video), torch.sparse.mm(to_video, self.model.user)

    def attended(self, views: list[Tensor]) -> Tensor:
        """Each modality looks at the others; the mean of what they make of it."""
        attend, x = self.model.attend, torch.stack(views, 1)
        q, k = (layer(x).unflatten(2, (attend.num_heads, -1)).transpose(1, 2) for layer in (attend.query, attend.key))
        weight = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(3)
        return attend.join((weight @ x.unsqueeze(1)).transpose(1, 2).flatten(2)).mean(1)

    def taste(self, user: Tensor, video: Tensor) -> Tensor:
        """A learned row of each user."""
        return F.normalize(user @ video.T, dim=1)

    def judged(self, real: Tensor, learned: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's loss with the penalty on its gradient, and the generator's: the network run on whole rows."""
        critic, fake, share = self.model.critic, learned.detach(), torch.rand(len(real), 1)
        between = (share * real + (1 - share) * fake).requires_grad_()
        slope = torch.autograd.grad(critic.scores(between).sum(), between, create_graph=True)[0]
        penalty = (slope.norm(dim=1) - 1).square().mean()
        loss = critic.scores(fake).mean() - critic.scores(real).mean() + critic.penalty * penalty
        for weight in critic.parameters():
            weight.requires_grad_(False)
        told = -critic.scores(learned).mean()
        for weight in critic.parameters():
            weight.requires_grad_(True)
        return loss, told

    def loss(self, batch: PairBatch) -> dict[str, Tensor]:
        """BPR, both L2 terms, the contrast, and the terms of critic and generator."""
        model, content = self.model, []
        for m, f in self.features.items():
            user = self.up(model.dropout(model.project[m](f)))
            content.append((user, self.down(user)))
        ids = [self.seen_through(c) for c in content]
        out = []
        for table, views in zip((model.user, model.video), zip(*ids, strict=True), strict=True):
            out.append([table + model.ids * F.normalize(self.attended(list(views)), dim=1)])
        for _ in range(model.num_layers):
            user, video = self.up(out[1][-1]), self.down(out[0][-1])
            out[0].append(user)
            out[1].append(video)
        final = []
        for states, views in zip(out, zip(*content, strict=True), strict=True):
            beside = torch.stack([F.normalize(x, dim=1) for x in views]).sum(0)
            final.append(torch.stack(states).mean(0) + model.content * beside)
        user, video = final
        rows = batch.user.unique()
        each = []
        for view, _ in ids:
            a, b = F.normalize(view[rows], dim=1), F.normalize(user[rows], dim=1)
            others = (a @ a.T).fill_diagonal_(-torch.inf)
            each.append(F.cross_entropy(torch.cat([a @ b.T, others], 1) / model.temperature, torch.arange(len(a))))
        seen = self.seen.select(rows)[0].dense().clamp(max=1)
        learned = torch.cat([self.taste(u[rows], v) for u, v in content])
        gumbel = -torch.log(-torch.log(torch.rand_like(seen).clamp(1e-8, 1 - 1e-7)))
        real = ((seen + model.noise * gumbel) / model.real_temperature).softmax(1)
        real = F.normalize(real + model.scale * self.taste(user[rows], video).detach(), dim=1)
        critic, generator = self.judged(real.repeat(len(content), 1), learned)
        squares = torch.stack([x.square().sum() for c in content for x in c]).sum()
        own = [user[batch.user], video[batch.positive], video[batch.negative[:, 0]]]
        return {
            "bpr": pair_loss(user, video, batch),
            "l2": model.l2 * half_squares(own, batch),
            "features": model.feature_l2 * squares / 2 / len(video),
            "contrast": model.contrast * torch.stack(each).sum(),
            "critic": critic,
            "generator": model.generator * generator,
        }


class PlainDiffMM(GraphPort):
    """DiffMM: dense rows through the whole denoiser at each of its steps.

    The generated graphs are made once, as the public code makes them once an epoch, which is not timed.
    """

    def __init__(self, model: Any, graph: MultimodalGraph, make: Make) -> None:
        super().__init__(model, graph, make)
        whole = copy.deepcopy(model).eval().relations(graph)
        self.generated = {m: make(relation) for m, relation in whole.items()}
        self.clicks = graph.seen.distinct()
        self.drawn = torch.full_like(next(iter(model.generate.values())).edges, -1)

    @staticmethod
    def denoised(diffusion: Any, x: Tensor, step: Tensor) -> Tensor:
        """The clean rows, guessed from noisy ones."""
        half = diffusion.time_dim // 2
        angle = step.unsqueeze(1) * torch.exp(-math.log(10_000) / half * torch.arange(half))
        time = diffusion.time(torch.cat([angle.cos(), angle.sin()], 1))
        return diffusion.last(torch.tanh(x @ diffusion.first + time))

    @torch.no_grad()
    def draw(self, diffusion: Any, clean: Tensor) -> Tensor:
        """Each row's largest generated entries."""
        x, kept, chance = clean, diffusion.kept, diffusion.chance
        for t in reversed(range(diffusion.steps)):
            guess = self.denoised(diffusion, x, torch.full((len(x),), t))
            before = kept[t - 1] if t else torch.ones(())
            c1 = chance[t] * before.sqrt() / (1 - kept[t])
            c2 = (1 - before) * (1 - chance[t]).sqrt() / (1 - kept[t])
            x = c1 * guess + c2 * x
        return x.topk(self.drawn.shape[1], dim=1).indices

    def diffused(self, users: Tensor) -> dict[str, Tensor]:
        """The denoisers' terms; in training these users' entries are generated too."""
        model, clean = self.model, self.clicks.select(users)[0].dense()
        noise, content = [], []
        for m, f in self.features.items():
            diffusion = model.generate[m].diffusion
            step = torch.randint(0, diffusion.steps, (len(clean),))
            kept = diffusion.kept[step].unsqueeze(1)
            noisy = kept.sqrt() * clean + (1 - kept).sqrt() * torch.randn_like(clean)
            guess = self.denoised(diffusion, diffusion.dropout(noisy), step)
            ratio = diffusion.kept / (1 - diffusion.kept)
            weight = torch.where(step == 0, 1.0, ratio[step - 1] - ratio[step])
            noise.append((weight * (clean - guess).square().mean(1)).mean())
            gap = guess @ model.project[m](f).detach() - clean @ model.video.detach()
            content.append(gap.square().mean())
            if self.training:
                self.drawn[users] = self.draw(diffusion, clean)
        return {"diffusion": torch.stack(noise).sum(), "injection": model.inject * torch.stack(content).sum()}

    def loss(self, batch: PairUserBatch) -> dict[str, Tensor]:
        """BPR, the L2 of the tables, the contrast of the modalities, and the denoisers' terms."""
        model, layers = self.model, self.model.num_layers
        diffused, ids = self.diffused(batch.others), torch.cat([model.user, model.video])
        main, views = [], []
        for m, f in self.features.items():
            start = torch.cat([model.user, F.normalize(model.project[m](f), dim=1)])
            own = self.product(start)
            more = self.product(torch.cat([own[: self.users], model.video]))
            main.append(own + more + model.generated * self.generated[m](ids))
            views.append(torch.stack(self.states(self.generated[m](start), layers)).sum(0))
        x = (torch.stack(main) * model.weight.softmax(0).reshape(-1, 1, 1)).sum(0)
        out = torch.stack(self.states(x, layers)).sum(0) + model.fused * F.normalize(x, dim=1)
        each = []
        for a, b in combinations(views, 2):
            sides = zip(self.split(a), self.split(b), self.chosen(batch), strict=True)
            each += [nce(one[rows], other, model.temperature, rows) for one, other, rows in sides]
        return {
            "bpr": pair_loss(*self.split(out), batch),
            "l2": model.l2 * (model.user.square().sum() + model.video.square().sum()),
            "contrast": model.contrast * torch.stack(each).sum(),
            **diffused,
        }
