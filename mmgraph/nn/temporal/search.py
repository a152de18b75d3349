"""Interest found by search in a long history."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.nn.temporal.base import TemporalLayer, last_step, masked_softmax
from mmgraph.ops import checks


class SearchInterest(TemporalLayer):
    """From a long history (10,000 steps) the K most similar to the query, then attention over those.

    SIM (Pi et al., CIKM 2020, https://arxiv.org/abs/2006.05639) and TWIN (https://arxiv.org/abs/2302.02352). A general
    search unit picks the K steps of highest ``keys · query_key``: multimodal embeddings of the videos, frozen, as unit
    rows (then it is the cosine), or by default the cosine of the steps and the query themselves. The exact search unit
    attends over what was found: u = Σ_k softmax_k( (W_q q)ᵀ(W_k x_k) / √D ) (W_v x_k + b_v). No gradient flows through
    the choice. The projections are folded into the query and the result, so no step is ever projected. With K >= T it
    *is* attention over the whole history.

    The query is a candidate video, several, or the user's long-term vector; without one, the last real step.

    Args:
        dim: D.
        k: K, steps kept.
    """

    uses_query = True

    def __init__(self, dim: int, k: int = 50) -> None:
        super().__init__()
        checks.count(dim, "dim")
        self.k = checks.count(k, "k")
        self.q = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)

    def search(self, keys: Tensor, mask: Tensor, query_key: Tensor) -> Tensor:
        """Places of the K most similar real steps, [B, N, min(K, T)] int64; padded ones come last.

        Args:
            keys: [B, T, F], unit rows for the cosine.
            mask: [B, T].
            query_key: [B, N, F]; its length changes nothing.
        """
        with torch.no_grad():
            similar = (query_key @ keys.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), -torch.inf)
            return similar.topk(min(self.k, keys.shape[1]), dim=-1).indices

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        time: Tensor | None = None,
        query: Tensor | None = None,
        keys: Tensor | None = None,
        query_key: Tensor | None = None,
    ) -> Tensor:
        """The interest of each query.

        Args:
            x, mask, time: as :class:`TemporalLayer`; time is not used.
            query: [B, D], or [B, N, D] for N candidates each.
            keys: [B, T, F], what the search compares, unit rows for the cosine; the unit rows of x by default.
            query_key: [B, F] or [B, N, F]; the query by default.

        Returns:
            [B, D], or [B, N, D] for a query of that form.

        Raises:
            ValueError: only one of ``keys`` and ``query_key`` is given.
        """
        if (keys is None) != (query_key is None):
            raise ValueError("give both keys and query_key, or neither")
        query = last_step(x, mask) if query is None else query
        single = query.dim() == 2
        many = query.unsqueeze(1) if single else query
        steps = x.shape[1]
        # qᵀW_k x_k = (W_kᵀ q)ᵀ x_k and Σ a_k W_v x_k = W_v Σ a_k x_k: the steps themselves need no projection
        inner = self.q(many) @ self.key.weight * x.shape[-1] ** -0.5  # [B, N, D]
        if self.k >= steps:  # everything is found: no search
            x = x.masked_fill(~mask.unsqueeze(-1), 0)
            weights = masked_softmax(inner @ x.transpose(1, 2), mask.unsqueeze(1))
            mean = weights @ x
        else:
            sought = many if query_key is None else query_key.unsqueeze(1) if query_key.dim() == 2 else query_key
            at = self.search(F.normalize(x, dim=-1) if keys is None else keys, mask, sought)
            row = torch.arange(len(x), device=x.device).view(-1, 1, 1)
            real = mask[row, at]
            found = x[row, at].masked_fill(~real.unsqueeze(-1), 0)  # [B, N, K, D]
            weights = masked_softmax((found @ inner.unsqueeze(-1)).squeeze(-1), real)
            mean = (weights.unsqueeze(2) @ found).squeeze(2)
        out = self.value(mean) * mask.any(1).view(-1, 1, 1)
        return out.squeeze(1) if single else out
