"""Why a video may suit a user: the strongest paths of the graph between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmgraph.ops import CSR, best_of, checks
from mmgraph.recommend.constraint import Constraint

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class Reason:
    """One path from a user to a video.

    Attributes:
        kind: ``"co-watched"``, or the modality in which the two videos are alike.
        video: row of the watched video the path goes through.
        strength: co-watched: n / sqrt(d_v' d_v), the cosine of the two videos' watcher sets; a modality: the
            cosine of their features.
        count: co-watched: how many other users watched both; 0 for a modality.
        users: rows of up to five of those users.
    """

    kind: str
    video: int
    strength: float
    count: int = 0
    users: tuple[int, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a video may suit a user: the strongest paths of the graph between them.

    Attributes:
        user: user row.
        video: video row.
        reasons: strongest first within each kind.
    """

    user: int
    video: int
    reasons: tuple[Reason, ...]

    def sentences(self, dataset: Dataset) -> list[str]:
        """One plain sentence a reason, with titles (raw ids where there are none)."""
        titles = dataset.videos["title"] if "title" in dataset.videos.columns else dataset.video_ids.ids
        out = []
        for reason in self.reasons:
            name = titles[reason.video]
            if reason.kind == "co-watched":
                people = "1 person" if reason.count == 1 else f"{reason.count} people"
                out.append(f"{people} who watched {name!r} watched this too (strength {reason.strength:.2f})")
            else:
                out.append(f"alike in {reason.kind} to {name!r}, which you watched (cosine {reason.strength:.2f})")
        return out


@torch.no_grad()
def explain(
    graph: MultimodalGraph, user: int, video: int, k: int = 3, *, constraint: Constraint | None = None
) -> Explanation:
    """The strongest paths between a user and a video, read from the graph alone, whatever the model.

    Two kinds. *Co-watching*: user → v' → u' → video over ``interacts`` edges, one reason for each watched v' with its
    number of paths n and strength n / sqrt(d_v' d_v), where d counts the users of a video. *Likeness*: the
    cosine between the features of the video and of each watched v', per modality, where both have it and it is above 0.

    Args:
        graph: users, videos, modalities.
        user: user row.
        video: video row; it need not be unseen, and is never its own reason.
        k: reasons of each kind, at most.
        constraint: a video that may not be shown is not explained, and none that nobody may get is named as a reason.

    Returns:
        Explanation: empty for a user without interactions.

    Raises:
        ValueError: a row out of range, or a video that the constraint forbids (whether seen or not).
    """
    checks.rows([user], graph.num_users, "user")
    checks.rows([video], graph.num_videos, "video")
    seen = graph.seen
    watched = _neighbours(seen, torch.tensor([user]))[1].unique()
    watched = watched[watched != video]
    if constraint is not None:
        if not bool(constraint.with_seen(None).permits(user, torch.tensor([video]))[0]):
            raise ValueError(f"video row {video} may not be shown to user row {user}: the constraint forbids it")
        watched = watched[constraint.over(graph.num_videos).columns[watched]]
    if not len(watched):
        return Explanation(user, video, ())
    reasons: list[Reason] = []

    watchers = _neighbours(seen.transpose(), torch.tensor([video]))[1].unique()
    others = watchers[watchers != user]
    line, theirs = _neighbours(seen, others)
    pairs = torch.unique(torch.stack([theirs, others[line]]), dim=1)
    pairs = pairs[:, torch.isin(pairs[0], watched)]
    through, count = pairs[0].unique(return_counts=True)
    rows, users_of = _neighbours(seen.transpose(), through)
    degree = torch.bincount(torch.unique(torch.stack([rows, users_of]), dim=1)[0], minlength=len(through))
    strength = count / (degree * len(watchers)).clamp(min=1).sqrt()
    for place in best_of(strength[None].float(), min(k, len(through))).video[0].tolist():
        row = int(through[place])
        people = tuple(pairs[1, pairs[0] == row][:5].tolist())
        reasons.append(Reason("co-watched", row, float(strength[place]), int(count[place]), people))

    for modality in graph.modalities:
        features = graph.features(modality)
        have = watched.to(features.values.device)
        have = have[features.present[have]]
        if not bool(features.present[video]) or not len(have):
            continue
        cosine = torch.nn.functional.cosine_similarity(features.values[have], features.values[video][None], dim=1)
        best = best_of(cosine[None], min(k, len(have)))
        # features may be centred, and what points the other way is no likeness
        reasons += [Reason(modality, int(have[i]), float(cosine[i])) for i in best.video[0].tolist() if cosine[i] > 0]
    return Explanation(user, video, tuple(reasons))


def _neighbours(matrix: CSR, rows: Tensor) -> tuple[Tensor, Tensor]:
    block, _ = matrix.select(rows.to(matrix.device))
    return block.row_indices().long(), block.indices.long()
