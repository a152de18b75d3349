"""Ranking videos that came after training beside the known ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.models.base import Embeddings, Recommender
from mmgraph.nn import evaluating
from mmgraph.recommend.calibration import Platt

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.multimodal import MultimodalGraph


class ColdStart:
    """A trained model's rows, held as they are, with rows for new videos beside them.

    A value: :meth:`add` returns another one. The rows of the known videos are computed once, here, and never again, so
    their scores stay the same to the bit however many videos are added; a new video's row costs one pass of its own
    features and can be ranked at once.

    Args:
        model: a trained model that ``embeds_content``, such as :class:`~mmgraph.models.ContentVAE`; asked in evaluation
            mode, its own mode stays.
        graph: what it reads.
        calibration: of :meth:`chance`, fitted beforehand.

    Raises:
        TypeError: a model that cannot embed content.
    """

    def __init__(self, model: Recommender, graph: MultimodalGraph, calibration: Platt | None = None) -> None:
        if not getattr(model, "embeds_content", False):
            raise TypeError(f"{type(model).__name__} has no embed(): use ContentVAE, CLCRec, DropoutNet or ContentMean")
        self.model, self.calibration = evaluating(model), calibration
        with torch.no_grad():
            self.warm = model.encode(graph)
        self.new = self.warm.video[:0]

    @property
    def num_videos(self) -> int:
        """Known videos and new ones."""
        return len(self.warm.video) + len(self.new)

    @torch.no_grad()
    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Rows [n, D] of new videos from any subset of the modalities; as the model's ``embed``."""
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
