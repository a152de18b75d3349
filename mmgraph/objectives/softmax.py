"""Softmax over a sample of videos, or over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from mmgraph.graph.samplers import Draws
from mmgraph.losses import softmax_cross_entropy
from mmgraph.losses.softmax import SoftmaxSample, in_batch_log_q
from mmgraph.objectives.base import Examples, Objective, at_least, needs_rows

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.nn.heads import Head


@dataclass(frozen=True)
class SampledSoftmax(Objective):
    """Softmax over the positive and a sample: −mean ln( e^{s⁺} / (e^{s⁺} + Σ_j e^{s_j}) ), s = ŷ/τ − ln q.

    Three samples: the other positives of the batch (``negatives`` = 0; Wu et al., "On the Effectiveness of Sampled
    Softmax Loss for Item Recommendation", TOIS 2024, https://arxiv.org/abs/2201.02327), N videos for each pair, or N
    videos that the batch shares. With ``log_q`` it estimates the softmax over all videos (Yi et al., RecSys 2019,
    https://doi.org/10.1145/3298689.3346996); without, popular videos are pushed down as they come up more often.

    ``cosine`` trains on cos(u, v)/τ while the model ranks with its own head: with a graph model under a dot product
    that restores what the cosine discards, and is the quickest way known to a good LightGCN.

    ``exponent`` c gives BSL's form, −s⁺ + c · ln Σ_j e^{s_j} over the negatives alone (Wu et al., "BSL: Understanding
    and Improving Softmax Loss for Recommendation", ICDE 2024, https://arxiv.org/abs/2312.12882, c = τ_1/τ_2 up to a
    scale); at c = 1 that is the softmax without its positive in the denominator.

    Args:
        negatives: N; 0 for the batch.
        shared: the N videos are drawn once for the batch, from q_v ∝ (count of v + 1)^``power``, whether or not a user
            has seen them; a positive is never its own negative.
        power: of ``shared``: 0 is uniform, 1 popularity.
        temperature: τ.
        cosine: as above.
        log_q: take ln q off; of no effect where draws are uniform.
        exponent: c; None for the softmax with its positive in the denominator.

    Raises:
        ValueError: a setting out of range.
    """

    by_columns: ClassVar[bool] = True
    negatives: int = 0
    shared: bool = False
    power: float = 0.5
    temperature: float = 1.0
    cosine: bool = False
    log_q: bool = False
    exponent: float | None = None

    def __post_init__(self) -> None:
        at_least("negatives", self.negatives, 0)
        at_least("temperature", self.temperature, 0, above=True)
        at_least("power", self.power, 0)
        if self.exponent is not None:
            at_least("exponent", self.exponent, 0, above=True)
        if self.shared and not self.negatives:
            raise ValueError("shared needs negatives of at least 1; without any, the batch's positives are the sample")

    @property
    def draws(self) -> Draws:
        """Nothing, N for each pair, or N for the batch."""
        return Draws(self.negatives, shared=self.shared, power=self.power if self.shared else 0.0)

    def check(self, head: Head) -> None:
        """With ``cosine``: a head that compares rows."""
        if self.cosine:
            needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``softmax``."""
        sample = self.sample(head, examples.unit(head) if self.cosine else examples, graph)
        own, mass = sample.own(1 / self.temperature), sample.log_mass(1 / self.temperature)
        if self.exponent is None:
            return {"softmax": (torch.logaddexp(own, mass) - own).mean()}
        return {"softmax": (self.exponent * or_zero(mass) - own).mean()}

    def sample(self, head: Head, examples: Examples, graph: MultimodalGraph) -> SoftmaxSample:
        """The batch's scores, and what corrects them."""
        if self.negatives:
            own, other = examples.scores(head)
            bias = torch.zeros_like(other[0])
            if self.log_q and self.shared:
                bias = -(self.draws.share(graph)[examples.rows_of(examples.negative)] * self.negatives).log()
            if self.shared:
                other = other.masked_fill(examples.negative == examples.positive.unsqueeze(1), -torch.inf)
            own = own.squeeze(1)
            return SoftmaxSample(own, torch.zeros_like(own), other, bias, None)
        scores = head.compare(examples.state, examples.video)
        log_q = torch.zeros_like(scores[0])
        if self.log_q:
            log_q = in_batch_log_q(graph, examples.rows_of(torch.arange(len(log_q), device=log_q.device)))
        return SoftmaxSample.in_batch(scores, examples.positive, log_q)


@dataclass(frozen=True)
class FullSoftmax(Objective):
    """Softmax over the whole catalogue: ``softmax`` = −mean ln softmax(ŷ/τ)_v.

    See :func:`mmgraph.losses.softmax_cross_entropy`. Its logits are never held: it costs time, B · V · D, not memory.

    Args:
        temperature: τ.
        cosine: train on cos(u, v)/τ; the model ranks with its own head.
    """

    every_video: ClassVar[bool] = True
    temperature: float = 1.0
    cosine: bool = False

    def __post_init__(self) -> None:
        at_least("temperature", self.temperature, 0, above=True)

    def check(self, head: Head) -> None:
        """A head that compares rows: the gradient is formed for dot products."""
        needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``softmax``."""
        if self.cosine:
            examples = examples.unit(head)
        else:
            state, video = head.factors(examples.state, examples.video) or (examples.state, examples.video)
            examples = examples._replace(state=state, video=video)
        state = examples.state if self.temperature == 1 else examples.state / self.temperature
        return {"softmax": softmax_cross_entropy(state, examples.video, examples.positive)}


def or_zero(mass: Tensor) -> Tensor:
    """0, without gradient, of an example that has no negative."""
    return mass.masked_fill(mass.isneginf(), 0.0)
