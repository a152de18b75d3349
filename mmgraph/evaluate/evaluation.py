"""What an evaluation found: metrics, every user's value, and the lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl
from torch import Tensor

from mmgraph.evaluate.ranking import Ranking
from mmgraph.recommend import to_pandas

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Opening:
    """The record that sealed test targets were read.

    Attributes:
        experiment: who read them.
        time: when, ISO 8601 in UTC.
        protocol_id: of which split.
    """

    experiment: str
    time: str
    protocol_id: str


class GroupMetrics(dict[str, float]):
    """Metric -> number of one group. Counts are no metrics: they can be read by name, but are not among its items."""

    def __init__(self, metrics: Mapping[str, float], counts: Mapping[str, int]) -> None:
        super().__init__(metrics)
        self.counts = dict(counts)

    def __missing__(self, name: str) -> float:
        if name in self.counts:
            return self.counts[name]
        raise KeyError(f"no metric {name!r}; there are {', '.join(self)}, and the counts {', '.join(self.counts)}")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Metrics of one ranking, overall and by group.

    Attributes:
        metrics: group -> name -> number.
        per_user: group -> name -> [n] float64, each list's value (a user's, or a request's); the mean of it is the
            metric.
        rankings: group -> the :class:`Ranking` it was measured on, on the CPU.
        counts: group -> ``users``, ``targets``, ``candidates`` (of request lists: all their rows), ``requests`` where
            a list is a request's, and in ``all`` ``dropped``: the given targets that no list could hold.
        about: group -> who is in it, in words.
        trivial: group -> the cut-offs no smaller than its candidates: a list that holds everything says nothing.
        opening: set by :func:`evaluate_test`, None elsewhere.
    """

    metrics: dict[str, GroupMetrics]
    per_user: dict[str, dict[str, Tensor]]
    rankings: dict[str, Ranking]
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    trivial: dict[str, tuple[int, ...]] = field(default_factory=dict)
    opening: Opening | None = None

    def __getitem__(self, group: str) -> GroupMetrics:
        if group not in self.metrics:
            raise KeyError(f"no group {group!r}; there are {', '.join(self.metrics)}")
        return self.metrics[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    @property
    def users(self) -> dict[str, Tensor]:
        """group -> [n] int64 user rows, ascending, to which ``per_user`` and ``lists`` are aligned."""
        return {group: ranking.users for group, ranking in self.rankings.items()}

    @property
    def lists(self) -> dict[str, Tensor]:
        """group -> [n, K] int64 video rows, best first, -1 where a list is shorter."""
        return {group: ranking.lists for group, ranking in self.rankings.items()}

    @property
    def reported(self) -> dict[str, dict[str, float]]:
        """The metrics that say something: without the trivial cut-offs, and without groups that have no other."""
        out = {}
        for group, metrics in self.metrics.items():
            ends = tuple(f"@{k}" for k in self.trivial.get(group, ()))
            kept = {name: value for name, value in metrics.items() if not name.endswith(ends or ("@",))}
            if any("@" in name for name in kept):
                out[group] = kept
        return out

    def frame(self) -> pl.DataFrame:
        """The values of each list as a table: ``group``, ``user`` (row), ``request`` where lists are requests', and
        one column a metric."""
        parts = []
        for group, values in self.per_user.items():
            ranking = self.rankings[group]
            columns: dict[str, Any] = {"group": group, "user": ranking.users.numpy()}
            if ranking.requests is not None:
                columns["request"] = ranking.requests.numpy()
            parts.append(pl.DataFrame(columns | {m: v.numpy() for m, v in values.items()}))
        return pl.concat(parts, how="diagonal")

    def to_pandas(self) -> pd.DataFrame:
        """:meth:`frame` as pandas."""
        return to_pandas(self.frame())

    def table(self) -> pl.DataFrame:
        """One row a group: its counts, and the metrics that say something."""
        rows = [
            {"group": group, "users": self.counts[group]["users"], "targets": self.counts[group]["targets"]} | metrics
            for group, metrics in self.reported.items()
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def __repr__(self) -> str:
        ks = sorted({int(name.partition("@")[2]) for name in self.metrics.get("all", {}) if "@" in name})
        counts = self.counts.get("all", {})
        sizes = ", ".join(f"{counts[name]:,} {name}" for name in counts if name != "dropped" or counts[name])
        shown = [f"{m} {self.metrics['all'][m]:.4f}" for m in self._headline() if m in self.metrics.get("all", {})]
        opened = f", test opened by {self.opening.experiment!r}" if self.opening else ""
        cuts, groups = ", ".join(map(str, ks)), ", ".join(self.metrics)
        return f"Evaluation({', '.join(shown)}; {sizes}; k {cuts}; groups {groups}{opened})"

    def _headline(self) -> list[str]:
        """Recall, NDCG and the share of new videos at 20, or at the cut-off nearest below it."""
        ks = sorted({int(name.partition("@")[2]) for name in self.metrics.get("all", {}) if "@" in name})
        k = max([k for k in ks if k <= 20] or ks[:1], default=20)
        return [f"recall@{k}", f"ndcg@{k}", f"new_share@{k}"]

    def _repr_html_(self) -> str:
        names = [m for m in dict.fromkeys(m for metrics in self.reported.values() for m in metrics)]
        shown = [m for m in names if m in self._headline() or "auc" in m or m.startswith("recall_")] or names[:6]
        head = "".join(f"<th>{escape(name)}</th>" for name in ("group", "users", "targets", *shown))
        body = "".join(
            f"<tr><th>{escape(group)}</th><td>{self.counts[group]['users']:,}</td>"
            f"<td>{self.counts[group]['targets']:,}</td>"
            + "".join(f"<td>{metrics[m]:.4f}</td>" if m in metrics else "<td>–</td>" for m in shown)
            + "</tr>"
            for group, metrics in self.reported.items()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
