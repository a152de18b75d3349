"""Every video ranked for every user with targets, block by block; groups that rank a part of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmgraph.evaluate.evalconfig import EvalConfig
from mmgraph.evaluate.metrics import mann_whitney_auc
from mmgraph.evaluate.ranking import Ranking
from mmgraph.ops import CSR, TopK, best_of, topk
from mmgraph.recommend import Constraint, ranking_factors, score_block, user_blocks

if TYPE_CHECKING:
    from mmgraph.models.base import Embeddings, Recommender


@dataclass(frozen=True, eq=False)
class Ranked:
    """A group and how it was ranked.

    Attributes:
        name, about: of the group.
        ranking: its lists.
        candidates: how many videos the group ranks.
        auc: over its pooled pairs, where asked.
    """

    name: str
    about: str
    ranking: Ranking
    candidates: int
    auc: float | None = None


@dataclass(frozen=True, eq=False)
class Known:
    """What training knew: seen pairs once each, and how often that is a video and a user.

    Attributes:
        seen: CSR [U, V] without repeated pairs.
        key: [E] user · V + video, ascending.
        popularity: [V] int64 users of each video.
        activity: [U] int64 videos of each user.
    """

    seen: CSR
    key: Tensor
    popularity: Tensor
    activity: Tensor

    @classmethod
    def of(cls, seen: CSR) -> Known:
        """Counting a repeated pair twice would spoil the AUC and the popularity."""
        videos = seen.shape[1]
        key = seen.row_indices().long() * videos + seen.indices
        key = key[torch.diff(key, prepend=key.new_full((1,), -1)) != 0]
        if len(key) < seen.num_edges:
            seen = CSR.from_edges(key // videos, key % videos, seen.shape)
        return cls(seen, key, torch.bincount(key % videos, minlength=videos), seen.degree())


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
    masked: Tensor  # [n] how many of the candidates each user may not get
    lists: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    hits: list[Tensor] = field(default_factory=list)
    rank_sums: list[Tensor] = field(default_factory=list)

    def where(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Of a block of user rows (ascending): which lines of it are in the group, and their places in it."""
        lines = torch.isin(block, self.users, assume_unique=True).nonzero().flatten()
        return lines, torch.searchsorted(self.users, block[lines])

    def pick(self, scores: Tensor, lines: Tensor) -> Tensor:
        """The values of these lines for the group's candidates."""
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


class FullRanking:
    """One pass over the blocks of scores for all groups; a second one where pooled AUC is asked.

    Args:
        model, emb: what ranks.
        known: what training knew, on the device of ``emb``.
        keys: [T] user · V + video of the targets, ascending.
        constraint: what is hidden from whom.
        config: what to measure.
        graph: handed on to the metrics.
    """

    def __init__(
        self,
        model: Recommender,
        emb: Embeddings,
        known: Known,
        keys: Tensor,
        constraint: Constraint,
        config: EvalConfig,
        graph: object,
    ) -> None:
        self.model, self.emb, self.config, self.graph = model, emb, config, graph
        self.constraint, self.popularity, self.known = constraint, known.popularity, known
        self.num_videos = known.seen.shape[1]
        self.groups = self._groups(keys)

    @property
    def _seen_only(self) -> bool:
        """Whether what is hidden is at most the seen pairs, whose numbers are known beforehand."""
        return not self.constraint.per_user and bool(self.constraint.columns.all())

    def _groups(self, keys: Tensor) -> list[_Group]:
        warm = self.popularity > 0
        unseen = "" if self.constraint.seen is None else " they have not seen"
        out = [self._group("all", f"users with a target; every video{unseen}", keys, None)]
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
        masked = torch.zeros_like(users)
        if self._seen_only:
            # Whatever was seen is warm by definition.
            if name != "cold" and self.constraint.seen is not None:
                masked = self.known.activity[users]
        else:
            for block in user_blocks(torch.arange(len(users), device=users.device), self.num_videos):
                hidden = ~self.constraint.mask(users[block])
                masked[block] = (hidden if columns is None else hidden.index_select(1, columns)).sum(1)
        return _Group(name, about, columns, users, indptr, keys % self.num_videos, width, masked)

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        # every group's users are among those of "all"
        for block in user_blocks(self.groups[0].users, self.num_videos, self.config.block_size):
            yield block, self.constraint.hide(score_block(self.model, self.emb, block), block)

    def run(self) -> list[Ranked]:
        """The groups, ``all`` first."""
        longest, first = max(self.config.k), self.groups[0]
        plain = not self.config.auc and len(self.groups) == 1 and self._seen_only and not self.constraint.quotas
        factors = ranking_factors(self.model, self.emb) if plain else None
        if factors is not None:
            users = first.users
            best = topk(factors.user[users], factors.video, longest, seen=self.constraint.seen, users=users)
            self._keep(first, best, torch.arange(len(users), device=users.device))
            return self._ranked({})
        kept: dict[str, list[Tensor]] = {g.name: [] for g in self.groups}
        for block, scores in self._blocks():
            for group in self.groups:
                lines, places = group.where(block)
                if len(lines):
                    self._keep(group, self._best(group, scores, lines, longest), places)
            if self.config.auc:
                self._rank(block, scores, kept)
        pooled = self._pooled_auc({name: torch.cat(v) for name, v in kept.items()}) if self.config.auc else {}
        return self._ranked(pooled)

    def _best(self, group: _Group, scores: Tensor, lines: Tensor, k: int) -> TopK:
        """The best candidates of a group, as columns; quotas are about the one list a person gets."""
        picked = group.pick(scores, lines)
        if group.columns is not None:
            return best_of(picked, k)

        def best(columns: Tensor | None, n: int) -> TopK:
            if columns is None:
                return best_of(picked, n)
            return best_of(picked.masked_fill(~columns.to(picked.device), -torch.inf), n)

        return self.constraint.fill(k, best)

    def _keep(self, group: _Group, best: TopK, places: Tensor) -> None:
        group.lists.append(best.video.to(torch.int32))
        group.scores.append(best.score)
        group.hits.append(_are_hits(best.video, *group.entries(places), group.num_candidates))

    def _rank(self, block: Tensor, scores: Tensor, kept: dict[str, list[Tensor]]) -> None:
        """Sums of the ranks of each user's targets, for every group, from one comparison with the block's scores."""
        _, places = self.groups[0].where(block)
        line, video = self.groups[0].entries(places)
        values = scores[line, video]
        cold = (self.popularity == 0).nonzero().flatten()
        parts = len(self.groups) > 1  # then "warm" and "cold" rank the two parts of the catalogue
        below, upto, below_cold, upto_cold = count_below(scores, line, values, cold if parts else cold[:0])
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
                parts = sorted_parts(cell.flatten())
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

    def _ranked(self, pooled: dict[str, float]) -> list[Ranked]:
        out = []
        for group in self.groups:
            lists = torch.cat(group.lists).long()
            if group.columns is not None:
                lists = torch.where(lists < 0, -1, group.columns[lists.clamp(min=0)])
            counts = group.indptr.diff()
            ranking = Ranking(
                users=group.users,
                lists=lists,
                scores=torch.cat(group.scores),
                hits=torch.cat(group.hits),
                target_lines=torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts),
                target_videos=group.targets,
                num_candidates=group.num_candidates - group.masked,
                popularity=self.popularity,
                k=max(self.config.k),
                pool=group.columns,
                rank_sums=torch.cat(group.rank_sums) if self.config.auc else None,
                graph=self.graph,
            )
            out.append(Ranked(group.name, group.about, ranking, group.num_candidates, pooled.get(group.name)))
            # Where every video is warm, ranking them again would say the same.
            if group.name == "all" and "warm" in self.config.groups and bool((self.popularity > 0).all()):
                about = "targets and candidates that a training user touched: here, all"
                out.append(Ranked("warm", about, ranking, group.num_candidates, pooled.get("all")))
        return out


def _are_hits(columns: Tensor, line: Tensor, target: Tensor, width: int) -> Tensor:
    """Which entries of the lists [b, K] are among the targets (line [t], column [t], both ascending): bool [b, K]."""
    wanted = line * width + target
    asked = torch.arange(len(columns), device=columns.device)[:, None] * width + columns
    at = torch.searchsorted(wanted, asked).clamp(max=len(wanted) - 1)
    return (wanted[at] == asked) & (columns >= 0)


def count_below(scores: Tensor, line: Tensor, values: Tensor, part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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


def sorted_parts(scores: Tensor) -> list[Tensor]:
    """A vector cut into a few parts, each ascending. On the CPU by numpy, whose sort is vectorised, a thread a part."""
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.float64):
        return [scores.sort().values]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        return [torch.from_numpy(p) for p in pool.map(np.sort, np.array_split(scores.numpy(), threads))]
