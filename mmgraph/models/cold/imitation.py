"""Weights of a mixture, learned by holding videos back as if they were new."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

USERS = 1_000  # as many as the weights of a few parts need
CELLS = 2**25  # numbers held for them at once, all parts together
STRENGTH = 10.0  # of the prior, beside a loss of 1 a list
STEPS = 50  # of Newton's method, at most


class Imitation(NamedTuple):
    """What is left of a graph, and what was held back.

    Attributes:
        graph: without the late clicks, and without those on the hidden videos.
        targets: CSR [U, V], the late clicks, those on hidden videos among them.
        candidates: bool [V], the videos that the whole graph knows.
    """

    graph: MultimodalGraph
    targets: CSR
    candidates: Tensor


def imitate(graph: MultimodalGraph, hide: float, late: float, seed: int) -> Imitation:
    """Holds back the last clicks, and every click on some of the videos: new videos, in the place of known ones.

    Args:
        graph: what training knows.
        hide: share of the videos.
        late: share of the clicks, the last ones; a random share where there are no times.
        seed: of the draws, which no other random numbers touch.
    """
    generator = torch.Generator().manual_seed(seed)
    user, video = graph.interactions()
    store = graph["user", "interacts", "video"]
    hidden = (torch.rand(graph.num_videos, generator=generator) < hide).to(video.device)
    order = store.time.double() if "time" in store else torch.rand(len(user), generator=generator).to(video.device)
    held = torch.zeros(len(user), dtype=torch.bool, device=video.device)
    held[order.sort(stable=True).indices[round(len(user) * (1 - late)) :]] = True
    left = copy.copy(graph)
    kept = left["user", "interacts", "video"]
    keep = ~held & ~hidden[video]
    for key, value in store.items():
        kept[key] = value[:, keep] if key == "edge_index" else value[keep]
    left["video", "rev_interacts", "user"].edge_index = kept.edge_index.flip(0)
    pairs = torch.unique(user[held] * graph.num_videos + video[held])
    seen = torch.unique(user[keep] * graph.num_videos + video[keep])
    pairs = pairs[~torch.isin(pairs, seen)]
    targets = CSR.from_edges(pairs // graph.num_videos, pairs % graph.num_videos, (graph.num_users, graph.num_videos))
    return Imitation(left, targets, graph.seen.transpose().degree() > 0)


def fit_weights(held: Imitation, parts: Callable[[Tensor], list[Tensor]], prior: Tensor) -> Tensor:
    """The weights [P] that rank what was held back best: −Σ ln softmax over the candidates, each user counting once.

    (STRENGTH/2)‖a − prior‖² is added, so that little data leaves the prior.

    Args:
        held: what :func:`imitate` gave.
        parts: rows of users [B] -> P parts, each [B, V], or [V] where all users share it.
        prior: [P].
    """
    users = (held.targets.degree() > 0).nonzero().flatten()
    limit = max(1, min(USERS, CELLS // max(1, len(prior) * held.targets.shape[1])))
    if len(users) > limit:
        chosen = torch.randperm(len(users), generator=torch.Generator().manual_seed(0))[:limit]
        users = users[chosen.sort().values.to(users.device)]
    if not len(users):
        return prior.clone()
    shape = (len(users), held.targets.shape[1])
    stacked = torch.stack([part.expand(shape) for part in parts(users)], -1)
    wanted = held.targets.select(users)[0].dense()
    out = (held.graph.seen.select(users)[0].dense() > 0) | ~held.candidates
    return _softmax_weights(stacked, wanted / wanted.sum(1, keepdim=True), out, prior, STRENGTH / len(users))


def _softmax_weights(parts: Tensor, wanted: Tensor, out: Tensor, prior: Tensor, strength: float) -> Tensor:
    """The weights [P] that minimise the mean of −Σ wanted · ln softmax(parts a) + (strength/2)‖a − prior‖².

    Newton's method, each step halved until it gains: convex, and with so few weights a handful of steps.

    Args:
        parts: [n, V, P]. wanted: [n, V], rows sum to 1. out: bool [n, V], what no list may hold.
        prior, strength: as above.
    """
    lists = len(parts)
    aim = torch.einsum("nv,nvp->p", wanted, parts) / lists

    def loss_of(weights: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the chances [n, V]."""
        scores = (parts @ weights).masked_fill(out, float("-inf"))
        level = scores.logsumexp(1, keepdim=True)
        loss = level.mean() - aim @ weights + strength / 2 * (weights - prior).square().sum()
        return loss, (scores - level).exp()

    weights = prior.clone()
    loss, chance = loss_of(weights)
    for _ in range(STEPS):
        mean = torch.einsum("nv,nvp->np", chance, parts)
        slope = mean.mean(0) - aim + strength * (weights - prior)
        spread = (parts * chance.sqrt().unsqueeze(-1)).flatten(0, 1)
        curve = (spread.T @ spread - mean.T @ mean) / lists
        curve.diagonal().add_(strength + 1e-6)
        step = torch.linalg.solve(curve, slope)
        for _ in range(30):
            nearer, then = loss_of(weights - step)
            if nearer <= loss:
                break
            step = step / 2
        else:
            break
        weights, loss, chance = weights - step, nearer, then
        if float(step.abs().max()) < 1e-4:
            break
    return weights
