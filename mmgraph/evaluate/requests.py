"""Ranking given candidates: what each request showed, a list a user, or a sample beside the targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl
import torch
from torch import Tensor

from mmgraph.data.errors import DataError
from mmgraph.evaluate.evalconfig import EvalConfig
from mmgraph.evaluate.full import Known, Ranked, count_below, sorted_parts
from mmgraph.evaluate.metrics import mann_whitney_auc
from mmgraph.evaluate.ranking import Ranking
from mmgraph.ops import CSR, best_of, checks
from mmgraph.recommend import BLOCK_SCORES, Constraint, score_given

if TYPE_CHECKING:
    from mmgraph.data import Dataset
    from mmgraph.models.base import Embeddings, Recommender


class Candidates(Protocol):
    """What is ranked in place of every video."""

    def requests(self, targets: Tensor, known: Known) -> Requests:
        """The lists to rank, for targets [T] (user · V + video, ascending) and what training knew."""
        ...

    @property
    def protocol(self) -> dict[str, Any]:
        """What it adds to the protocol of a split."""
        ...


@dataclass(frozen=True, eq=False)
class Requests:
    """Request lists: for each request a user and the videos to rank, with what was clicked where that is known.

    Two requests of one person are two lists. What is listed is a candidate although the user has seen it. Make one with
    :meth:`from_frame` or :meth:`per_user`.

    Attributes:
        user: [n] int64 user rows.
        indptr: [n + 1] int64, where the videos of each request start.
        video: [c] int64 video rows, ascending and distinct within a request.
        clicked: [c] bool, or None: then a pair counts as clicked in each request that lists it.
        request: [n] int64, the number of each request, as the results tell it.
    """

    user: Tensor
    indptr: Tensor
    video: Tensor
    clicked: Tensor | None = None
    request: Tensor | None = None

    def __len__(self) -> int:
        return len(self.user)

    def __repr__(self) -> str:
        return f"Requests({len(self)} lists of {len(self.video) / max(len(self), 1):.1f} videos)"

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        dataset: Dataset | None = None,
        *,
        request: str | None = None,
        user: str | None = None,
        video: str | None = None,
        clicked: str | None = None,
    ) -> Requests:
        """From a table with one row a shown video.

        Args:
            frame: polars or pandas; columns of the request, the user, the video and, where known, whether it was
                clicked (0 or 1). A video twice in one request counts once, clicked if either row was.
            dataset: turns raw ids into rows; without it ``user`` and ``video`` are rows already.
            request, user, video, clicked: column names; by default the first that exists of request, request_id,
                impression_id, impression, …; user, user_id; video, video_id, item_id; clicked, click, label.

        Raises:
            DataError: a missing column, an unknown id, a request of two users, a label that is neither 0 nor 1.
        """
        frame = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(dict(frame))
        names = {
            "request": _column(frame, "request", request, ("request", "request_id", "impression_id", "impression")),
            "user": _column(frame, "user", user, ("user", "user_id")),
            "video": _column(frame, "video", video, ("video", "video_id", "item", "item_id")),
        }
        label = clicked or next((name for name in ("clicked", "click", "label") if name in frame.columns), None)
        if label is not None and label not in frame.columns:
            raise DataError(f"no column {label!r}; there are {frame.columns}", column=label, fix="name the column")
        rows = {}
        for part in ("user", "video"):
            column = frame[names[part]]
            if dataset is not None:
                vocabulary = dataset.user_ids if part == "user" else dataset.video_ids
                rows[part] = vocabulary.rows(column, column=names[part])
            elif not column.dtype.is_integer() or column.null_count():
                raise DataError(
                    f"{column.dtype} is no row of a {part}", column=names[part], fix="give dataset=, to read raw ids"
                )
            else:
                rows[part] = column.to_numpy()
        numbers = frame[names["request"]].rank("dense").cast(pl.Int64) - 1
        table = pl.DataFrame({"request": numbers} | rows)
        if label is not None:
            try:
                values = frame[label].cast(pl.Int64, strict=True)
            except pl.exceptions.PolarsError:
                values = pl.Series([2])
            if values.null_count() or not values.is_in([0, 1]).all():
                raise DataError("labels are 0 or 1", column=label, fix="name the column of clicks with clicked=")
            table = table.with_columns(clicked=values == 1)
        several = table.group_by("request").agg(pl.col("user").n_unique()).filter(pl.col("user") > 1)
        if len(several):
            bad = several["request"].min()
            raw = frame.filter(numbers == bad)[names["request"]][0]
            raise DataError(f"request {raw!r} is of several users", column=names["user"], fix="one user a request")
        by = ["user", "request", "video"]
        table = table.sort(by) if label is None else table.group_by(by).agg(pl.col("clicked").any()).sort(by)
        table = table.unique(by, keep="first", maintain_order=True)
        lists = table.group_by(["user", "request"], maintain_order=True).len()
        indptr = torch.zeros(len(lists) + 1, dtype=torch.int64)
        indptr[1:] = torch.tensor(lists["len"].to_numpy().astype("int64")).cumsum(0)
        return cls(
            user=torch.tensor(lists["user"].to_numpy().astype("int64")),
            indptr=indptr,
            video=torch.tensor(table["video"].to_numpy().astype("int64")),
            clicked=None if label is None else torch.tensor(table["clicked"].to_numpy()),
            request=torch.tensor(lists["request"].to_numpy().astype("int64")),
        )

    @classmethod
    def per_user(cls, candidates: CSR) -> Requests:
        """One list a user: the columns of each row of a CSR [U, V]; users without any have no list."""
        known = Known.of(candidates)
        users = (known.activity > 0).nonzero().flatten()
        indptr = torch.cat([known.activity.new_zeros(1), known.activity[users].cumsum(0)])
        return cls(users, indptr, known.key % candidates.shape[1])

    def requests(self, targets: Tensor, known: Known) -> Requests:
        """Itself."""
        return self

    @property
    def protocol(self) -> dict[str, Any]:
        """``lists`` and a hash of them."""
        out = hashlib.blake2b(digest_size=8)
        for part in (self.user, self.indptr, self.video, self.clicked):
            out.update(b"-" if part is None else part.cpu().numpy().tobytes())
        return {"lists": len(self), "hash": out.hexdigest()}

    def lines(self) -> Tensor:
        """[c] the list of each candidate."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.user.device), self.indptr.diff())

    def pick(self, rows: Tensor) -> Requests:
        """The candidates where ``rows`` [c] bool is True, without the lists that are then empty."""
        counts = torch.bincount(self.lines()[rows], minlength=len(self))
        some = counts > 0
        indptr = torch.cat([counts.new_zeros(1), counts[some].cumsum(0)])
        clicked = None if self.clicked is None else self.clicked[rows]
        request = None if self.request is None else self.request[some]
        return Requests(self.user[some], indptr, self.video[rows], clicked, request)

    def to(self, device: torch.device) -> Requests:
        """On a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class SampledCandidates:
    """Each user's targets among ``negatives`` videos drawn uniformly from those neither seen nor targets.

    With one target a user (leave one out) it is the "1 + 99" of much older work. Krichene & Rendle, "On Sampled
    Metrics for Item Recommendation" (KDD 2020, https://doi.org/10.1145/3394486.3403226): the order of models may
    differ from that of a full ranking, so report one beside it.

    Attributes:
        negatives: how many; a user with fewer left gets those.
        seed: of the draw.
    """

    negatives: int = 99
    seed: int = 0

    def __post_init__(self) -> None:
        checks.count(self.negatives, "negatives")
        checks.count(self.seed, "seed", 0)

    @property
    def protocol(self) -> dict[str, Any]:
        """Its settings."""
        return {"sampled": self.negatives, "seed": self.seed}

    def requests(self, targets: Tensor, known: Known) -> Requests:
        """One list a user with targets. The draw depends on the seed, the user row and the seen and target pairs."""
        num_videos = known.seen.shape[1]
        generator = torch.Generator().manual_seed(self.seed)
        users = torch.unique(targets // num_videos)
        keys = [targets]
        for block in users.split(max(1, BLOCK_SCORES // max(num_videos, 1))):
            draw = torch.rand(len(block), num_videos, generator=generator, dtype=torch.float64).to(targets.device)
            pairs, _ = known.seen.select(block)
            draw[pairs.row_indices().long(), pairs.indices.long()] = -1.0
            mine = targets[torch.isin(targets // num_videos, block)]
            draw[torch.searchsorted(block, mine // num_videos), mine % num_videos] = -1.0
            best = draw.topk(min(self.negatives, num_videos), dim=1)
            line, place = (best.values >= 0).nonzero().unbind(1)
            keys.append(block[line] * num_videos + best.indices[line, place])
        key = torch.cat(keys).sort().values
        counts = torch.bincount(torch.searchsorted(users, key // num_videos), minlength=len(users))
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return Requests(users, indptr, key % num_videos)


class RequestRanking:
    """Ranks request lists, and measures where what was clicked stands.

    Args:
        model, emb, known, config, graph: as in :class:`~mmgraph.evaluate.full.FullRanking`.
        requests: the lists, every one with a click, ``clicked`` known.
    """

    def __init__(
        self,
        model: Recommender,
        emb: Embeddings,
        known: Known,
        requests: Requests,
        config: EvalConfig,
        graph: object,
    ) -> None:
        self.model, self.emb, self.known, self.config, self.graph = model, emb, known, config, graph
        self.requests = requests

    def run(self) -> list[Ranked]:
        """The groups, ``all`` first; warm and cold are the known and the new videos of each list among themselves."""
        out = [self._rank("all", "requests with a click; what each of them listed", self.requests)]
        new = self.known.popularity == 0
        for name, about, part in (
            ("warm", "that a training user touched", ~new),
            ("cold", "that no training user touched", new),
        ):
            if name in self.config.groups:
                picked = clicked_only(self.requests.pick(part[self.requests.video]))
                if len(picked):
                    out.append(self._rank(name, f"clicks and candidates {about}", picked))
        return out

    def _rank(self, name: str, about: str, requests: Requests) -> Ranked:
        assert requests.clicked is not None
        counts, longest = requests.indptr.diff(), max(self.config.k)
        n, device = len(requests), requests.user.device
        lists = torch.full((n, longest), -1, device=device)
        scores = torch.full((n, longest), -torch.inf, device=device)
        hits = torch.zeros(n, longest, dtype=torch.bool, device=device)
        sums = torch.zeros(n, dtype=torch.float64, device=device)
        every = torch.empty(len(requests.video), device=device)
        for lines in self._blocks(counts):
            width = int(counts[lines].max())
            place = torch.arange(width, device=device)
            real = place < counts[lines, None]
            entry = torch.where(real, requests.indptr[lines, None] + place, 0)
            videos = torch.where(real, requests.video[entry], 0)
            found = score_given(self.model, self.emb, requests.user[lines], videos)
            every = every.to(found.dtype)
            every[entry[real]] = found[real]
            padded = found.masked_fill(~real, -torch.inf)
            best = best_of(padded, longest)
            column = best.video.clamp(min=0)
            lists[lines] = torch.where(best.video < 0, -1, videos.gather(1, column))
            scores[lines] = best.score.to(scores)
            clicked = requests.clicked[entry] & real
            hits[lines] = clicked.gather(1, column) & (best.video >= 0)
            if self.config.auc:
                line, at = clicked.nonzero().unbind(1)
                none = torch.empty(0, dtype=torch.int64, device=device)
                below, upto, _, _ = count_below(padded, line, padded[line, at], none)
                hidden = width - counts[lines][line]  # the padding at -inf, below or level with every click
                ranks = ((below - hidden).clamp(min=0) + upto - hidden + 1).double() / 2
                sums[lines] = torch.zeros(len(lines), dtype=torch.float64, device=device).index_add(0, line, ranks)
        target = requests.clicked.nonzero().flatten()
        ranking = Ranking(
            users=requests.user,
            lists=lists,
            scores=scores,
            hits=hits,
            target_lines=requests.lines()[target],
            target_videos=requests.video[target],
            num_candidates=counts,
            popularity=self.known.popularity,
            k=longest,
            pool=requests.video.unique(),
            rank_sums=sums if self.config.auc else None,
            requests=requests.request,
            graph=self.graph,
        )
        auc = _pooled(every, requests.clicked) if self.config.auc else None
        return Ranked(name, about, ranking, len(requests.video), auc)

    def _blocks(self, counts: Tensor) -> Iterator[Tensor]:
        """Lists of like lengths together, so that little is padding, few enough that their rows fit in memory."""
        order = counts.sort(stable=True).indices
        width = self.emb.video.shape[1]
        limit, start = BLOCK_SCORES // 4, 0
        while start < len(order):
            stop = min(len(order), start + (self.config.block_size or 4096))
            while stop - start > 1 and (stop - start) * int(counts[order[stop - 1]]) * width > limit:
                stop = start + max(1, (stop - start) // 2)
            yield order[start:stop]
            start = stop


def click(requests: Requests, targets: Tensor | None, num_videos: int) -> Requests:
    """The lists with ``clicked`` as it is to be judged: the labels, and only those among the targets, where given.

    Args:
        requests: with or without labels.
        targets: [T] user · V + video, ascending; None: the labels alone.
        num_videos: V.

    Raises:
        ValueError: neither labels nor targets.
    """
    if targets is None:
        if requests.clicked is None:
            raise ValueError("no targets and no `clicked`: give one of them, so that there is something to find")
        return requests
    key = requests.user[requests.lines()] * num_videos + requests.video
    at = torch.searchsorted(targets, key).clamp(max=max(len(targets) - 1, 0))
    among = targets[at] == key if len(targets) else torch.zeros_like(key, dtype=torch.bool)
    return replace(requests, clicked=among if requests.clicked is None else among & requests.clicked)


def clicked_only(requests: Requests) -> Requests:
    """The lists in which something was clicked."""
    assert requests.clicked is not None
    lines = requests.lines()
    some = torch.zeros(len(requests), dtype=torch.bool, device=lines.device)
    some[lines[requests.clicked]] = True
    return requests.pick(some[lines])


def permitted(requests: Requests, constraint: Constraint) -> Requests:
    """The lists without what the constraint forbids."""
    keep = torch.zeros(len(requests.video), dtype=torch.bool, device=requests.video.device)
    lines = requests.lines()
    step = max(1, BLOCK_SCORES // max(constraint.num_videos, 1))
    for start in range(0, len(requests), step):
        stop = min(start + step, len(requests))
        low, high = int(requests.indptr[start]), int(requests.indptr[stop])
        mask = constraint.mask(requests.user[start:stop])
        keep[low:high] = mask[lines[low:high] - start, requests.video[low:high]]
    return requests.pick(keep)


def _pooled(scores: Tensor, clicked: Tensor) -> float:
    """AUC over all pairs of all lists."""
    positive = scores[clicked].sort().values
    below = torch.zeros(len(positive), dtype=torch.int64, device=scores.device)
    upto = torch.zeros_like(below)
    for part in sorted_parts(scores):
        below += torch.searchsorted(part, positive)
        upto += torch.searchsorted(part, positive, right=True)
    ranks = ((below + upto + 1).double() / 2).sum().cpu()
    return float(mann_whitney_auc(ranks, torch.tensor(len(positive)), torch.tensor(len(scores))))


def _column(frame: pl.DataFrame, part: str, given: str | None, usual: tuple[str, ...]) -> str:
    choices = usual if given is None else (given,)
    found = next((name for name in choices if name in frame.columns), None)
    if found is None:
        raise DataError(
            f"no column {' or '.join(map(repr, choices))}; there are {frame.columns}",
            column=choices[0],
            fix=f"say which column is the {part} with {part}=",
        )
    return found
