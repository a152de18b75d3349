"""A trained model's ranking in small networks: what a new video or user costs is then a matrix product or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from mmgraph.bundle.listwise import SAMPLES, TOP, Lists, gathered, scores_of, teacher_lists, train_student
from mmgraph.bundle.students import ContentStudent, HistoryStudent
from mmgraph.features.standardise import Standardiser

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
STEPS = 100  # the most recent events that a history tower reads
_HELD_OUT = 10  # every tenth video that could be learned from
_SHORT = 64  # lists are cut to this many for the content tower, which embeds every video in them
_SWEEPS = 2  # of the randomised factorisation


class Distilled(NamedTuple):
    """Students of a teacher whose score is no product of rows.

    Attributes:
        video: [V, D].
        user: [U, D], what ``history`` makes of each user's events; 0 without any.
        history: the tower.
        about: in words, how near it comes.
    """

    video: Tensor
    user: Tensor
    history: HistoryStudent
    about: str


def content_tower(
    graph: MultimodalGraph,
    rows: Tensor,
    modalities: Sequence[str],
    *,
    user: Tensor | None = None,
    learn_from: Tensor | None = None,
    seed: int = 0,
) -> tuple[ContentStudent, str]:
    """A network from content to the video rows of a trained model.

    It begins as a ridge regression on the rows of the videos it may learn from (standardised features, rows scaled to
    unit norm, absent ones 0 with a flag), of the ridge of :data:`RIDGES` that predicts every tenth of them best. Where
    users' rows are given it goes on as a perceptron beside it, trained so that the users' lists are the teacher's
    (:func:`mmgraph.bundle.listwise.listwise`), until it ranks those tenths no better.

    Args:
        graph: gives features and interactions.
        rows: [V, D], what the model ranks by.
        modalities: to read, in order.
        user: [U, D], the rows that lists are ranked for; None: the ridge regression alone.
        learn_from: [V] bool; by default those that somebody interacted with.
        seed: of training.

    Returns:
        The tower, and in words how near it comes to the rows of the videos held out.
    """
    features = [graph.features(m) for m in modalities]
    use = graph.seen.transpose().degree() > 0 if learn_from is None else learn_from
    has = torch.stack([f.present for f in features]).any(0)
    known = (use & has).nonzero().flatten()
    means, scales = [], []
    for feature in features:
        used = feature.values[feature.present & use]
        standard = Standardiser.fit(used if len(used) else feature.values)
        means.append(standard.mean)
        scales.append(1 / standard.scale)
    inputs = [t for f in features for t in (f.values, f.present)]
    width = sum(f.dim for f in features) + len(features)
    blank = ContentStudent(means, scales, rows.new_zeros(width, rows.shape[1]), rows.new_zeros(rows.shape[1]))
    if not len(known):
        return blank.eval(), "no warm video has features: every new video gets the same row"
    x = blank.inputs(*inputs)
    held = torch.zeros(len(known), dtype=torch.bool, device=rows.device)
    if len(known) >= 2 * _HELD_OUT:
        held[::_HELD_OUT] = True
    probe = known[held] if bool(held.any()) else known
    tried = []
    for ridge in RIDGES:
        weight, bias = _ridge(x[known[~held]].double(), rows[known[~held]].double(), ridge)
        tried.append((_cosine(x[probe].double() @ weight + bias, rows[probe].double()), ridge))
    cosine, ridge = max(tried)
    weight, bias = (part.float() for part in _ridge(x[known].double(), rows[known].double(), ridge))
    about = f"ridge regression ({ridge:g}) on {len(known):,} videos; mean cosine with held-out rows {cosine:.3f}"
    plain = ContentStudent(means, scales, weight, bias).eval()
    if user is None or not bool(held.any()):
        return plain, about
    weight, bias = (part.float() for part in _ridge(x[known[~held]].double(), rows[known[~held]].double(), ridge))
    tower = ContentStudent(means, scales, weight, bias, hidden=2 * rows.shape[1])
    before, after = _listwise_content(tower, graph, x, rows, user, known, held, seed)
    if after >= before:
        return plain, about + "; listwise training ranked them no better"
    cosine = _cosine(tower.rows(x[probe]), rows[probe])
    about += f"; trained listwise: divergence of held-out lists {before:.3f} -> {after:.3f}, cosine {cosine:.3f}"
    return tower.eval(), about


def _listwise_content(
    tower: ContentStudent,
    graph: MultimodalGraph,
    x: Tensor,
    rows: Tensor,
    user: Tensor,
    known: Tensor,
    held: Tensor,
    seed: int,
) -> tuple[float, float]:
    masks = [torch.zeros(len(rows), dtype=torch.bool, device=rows.device) for _ in range(2)]
    for mask, part in zip(masks, (known[~held], known[held]), strict=True):
        mask[part] = True
    short = {"top": _SHORT, "samples": _SHORT, "seed": seed}
    lists, kept = (teacher_lists(lambda u: user[u] @ rows.T, graph.seen, allowed=m, **short) for m in masks)

    def score(some: Lists) -> Tensor:
        ids, at = some.video.unique(return_inverse=True)
        return scores_of(user[some.user], gathered(tower.rows(x[ids]), at))

    return train_student(tower, score, lists, held=kept, seed=seed)


def _cosine(one: Tensor, two: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.detach(), two, dim=1).mean())


def _ridge(x: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """W and b of least squares with ridge · mean squared column norm on W."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred
    scale = gram.diagonal().mean().clamp_min(1e-12)
    eye = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram + ridge * scale * eye, centred.T @ (y - mean_y)).contiguous()
    return weight, mean_y - mean_x @ weight


class _Pair(nn.Module):
    """A history tower and the table it reads, which learns with it where it is a parameter."""

    def __init__(self, history: HistoryStudent, video: Tensor, learn: bool) -> None:
        super().__init__()
        self.history = history
        self.video = nn.Parameter(video.clone(), requires_grad=learn)


def history_tower(
    graph: MultimodalGraph,
    video: Tensor,
    user: Tensor,
    lists: Lists,
    *,
    steps: int = STEPS,
    learn_rows: bool = False,
    seed: int = 0,
) -> tuple[HistoryStudent, Tensor, str]:
    """A network from the rows of watched videos to a user's row, trained listwise on what a teacher ranks.

    It begins as the least-squares map from pooled histories to the users' rows.

    Args:
        graph: gives the histories.
        video: [V, D].
        user: [n, D], rows of the lists' users to begin from.
        lists: the teacher's, see :func:`mmgraph.bundle.listwise.teacher_lists`.
        steps: the most recent events read.
        learn_rows: let the videos' rows learn too.
        seed: of training.

    Returns:
        The tower, the videos' rows, and in words how near it comes.
    """
    past = graph.histories(max_len=steps, users=lists.user)
    pair = _Pair(HistoryStudent(video.shape[1]), video, learn_rows)
    place = torch.full((graph.num_users,), -1)
    place[lists.user] = torch.arange(len(lists.user))

    def inputs(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        longest = max(int(past.length[rows].max()), 1)
        mask = past.mask[rows, :longest]
        return gathered(pair.video, past.video[rows, :longest].clamp_min(0)), mask, past.time[rows, :longest]

    def score(some: Lists) -> Tensor:
        return scores_of(pair.history(*inputs(place[some.user])), gathered(pair.video, some.video))

    with torch.no_grad():
        blocks = torch.arange(len(lists.user)).split(1024)
        x = torch.cat([pair.history.pooled(*inputs(rows)[:2])[0] for rows in blocks]).double()
        gram = x.T @ x
        ridge = 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype)
        pair.history.linear.weight.copy_(torch.linalg.solve(gram + ridge, x.T @ user.double()).T)
    before, after = train_student(pair, score, lists, seed=seed)
    about = f"trained listwise on {len(lists.user):,} users: divergence of held-out lists {before:.3f} -> {after:.3f}"
    return pair.history.eval(), pair.video.detach(), about


def distil(
    score: Callable[[Tensor], Tensor],
    graph: MultimodalGraph,
    *,
    embedding_dim: int = 64,
    steps: int = STEPS,
    top: int = TOP,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Distilled:
    """Rows and a history tower that rank as any teacher does, whatever its score is.

    The videos' rows begin as the right factors of the teacher's scores, each user's less their mean and over their
    deviation (randomised, Halko et al., SIAM Review 2011, https://doi.org/10.1137/090771806); then rows and tower are
    trained listwise on the teacher's top N and samples.

    Args:
        score: rows of users [b] -> the teacher's scores [b, V].
        graph: gives histories and what was seen.
        embedding_dim: D.
        steps: events that the tower reads.
        top, samples: of the lists.
        seed: of factorisation, samples and training.
    """
    lists = teacher_lists(score, graph.seen, top=top, samples=samples, seed=seed)
    # scores over their deviation, so that every user counts alike and rows have one scale
    lists = lists._replace(scale=torch.ones_like(lists.scale))
    user, video = _factorised(score, lists.user, graph.num_videos, embedding_dim, seed)
    history, video, about = history_tower(graph, video, user, lists, steps=steps, learn_rows=True, seed=seed)
    return Distilled(video, rows_of_users(history, graph, video, steps), history, about)


@torch.no_grad()
def rows_of_users(history: nn.Module, graph: MultimodalGraph, video: Tensor, steps: int = STEPS) -> Tensor:
    """[U, D]: what a history tower makes of every user's events in the graph."""
    parts = []
    for users in torch.arange(graph.num_users).split(1024):
        past = graph.histories(max_len=steps, users=users)
        parts.append(history(video[past.video.clamp_min(0)], past.mask, past.time))
    return torch.cat(parts)


@torch.no_grad()
def _factorised(
    score: Callable[[Tensor], Tensor], users: Tensor, num_videos: int, dim: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Rows of these users and of all videos whose products are nearest to the standardised scores."""
    width = min(dim + 8, num_videos, len(users))
    basis = torch.linalg.qr(torch.randn(num_videos, width, generator=torch.Generator().manual_seed(seed)))[0]

    def standard(some: Tensor) -> Tensor:
        given = score(some).float().cpu()
        given = torch.where(given.isfinite(), given, 0.0)
        given -= given.mean(1, keepdim=True)
        return given / given.std(1, keepdim=True).clamp_min(1e-6)

    small = basis.T
    for _ in range(_SWEEPS):
        image = torch.zeros(num_videos, basis.shape[1])
        for some in users.split(256):
            block = standard(some)
            image += block.T @ (block @ basis)
        basis = torch.linalg.qr(image)[0]
    left = torch.cat([standard(some) @ basis for some in users.split(256)])
    _, size, axes = torch.linalg.svd(left, full_matrices=False)
    small = axes[:dim].T
    out = torch.zeros(len(users), dim), torch.zeros(num_videos, dim)
    root = size[:dim].clamp_min(1e-12).sqrt() / len(users) ** 0.25
    out[0][:, : small.shape[1]] = left @ small / root
    out[1][:, : small.shape[1]] = basis @ small * root
    return out
