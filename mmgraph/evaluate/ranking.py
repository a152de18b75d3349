"""Blocked full ranking of all users with targets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl
import torch
from pydantic import Field, field_validator
from torch import Tensor

from mmgraph.config import Config
from mmgraph.evaluate.metrics import average_popularity, coverage, gini, mann_whitney_auc, top_k_metrics
from mmgraph.ops import CSR, best_of, topk
from mmgraph.recommend import ranks_by_dot_product, score_block, user_blocks

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Embeddings, Recommender

GroupName = Literal["all", "warm", "cold", "activity"]


class EvalConfig(Config):
    """What to measure. Frozen; unknown keys are refused.

    Attributes:
        k: cut-offs of the ranking metrics.
        groups: besides ``all``, which is always there. ``warm`` and ``cold`` rank other candidates (see
            :func:`evaluate`); ``activity`` splits the users of ``all``.
        activity_groups: number of quantile groups by training interactions, ``activity_1`` the least active.
        auc: also ``auc``, ``gauc`` and ``user_auc``, which need every score sorted: several times the cost of the rest.
        block_size: users scored at once; by default as many as fit in a fixed block of scores.
    """

    k: tuple[int, ...] = (5, 10, 20, 50)
    groups: tuple[GroupName, ...] = ("all", "warm", "cold", "activity")
    activity_groups: int = Field(default=4, ge=2)
    auc: bool = True
    block_size: int | None = Field(default=None, ge=1)

    @field_validator("k")
    @classmethod
    def _cut_offs(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or min(k) < 1:
            raise ValueError(f"k needs at least one cut-off, each 1 or more; got {k}")
        return tuple(sorted(set(k)))

    def for_validation(self) -> EvalConfig:
        """The cheap form for choosing an epoch: group ``all`` only, no AUC."""
        return self.model_copy(update={"groups": ("all",), "auc": False})


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


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one ranking, overall and by group.

    Attributes:
        metrics: group -> name -> number. Each group also tells its ``users``, ``targets`` and ``candidates``.
        per_user: group -> name -> [n] float64, each user's value; the mean of it is the metric.
        users: group -> [n] int64 user rows, ascending, to which ``per_user`` is aligned.
        about: group -> who is in it, in words.
        opening: set by :func:`evaluate_test`, None elsewhere.
    """

    metrics: dict[str, dict[str, float]]
    per_user: dict[str, dict[str, Tensor]]
    users: dict[str, Tensor]
    about: dict[str, str] = field(default_factory=dict)
    opening: Opening | None = None

    def __getitem__(self, group: str) -> dict[str, float]:
        return self.metrics[group]

    def frame(self) -> pl.DataFrame:
        """The per-user values as a table: ``group``, ``user`` (row), one column a metric."""
        parts = [
            pl.DataFrame(
                {"group": group, "user": self.users[group].numpy()} | {m: v.numpy() for m, v in values.items()}
            )
            for group, values in self.per_user.items()
        ]
        return pl.concat(parts, how="diagonal")


@torch.no_grad()  # not inference_mode: matrices that the graph caches on the way must still serve training
def evaluate(
    model: Recommender,
    graph: MultimodalGraph,
    targets: pl.DataFrame,
    config: EvalConfig | None = None,
    device: torch.device | str | None = None,
    *,
    seen: CSR | None = None,
) -> Evaluation:
    """Ranks every video for every user with targets, and measures where the targets stand.

    Seen pairs are masked with -inf, then each list is the k highest scores, equal scores in the order of video rows.
    A target that the user has already seen cannot be recommended, so it is not a target; a pair listed twice counts
    once. Metrics are means over the users of the group, see :func:`top_k_metrics` for their formulas. Groups:

    - ``all``: users with a target; candidates: every video the user has not seen.
    - ``cold``: targets no training user touched, ranked among the videos no training user touched.
    - ``warm``: the other targets, ranked among the other videos.
    - ``activity_1`` … : the users of ``all`` by quantiles of their number of seen videos; equal numbers stay together.

    Over the lists of a group: ``coverage@k``, ``gini@k`` (over the group's candidates), ``popularity@k`` (mean training
    users of a recommended video). AUC, in three forms, each with ties counting one half:

    - ``auc`` pools the group's (user, candidate) pairs: the chance that a target's score is above a non-target's,
      also of another user. Not given for the activity groups.
    - ``user_auc`` is the same within each user, averaged over users.
    - ``gauc`` averages it weighted by the users' number of targets (Zhu et al., KDD 2018, https://arxiv.org/abs/1706.06978).

    Args:
        model: ``encode`` is called once, ``score`` once per block of users (twice with ``auc``; not at all where it is
            the dot product of the embeddings and no other scores are needed: see :func:`mmgraph.ops.topk`).
        graph: what the model reads.
        targets: columns ``user`` and ``video`` (rows), the held-out interactions.
        config: what to measure; the default measures everything.
        device: where to run; by default where the model is. The model and the graph are moved there.
        seen: CSR [U, V], the pairs to mask and to call training; by default those of the graph. Needed when a
            transform took interactions out of the graph.

    Raises:
        ValueError: no target, rows out of range, or a NaN score.
    """
    config = config or EvalConfig()
    seen = graph.seen if seen is None else seen
    if device is not None:
        model, graph = model.to(device), graph.to(device)
    training = model.training
    model.eval()
    try:
        emb = model.encode(graph)
        ranking = _Ranking(model, emb, seen.to(emb.video.device), targets, config)
        return ranking.run()
    finally:
        model.train(training)


def evaluate_test(
    model: Recommender,
    graph: MultimodalGraph,
    split: Split,
    experiment: str,
    config: EvalConfig | None = None,
    device: torch.device | str | None = None,
) -> Evaluation:
    """:func:`evaluate` on the sealed test targets; the only function that opens them, and it says so in the result.

    Call it once, after everything was chosen on valid: a split lets each experiment open its test once.

    Args:
        model: chosen on valid.
        graph: ``build_graph(split, "test")``, transformed as the model wants it.
        split: whose test to open; its protocol says which pairs are masked.
        experiment: the name the opening is recorded under.
        config, device: as in :func:`evaluate`.

    Raises:
        SealedTestError: this experiment has opened this split's test before.
    """
    pairs = split.seen("test")
    columns = [torch.tensor(pairs[name].to_numpy(), dtype=torch.int64) for name in ("user", "video")]
    seen = CSR.from_edges(columns[0], columns[1], (split.dataset.num_users, split.dataset.num_videos))
    opening = Opening(experiment, datetime.now(UTC).isoformat(timespec="seconds"), split.protocol_id)
    targets = split.open_test(experiment)
    return replace(evaluate(model, graph, targets, config, device, seen=seen), opening=opening)


@dataclass
class _Group:
    """A set of users ranked over a set of candidates, and what was found so far."""

    name: str
    about: str
    columns: Tensor | None  # candidate video rows, ascending; None = all
    users: Tensor  # [n] user rows, ascending
    indptr: Tensor  # [n + 1], where each user's targets start
    targets: Tensor  # [T] video rows, ascending within a user
    num_candidates: int
    masked: Tensor  # [n] how many of the candidates each user has seen
    lists: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    rank_sums: list[Tensor] = field(default_factory=list)

    def where(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Of a block of user rows (ascending): which lines of it are in the group, and their places in it."""
        lines = torch.isin(block, self.users, assume_unique=True).nonzero().flatten()
        return lines, torch.searchsorted(self.users, block[lines])

    def pick(self, scores: Tensor, lines: Tensor) -> Tensor:
        """The scores of these lines for the group's candidates."""
        if len(lines) < len(scores):
            scores = scores[lines]
        return scores if self.columns is None else scores.index_select(1, self.columns)

    def entries(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The targets of the users at these (consecutive) places: line [t] and candidate column [t]."""
        start, stop = int(self.indptr[places[0]]), int(self.indptr[places[-1] + 1])
        counts = self.indptr[places + 1] - self.indptr[places]
        line = torch.repeat_interleave(torch.arange(len(places), device=places.device), counts)
        video = self.targets[start:stop]
        return line, video if self.columns is None else torch.searchsorted(self.columns, video)


class _Ranking:
    """One pass over the blocks of scores for all groups; a second one where pooled AUC is asked."""

    def __init__(
        self, model: Recommender, emb: Embeddings, seen: CSR, targets: pl.DataFrame, config: EvalConfig
    ) -> None:
        self.model, self.emb, self.config = model, emb, config
        self.num_users, self.num_videos = seen.shape
        device = seen.device
        # Distinct pairs: counting a repeated one twice would spoil the AUC and the popularity.
        key = seen.row_indices().long() * self.num_videos + seen.indices
        key = key[torch.diff(key, prepend=key.new_full((1,), -1)) != 0]
        repeats = len(key) < seen.num_edges
        self.seen = CSR.from_edges(key // self.num_videos, key % self.num_videos, seen.shape) if repeats else seen
        self.popularity = torch.bincount(key % self.num_videos, minlength=self.num_videos)
        self.activity = self.seen.degree()

        found = self._read(targets, device)
        at = torch.searchsorted(key, found).clamp(max=max(len(key) - 1, 0))
        found = found[key[at] != found] if len(key) else found
        if not len(found):
            raise ValueError(
                "no target to rank: `targets` is empty, or every pair of it is among the seen pairs, which are masked"
            )
        self.groups = self._groups(found)
        # Where every video is warm, ranking them again would say the same.
        self.warm_is_all = "warm" in config.groups and bool((self.popularity > 0).all())

    def _read(self, targets: pl.DataFrame, device: torch.device) -> Tensor:
        missing = {"user", "video"} - set(targets.columns)
        if missing:
            raise ValueError(f"targets need the columns 'user' and 'video'; got {targets.columns}")
        columns = []
        for name, size in (("user", self.num_users), ("video", self.num_videos)):
            rows = torch.tensor(targets[name].to_numpy(), dtype=torch.int64, device=device)
            if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= size):
                raise ValueError(
                    f"target {name} rows must lie in [0, {size}); got {int(rows.min())}..{int(rows.max())}"
                )
            columns.append(rows)
        return torch.unique(columns[0] * self.num_videos + columns[1])

    def _groups(self, keys: Tensor) -> list[_Group]:
        warm = self.popularity > 0
        out = [self._group("all", "users with a target; every video they have not seen", keys, None)]
        if "warm" in self.config.groups and not bool(warm.all()):
            about = "targets and candidates that a training user touched"
            out.append(self._group("warm", about, keys[warm[keys % self.num_videos]], warm))
        if "cold" in self.config.groups:
            about = "targets and candidates that no training user touched"
            out.append(self._group("cold", about, keys[~warm[keys % self.num_videos]], ~warm))
        return [g for g in out if len(g.users)]

    def _group(self, name: str, about: str, keys: Tensor, candidates: Tensor | None) -> _Group:
        users, counts = torch.unique_consecutive(keys // self.num_videos, return_counts=True)
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        columns = None if candidates is None else candidates.nonzero().flatten()
        width = self.num_videos if columns is None else len(columns)
        # Whatever was seen is warm by definition.
        masked = self.activity[users] if name != "cold" else torch.zeros_like(users)
        return _Group(name, about, columns, users, indptr, keys % self.num_videos, width, masked)

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        # every group's users are among those of "all"
        for block in user_blocks(self.groups[0].users, self.num_videos, self.config.block_size):
            yield block, score_block(self.model, self.emb, block, self.seen)

    def run(self) -> Evaluation:
        longest = max(self.config.k)
        if not self.config.auc and len(self.groups) == 1 and ranks_by_dot_product(self.model, self.emb):
            users = self.groups[0].users
            best = topk(self.emb.user[users], self.emb.video, longest, seen=self.seen, users=users)
            self._keep(self.groups[0], best.video, torch.arange(len(users), device=users.device))
            return self._summary({})
        kept: dict[str, list[Tensor]] = {g.name: [] for g in self.groups}
        for block, scores in self._blocks():
            for group in self.groups:
                lines, places = group.where(block)
                if len(lines):
                    self._keep(group, best_of(group.pick(scores, lines), longest).video, places)
            if self.config.auc:
                self._rank(block, scores, kept)
        pooled = self._pooled_auc({name: torch.cat(v) for name, v in kept.items()}) if self.config.auc else {}
        return self._summary(pooled)

    def _keep(self, group: _Group, columns: Tensor, places: Tensor) -> None:
        group.lists.append(columns.to(torch.int32))
        group.hits.append(_are_hits(columns, *group.entries(places), group.num_candidates))

    def _rank(self, block: Tensor, scores: Tensor, kept: dict[str, list[Tensor]]) -> None:
        """Sums of the ranks of each user's targets, for every group, from one comparison with the block's scores."""
        _, places = self.groups[0].where(block)
        line, video = self.groups[0].entries(places)
        values = scores[line, video]
        cold = (self.popularity == 0).nonzero().flatten()
        parts = len(self.groups) > 1  # then "warm" and "cold" rank the two parts of the catalogue
        below, upto, below_cold, upto_cold = _count_below(scores, line, values, cold if parts else cold[:0])
        is_cold = self.popularity[video] == 0
        for group in self.groups:
            lines, places = group.where(block)
            if group.name == "all":
                mine, low, high = torch.ones_like(is_cold), below, upto
            elif group.name == "warm":
                mine, low, high = ~is_cold, below - below_cold, upto - upto_cold
            else:
                mine, low, high = is_cold, below_cold, upto_cold
            masked = torch.zeros(len(block), dtype=torch.int64, device=scores.device)
            masked[lines] = group.masked[places]
            hidden = masked[line[mine]]  # at -inf, so below or level with every target
            ranks = ((low[mine] - hidden).clamp(min=0) + high[mine] - hidden + 1).double() / 2
            sums = torch.zeros(len(block), dtype=torch.float64, device=scores.device).index_add(0, line[mine], ranks)
            group.rank_sums.append(sums[lines])
            kept[group.name].append(values[mine])

    def _pooled_auc(self, values: dict[str, Tensor]) -> dict[str, float]:
        """AUC over all pairs of a group: the ranks of its targets among all its scores, counted block by block."""
        ordered = {name: v.sort().values for name, v in values.items()}
        below = {name: torch.zeros(len(v), dtype=torch.int64, device=v.device) for name, v in ordered.items()}
        upto = {name: torch.zeros_like(b) for name, b in below.items()}
        for block, scores in self._blocks():
            for group, cell in self._cells(block, scores):
                parts = _sorted_parts(cell.flatten())
                for name in {"all", group.name} if group else {"all"}:
                    for part in parts:
                        below[name] += torch.searchsorted(part, ordered[name])
                        upto[name] += torch.searchsorted(part, ordered[name], right=True)
        out = {}
        for group in self.groups:
            masked = int(group.masked.sum())  # at -inf, so below every target
            ranks = ((below[group.name] - masked).clamp(min=0) + upto[group.name] - masked + 1).double() / 2
            pairs = len(group.users) * group.num_candidates - masked
            auc = mann_whitney_auc(ranks.sum().cpu(), torch.tensor(len(ranks)), torch.tensor(pairs))
            out[group.name] = float(auc)
        return out

    def _cells(self, block: Tensor, scores: Tensor) -> Iterator[tuple[_Group | None, Tensor]]:
        """A block of scores cut into cells of ``all`` and at most one other group, so that each is sorted once."""
        left = torch.ones(self.num_videos, dtype=torch.bool, device=scores.device)
        for group in self.groups:
            if group.columns is not None:
                lines, _ = group.where(block)
                rest = torch.ones(len(block), dtype=torch.bool, device=scores.device)
                rest[lines] = False
                left[group.columns] = False
                yield group, group.pick(scores, lines)
                yield None, group.pick(scores, rest.nonzero().flatten())
        yield None, scores if bool(left.all()) else scores[:, left]

    def _summary(self, pooled: dict[str, float]) -> Evaluation:
        out = Evaluation({}, {}, {})
        for group in self.groups:
            lists, hits = torch.cat(group.lists).long(), torch.cat(group.hits)
            if group.columns is not None:
                lists = torch.where(lists < 0, -1, group.columns[lists.clamp(min=0)])
            counts = group.indptr.diff()
            values = top_k_metrics(hits, counts, self.config.k)
            for k in self.config.k:
                values[f"popularity@{k}"] = average_popularity(lists[:, :k], self.popularity)
            if self.config.auc:
                free = group.num_candidates - group.masked
                values["user_auc"] = mann_whitney_auc(torch.cat(group.rank_sums), counts, free)
            everyone = torch.arange(len(counts), device=counts.device)
            self._add(out, group, group.name, group.about, everyone, values, lists, pooled.get(group.name))
            if group.name == "all":
                if self.warm_is_all:
                    about = "targets and candidates that a training user touched: here, all"
                    self._add(out, group, "warm", about, everyone, values, lists, pooled.get("all"))
                if "activity" in self.config.groups:
                    for name, about, rows in self._activity(group.users):
                        self._add(out, group, name, about, rows, values, lists, None)
        return out

    def _activity(self, users: Tensor) -> Iterator[tuple[str, str, Tensor]]:
        activity, parts = self.activity[users], self.config.activity_groups
        # The smallest number of interactions of each quantile's upper part; ties stay on one side.
        ordered = activity.sort().values
        cuts = ordered[[len(users) * i // parts for i in range(1, parts)]]
        belongs = torch.searchsorted(cuts, activity, right=True)
        for part in range(parts):
            rows = (belongs == part).nonzero().flatten()
            if len(rows):
                low, high = int(activity[rows].min()), int(activity[rows].max())
                yield f"activity_{part + 1}", f"users with {low} to {high} training interactions", rows

    def _add(
        self,
        out: Evaluation,
        group: _Group,
        name: str,
        about: str,
        rows: Tensor,
        values: dict[str, Tensor],
        lists: Tensor,
        pooled: float | None,
    ) -> None:
        counts = group.indptr.diff()[rows]
        mine = {metric: value[rows] for metric, value in values.items()}
        metrics = {metric: float(value.nanmean()) for metric, value in mine.items()}
        for k in self.config.k:
            head = lists[rows, :k]
            exposure = torch.bincount(head[head >= 0], minlength=self.num_videos)
            exposure = exposure if group.columns is None else exposure[group.columns]
            metrics |= {f"coverage@{k}": coverage(exposure), f"gini@{k}": gini(exposure)}
        if "user_auc" in mine:
            known = ~mine["user_auc"].isnan()
            weight = counts[known].double()
            metrics["gauc"] = float((mine["user_auc"][known] * weight).sum() / weight.sum())
        if pooled is not None:
            metrics["auc"] = pooled
        metrics |= {"users": len(rows), "targets": int(counts.sum()), "candidates": group.num_candidates}
        out.metrics[name] = metrics
        out.per_user[name] = {metric: value.cpu() for metric, value in mine.items()}
        out.users[name] = group.users[rows].cpu()
        out.about[name] = about


def _are_hits(columns: Tensor, line: Tensor, target: Tensor, width: int) -> Tensor:
    """Which entries of the lists [b, K] are among the targets (line [t], column [t], both ascending): bool [b, K]."""
    wanted = line * width + target
    asked = torch.arange(len(columns), device=columns.device)[:, None] * width + columns
    at = torch.searchsorted(wanted, asked).clamp(max=len(wanted) - 1)
    return (wanted[at] == asked) & (columns >= 0)


def _count_below(scores: Tensor, line: Tensor, values: Tensor, part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each target, how many scores of its line are below it, and how many not above it; then the same among the
    columns ``part`` alone. Four times [t] int64.

    A user has few targets, so comparing each with the whole line is cheaper than sorting it.
    """
    found = []
    chunk = max(1, 2**20 // scores.shape[1])  # small enough to stay in the cache
    for lines, value in zip(line.split(chunk), values.split(chunk), strict=True):
        row = scores[lines]
        below, upto = row < value[:, None], row <= value[:, None]
        found.append([_count(below), _count(upto), _count(below[:, part]), _count(upto[:, part])])
    a, b, c, d = (torch.cat(column) for column in zip(*found, strict=True))
    return a, b, c, d


def _count(mask: Tensor) -> Tensor:
    """True entries of each row of a bool matrix. On the CPU numpy counts ten times faster than torch sums."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.asarray(np.count_nonzero(mask.numpy(), axis=1)))
    return mask.sum(1)


def _sorted_parts(scores: Tensor) -> list[Tensor]:
    """A vector cut into a few parts, each ascending. On the CPU by numpy, whose sort is vectorised, a thread a part."""
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.float64):
        return [scores.sort().values]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        return [torch.from_numpy(p) for p in pool.map(np.sort, np.array_split(scores.numpy(), threads))]
