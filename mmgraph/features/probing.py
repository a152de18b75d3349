"""Judging features by clicks: how well do they rank videos that nobody has been seen to watch?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from mmgraph.data.dataset import Features
from mmgraph.features.standardise import Standardiser

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset

RIDGES = (0.01, 0.1, 1.0, 10.0)


class Probe(BaseModel):
    """How well features rank held-out videos for users.

    Attributes:
        auc: mean over users of the chance that a video the user clicked is ranked above one the user did not; .5 says
            nothing.
        error: standard error of the mean over users.
        shuffled: the same with the features dealt to the videos at random: what chance gives.
        users: how many could be judged (a click and no click among the held-out videos of some fold).
        videos: with features, each held out once.
        folds: parts that the videos were dealt into.
        ridges: the ridge of each fold, chosen on videos disjoint from its held-out ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    auc: float
    error: float
    shuffled: float
    users: int
    videos: int
    folds: int
    ridges: tuple[float, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of ``auc`` over users: auc ± t_0.975 · error, n - 1 degrees of freedom; NaN for one user."""
        from scipy.stats import t as student

        margin = float(student.ppf(0.975, max(1, self.users - 1))) * self.error
        return self.auc - margin, self.auc + margin

    def text(self, name: str = "features") -> str:
        """For people: one line."""
        return (
            f"{name}: click AUC on held-out videos {self.auc:.4f} ± {self.error:.4f}, shuffled {self.shuffled:.4f} "
            f"({self.users:,} users, {self.videos:,} videos)"
        )


def probe_features(
    features: Features,
    interactions: pl.DataFrame,
    *,
    folds: int = 5,
    max_users: int = 2000,
    seed: int = 0,
) -> Probe:
    """Click AUC of a linear reading of features, on videos disjoint from those it was fit on.

    The videos that have features are dealt into ``folds`` parts. For each part a ridge regression a user, fit on the
    clicks of the other parts, w_u = (XᵀX + λ tr(XᵀX)/D · I)⁻¹ Xᵀ y_u, scores the part by x_vᵀ w_u; X are the
    standardised features with rows of norm 1, by mean and scale of the other parts. λ is the best of ``RIDGES`` on a
    second part. AUC is exact, ties count one half; a user's AUC is the mean over the parts where it is defined.

    No video is in both, so an id (a one-hot row a video) gets exactly .5 and only what generalises counts.

    Args:
        features: values [V, D] and present [V].
        interactions: ``user`` and ``video`` rows of the training interactions: the test is sealed. With a column
            ``click`` (1, or 0 for shown and ignored) only shown videos are ranked; without it, every other video of the
            part counts as not clicked.
        folds: at least 3.
        max_users: a sample of so many users is judged.
        seed: of the parts, the sample and the shuffle.

    Raises:
        ValueError: fewer than 3 folds, fewer videos with features and clicks than two a fold, or nobody to judge.
    """
    import scipy.sparse as sp

    if folds < 3:
        raise ValueError(f"folds must be at least 3 (to fit on, to choose on, to judge on), got {folds}")
    random = np.random.default_rng(seed)
    known = features.present.numpy()
    pairs = interactions.filter(pl.Series(known[interactions["video"].to_numpy()]))
    labelled = "click" in pairs.columns
    pairs = pairs.group_by("user", "video", maintain_order=True).agg(pl.col("click").max() if labelled else pl.len())
    clicked = (pairs["click"] > 0).to_numpy() if labelled else np.ones(len(pairs), dtype=bool)
    videos = np.unique(pairs["video"].to_numpy()) if labelled else np.flatnonzero(known)
    if len(videos) < 2 * folds or not clicked.any():
        raise ValueError(
            f"{len(videos)} videos with features and {int(clicked.sum())} clicks on them: too few for {folds} folds"
        )
    names, user = np.unique(pairs["user"].to_numpy(), return_inverse=True)
    if len(names) > max_users:
        chosen = np.full(len(names), -1)
        chosen[random.choice(len(names), max_users, replace=False)] = np.arange(max_users)
        kept = chosen[user] >= 0
        pairs, clicked, user = pairs.filter(pl.Series(kept)), clicked[kept], chosen[user[kept]]
    place = np.full(len(known), -1)
    place[videos] = np.arange(len(videos))
    shape = (min(len(names), max_users), len(videos))
    at = (user, place[pairs["video"].to_numpy()])
    clicks = sp.csr_matrix((clicked.astype(np.float64), at), shape=shape)
    shown = sp.csr_matrix((np.ones(len(pairs)), at), shape=shape) if labelled else None
    part = random.permutation(len(videos)) % folds
    values = features.values[torch.from_numpy(videos)]
    found, ridges = _cross(values, clicks, shown, part, folds)
    dealt, _ = _cross(values[torch.from_numpy(random.permutation(len(videos)))], clicks, shown, part, folds)
    judged = found[~np.isnan(found)]
    if not len(judged):
        raise ValueError("no user has both a clicked and an unclicked video among the held-out ones")
    return Probe(
        auc=float(judged.mean()),
        error=float(judged.std(ddof=1) / np.sqrt(len(judged))) if len(judged) > 1 else float("nan"),
        shuffled=_mean(dealt),
        users=len(judged),
        videos=len(videos),
        folds=folds,
        ridges=tuple(ridges),
    )


def probe_dataset(
    dataset: Dataset, modalities: Sequence[str] = (), *, interactions: pl.DataFrame | None = None, seed: int = 0
) -> dict[str, Probe]:
    """:func:`probe_features` of a dataset's modalities (all, or those named), on one deal of videos and users.

    Args:
        dataset: with features; an encoder's are made by :func:`mmgraph.encoders.extract`.
        modalities: which.
        interactions: the training interactions of a split; by default all of the dataset's.
        seed: as there.

    Raises:
        ValueError: no such modality, or none at all; too few videos or clicks.
    """
    chosen = list(modalities or dataset.features)
    unknown = [name for name in chosen if name not in dataset.features]
    if unknown or not chosen:
        raise ValueError(f"modalities {unknown or 'none'} asked for; {dataset.name} has {sorted(dataset.features)}")
    frame = dataset.interactions if interactions is None else interactions
    return {name: probe_features(dataset.features[name], frame, seed=seed) for name in chosen}


def click_auc(scores: np.ndarray, clicked: np.ndarray, shown: np.ndarray | None = None) -> np.ndarray:
    """AUC of each row [U]: P(score of a clicked > of an unclicked) + P(equal) / 2; NaN where a row lacks either.

    By the rank sum: AUC = (Σ ranks of the clicked − n₁(n₁ + 1)/2) / (n₁ n₀), ties at their mean rank.

    Args:
        scores: [U, n].
        clicked: [U, n] bool.
        shown: [U, n] bool, which of them count; None: all.
    """
    from scipy.stats import rankdata

    scores = scores.astype(np.float64) if shown is None else np.where(shown, scores, np.nan)
    ranks = rankdata(scores, axis=1, nan_policy="omit")
    clicked = clicked if shown is None else clicked & shown
    ones = clicked.sum(1).astype(np.float64)
    noughts = (scores.shape[1] if shown is None else shown.sum(1)) - ones
    total = np.where(clicked, np.nan_to_num(ranks), 0).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((ones > 0) & (noughts > 0), (total - ones * (ones + 1) / 2) / (ones * noughts), np.nan)


def _cross(values: Tensor, clicks, shown, part: np.ndarray, folds: int) -> tuple[np.ndarray, list[float]]:
    """AUC of each user [U], the mean over the parts where it is defined, and the ridge of each part."""
    each, ridges = [], []
    for fold in range(folds):
        held, inner = part == fold, part == (fold + 1) % folds
        scores = [_mean(_judge(values, clicks, shown, ~held & ~inner, inner, ridge)) for ridge in RIDGES]
        ridges.append(RIDGES[int(np.argmax(scores))])
        each.append(_judge(values, clicks, shown, ~held, held, ridges[-1]))
    stacked = np.stack(each)
    count = (~np.isnan(stacked)).sum(0)
    return np.where(count > 0, np.nansum(stacked, 0) / np.maximum(count, 1), np.nan), ridges


def _mean(each: np.ndarray) -> float:
    """Over those that are defined; 0 where none is."""
    found = each[~np.isnan(each)]
    return float(found.mean()) if len(found) else 0.0


def _judge(values: Tensor, clicks, shown, fit: np.ndarray, held: np.ndarray, ridge: float) -> np.ndarray:
    """AUC [U] on the held-out videos of a ridge regression on the others."""
    known = values[torch.from_numpy(fit)]
    varies = (known != known[:1]).any(0)  # of a column that is new on held-out videos nothing was learnt
    standard = Standardiser.fit(known.double())
    x = torch.nn.functional.normalize(standard(values.double()) * varies, dim=1).numpy()
    target = clicks[:, fit]
    if shown is not None:  # of what was shown, a click counts up and the rest down, each by its share
        rate = np.asarray(target.sum(1)).ravel() / np.maximum(np.asarray(shown[:, fit].sum(1)).ravel(), 1)
        target = target - shown[:, fit].multiply(rate[:, None]).tocsr()
    gram = x[fit].T @ x[fit]
    gram[np.diag_indices_from(gram)] += max(ridge * np.trace(gram) / len(gram), 1e-12)
    weight = np.linalg.solve(gram, (target @ x[fit]).T)  # [D, U]
    out = []
    for start in range(0, clicks.shape[0], 512):
        rows = slice(start, start + 512)
        seen = None if shown is None else shown[rows][:, held].toarray() > 0
        scores = (x[held] @ weight[:, rows]).T
        scores = np.round(scores / max(np.abs(scores).max(initial=0), 1e-300), 10)  # equal rows tie, whatever BLAS does
        out.append(click_auc(scores, clicks[rows][:, held].toarray() > 0, seen))
    return np.concatenate(out)
