"""Objectives: how the scores of a batch become named loss terms, and which negatives a batch needs.

An objective is an argument of every trained model::

    LightGCN(graph, objective=SampledSoftmax(temperature=0.12, cosine=True))
    SASRec(graph, objective=BCE(negatives=1))

To write one, subclass :class:`Objective`: say what to draw and give the terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import Draws
from mmgraph.losses import bce, bpr, softmax_cross_entropy
from mmgraph.losses.softmax import in_batch_log_q, log_mass
from mmgraph.nn.memory import UserMeans
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.nn.heads import Head


class Examples(NamedTuple):
    """A batch as an objective reads it: B examples of a user's state and the video they chose.

    Attributes:
        state: [B, S], what the head compares with videos (:meth:`mmgraph.nn.Head.draw`).
        video: [n, D], the rows of the videos that the batch reads, or of all V.
        positive: [B] int64 places in ``video``.
        negative: [B, N] int64 places in ``video``; [N] where the whole batch shares them.
        user_row: [B] int64 rows of the users in the graph.
        video_row: [n] int64 rows of ``video`` in the graph; None: all V, in their order.
        memory: what the objective remembers of earlier batches (:meth:`Objective.memory`); it lies on the model.
    """

    state: Tensor
    video: Tensor
    positive: Tensor
    negative: Tensor
    user_row: Tensor
    video_row: Tensor | None
    memory: nn.Module | None = None

    def rows_of(self, place: Tensor) -> Tensor:
        """Rows in the graph of places in ``video``, any shape."""
        return place if self.video_row is None else self.video_row[place]

    def scores(self, head: Head) -> tuple[Tensor, Tensor]:
        """Scores of the positives [B, 1] and of the negatives [B, N]."""
        if self.negative.dim() == 1:
            own = head.compare(self.state, F.embedding(self.positive.unsqueeze(1), self.video))
            return own, head.compare(self.state, F.embedding(self.negative, self.video))
        places = torch.cat([self.positive.unsqueeze(1), self.negative], 1)
        scores = head.compare(self.state, F.embedding(places, self.video))
        return scores[:, :1], scores[:, 1:]

    def unit(self, head: Head) -> Examples:
        """The same with states and videos of norm 1, by the head's products."""
        state, video = head.products.unit(self.state, self.video)
        return self._replace(state=state, video=video)


@dataclass(frozen=True)
class Objective:
    """Base of the objectives: a value without weights, called with a batch's examples.

    Attributes:
        every_video: the batch is compared with the whole catalogue.
        by_columns: rows meet in the head alone, so that their columns may lie in several processes.
    """

    every_video: ClassVar[bool] = False
    by_columns: ClassVar[bool] = False

    @property
    def draws(self) -> Draws:
        """Which negatives the sampler draws; none by default."""
        return Draws(0)

    def memory(self, num_users: int) -> nn.Module | None:
        """What it must remember from batch to batch, as buffers of a module; None by default.

        The objective itself is a value and holds no state: the model keeps the module, so that it is saved, resumed and
        moved with the weights, and gives it back in ``examples.memory``.
        """
        return None

    def check(self, head: Head) -> None:
        """Refuses a head that it cannot train.

        Raises:
            ValueError: says why, and what to use instead.
        """

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """Named scalar terms, each a mean over the examples.

        Args:
            head: compares states with videos.
            examples: the batch.
            graph: gives how often each video was chosen.
        """
        raise NotImplementedError(f"{type(self).__name__} has no terms")


def _at_least(name: str, value: float, least: float, *, above: bool = False) -> None:
    if name == "negatives":
        checks.count(value, name, int(least))
    else:
        checks.number(value, name, least, above=above)


def _needs_rows(objective: Objective, head: Head) -> None:
    if not head.compares_rows:
        raise ValueError(
            f"{type(objective).__name__} compares rows, which {type(head).__name__} does not: use a dot product, or an "
            "objective on scores (BPR, BCE, SampledSoftmax)"
        )


@dataclass(frozen=True)
class BPR(Objective):
    """Bayesian personalised ranking: ``bpr`` = −mean ln σ(ŷ_ui − ŷ_uj) (:func:`mmgraph.losses.bpr`).

    Args:
        negatives: N, videos a pair that the user has no edge to, uniform.
        hardest: only the negative of the highest score counts (dynamic negative sampling, Zhang et al., SIGIR 2013,
            https://doi.org/10.1145/2484028.2484126).
    """

    by_columns: ClassVar[bool] = True
    negatives: int = 1
    hardest: bool = False

    def __post_init__(self) -> None:
        _at_least("negatives", self.negatives, 1)

    @property
    def draws(self) -> Draws:
        """N for each pair."""
        return Draws(self.negatives)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``bpr``."""
        own, other = examples.scores(head)
        return {"bpr": bpr(own, other.amax(1, keepdim=True) if self.hardest else other)}


@dataclass(frozen=True)
class BCE(Objective):
    """Binary cross-entropy on scores as logits, positives and negatives together (:func:`mmgraph.losses.bce`).

    Args:
        negatives: N, as in :class:`BPR`.
    """

    by_columns: ClassVar[bool] = True
    negatives: int = 4

    def __post_init__(self) -> None:
        _at_least("negatives", self.negatives, 1)

    @property
    def draws(self) -> Draws:
        """N for each pair."""
        return Draws(self.negatives)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``bce``."""
        return {"bce": bce(*examples.scores(head))}


@dataclass(frozen=True)
class MaxMargin(Objective):
    """Hinge: ``margin`` = mean max(0, m + ŷ_uj − ŷ_ui), PinSage's loss.

    Args:
        negatives: N, as in :class:`BPR`.
        margin: m.
    """

    by_columns: ClassVar[bool] = True
    negatives: int = 1
    margin: float = 1.0

    def __post_init__(self) -> None:
        _at_least("negatives", self.negatives, 1)
        _at_least("margin", self.margin, 0)

    @property
    def draws(self) -> Draws:
        """N for each pair."""
        return Draws(self.negatives)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``margin``."""
        own, other = examples.scores(head)
        return {"margin": F.relu(self.margin + other - own).mean()}


@dataclass(frozen=True)
class CosineContrastive(Objective):
    """CCL: ``positive`` = mean (1 − cos(u, i)), ``negative`` = w · mean_j max(0, cos(u, j) − m).

    Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM 2021,
    https://arxiv.org/abs/2109.12613. Many negatives, of which only those inside the margin count.

    Args:
        negatives: N a pair.
        margin: m in [−1, 1].
        weight: w.
    """

    by_columns: ClassVar[bool] = True
    negatives: int = 800
    margin: float = 0.9
    weight: float = 250.0

    def __post_init__(self) -> None:
        _at_least("negatives", self.negatives, 1)
        _at_least("margin", self.margin, -1)
        _at_least("weight", self.weight, 0)

    @property
    def draws(self) -> Draws:
        """N for each pair."""
        return Draws(self.negatives)

    def check(self, head: Head) -> None:
        """A head that compares rows."""
        _needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``positive`` and ``negative``."""
        unit = examples.unit(head)
        places = torch.cat([unit.positive.unsqueeze(1), unit.negative], 1)
        own, other = head.products.dot(unit.state, F.embedding(places, unit.video)).split([1, places.shape[1] - 1], 1)
        return {"positive": (1 - own).mean(), "negative": self.weight * F.relu(other - self.margin).mean()}


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
        _at_least("negatives", self.negatives, 0)
        _at_least("temperature", self.temperature, 0, above=True)
        _at_least("power", self.power, 0)
        if self.exponent is not None:
            _at_least("exponent", self.exponent, 0, above=True)
        if self.shared and not self.negatives:
            raise ValueError("shared needs negatives of at least 1; without any, the batch's positives are the sample")

    @property
    def draws(self) -> Draws:
        """Nothing, N for each pair, or N for the batch."""
        return Draws(self.negatives, shared=self.shared, power=self.power if self.shared else 0.0)

    def check(self, head: Head) -> None:
        """With ``cosine``: a head that compares rows."""
        if self.cosine:
            _needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``softmax``."""
        sample = self.sample(head, examples.unit(head) if self.cosine else examples, graph)
        own, mass = sample.own(1 / self.temperature), sample.log_mass(1 / self.temperature)
        if self.exponent is None:
            return {"softmax": (torch.logaddexp(own, mass) - own).mean()}
        return {"softmax": (self.exponent * _or_zero(mass) - own).mean()}

    def sample(self, head: Head, examples: Examples, graph: MultimodalGraph) -> SoftmaxSample:
        """The batch's scores, and what corrects them."""
        if self.negatives:
            own, other = examples.scores(head)
            bias = torch.zeros_like(other[0])
            if self.log_q and self.shared:
                bias = -(self.draws.share(graph)[examples.rows_of(examples.negative)] * self.negatives).log()
            if self.shared:
                other = other.masked_fill(examples.negative == examples.positive.unsqueeze(1), -torch.inf)
            return SoftmaxSample(own.squeeze(1), torch.zeros_like(own[0]), other, bias, None)
        scores, positive = head.compare(examples.state, examples.video), examples.positive
        # a video counts as often as the batch names it, and against its own users not at all
        bias = torch.zeros_like(scores[0]).scatter_add_(0, positive, torch.ones_like(scores[:, 0])).log()
        log_q = torch.zeros_like(bias)
        if self.log_q:
            log_q = in_batch_log_q(graph, examples.rows_of(torch.arange(len(bias), device=bias.device)))
        own = scores.gather(1, positive.unsqueeze(1)).squeeze(1)
        return SoftmaxSample(own, -log_q[positive], scores, bias - log_q, positive)


class SoftmaxSample(NamedTuple):
    """What a softmax over a sample compares: s = w ŷ + bias, w the sharpness 1/τ, a number or one for each example [B].

    Attributes:
        positive: scores of the chosen videos, [B].
        positive_bias: [B].
        other: scores of the sample, [B, N].
        bias: [N].
        without: [B] int64, the column of the sample that is an example's own video; None where there is none.
    """

    positive: Tensor
    positive_bias: Tensor
    other: Tensor
    bias: Tensor
    without: Tensor | None

    def own(self, sharpness: float | Tensor) -> Tensor:
        """s⁺ [B]."""
        return self.positive * sharpness + self.positive_bias

    def log_mass(self, sharpness: float | Tensor) -> Tensor:
        """ln Σ_j e^{s_j} [B] over the sample; -inf where there is none."""
        return log_mass(self.other, sharpness, self.bias, self.without)


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
        _at_least("spread", self.spread, 0, above=True)
        _at_least("gap", self.gap, 0, above=True)
        checks.number(self.quantile, "quantile", 0, 1, below=True)

    def _sample(self) -> SampledSoftmax:
        return SampledSoftmax(self.negatives, shared=self.shared, power=0.0, cosine=True)

    @property
    def draws(self) -> Draws:
        """As :class:`SampledSoftmax`."""
        return self._sample().draws

    def check(self, head: Head) -> None:
        """A head that compares rows."""
        _needs_rows(self, head)

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
            losses.add(examples.user_row, _or_zero(sample.log_mass(1.0)) - sample.own(1.0), graph.seen.num_edges)  # type: ignore[operator]
        mass = _or_zero(sample.log_mass(sharpness[examples.user_row]))
        return {"softmax": (mass - sample.own(self.base(graph))).mean()}


def _or_zero(mass: Tensor) -> Tensor:
    """0, without gradient, of an example that has no negative."""
    return mass.masked_fill(mass.isneginf(), 0.0)


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
        _at_least("temperature", self.temperature, 0, above=True)

    def check(self, head: Head) -> None:
        """A head that compares rows: the gradient is formed for dot products."""
        _needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``softmax``."""
        if self.cosine:
            examples = examples.unit(head)
        else:
            state, video = head.factors(examples.state, examples.video) or (examples.state, examples.video)
            examples = examples._replace(state=state, video=video)
        state = examples.state if self.temperature == 1 else examples.state / self.temperature
        return {"softmax": softmax_cross_entropy(state, examples.video, examples.positive)}


@dataclass(frozen=True)
class AlignmentUniformity(Objective):
    """DirectAU: chosen pairs near each other, users apart, videos apart, on the unit sphere; no negatives.

    Wang et al., "Towards Representation Alignment and Uniformity in Collaborative Filtering", KDD 2022,
    https://arxiv.org/abs/2206.12811. ``align`` = mean ‖u − v‖²;  ``uniform`` = γ · ½ (l(users) + l(videos)), l(X) = ln
    mean_{x ≠ y} e^{−2‖x − y‖²}. A user or video that a batch names twice stands in l once; the public code counts each
    mention, so that a pair of the same row (distance 0) weighs as if two rows had collapsed.

    Args:
        gamma: γ.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        _at_least("gamma", self.gamma, 0)

    def check(self, head: Head) -> None:
        """A head that compares rows."""
        _needs_rows(self, head)

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """``align`` and ``uniform``."""
        unit = examples.unit(head)
        align = (unit.state - F.embedding(unit.positive, unit.video)).square().sum(1).mean()
        order = torch.unique(unit.user_row, return_inverse=True)[1]
        first = torch.full((int(order.max()) + 1,), len(order), device=order.device).scatter_reduce_(
            0, order, torch.arange(len(order), device=order.device), "amin"
        )
        users, videos = unit.state[first], F.embedding(torch.unique(unit.positive), unit.video)
        return {"align": align, "uniform": self.gamma * (_uniformity(users) + _uniformity(videos)) / 2}


def _uniformity(rows: Tensor) -> Tensor:
    """ln mean over pairs of distinct unit rows of e^{−2‖x − y‖²}; 0 where there is no pair."""
    if len(rows) < 2:
        return rows.sum() * 0.0
    # ‖x − y‖² = 2 − 2 xᵀy
    gain = (4 * (rows @ rows.T - 1)).masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -torch.inf)
    return gain.flatten().logsumexp(0) - math.log(len(rows) * (len(rows) - 1))
