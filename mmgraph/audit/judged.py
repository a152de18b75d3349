"""One ranking, as what an audit compares: a value a user, and recall by the popularity of the targets."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from mmgraph.evaluate import Evaluation


@dataclass(frozen=True)
class Buckets:
    """Ranges of a number, each with about as many members.

    Attributes:
        of: [n] int64, the range that each of n things lies in.
        names: what the ranges are, such as ``12 to 40``.
    """

    of: Tensor
    names: tuple[str, ...]

    @classmethod
    def make(cls, values: Tensor, members: Tensor, parts: int) -> Buckets:
        """Quantiles of ``values[members]``; equal numbers stay together, so there may be fewer parts.

        Args:
            values: [n] int64.
            members: [m] int64 places in it, at least one, repeats count again.
            parts: how many.
        """
        ordered = values[members].sort().values
        cuts = ordered[[len(ordered) * part // parts for part in range(1, parts)]].unique()
        cuts = cuts[cuts > ordered[0]]
        of = torch.searchsorted(cuts, values, right=True)
        names = []
        for part in range(len(cuts) + 1):
            inside = ordered[torch.searchsorted(cuts, ordered, right=True) == part]
            low, high = int(inside.min()), int(inside.max())
            names.append(f"{low:,}" if low == high else f"{low:,} to {high:,}")
        return cls(of, tuple(names))


def judged(found: Evaluation, metric: str, popularity: Buckets) -> pl.DataFrame:
    """A row a user, ascending: ``user``, ``value``, and ``recall_0`` … by the popularity of the targets (NaN without).

    Recall of a range = hits in it among the first k / targets in it, k that of the metric or else the longest.

    Args:
        found: of one ranking.
        metric: ``ndcg@20`` or, with a group, ``cold/ndcg@20``.
        popularity: ranges of the videos.

    Raises:
        KeyError: nothing of that name has a value a user.
    """
    group, _, name = metric.rpartition("/")
    group = group or "all"
    if group not in found.rankings or name not in found.per_user[group]:
        known = [f"{g}/{m}" for g, metrics in found.per_user.items() for m in metrics if g in found.rankings]
        raise KeyError(f"{metric!r} has no value a user; these have: {', '.join(known)}")
    ranking, parts = found.rankings[group], len(popularity.names)
    at = name.partition("@")[2]
    cut = ranking.at(min(int(at), ranking.k)) if at else ranking
    bucket = popularity.of.to(cut.lists.device)
    hits = torch.zeros(len(cut), parts, dtype=torch.float64)
    hits.scatter_add_(1, bucket[cut.lists.clamp(min=0)], cut.hits.double())
    place = cut.target_lines * parts + bucket[cut.target_videos]
    targets = torch.bincount(place, minlength=hits.numel()).reshape(hits.shape)
    columns = {f"recall_{part}": (hits[:, part] / targets[:, part]).numpy() for part in range(parts)}
    table = pl.DataFrame({"user": ranking.users.numpy(), "value": found.per_user[group][name].numpy(), **columns})
    # a user with several lists (requests) counts once
    means = [pl.col(c).fill_nan(None).mean().fill_null(float("nan")) for c in ("value", *columns)]
    return table.group_by("user").agg(means).sort("user")
