"""What a teacher ranks for some users, and training students to rank it alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.ops import CSR

TOP, SAMPLES = 100, 200
_USERS = 20_000  # users whose lists are asked for, at most
_BLOCK = 256
_CELLS = 2**25  # scores formed at once
_HELD_OUT = 10  # every tenth list tells when to stop
_EPOCHS, _PATIENCE = 60, 4
_TEMPERATURE = 0.25


class Lists(NamedTuple):
    """A teacher's scores of some videos for some users: its best, and others at random; what was seen is left out.

    Attributes:
        user: [n] rows.
        video: [n, L] rows.
        score: [n, L], in standard deviations of that user's scores over all videos; -inf where it does not count.
        scale: [n], that deviation in the teacher's own numbers.
    """

    user: Tensor
    video: Tensor
    score: Tensor
    scale: Tensor

    def take(self, rows: Tensor) -> Lists:
        """Some of the lists."""
        return Lists(self.user[rows], self.video[rows], self.score[rows], self.scale[rows])


@torch.no_grad()
def teacher_lists(
    score: Callable[[Tensor], Tensor],
    seen: CSR,
    *,
    top: int = TOP,
    samples: int = SAMPLES,
    allowed: Tensor | None = None,
    most: int = _USERS,
    seed: int = 0,
) -> Lists:
    """The ``top`` best videos of each user and ``samples`` others, as a teacher scores them.

    Args:
        score: rows of users [b] -> the teacher's scores [b, V], which may be overwritten.
        seen: CSR [U, V], left out of the lists; users without an entry are not asked.
        top, samples: N and how many others; fewer where there are no more videos.
        allowed: [V] bool, the only videos that lists may hold.
        most: users asked, spread over the table.
        seed: of the samples.
    """
    num_videos, generator = seen.shape[1], torch.Generator().manual_seed(seed)
    active = (seen.degree() > 0).nonzero().flatten()
    if len(active) > most:
        active = active[torch.linspace(0, len(active) - 1, most).long()]
    pool = torch.arange(num_videos) if allowed is None else allowed.nonzero().flatten()
    parts: list[Lists] = []
    for users in active.split(max(1, min(_BLOCK, _CELLS // max(num_videos, 1)))):
        mine, _ = seen.select(users)
        given = score(users).float()
        scale = torch.where(given.isfinite(), given, 0.0).std(1).clamp_min(1e-6)
        given[mine.row_indices().long(), mine.indices.long()] = -torch.inf
        if allowed is not None:
            given[:, ~allowed] = -torch.inf
        best = given.topk(min(top, num_videos), dim=1).indices
        others = pool[torch.randint(len(pool), (len(users), samples), generator=generator).to(pool.device)]
        video = torch.cat([best, others], 1)
        parts.append(Lists(users, video, given.gather(1, video) / scale.unsqueeze(1), scale))
    return Lists(*(torch.cat(columns).cpu() for columns in zip(*parts, strict=True)))


def listwise(student: Tensor, lists: Lists, temperature: float = _TEMPERATURE) -> Tensor:
    """KL(softmax(t / (σT)) ‖ softmax(s / (σT))), the mean over users: 0 where the student ranks as the teacher does.

    Args:
        student: scores [n, L] of ``lists.video``, on the teacher's scale.
        lists: the teacher's.
        temperature: T.
    """
    counts = lists.score.isfinite()
    wanted = (lists.score / temperature).log_softmax(1)
    found = (student / (lists.scale.unsqueeze(1) * temperature)).masked_fill(~counts, -torch.inf).log_softmax(1)
    gap = torch.where(counts, wanted.exp() * (wanted - found), 0.0).sum(1)
    some = counts.any(1)
    return gap[some].mean() if bool(some.any()) else gap.sum() * 0


@torch.enable_grad()  # exporting, where it is called, is not to be differentiated
def train_student(
    student: nn.Module,
    score: Callable[[Lists], Tensor],
    lists: Lists,
    *,
    learning_rate: float = 2e-3,
    epochs: int = _EPOCHS,
    batch: int = _BLOCK,
    seed: int = 0,
    held: Lists | None = None,
    held_score: Callable[[Lists], Tensor] | None = None,
) -> tuple[float, float]:
    """Trains a student on lists until those held out are fitted no better; the best weights remain.

    Args:
        student: whose parameters move.
        score: the student's scores [n, L] for some lists.
        lists: the teacher's.
        learning_rate, epochs, batch, seed: of Adam over the lists.
        held: what to stop by; every tenth list by default.
        held_score: the student's scores for those; ``score`` by default.

    Returns:
        The divergence on what was held out, before and after.
    """
    generator = torch.Generator().manual_seed(seed)
    judge = held_score or score
    if held is None:
        out = torch.zeros(len(lists.user), dtype=torch.bool)
        if len(out) >= 2 * _HELD_OUT:
            out[::_HELD_OUT] = True
        held = lists.take(out.nonzero().flatten()) if bool(out.any()) else lists
        lists = lists.take((~out).nonzero().flatten())

    @torch.no_grad()
    def divergence() -> float:
        student.eval()
        rows = torch.arange(len(held.user)).split(4 * batch)
        sums = [float(listwise(judge(part), part)) * len(part.user) for part in (held.take(r) for r in rows)]
        student.train()
        return sum(sums) / max(len(held.user), 1)

    before = best = divergence()
    state, worse = _copied(student), 0
    optimiser = torch.optim.Adam(student.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for rows in torch.randperm(len(lists.user), generator=generator).split(batch):
            some = lists.take(rows)
            optimiser.zero_grad(set_to_none=True)
            listwise(score(some), some).backward()
            optimiser.step()
        now = divergence()
        if now < best:
            worse = 0 if now < 0.995 * best else worse + 1
            best, state = now, _copied(student)
        else:
            worse += 1
        if worse >= _PATIENCE:
            break
    student.load_state_dict(state)
    student.eval()
    return before, best


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def scores_of(user: Tensor, video: Tensor) -> Tensor:
    """Dot products [n, L] of rows [n, D] and candidates [n, L, D]."""
    return torch.linalg.vecdot(video, user.unsqueeze(1))


def gathered(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table with a gradient; the backward of an embedding is several times as fast as an index's."""
    return F.embedding(rows, table)
