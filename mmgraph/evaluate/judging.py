"""``evaluate``, and ``evaluate_test``, the one door to the sealed test."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from torch import Tensor

from mmgraph.data.split.expected import expect_split
from mmgraph.evaluate.evalconfig import EvalConfig
from mmgraph.evaluate.evaluation import Evaluation, Opening
from mmgraph.evaluate.full import FullRanking, Known, Ranked
from mmgraph.evaluate.ranking import Ranking
from mmgraph.evaluate.requests import RequestRanking, Requests, click, clicked_only, permitted
from mmgraph.evaluate.summary import summarise
from mmgraph.nn import evaluating
from mmgraph.ops import CSR, checks
from mmgraph.recommend import Constraint, require_fitted, user_blocks

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.evaluate.requests import Candidates
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Recommender


@torch.no_grad()  # not inference_mode: matrices that the graph caches on the way must still serve training
def evaluate(
    model: Recommender,
    graph: MultimodalGraph,
    targets: pl.DataFrame | None,
    config: EvalConfig | None = None,
    device: torch.device | str | None = None,
    *,
    seen: CSR | None = None,
    candidates: Candidates | pl.DataFrame | CSR | None = None,
    constraint: Constraint | None = None,
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
    users of a recommended video). Where some of the candidates are new (no training user), ``all`` also tells how they
    fare in the one list a person gets: ``new_share@k`` of them in it, ``recall_new@k`` and ``recall_known@k`` of the
    new and of the known targets, ``new_shown@k``, the share of the new videos that stand in anybody's list. AUC, in
    three forms, each with ties counting one half:

    - ``auc`` pools the group's (user, candidate) pairs: the chance that a target's score is above a non-target's,
      also of another user. Not given for the activity groups.
    - ``user_auc`` is the same within each user, averaged over users.
    - ``gauc`` averages it weighted by the users' number of targets (Zhu et al., KDD 2018, https://arxiv.org/abs/1706.06978).

    Args:
        model: ``encode`` is called once, ``score`` once per block of users (twice with ``auc``; not at all where it is
            the dot product of the embeddings and no other scores are needed: see :func:`mmgraph.ops.topk`).
        graph: what the model reads.
        targets: columns ``user`` and ``video`` (rows), the held-out interactions. None: the clicks of ``candidates``.
        config: what to measure; the default measures everything.
        device: where to run; by default where the model is. The model and the graph are moved there.
        seen: CSR [U, V], the pairs to mask and to call training; by default those of the graph. Needed when a
            transform took interactions out of the graph.
        candidates: what to rank in place of every video: :class:`Requests` (or a table of them, see
            :meth:`Requests.from_frame`), :class:`SampledCandidates`, or a CSR [U, V] of each user's; by default
            what ``config`` says. Given candidates are ranked as they are, seen or not; a target among none of
            them is not ranked.
        constraint: what may be shown, by default what ``config`` says; what it forbids is neither candidate nor
            target. Its seen pairs are those above.

    Raises:
        ValueError: no target, rows out of range, sizes that do not fit, an unfitted model, or a NaN score.
        TypeError: arguments in the wrong place.
    """
    config = _config(config)
    device = _device(device)
    _check(model, graph, targets)
    require_fitted(model)
    seen = graph.seen if seen is None else seen
    sizes = (graph.num_users, graph.num_videos)
    if tuple(seen.shape) != sizes:
        raise ValueError(
            f"seen is {list(seen.shape)}, but the graph has {sizes[0]} users and {sizes[1]} videos: give the pairs of "
            "this graph"
        )
    constraint = _limits(config.constraint if constraint is None else constraint)
    if constraint is not None and constraint.quotas and (candidates is not None or len(config.k) > 1):
        raise ValueError("a quota is about a list of one length over every video: give EvalConfig(k=(…,)) one cut-off")
    chosen = _candidates(config.candidates if candidates is None else candidates)
    if device is not None:
        model, graph = model.to(device), graph.to(device)
    asked = evaluating(model)
    emb = asked.encode(graph)
    known = Known.of(seen.to(emb.video.device))
    keys = None if targets is None else _keys(targets, sizes, emb.video.device)
    limits = constraint or Constraint(sizes[1])
    if chosen is None:
        if keys is None:
            raise ValueError("no targets: give the held-out pairs, such as split.valid")
        limits = limits.with_seen(known.seen if config.exclude_seen else None)
        kept = _open_targets(keys, known, limits)
        if not len(kept):
            raise ValueError(_nothing(config.exclude_seen and len(keys) > 0))
        parts = FullRanking(asked, emb, known, kept, limits, config, graph).run()
        return summarise(parts, config, known.activity, dropped=len(keys) - len(kept))
    empty = torch.empty(0, dtype=torch.int64, device=emb.video.device)
    requests = chosen.requests(empty if keys is None else keys, known).to(emb.video.device)
    _check_requests(requests, sizes)
    judged = click(requests, keys, sizes[1])
    if constraint is not None:
        judged = permitted(judged, constraint.with_seen(None))
    judged = clicked_only(judged)
    if not len(judged):
        raise ValueError("no target to rank: none of the lists holds a target, or `targets` is empty")
    parts = RequestRanking(asked, emb, known, judged, config, graph).run()
    assert judged.clicked is not None
    found = torch.unique((judged.user[judged.lines()] * sizes[1] + judged.video)[judged.clicked])
    return summarise(parts, config, known.activity, dropped=0 if keys is None else len(keys) - len(found))


@torch.no_grad()
def evaluate_lists(
    users: Tensor,
    lists: Tensor,
    graph: MultimodalGraph,
    targets: pl.DataFrame,
    config: EvalConfig | None = None,
    *,
    seen: CSR | None = None,
) -> Evaluation:
    """:func:`evaluate` of lists that somebody else made: a re-ranker, a server, another library.

    The same targets count, so a user with targets but without a list has an empty one. There are no scores, hence no
    AUC and no groups ``warm`` and ``cold``, which rank other candidates.

    Args:
        users: [n] distinct user rows.
        lists: [n, K] video rows, best first, -1 where a list is shorter.
        graph: what the model read.
        targets, config, seen: as in :func:`evaluate`.

    Raises:
        ValueError: a user or a video twice, a row out of range, lists shorter than the largest cut-off, or a video
            that the user has seen.
    """
    config = _config(config)
    seen = graph.seen if seen is None else seen
    sizes = (graph.num_users, graph.num_videos)
    users = checks.rows(users, sizes[0], "users")
    lists = torch.as_tensor(lists)
    longest = max(config.k)
    if lists.dim() != 2 or len(lists) != len(users) or lists.shape[1] < longest:
        raise ValueError(f"lists must be [{len(users)}, {longest} or more], got {list(lists.shape)}")
    lists = lists[:, :longest].to(users.device)
    checks.rows(lists[lists >= 0], sizes[1], "lists")
    if bool((lists < -1).any()):
        raise ValueError("lists hold -1 where they end, and video rows from 0")
    known, limits = Known.of(seen.to(users.device)), Constraint(sizes[1])
    limits = limits.with_seen(known.seen if config.exclude_seen else None)
    placed = (users[:, None] * sizes[1] + lists)[lists >= 0].sort().values
    if len(users.unique()) < len(users) or bool((placed.diff() == 0).any()):
        raise ValueError("a user has two lists, or a list holds a video twice")
    if config.exclude_seen and bool(torch.isin(placed, known.key).any()):
        raise ValueError("a list holds a video that its user has seen: EvalConfig(exclude_seen=False) allows it")
    given = _keys(targets, sizes, users.device)
    keys = _open_targets(given, known, limits)
    if not len(keys):
        raise ValueError(_nothing(config.exclude_seen and len(given) > 0))
    rows, line = torch.unique(keys // sizes[1], return_inverse=True)
    mine = torch.full((len(rows), longest), -1, device=users.device)
    at = torch.searchsorted(rows, users).clamp(max=len(rows) - 1)
    wanted = rows[at] == users
    mine[at[wanted]] = lists[wanted]
    hits = torch.isin(rows[:, None] * sizes[1] + mine, keys) & (mine >= 0)
    hidden = known.activity[rows] if config.exclude_seen else torch.zeros_like(rows)
    order = -torch.arange(longest, device=users.device).float().expand(mine.shape)
    ranking = Ranking(
        users=rows,
        lists=mine,
        scores=order.masked_fill(mine < 0, -torch.inf),
        hits=hits,
        target_lines=line,
        target_videos=keys % sizes[1],
        num_candidates=sizes[1] - hidden,
        popularity=known.popularity,
        k=longest,
        graph=graph,
    )
    part = Ranked("all", "users with a target; the lists that were given", ranking, sizes[1])
    return summarise([part], config, known.activity, dropped=len(given) - len(keys))


def evaluate_test(
    model: Recommender,
    graph: MultimodalGraph,
    split: Split,
    experiment: str,
    config: EvalConfig | None = None,
    device: torch.device | str | None = None,
    *,
    candidates: Candidates | pl.DataFrame | CSR | None = None,
    constraint: Constraint | None = None,
) -> Evaluation:
    """:func:`evaluate` on the sealed test targets; the only function that opens them, and it says so in the result.

    Call it once, after everything was chosen on valid: a split lets each experiment open its test once. What is ranked
    (candidates, seen videos too, a constraint) is part of the protocol id that the opening records.

    Args:
        model: chosen on valid.
        graph: ``build_graph(split, "test")``, transformed as the model wants it.
        split: whose test to open; its protocol says which pairs are masked.
        experiment: the name the opening is recorded under.
        config, device, candidates, constraint: as in :func:`evaluate`. Labels of request lists count only where the
            pair is a test interaction.

    Raises:
        SealedTestError: this experiment has opened this split's test before.
    """
    config, device = _config(config), _device(device)
    expect_split(split, "evaluate_test")
    _check(model, graph, None)  # before the test is opened for nothing
    if not isinstance(experiment, str):
        raise TypeError(f"experiment must be the name to record the opening under, got {type(experiment).__name__}")
    chosen, constraint = _candidates(candidates), _limits(constraint)
    added, config = config.protocol_parameters(split), config.for_split(split)
    if chosen is not None:
        added["candidates"] = chosen.protocol
    if constraint is not None:
        added["constraint"] = constraint.with_seen(None).digest()
    split = split.with_parameters(**added) if added else split
    require_fitted(model)
    pairs = split.seen("test")
    columns = [torch.tensor(pairs[name].to_numpy(), dtype=torch.int64) for name in ("user", "video")]
    seen = CSR.from_edges(columns[0], columns[1], (split.dataset.num_users, split.dataset.num_videos))
    opening = Opening(experiment, datetime.now(UTC).isoformat(timespec="seconds"), split.protocol_id)
    targets = split.open_test(experiment)
    found = evaluate(model, graph, targets, config, device, seen=seen, candidates=chosen, constraint=constraint)
    return replace(found, opening=opening)


def _config(config: Any) -> EvalConfig:
    if config is None:
        return EvalConfig()
    if isinstance(config, EvalConfig):
        return config
    if isinstance(config, (str, torch.device)):
        raise TypeError(f"{str(config)!r} stands where the EvalConfig goes: write device={str(config)!r}")
    raise TypeError(f"config must be an EvalConfig, such as EvalConfig(k=(20,)), got {type(config).__name__}")


def _device(device: Any) -> torch.device | None:
    if device is None or isinstance(device, torch.device):
        return device
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device {device!r} is none: use 'cpu', 'cuda' or 'cuda:0'") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}, but this machine has no CUDA: leave it out, or use 'cpu'")
    return found


def _check(model: Any, graph: Any, targets: Any) -> None:
    if isinstance(model, type) or not hasattr(model, "encode"):
        name = model.__name__ if isinstance(model, type) else type(model).__name__
        raise TypeError(f"the model comes first, made and fitted; got {name}")
    if not hasattr(graph, "seen") or not hasattr(graph, "num_users") or callable(graph.seen):
        raise TypeError(f"the graph comes second; got {type(graph).__name__}: make one with build_graph(split)")
    if targets is not None and not isinstance(targets, pl.DataFrame):
        raise TypeError(
            f"targets must be a polars table with the columns 'user' and 'video', such as split.valid; got "
            f"{type(targets).__name__}"
        )


def _limits(constraint: Any) -> Constraint | None:
    if constraint is None or isinstance(constraint, Constraint):
        return constraint
    if callable(constraint):
        raise TypeError("the constraint is a function of the split: give config.for_split(split) or call it")
    raise TypeError(f"constraint must be a Constraint, got {type(constraint).__name__}")


def _candidates(candidates: Any) -> Candidates | None:
    if candidates is None or hasattr(candidates, "requests"):
        return candidates
    if isinstance(candidates, CSR):
        return Requests.per_user(candidates)
    if isinstance(candidates, pl.DataFrame):
        return Requests.from_frame(candidates)
    if callable(candidates):
        raise TypeError("the candidates are a function of the split: give config.for_split(split) or call it")
    raise TypeError(
        f"candidates must be Requests, SampledCandidates(…), a table of requests or a CSR [U, V]; got "
        f"{type(candidates).__name__}"
    )


def _keys(targets: pl.DataFrame, sizes: tuple[int, int], device: torch.device) -> Tensor:
    """The distinct pairs, user · V + video, ascending."""
    missing = {"user", "video"} - set(targets.columns)
    if missing:
        raise ValueError(f"targets need the columns 'user' and 'video'; got {targets.columns}")
    columns = []
    for name, size in zip(("user", "video"), sizes, strict=True):
        if targets[name].null_count() or (len(targets) and not targets[name].dtype.is_integer()):
            raise ValueError(
                f"target column {name!r} is {targets[name].dtype}: it holds rows, which "
                f"dataset.{name}_ids.rows(…) makes of raw ids"
            )
        rows = torch.tensor(targets[name].to_numpy().astype("int64"), device=device)
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= size):
            raise ValueError(f"target {name} rows must lie in [0, {size}); got {int(rows.min())}..{int(rows.max())}")
        columns.append(rows)
    return torch.unique(columns[0] * sizes[1] + columns[1])


def _open_targets(keys: Tensor, known: Known, constraint: Constraint) -> Tensor:
    """The targets that could be recommended."""
    num_videos = known.seen.shape[1]
    if constraint.seen is not None and len(known.key):
        at = torch.searchsorted(known.key, keys).clamp(max=len(known.key) - 1)
        keys = keys[known.key[at] != keys]
    if constraint.per_user or not bool(constraint.columns.all()):
        keep = torch.zeros_like(keys, dtype=torch.bool)
        for users in user_blocks(torch.unique(keys // num_videos), num_videos):
            mine = torch.isin(keys // num_videos, users).nonzero().flatten()
            line = torch.searchsorted(users, keys[mine] // num_videos)
            keep[mine] = constraint.mask(users)[line, keys[mine] % num_videos]
        keys = keys[keep]
    return keys


def _check_requests(requests: Requests, sizes: tuple[int, int]) -> None:
    for name, rows, size in (("user", requests.user, sizes[0]), ("video", requests.video, sizes[1])):
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= size):
            raise ValueError(f"candidate {name} rows must lie in [0, {size}); got {int(rows.min())}..{int(rows.max())}")


def _nothing(masked: bool) -> str:
    out = "no target to rank: `targets` is empty, or every pair of it is among the seen pairs, which are masked"
    return out + ". Where things are had again, EvalConfig(exclude_seen=False) ranks seen videos too" if masked else out
