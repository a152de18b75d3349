"""Which videos a user may get now: one value that recommend, evaluate, explain, an index and a server ask alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from mmgraph.ops import CSR, TopK, checks, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import EdgeType, MultimodalGraph


class Rule(Protocol):
    """What a constraint may also ask: a frozen value that says which videos each of some users may get."""

    def permits(self, users: Tensor, num_videos: int) -> Tensor:
        """[B, V] bool, for user rows [B]. A user or video that the rule does not know is not permitted."""
        ...

    def digest(self) -> str:
        """A hash of everything that the rule depends on."""
        ...


@dataclass(frozen=True)
class Blocked:
    """The videos that nobody may get, as a versioned set: each change is another value with a higher version.

    Attributes:
        rows: video rows; None when the set could not be read, which blocks everything.
        version: counts the changes; a list made under an older one has to be filtered again before it is shown.
    """

    rows: frozenset[int] | None = frozenset()
    version: int = 0

    def __post_init__(self) -> None:
        checks.count(self.version, "version", 0)
        if self.rows is not None and not isinstance(self.rows, (set, frozenset)):
            raise TypeError(f"rows must be a set of video rows, or None where it could not be read; got {self.rows!r}")

    def add(self, rows: Iterable[int]) -> Blocked:
        """With these rows too, one version later; a set that could not be read stays so."""
        known = None if self.rows is None else self.rows | {int(row) for row in rows}
        return Blocked(known, self.version + 1)

    def remove(self, rows: Iterable[int]) -> Blocked:
        """Without these rows, one version later."""
        known = None if self.rows is None else self.rows - {int(row) for row in rows}
        return Blocked(known, self.version + 1)


@dataclass(frozen=True, eq=False)
class Quota:
    """How many videos of a group a list has to hold, or may hold.

    Attributes:
        videos: [V] bool, the group.
        at_least: as far as there are so many that the user may get.
        at_most: None for any number.
        name: for messages.
    """

    videos: Tensor
    at_least: int = 0
    at_most: int | None = None
    name: str = "quota"

    def __post_init__(self) -> None:
        if self.videos.dtype != torch.bool or self.videos.dim() != 1:
            raise TypeError(f"{self.name}: videos must be [V] bool, got {self.videos.dtype} {list(self.videos.shape)}")
        if self.at_least < 0 or (self.at_most is not None and self.at_most < self.at_least):
            raise ValueError(f"{self.name}: 0 <= at_least <= at_most, got {self.at_least} and {self.at_most}")


@dataclass(frozen=True, eq=False)
class Prerequisites:
    """A video may be shown to who has mastered every concept that it needs.

    Attributes:
        needs: CSR [V, C], the concepts that each video needs.
        mastered: CSR [U, C], those that each user has. A user beyond it has mastered none.
    """

    needs: CSR
    mastered: CSR

    def __post_init__(self) -> None:
        if self.needs.shape[1] != self.mastered.shape[1]:
            raise ValueError(f"needs {self.needs.shape} and mastered {self.mastered.shape}: the concepts must agree")

    @classmethod
    def from_graph(cls, graph: MultimodalGraph, teaches: EdgeType, requires: EdgeType) -> Prerequisites:
        """From edges: a video needs what its concepts require; a user has mastered what a seen video teaches.

        A concept that a video teaches itself is none of its needs.

        Args:
            graph: where the edges are.
            teaches: the edge type (video, …, concept).
            requires: the edge type (concept, …, concept), from a concept to what has to come before it.
        """
        taught = _scipy(graph.relation(teaches, norm=None, weighted=False).transpose())
        before = _scipy(graph.relation(requires, norm=None, weighted=False).transpose())
        needs = ((taught @ before) > 0).astype("int8")
        needs = needs - needs.multiply(taught > 0)
        needs.eliminate_zeros()
        return cls(_csr(needs), _csr((_scipy(graph.seen) @ taught) > 0))

    def permits(self, users: Tensor, num_videos: int) -> Tensor:
        """[B, V] bool: no need unmet. Videos beyond ``needs`` are not permitted."""
        device = users.device
        lacks = torch.ones(len(users), self.needs.shape[1], device=device)
        known = (users < self.mastered.shape[0]).nonzero().flatten()
        has, _ = self.mastered.to(device).select(users[known])
        lacks[known[has.row_indices().long()], has.indices.long()] = 0.0
        met = spmm(self.needs.to(device).with_values(None), lacks.T.contiguous()).T == 0
        return _padded(met, num_videos)

    def digest(self) -> str:
        """A hash of both matrices."""
        return _digest("prerequisites", *_parts(self.needs), *_parts(self.mastered))


@dataclass(frozen=True, eq=False)
class Released:
    """A video may be shown from its release on.

    Attributes:
        time: [V] float64, UTC seconds of each video's release; NaN: not released.
        now: UTC seconds, one number or one a user, [U].
    """

    time: Tensor
    now: Tensor | float

    def permits(self, users: Tensor, num_videos: int) -> Tensor:
        """[B, V] bool: released by now. Users beyond ``now`` and videos beyond ``time`` are not permitted."""
        now = torch.as_tensor(self.now, dtype=torch.float64, device=users.device)
        if now.dim():
            now = torch.cat([now, now.new_full((1,), -torch.inf)])[users.clamp(max=len(now))][:, None]
        return _padded((self.time.to(users.device) <= now).expand(len(users), -1), num_videos)

    def digest(self) -> str:
        """A hash of the times."""
        return _digest("released", self.time, torch.as_tensor(self.now, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class Constraint:
    """Which videos each user may get now. A frozen value; changing one gives another.

    It fails closed: a video that it does not know is not permitted, a user that ``seen`` does not know is refused,
    a blocked set that could not be read blocks everything.

    Attributes:
        num_videos: V, the videos it knows.
        allowed: [V] bool, the only ones permitted; None for all.
        blocked: what nobody may get.
        seen: CSR [U, V], what each user may not get again; None for nothing.
        rules: further rules, such as :class:`Prerequisites` and :class:`Released`.
        quotas: of disjoint groups, asked when a list is made, see :meth:`fill`.
    """

    num_videos: int
    allowed: Tensor | None = None
    blocked: Blocked = Blocked()
    seen: CSR | None = None
    rules: tuple[Rule, ...] = ()
    quotas: tuple[Quota, ...] = ()
    _columns: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        checks.count(self.num_videos, "num_videos", 0)
        if self.allowed is not None and (self.allowed.dtype != torch.bool or self.allowed.shape != (self.num_videos,)):
            raise TypeError(
                f"allowed must be [{self.num_videos}] bool, got {self.allowed.dtype} {list(self.allowed.shape)}"
            )
        if self.seen is not None and not isinstance(self.seen, CSR):
            raise TypeError(f"seen must be a CSR [U, V], got {type(self.seen).__name__}: CSR.from_edges makes one")
        if self.seen is not None and self.seen.shape[1] != self.num_videos:
            raise ValueError(f"seen is {list(self.seen.shape)}, but the constraint is over {self.num_videos} videos")
        columns = torch.ones(self.num_videos, dtype=torch.bool)
        if self.allowed is not None:
            columns = self.allowed.cpu().clone()
            object.__setattr__(self, "allowed", columns.clone())  # what is given may be written to later
        rows = self.blocked.rows
        if rows is None:
            columns[:] = False
        elif rows:
            if min(rows) < 0:
                raise ValueError(f"blocked holds row {min(rows)}, which is no video")
            columns[[row for row in rows if row < self.num_videos]] = False
        object.__setattr__(self, "_columns", columns)
        members = torch.zeros(self.num_videos, dtype=torch.int64)
        for quota in self.quotas:
            if quota.videos.shape != (self.num_videos,):
                raise ValueError(
                    f"{quota.name} is over {len(quota.videos)} videos, the constraint over {self.num_videos}"
                )
            members += quota.videos.cpu()
        if bool((members > 1).any()):
            names = [quota.name for quota in self.quotas]
            raise ValueError(f"the groups of {names} overlap: quotas need groups without a video in common")

    def __repr__(self) -> str:
        parts = [f"{self.num_videos} videos, {int(self._columns.sum())} of them open"]
        parts += [f"blocked version {self.blocked.version}"] if self.blocked.version else []
        parts += [f"{self.seen.num_edges} seen pairs"] if self.seen is not None else []
        parts += [type(rule).__name__ for rule in self.rules] + [quota.name for quota in self.quotas]
        return f"Constraint({', '.join(parts)})"

    # -- other values ------------------------------------------------------------------------------

    def block(self, rows: Iterable[int]) -> Constraint:
        """With these video rows blocked for everybody."""
        return replace(self, blocked=self.blocked.add(rows))

    def unblock(self, rows: Iterable[int]) -> Constraint:
        """With these video rows open again, as far as nothing else forbids them."""
        return replace(self, blocked=self.blocked.remove(rows))

    def with_seen(self, seen: CSR | None) -> Constraint:
        """With other seen pairs."""
        return replace(self, seen=seen)

    def only(self, videos: Tensor) -> Constraint:
        """With no other videos allowed than these too ([V] bool)."""
        return replace(self, allowed=videos if self.allowed is None else self.allowed & videos.cpu())

    def over(self, num_videos: int) -> Constraint:
        """Over a larger catalogue: the videos it did not know are not permitted.

        Raises:
            ValueError: a smaller one.
        """
        short = num_videos - self.num_videos
        if short < 0:
            raise ValueError(f"the constraint is over {self.num_videos} videos, but there are {num_videos}")
        if not short:
            return self
        seen = self.seen and CSR(self.seen.indptr, self.seen.indices, None, (self.seen.shape[0], num_videos))
        allowed = self._columns if self.allowed is None else self.allowed
        quotas = tuple(replace(quota, videos=_padded(quota.videos[None], num_videos)[0]) for quota in self.quotas)
        allowed = _padded(allowed.cpu()[None], num_videos)[0]
        return replace(self, num_videos=num_videos, allowed=allowed, seen=seen, quotas=quotas)

    def to(self, device: torch.device | str) -> Constraint:
        """The same constraint with ``seen`` on a device; the other parts move when they are asked."""
        return self if self.seen is None else replace(self, seen=self.seen.to(device))

    # -- asking ------------------------------------------------------------------------------------

    @property
    def columns(self) -> Tensor:
        """[V] bool: what may be shown to somebody, allowed and not blocked. A copy."""
        return self._columns.clone()

    @property
    def per_user(self) -> bool:
        """Whether it has rules beside the seen pairs that depend on the user."""
        return bool(self.rules)

    def mask(self, users: Tensor) -> Tensor:
        """[B, V] bool: what each of the users [B] may get, quotas apart.

        Raises:
            ValueError: a user that ``seen`` does not know.
        """
        out = self._columns.to(users.device).expand(len(users), -1).clone()
        if self.seen is not None:
            pairs = self._seen_by(users)
            out[pairs.row_indices().long(), pairs.indices.long()] = False
        for rule in self.rules:
            permitted = rule.permits(users, self.num_videos)
            if permitted.dtype != torch.bool or permitted.shape != out.shape:
                gave = f"{permitted.dtype} {list(permitted.shape)}"
                raise TypeError(f"{type(rule).__name__}.permits gave {gave}, not bool {list(out.shape)}")
            out &= permitted
        return out

    def hide(self, scores: Tensor, users: Tensor) -> Tensor:
        """Writes -inf over what each user may not get; videos that the constraint does not know included.

        Args:
            scores: [B, V'] of the videos 0 … V' - 1.
            users: [B].

        Returns:
            ``scores``.
        """
        known = min(self.num_videos, scores.shape[1])
        scores[:, known:] = -torch.inf
        if self.rules:
            scores[:, :known].masked_fill_(~self.mask(users)[:, :known], -torch.inf)
            return scores
        if self.seen is not None:
            pairs = self._seen_by(users)
            line, video = pairs.row_indices().long(), pairs.indices.long()
            if known < self.num_videos:
                line, video = line[video < known], video[video < known]
            scores[line, video] = -torch.inf
        if not bool(self._columns.all()):
            scores[:, :known].masked_fill_(~self._columns[:known].to(scores.device), -torch.inf)
        return scores

    def permits(self, user: int, videos: Tensor) -> Tensor:
        """[n] bool: which of the videos [n] this user may get; an unknown video row may not."""
        known = (videos >= 0) & (videos < self.num_videos)
        mask = self.mask(torch.tensor([user], device=videos.device))[0]
        return known & mask[videos.clamp(0, max(self.num_videos - 1, 0))] if self.num_videos else known

    def opens(self, videos: Sequence[int]) -> list[bool]:
        """Whether each of these rows may be shown to somebody, allowed and not blocked; an unknown row may not.

        The last gate of a list, whose rows are plain numbers: what :attr:`columns` says, without a copy of it.
        """
        opened, size = self._opened, self.num_videos
        return [0 <= row < size and opened[row] == 1 for row in videos]

    @cached_property
    def _opened(self) -> bytes:
        """A byte for each video, 1 where it may be shown: read a row at a time many times quicker than an array."""
        return self._columns.cpu().numpy().tobytes()

    def keep(self, users: Tensor, lists: Tensor) -> Tensor:
        """Lists made earlier (a cache's) without what may no longer be shown: [B, k], -1 at the end in their place."""
        known = (lists >= 0) & (lists < self.num_videos)
        good = known & self.mask(users).gather(1, torch.where(known, lists, 0)) if self.num_videos else known
        order = (~good).to(torch.int8).sort(dim=1, stable=True).indices
        return torch.where(good, lists, -1).gather(1, order)

    def fill(self, k: int, best: Callable[[Tensor | None, int], TopK]) -> TopK:
        """The best lists of k that meet the quotas: of all such lists the one with the highest sum of scores.

        Each group's first ``at_least`` videos are in; the rest is filled by score, no group beyond ``at_most``. As the
        groups are disjoint, that is the optimum. Where a user may get fewer than ``at_least`` of a group, all of those
        are in.

        Args:
            k: length of a list.
            best: (columns [V] bool or None, n) -> the n best of these videos for each user, hidden ones left out.

        Raises:
            ValueError: the quotas ask for more than k videos.
        """
        if not self.quotas:
            return best(None, k)
        if sum(quota.at_least for quota in self.quotas) > k:
            asked = {quota.name: quota.at_least for quota in self.quotas}
            raise ValueError(f"a list of {k} cannot hold at least {asked}")
        rest = torch.ones(self.num_videos, dtype=torch.bool)
        parts, forced = [], []
        for quota in self.quotas:
            rest &= ~quota.videos.cpu()
            most = k if quota.at_most is None else min(k, quota.at_most)
            part = best(quota.videos, max(most, 1))
            part = TopK(part.score[:, :most], part.video[:, :most])
            parts.append(part)
            forced.append((torch.arange(most, device=part.video.device) < quota.at_least) & (part.video >= 0))
        parts.append(best(rest, k))
        forced.append(torch.zeros_like(parts[-1].video, dtype=torch.bool))
        score, video = torch.cat([p.score for p in parts], 1), torch.cat([p.video for p in parts], 1)
        first = torch.cat(forced, 1)
        order = _by_score(score, video)
        order = order.gather(1, (~first.gather(1, order)).to(torch.int8).sort(dim=1, stable=True).indices)[:, :k]
        score, video = score.gather(1, order), video.gather(1, order)
        order = _by_score(score, video)
        return TopK(score.gather(1, order), video.gather(1, order))

    def digest(self) -> str:
        """A hash of everything it depends on: a cache's key, and its part of a protocol."""
        parts: list[Any] = [
            self.num_videos,
            self._columns,
            self.blocked.rows is None,
            *(r.digest() for r in self.rules),
        ]
        parts += [] if self.seen is None else _parts(self.seen)
        for quota in self.quotas:
            parts += [quota.videos, quota.at_least, quota.at_most]
        return _digest(*parts)

    def _seen_by(self, users: Tensor) -> CSR:
        assert self.seen is not None
        if len(users) and (int(users.max()) >= self.seen.shape[0] or int(users.min()) < 0):
            raise ValueError(
                f"user row {int(users.max())}: what they have seen is not known (seen has {self.seen.shape[0]} users)"
            )
        return self.seen.to(users.device).select(users)[0]


def _by_score(score: Tensor, video: Tensor) -> Tensor:
    """The order of each row by score, equal scores by video row, places without a video last."""
    order = torch.where(video < 0, torch.iinfo(torch.int64).max, video).sort(dim=1, stable=True).indices
    down = score.gather(1, order).sort(dim=1, descending=True, stable=True).indices
    return order.gather(1, down)


def _padded(mask: Tensor, width: int) -> Tensor:
    """The first ``width`` columns; False where there are none."""
    short = width - mask.shape[1]
    return mask[:, :width] if short <= 0 else torch.nn.functional.pad(mask, (0, short), value=False)


def _scipy(matrix: CSR) -> Any:
    import scipy.sparse as sp

    ones = torch.ones(matrix.num_edges, dtype=torch.int32)
    arrays = (t.cpu().numpy() for t in (ones, matrix.indices, matrix.indptr))
    return sp.csr_matrix(tuple(arrays), shape=matrix.shape)


def _csr(matrix: Any) -> CSR:
    entries = matrix.tocoo()
    row, col = (torch.from_numpy(index.astype("int64")) for index in (entries.row, entries.col))
    return CSR.from_edges(row, col, matrix.shape)


def _parts(matrix: CSR) -> list[Any]:
    return [matrix.shape, matrix.indptr, matrix.indices]


def _digest(*parts: Any) -> str:
    out = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Tensor):
            out.update(f"{part.dtype}{list(part.shape)}".encode())
            out.update(part.detach().cpu().contiguous().numpy().tobytes())
        else:
            out.update(repr(part).encode())
        out.update(b"\0")
    return out.hexdigest()
