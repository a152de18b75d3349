"""Which way to answer a request: the popular list, the index, or the index with re-scoring, by gain against cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mmgraph.bundle import Bundle
from mmgraph.bundle.writing import with_file
from mmgraph.data.files import write_atomically

TIERS = ("popular", "index", "rescored")
ROUTER = "router.json"  # in a bundle
SHRINK = 20.0  # requests that the mean over all bins counts for in each
_BINS = 4
_TIMED = 50


class CascadeRouter(BaseModel):
    """Sends a request where the expected gain, less what it costs, is highest: argmax_t g[b, t] − price · c[t].

    The gain of an answer (NDCG@k on valid) is expected by how many videos the user met: b is the bin of that number.
    With price 0 each request goes to the best tier for its bin, with an infinite price to the cheapest, and between
    them to a dearer tier as long as a millisecond more brings at least ``price`` of gain. Ties go to the cheaper one.

    Attributes:
        tiers: names, of :data:`TIERS`.
        edges: ascending; bin b holds edges[b−1] < met ≤ edges[b], the last what is above all of them.
        gain: [bins, tiers], expected.
        cost: of each tier, in milliseconds.
        requests: that it was fitted on, in each bin.

    Raises:
        ValueError: sizes that do not go together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiers: tuple[str, ...]
    edges: tuple[int, ...]
    gain: tuple[tuple[float, ...], ...]
    cost: tuple[float, ...]
    requests: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> CascadeRouter:
        sizes = {len(self.tiers), len(self.cost), *(len(row) for row in self.gain)}
        if len(sizes) != 1 or len(self.gain) != len(self.edges) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError(
                f"{len(self.tiers)} tiers, {len(self.cost)} costs, {len(self.gain)} rows of gains, edges {self.edges}"
            )
        if unknown := set(self.tiers) - set(TIERS):
            raise ValueError(f"no tier {sorted(unknown)[0]!r}; there are {', '.join(TIERS)}")
        if not all(math.isfinite(value) and value >= 0 for value in self.cost):
            raise ValueError(f"costs are numbers from 0, got {self.cost}")
        return self

    def bin(self, met: int) -> int:
        """Which row of ``gain`` a user who met so many videos has."""
        return int(np.searchsorted(self.edges, met))

    def route(self, met: int, price: float) -> str:
        """The tier for one request.

        Args:
            met: videos that the user met; 0 for a stranger.
            price: gain that a millisecond must bring, from 0 to infinity.

        Raises:
            ValueError: a negative price.
        """
        if not price >= 0:
            raise ValueError(f"price is a number from 0, got {price}")
        order = sorted(range(len(self.tiers)), key=lambda t: self.cost[t])
        if price == math.inf:
            return self.tiers[order[0]]
        row = self.gain[self.bin(met)]
        return self.tiers[max(order, key=lambda t: row[t] - price * self.cost[t])]

    def expected(self, met: Sequence[int], price: float) -> tuple[float, float]:
        """Mean expected gain and mean cost of some requests at a price."""
        at = {name: t for t, name in enumerate(self.tiers)}
        chosen = [(self.bin(one), at[self.route(one, price)]) for one in met]
        return (
            float(np.mean([self.gain[b][t] for b, t in chosen])),
            float(np.mean([self.cost[t] for _, t in chosen])),
        )

    def save(self, path: str | Path) -> None:
        """Writes it as JSON, whole or not at all."""
        write_atomically(Path(path), self.model_dump_json(indent=1).encode())

    def keep_in(self, bundle: Bundle) -> Bundle:
        """Writes it into a bundle, whose id changes; a server over that bundle asks it."""
        return with_file(bundle, ROUTER, self.model_dump_json(indent=1).encode())

    @classmethod
    def of(cls, bundle: Bundle) -> CascadeRouter | None:
        """The one that :meth:`keep_in` wrote, None where there is none."""
        return cls.load(bundle.folder / ROUTER) if ROUTER in bundle.manifest.files else None

    @classmethod
    def load(cls, path: str | Path) -> CascadeRouter:
        """Reads it.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is none; the message names the field.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{path} is no router: {'/'.join(map(str, first['loc']))}: {first['msg']}") from None


def fit_router(
    met: Sequence[int],
    gains: Mapping[str, Sequence[float] | NDArray[np.float64]],
    cost: Mapping[str, float],
    *,
    bins: int = _BINS,
    shrink: float = SHRINK,
) -> CascadeRouter:
    """A router from what each tier gained on requests of valid.

    Bins are quantiles of ``met``. A bin's gain is its mean, drawn to the tier's mean over all requests m:
    (Σ g + s · m) / (n + s), so that a bin of few requests says little.

    Args:
        met: [n], videos that each request's user met.
        gains: tier -> [n].
        cost: tier -> milliseconds.
        bins: at most so many.
        shrink: s, requests.

    Raises:
        ValueError: no requests, lengths that differ, tiers without cost, fewer than one bin.
    """
    number = np.asarray(met)
    names = [name for name in TIERS if name in gains]
    if not len(number) or not names or any(len(gains[name]) != len(number) for name in names) or bins < 1:
        raise ValueError(f"{len(number)} requests, gains { ({n: len(gains[n]) for n in gains}) }, {bins} bins")
    if set(gains) != set(names) or set(names) - set(cost):
        raise ValueError(f"tiers are of {TIERS}, each with a cost; got gains {set(gains)}, costs {set(cost)}")
    cuts = np.quantile(number, np.arange(1, bins) / bins, method="inverted_cdf") if bins > 1 else np.empty(0)
    edges = [int(cut) for cut in np.unique(cuts) if cut < number.max()]
    place = np.searchsorted(edges, number)
    table, counts = [], []
    for b in range(len(edges) + 1):
        mine = place == b
        counts.append(int(mine.sum()))
        row = []
        for name in names:
            values = np.asarray(gains[name], float)
            row.append(float((values[mine].sum() + shrink * values.mean()) / (mine.sum() + shrink)))
        table.append(tuple(row))
    price = tuple(float(cost[name]) for name in names)
    return CascadeRouter(tiers=tuple(names), edges=tuple(edges), gain=tuple(table), cost=price, requests=tuple(counts))


def measure_tiers(
    bundle: Bundle, targets: Mapping[str, Sequence[str]], k: int = 20, clock: Callable[[], float] = time.perf_counter
) -> tuple[list[int], dict[str, NDArray[np.float64]], dict[str, float]]:
    """What each way to answer gains on held-out clicks, and what it costs here: what :func:`fit_router` takes.

    Args:
        bundle: asked.
        targets: raw user id -> raw ids of videos clicked later (valid). Users and videos it does not know are passed
            over, and clicks that it was made with.
        k: of NDCG@k, and of the lists.
        clock: seconds, for the cost: the median over up to 50 single requests.

    Returns:
        Videos met by each user; tier -> NDCG@k of each; tier -> milliseconds a request.

    Raises:
        ValueError: no user with a target that the bundle knows.
    """
    known = {u: _unmet(bundle, u, videos) for u, videos in targets.items() if u in bundle.users}
    users = [user for user, videos in known.items() if videos]
    if not users:
        raise ValueError(
            "no held-out click of a user on a video that the bundle knows both and was not made with: give clicks that "
            "came later, or valid of the split that it was trained on"
        )
    ways: dict[str, Callable[[Sequence[str]], torch.Tensor]] = {
        "popular": lambda some: _popular(bundle, some, k),
        "index": lambda some: bundle.rank(some, k, rescore=False).video,
    }
    if bundle.pair is not None:
        ways["rescored"] = lambda some: bundle.rank(some, k).video
    met = [len(bundle.history.of(bundle.users.row[user])[0]) for user in users]
    gains, cost = {}, {}
    for name, way in ways.items():
        lists = torch.cat([way(users[at : at + 256]) for at in range(0, len(users), 256)]).numpy()
        gains[name] = np.array([_ndcg(row, _rows(bundle, known[u])) for row, u in zip(lists, users, strict=True)])
        spent = []
        for user in users[:_TIMED]:
            began = clock()
            way([user])
            spent.append(1000 * (clock() - began))
        cost[name] = float(np.median(spent))
    return met, gains, cost


def _unmet(bundle: Bundle, user: str, videos: Sequence[str]) -> list[str]:
    """The videos that the bundle knows and that are not in the user's history."""
    met = set(bundle.history.videos(bundle.users.row[user]).tolist())
    return [video for video in videos if bundle.videos.find(video) not in (-1, *met)]


def _rows(bundle: Bundle, videos: Sequence[str]) -> set[int]:
    return {bundle.videos.row[video] for video in videos}


def _popular(bundle: Bundle, users: Sequence[str], k: int) -> torch.Tensor:
    rows = [bundle.users.row[user] for user in users]
    seen = bundle.seen(rows)
    weight = bundle.popularity.masked_fill(bundle.gate != 0, -torch.inf)
    scores = weight.expand(len(rows), -1).clone()
    scores[seen.row_indices().long(), seen.indices.long()] = -torch.inf
    best = scores.topk(min(k, len(weight)), dim=1)
    return best.indices.masked_fill(best.values == -torch.inf, -1)


def _ndcg(found: NDArray[np.int64], targets: set[int]) -> float:
    discount = 1 / np.log2(np.arange(len(found)) + 2)
    hits = np.array([row in targets for row in found.tolist()])
    return float((hits * discount).sum() / discount[: len(targets)].sum())
