"""What a head is, and the two that have no weights: dot product and cosine."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.ops import checks, pair_dot


class Products:
    """How rows meet: by dot products and norms over all their columns, which lie here.

    Where processes hold some columns each, :mod:`mmgraph.distributed` gives a head products that add theirs up.
    """

    def dot(self, user: Tensor, video: Tensor) -> Tensor:
        """Dot products [B, V] of ``user`` [B, D] and ``video`` [V, D], or [B, N] for ``video`` [B, N, D]."""
        return dot(user, video)

    def dot_at(self, user: Tensor, video: Tensor, places: Tensor) -> Tensor:
        """Dot products [B, N] of ``user`` [B, D] and the rows of ``video`` [n, D] at ``places`` [B, N]."""
        return pair_dot(user, video, places)

    def unit(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """Rows [..., D] divided by their norms; rows of zeros stay."""
        return tuple(F.normalize(row, dim=-1) for row in rows)


class Head(nn.Module):
    """Scores users against videos; higher is better.

    A head is called as ``head(user, video)`` with ``user`` [B, D] and ``video`` either [V, D], every video for every
    user, giving [B, V]; or [B, N, D], each user's own candidates, giving [B, N]. It is
    ``compare(state(user), video)``: :meth:`state` is what a user's row becomes before any video is looked at,
    :meth:`compare` the rest. The same pair gets the same score both ways, in training mode too: what is random, and
    what the head adds to a loss, comes from :meth:`draw`.

    Attributes:
        compares_rows: the score is a dot product or a cosine of the two rows as they are, so that a row for a new user
            can be solved for, and rows can be normalised before they are compared.
        by_columns: rows meet in :attr:`products` alone, so that the columns may lie in several processes.
        products: how they meet.
    """

    compares_rows: ClassVar[bool] = False
    by_columns: ClassVar[bool] = False
    products = Products()

    def state(self, user: Tensor) -> Tensor:
        """What :meth:`compare` reads of users [B, D]: the rows themselves, unless overridden."""
        return user

    def compare(self, state: Tensor, video: Tensor) -> Tensor:
        """Scores [B, V] or [B, N] of states [B, S]."""
        raise NotImplementedError(f"{type(self).__name__} has no compare()")

    def compare_at(self, state: Tensor, video: Tensor, places: Tensor) -> Tensor:
        """Scores [B, N] of states [B, S] and the rows of ``video`` [n, D] at ``places`` [B, N].

        ``compare(state, video[places])``; a head that can do it without gathering these rows overrides it.
        """
        return self.compare(state, F.embedding(places, video))

    def forward(self, user: Tensor, video: Tensor) -> Tensor:
        """Scores [B, V] or [B, N]."""
        return self.compare(self.state(user), video)

    def draw(self, user: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """For training: states of users [B, D], at random where the head is, and the head's own loss terms."""
        return self.state(user), {}

    def factors(self, user: Tensor, video: Tensor) -> tuple[Tensor, Tensor] | None:
        """Rows of users [U, D] and videos [V, D] whose dot products order every list as the scores do, or None."""
        return None


def dot(user: Tensor, video: Tensor) -> Tensor:
    """Dot products [B, V] of ``user`` [B, D] and ``video`` [V, D], or [B, N] for ``video`` [B, N, D]."""
    if video.dim() == 2:
        return user @ video.T
    # not a batch of tiny matrix products: their backward takes ten times as long on CPU
    return torch.linalg.vecdot(video, user.unsqueeze(1))


class DotHead(Head):
    """The dot product: ŷ_uv = uᵀv."""

    compares_rows = True
    by_columns = True

    def compare(self, state: Tensor, video: Tensor) -> Tensor:
        """Scores [B, V] for ``video`` [V, D], [B, N] for ``video`` [B, N, D]."""
        return self.products.dot(state, video)

    def compare_at(self, state: Tensor, video: Tensor, places: Tensor) -> Tensor:
        """Scores [B, N], without gathering rows."""
        return self.products.dot_at(state, video, places)

    def factors(self, user: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """The rows themselves."""
        return user, video


class CosineHead(Head):
    """Cosine with a temperature: ŷ_uv = cos(u, v) / τ.

    The score of DSSM's two towers (Huang et al., CIKM 2013, https://doi.org/10.1145/2505515.2505665; γ there is 1/τ).

    Args:
        temperature: τ > 0. Small τ: the hardest negatives count most.

    Raises:
        ValueError: τ is not positive.
    """

    compares_rows = True
    by_columns = True

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = checks.number(temperature, "temperature", 0, above=True)

    def compare(self, state: Tensor, video: Tensor) -> Tensor:
        """Scores in [−1/τ, 1/τ]; 0 against a row of zeros."""
        return self.products.dot(*self.products.unit(state, video)) / self.temperature

    def compare_at(self, state: Tensor, video: Tensor, places: Tensor) -> Tensor:
        """Scores [B, N], without gathering rows; each row of the table is normalised once."""
        state, video = self.products.unit(state, video)
        return self.products.dot_at(state, video, places) / self.temperature

    def factors(self, user: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows; the users' over τ, so that the dot products are the scores too."""
        return F.normalize(user, dim=-1) / self.temperature, F.normalize(video, dim=-1)
