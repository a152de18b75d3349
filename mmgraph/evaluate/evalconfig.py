"""What to measure, and among which videos."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator
from torch import Tensor

from mmgraph.config import Config

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.evaluate.ranking import Ranking

GroupName = Literal["all", "warm", "cold", "activity"]
Metric = Callable[["Ranking"], "Tensor | float"]

# what `evaluate` itself reports; a metric of one's own needs another name
_TAKEN = {
    *("recall", "ndcg", "precision", "map", "mrr", "hit_rate", "popularity", "coverage", "gini"),
    *("new_share", "new_shown", "recall_new", "recall_known", "auc", "user_auc", "gauc"),
    *("user", "group", "request", "stage", "users", "targets", "candidates", "requests", "dropped"),
}
_NO_METRIC = {"user", "group", "request", "stage", "users", "targets", "candidates", "requests", "dropped"}
_NOT_AT_K = {"auc", "user_auc", "gauc"}


class EvalConfig(Config):
    """What to measure. Frozen; unknown keys are refused.

    A metric of one's own is a function of a :class:`~mmgraph.evaluate.Ranking`, or an object with ``name`` and
    ``__call__``, that returns one value a list ([n] tensor; the mean of what is not NaN is the metric) or one
    number. It is called once for each cut-off, with the lists cut there, and reported as ``name@k``; with an attribute
    ``at_k = False`` it is called once, with the longest lists, and reported as ``name``::

        def first_hit_is_new(ranking):
            return ranking.hits[:, 0] & ranking.is_new[:, 0]

        EvalConfig(metrics=(first_hit_is_new,))

    Attributes:
        k: cut-offs of the ranking metrics.
        groups: besides ``all``, which is always there. ``warm`` and ``cold`` rank other candidates (see
            :func:`evaluate`); ``activity`` splits the users of ``all``.
        activity_groups: number of quantile groups by training interactions, ``activity_1`` the least active.
        auc: also ``auc``, ``gauc`` and ``user_auc``, which need every score sorted: several times the cost of the rest.
        metrics: further metrics, reported like the others.
        exclude_seen: leave out what a user has seen. False where things are had again (music, groceries, games): then
            a seen video is a candidate, and a target.
        candidates: what to rank in place of every video: :class:`~mmgraph.evaluate.SampledCandidates`,
            :class:`~mmgraph.evaluate.Requests`, or a function of the split that returns one.
        constraint: what may be shown, a :class:`~mmgraph.recommend.Constraint` or a function of the split that returns
            one: what it forbids is neither candidate nor target, in validation and on test. It is part of the
            protocol.
        block_size: users scored at once; by default as many as fit in a fixed block of scores.
    """

    k: tuple[int, ...] = (5, 10, 20, 50)
    groups: tuple[GroupName, ...] = ("all", "warm", "cold", "activity")
    activity_groups: int = Field(default=4, ge=2)
    auc: bool = True
    metrics: tuple[Any, ...] = ()
    exclude_seen: bool = True
    candidates: Any = None
    constraint: Any = None
    block_size: int | None = Field(default=None, ge=1)

    @field_validator("k")
    @classmethod
    def _cut_offs(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or min(k) < 1:
            raise ValueError(f"k needs at least one cut-off, each 1 or more; got {k}")
        return tuple(sorted(set(k)))

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, metrics: tuple[Any, ...]) -> tuple[Any, ...]:
        names = []
        for metric in metrics:
            if not callable(metric) or isinstance(metric, type):
                raise ValueError(f"a metric is a function of a Ranking or an object with __call__, got {metric!r}")
            names.append(metric_name(metric))
        again = sorted({name for name in names if names.count(name) > 1 or name in _TAKEN})
        if again:
            raise ValueError(f"metrics need names of their own; give {again} another `name`")
        return metrics

    @field_validator("candidates")
    @classmethod
    def _candidates(cls, candidates: Any) -> Any:
        if candidates is not None and not callable(candidates) and not hasattr(candidates, "requests"):
            raise ValueError(
                f"candidates must be SampledCandidates(...), Requests or a function of the split, got {candidates!r}"
            )
        return candidates

    @field_validator("constraint")
    @classmethod
    def _constraint(cls, constraint: Any) -> Any:
        if constraint is not None and not callable(constraint) and not hasattr(constraint, "mask"):
            raise ValueError(f"constraint must be a Constraint or a function of the split, got {constraint!r}")
        return constraint

    def for_validation(self, monitor: str = "") -> EvalConfig:
        """The cheap form for choosing an epoch: group ``all`` and what the monitor names, no AUC unless it does.

        Args:
            monitor: such as ``"recall@20"`` or ``"cold/ndcg@10"``.
        """
        group, _, metric = monitor.rpartition("/")
        groups = ("all", *([] if group in ("", "all") else [group.partition("_")[0]]))
        kept = tuple(m for m in self.metrics if metric_name(m) == metric.partition("@")[0])
        auc = metric.partition("@")[0] in ("auc", "gauc", "user_auc")
        return self._with({"groups": groups, "auc": auc, "metrics": kept})

    def measures(self, monitor: str) -> bool:
        """Whether a monitor such as ``"recall@20"`` or ``"cold/ndcg@10"`` is something this measures.

        AUC may be asked for where ``auc`` is off: validation then measures it. With ``candidates`` of one's own the
        groups are theirs, so any is believed.
        """
        group, slash, metric = monitor.rpartition("/")
        name, at, k = metric.partition("@")
        own = {metric_name(m): cut_at_k(m) for m in self.metrics}
        cut = own.get(name, name in _TAKEN and name not in _NOT_AT_K)
        known = name in own or (name in _TAKEN and name not in _NO_METRIC)
        fits = known and (bool(at) == cut) and (not cut or (k.isdigit() and int(k) in self.k))
        activity = {f"activity_{n + 1}" for n in range(self.activity_groups)}
        return fits and (not slash or self.candidates is not None or group in {"all", "warm", "cold", *activity})

    def for_split(self, split: Split) -> EvalConfig:
        """As this split wants it: candidates and constraint made, where they are a function of it, and nothing masked
        where its protocol keeps repeats."""
        changes: dict[str, Any] = {}
        for name in ("candidates", "constraint"):
            value = getattr(self, name)
            if callable(value):
                changes[name] = value(split)
        if self.exclude_seen and not len(split.masked("valid")):
            changes["exclude_seen"] = False
        return self._with(changes) if changes else self

    def protocol_parameters(self, split: Split) -> dict[str, Any]:
        """What it adds to the protocol of a split: which videos are ranked, where that is not every unseen one."""
        out: dict[str, Any] = {}
        if not self.exclude_seen and len(split.masked("valid")):
            out["exclude_seen"] = False
        made = self.for_split(split)
        if made.candidates is not None:
            out["candidates"] = made.candidates.protocol
        if made.constraint is not None:
            out["constraint"] = made.constraint.with_seen(None).digest()
        return out

    def _with(self, changes: Mapping[str, Any]) -> EvalConfig:
        return type(self).model_validate(
            {name: getattr(self, name) for name in type(self).model_fields} | dict(changes)
        )


def metric_name(metric: Any) -> str:
    """The name of a metric: its ``name``, or that of the function.

    Raises:
        ValueError: it has neither.
    """
    name = getattr(metric, "name", None) or getattr(metric, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>" or "@" in name:
        raise ValueError(f"{metric!r} needs a `name` (a text without @): it becomes the column of the tables")
    return name


def measured(metric: Any, ranking: Ranking) -> Tensor | float:
    """What a metric says of a ranking: [n] float64, or a number.

    Raises:
        ValueError: it returned something else.
    """
    value = metric(ranking)
    if isinstance(value, Tensor) and value.dim() == 1:
        if len(value) != len(ranking.lists):
            raise ValueError(
                f"metric {metric_name(metric)!r} returned {len(value)} values for {len(ranking.lists)} lists: return "
                "one a list (NaN where there is none), or one number"
            )
        return value.double()
    if isinstance(value, Tensor) and value.dim() == 0:
        return float(value)
    if isinstance(value, (Mapping, str)) or value is None:
        raise ValueError(f"metric {metric_name(metric)!r} returned {type(value).__name__}: a tensor [n] or a number")
    try:
        return float(value)
    except (TypeError, ValueError):
        shown = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"metric {metric_name(metric)!r} returned {shown}: a tensor [n] or a number") from None


def mean_of(value: Tensor | float) -> float:
    """The metric: the mean of the values that are not NaN."""
    return float(value.nanmean()) if isinstance(value, Tensor) else float(value) if value is not None else math.nan


def cut_at_k(metric: Any) -> bool:
    """Whether a metric is called once a cut-off."""
    return bool(getattr(metric, "at_k", True))
