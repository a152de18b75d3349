"""Serving videos and users that came after training: ``ColdStart``, ``fold_in``, ``Platt``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgraph.models.base import Embeddings, Recommender
from mmgraph.models.cold import ContentModel
from mmgraph.models.content_vae import ContentVAE
from mmgraph.models.neighbours import LinearItemModel
from mmgraph.nn.heads import DotHead
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class Platt(nn.Module):
    """Turns scores into chances: p = σ(a · s + b), a and b fitted to labels by maximum likelihood.

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999. With b held at 0 it is temperature scaling (Guo
    et al., ICML 2017, https://arxiv.org/abs/1706.04599). The order of scores stays as it is (a > 0).

    The labels say what the chance means: fitted on held-out pairs against sampled others it is the chance of a
    positive at that sampling rate; fitted on exposures with clicks it is the click-through rate.
    """

    slope: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("shift", torch.zeros(()))

    @torch.no_grad()
    def fit(self, scores: Tensor, labels: Tensor, bias: bool = True, steps: int = 50) -> Platt:
        """Newton's method on the log-likelihood, in float64, with a ridge of 1e-6 so that separable labels stop too.

        Args:
            scores: any shape.
            labels: the same shape, in [0, 1].
            bias: False holds b at 0.
            steps: at most.

        Raises:
            ValueError: shapes that differ, labels all alike, or scores that fall where labels rise (a ≤ 0).
        """
        if scores.shape != labels.shape:
            raise ValueError(f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} must agree")
        s, y = scores.flatten().double(), labels.flatten().double()
        if len(y) == 0 or float(y.min()) == float(y.max()):
            raise ValueError("calibration needs both positives and negatives")
        centre, scale = (s.mean(), s.std().clamp_min(1e-12)) if bias else (s.new_zeros(()), s.square().mean().sqrt())
        x = torch.stack([(s - centre) / scale, torch.ones_like(s) * float(bias)], 1)
        theta = x.new_zeros(2)
        ridge = 1e-6 * torch.eye(2, dtype=x.dtype, device=x.device)
        for _ in range(steps):
            p = torch.sigmoid(x @ theta)
            gradient = x.T @ (p - y) / len(y) + ridge @ theta
            curvature = (x * (p * (1 - p)).unsqueeze(1)).T @ x / len(y) + ridge
            move = torch.linalg.solve(curvature, gradient)
            theta = theta - move * min(1.0, 5.0 / float(move.norm().clamp_min(1e-12)))
            if float(move.norm()) < 1e-10:
                break
        if float(theta[0]) <= 0:
            raise ValueError(
                f"scores fall where labels rise (slope {float(theta[0] / scale):.3g}): nothing to calibrate"
            )
        self.slope.copy_(theta[0] / scale)
        self.shift.copy_(theta[1] - theta[0] / scale * centre)
        return self

    def forward(self, scores: Tensor) -> Tensor:
        """Chances in (0, 1), same shape."""
        return torch.sigmoid(self.slope * scores + self.shift)


class ColdStart:
    """A trained model's rows, held as they are, with rows for new videos beside them.

    A value: :meth:`add` returns another one. The rows of the known videos are computed once, here, and never again, so
    their scores stay the same to the bit however many videos are added; a new video's row costs one pass of its own
    features and can be ranked at once.

    Args:
        model: a trained :class:`~mmgraph.models.cold.ContentModel`; put in evaluation mode.
        graph: what it reads.
        calibration: of :meth:`chance`, fitted beforehand.

    Raises:
        TypeError: a model that cannot embed content.
    """

    def __init__(self, model: ContentModel, graph: MultimodalGraph, calibration: Platt | None = None) -> None:
        if not isinstance(model, ContentModel):
            raise TypeError(f"{type(model).__name__} has no embed(): use ContentVAE, CLCRec, DropoutNet or ContentMean")
        self.model, self.calibration = model.eval(), calibration
        with torch.no_grad():
            self.warm = model.encode(graph)
        self.new = self.warm.video[:0]

    @property
    def num_videos(self) -> int:
        """Known videos and new ones."""
        return len(self.warm.video) + len(self.new)

    @torch.no_grad()
    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Rows [n, D] of new videos from any subset of the modalities; see :meth:`ContentModel.embed`."""
        return self.model.embed(features)

    def add(self, features: Mapping[str, Features]) -> ColdStart:
        """With these n videos at rows ``num_videos`` …; this one stays as it is."""
        out = object.__new__(ColdStart)
        out.__dict__.update(self.__dict__)
        out.new = torch.cat([self.new, self.embed(features)])
        return out

    @torch.no_grad()
    def score(self, users: Tensor) -> Tensor:
        """Scores [B, num_videos] of user rows [B], new videos last."""
        warm = self.model.score(self.warm, users)
        if not len(self.new):
            return warm
        # scored apart: a matrix product of another width may round the known videos' scores differently
        return torch.cat([warm, self.model.score(Embeddings(self.warm.user, self.new), users)], 1)

    def chance(self, users: Tensor) -> Tensor:
        """ŷ = σ(a · uᵀWz + b), [B, num_videos].

        Raises:
            ValueError: no calibration was given.
        """
        if self.calibration is None:
            raise ValueError("no calibration: fit a Platt on valid and give it to ColdStart")
        return self.calibration(self.score(users))


@torch.no_grad()
def fold_in(
    model: Recommender, graph: MultimodalGraph, clicks: CSR, *, reg: float = 1.0, background: float = 0.1
) -> Embeddings:
    """User rows for people who came after training, from a handful of clicks, without training.

    - EASE, ItemKNN: the clicks themselves are the row; exact, the score that the model gives a known user of these
      clicks.
    - :class:`ContentVAE`: the profile of the clicked videos.
    - any other model that scores by dot products: ridge regression on its frozen videos, as implicit ALS solves a user
      (Hu et al., ICDM 2008, https://doi.org/10.1109/ICDM.2008.22):
      u = argmin Σ_{j∈clicks} (1 − uᵀv_j)² + b Σ_v (uᵀv)² + λ‖u‖² = ( V_cᵀV_c + b VᵀV + λI )^-1 V_cᵀ1.

    Args:
        model: trained.
        graph: what it reads.
        clicks: CSR [n, V], one row a new user.
        reg: λ.
        background: b, how much every other video counts as a 0.

    Returns:
        Embeddings: user [n, ·] and the video rows, ready for ``model.score``.

    Raises:
        ValueError: clicks over another number of videos, or a model that does not score by dot products.
    """
    if clicks.shape[1] != graph.num_videos:
        raise ValueError(f"clicks over {clicks.shape[1]} videos, but the graph has {graph.num_videos}")
    training = model.training
    model.eval()
    try:
        video = model.encode(graph).video
        if isinstance(model, LinearItemModel):
            return Embeddings(clicks.dense().clamp(max=1.0).to(video), video)
        if isinstance(model, ContentVAE):
            return Embeddings(model.profile(graph, clicks), video)
    finally:
        model.train(training)
    if not isinstance(model.head, DotHead):
        raise ValueError(f"{type(model.head).__name__} is no dot product: there is no closed form")
    return Embeddings(ridge_users(video, clicks, reg, background), video)


def ridge_users(video: Tensor, clicks: CSR, reg: float = 1.0, background: float = 0.1) -> Tensor:
    """u = ( V_cᵀV_c + b VᵀV + λI )^-1 V_cᵀ1 of each row of ``clicks`` [n, V]: [n, D]. See :func:`fold_in`."""
    width = video.shape[1]
    base = background * (video.T @ video) + reg * torch.eye(width, dtype=video.dtype, device=video.device)
    out = video.new_zeros(clicks.shape[0], width)
    for row in range(clicks.shape[0]):
        mine = video[clicks.indices[clicks.indptr[row] : clicks.indptr[row + 1]].long()]
        out[row] = torch.linalg.solve(base + mine.T @ mine, mine.sum(0))
    return out
