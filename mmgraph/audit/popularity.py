"""Recall by the popularity of the targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmgraph.audit.auditing import popularity_of, ranked, subject_of
from mmgraph.audit.findings import AuditConfig, Effect, paired_effect
from mmgraph.audit.judged import judged
from mmgraph.audit.steps import FULL
from mmgraph.experiment import Experiment

if TYPE_CHECKING:
    from mmgraph.data.split import Split


def recall_by_popularity(
    folder: str | Path,
    experiment: Experiment,
    metric: str | None = None,
    parts: int = 10,
    *,
    split: Split | None = None,
) -> dict[str, Effect]:
    """Range of training users -> mean recall of the valid targets in it, over the users that have some there.

    Args:
        folder: of one seed, finished or only trained.
        experiment: the one that made it.
        metric: its cut-off is that of the recall; by default the one that chose the epoch.
        parts: how many ranges, each with about as many targets; equal numbers stay together, so there may be fewer.
        split: an already built split.

    Raises:
        ValueError, KeyError, FileNotFoundError: as :func:`mmgraph.audit.audit_run`.
    """
    subject = subject_of(folder, experiment, AuditConfig(metric=metric, buckets=parts), False, split)
    targets = subject.split.valid
    ranges = popularity_of(subject, targets)
    frame = judged(ranked(subject, subject.trained(), FULL, targets), subject.metric, ranges)
    found = {name: paired_effect(frame[f"recall_{part}"].to_numpy()) for part, name in enumerate(ranges.names)}
    return {name: effect for name, effect in found.items() if effect.users}
