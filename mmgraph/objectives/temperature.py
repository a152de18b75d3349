"""A softmax whose temperature is each user's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgraph.graph.samplers import Draws
from mmgraph.nn.memory import UserMeans
from mmgraph.objectives.base import Examples, Objective, at_least, needs_rows
from mmgraph.objectives.softmax import SampledSoftmax, or_zero
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.nn.heads import Head


@dataclass(frozen=True)
class AdaptiveTemperature(Objective):
    """Adap-τ: a softmax on cosines whose temperature is each user's own: sharp for those who are learnt already.

    Chen et al., "Adap-τ: Adaptively Modulating Embedding Magnitude for Recommendation", WWW 2023,
    https://arxiv.org/abs/2302.04775. ``softmax`` = mean ( ln Σ_j e^{w_u cos(u, j)} − w_0 cos(u, i) ) over negatives j,
    with w = 1/τ and

    - w_0 = ln( U' V / 2E' ) / g: U' the users of more clicks than the ``quantile`` of all, E' their clicks, g the
      ``gap`` between the cosines of chosen videos and of all;
    - w_u = w_0 exp(−W(max((l_u − mean l)/β, −1/e))), W Lambert's function, l_u the mean loss of u at w = 1 in the last
      epoch; w_0 in the first, and for a user of whom nothing was seen.

    An epoch is as many examples as the graph has interactions. l lies on the model, in buffers
    (:class:`mmgraph.nn.memory.UserMeans`). The public code measures g anew after 100 epochs; here it is an argument. In
    its logs β is .6 for gowalla, 1 for yelp2018 and amazon-book, with LightGCN and the batch as negatives. The model
    ranks with its own head.

    Args:
        negatives: N a pair; 0 for the batch's positives.
        shared: N for the whole batch, uniform.
        spread: β.
        gap: g.
        quantile: of the users' numbers of clicks.
    """

    negatives: int = 0
    shared: bool = False
    spread: float = 1.0
    gap: float = 0.7
    quantile: float = 0.2

    def __post_init__(self) -> None:
        self._sample()
        at_least("spread", self.spread, 0, above=True)
        at_least("gap", self.gap, 0, above=True)
        checks.number(self.quantile, "quantile", 0, 1, below=True)

    def _sample(self) -> SampledSoftmax:
        return SampledSoftmax(self.negatives, shared=self.shared, power=0.0, cosine=True)

    @property
    def draws(self) -> Draws:
        """As :class:`SampledSoftmax`."""
        return self._sample().draws

    def check(self, head: Head) -> None:
        """A head that compares rows."""
        needs_rows(self, head)

    def memory(self, num_users: int) -> nn.Module:
        """Each user's mean loss in the last epoch."""
        return UserMeans(num_users)

    def base(self, graph: MultimodalGraph) -> Tensor:
        """w_0, a scalar."""
        clicks = graph.seen.degree().float()
        many = clicks > torch.quantile(clicks, self.quantile)
        # users of one number of clicks alone: then all of them
        users, edges = many.sum(), (clicks * many).sum()
        users, edges = torch.where(users > 0, users, len(clicks)), torch.where(users > 0, edges, clicks.sum())
        return (0.5 * users * graph.num_videos / edges).log() / self.gap

    def sharpness(self, graph: MultimodalGraph, losses: UserMeans) -> Tensor:
        """w_u of each user, [U]."""
        mean = (losses.mean * losses.known).sum() / losses.known.sum().clamp_min(1)
        apart = torch.where(losses.known, (losses.mean - mean) / self.spread, 0.0)
        return self.base(graph) * (-lambert_w(apart.clamp(-1 / math.e, 1000))).exp()

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``softmax``.

        Raises:
            ValueError: examples without a memory of their users: they were not made by a model.
        """
        losses = examples.memory
        if losses is None:
            raise ValueError("AdaptiveTemperature needs examples.memory: call it by a model's ranking_loss")
        sample, sharpness = self._sample().sample(head, examples.unit(head), graph), self.sharpness(graph, losses)  # type: ignore[arg-type]
        with torch.no_grad():
            losses.add(examples.user_row, or_zero(sample.log_mass(1.0)) - sample.own(1.0), graph.seen.num_edges)  # type: ignore[operator]
        mass = or_zero(sample.log_mass(sharpness[examples.user_row]))
        return {"softmax": (mass - sample.own(self.base(graph))).mean()}


def lambert_w(x: Tensor) -> Tensor:
    """Lambert's W on its upper branch, W e^W = x, for x ≥ −1/e, to the precision of the type; by Halley's steps."""
    root = (2 * (math.e * x + 1)).clamp_min(0).sqrt()
    near = -1 + root - root.square() / 3 + 11 / 72 * root**3  # the series at −1/e
    w = torch.where(x < 0.5, near, x.clamp_min(0.5).log1p() * 0.7)
    for _ in range(6):
        gain = w.exp()
        off = w * gain - x
        slope = gain * (w + 1) - (w + 2) * off / (2 * (w + 1)).clamp_min(1e-6)
        w = torch.where((w + 1).abs() < 1e-4, w, w - off / slope)
    return w
