"""Feature passports: where a feature matrix comes from, what is in it, and whether it is more than noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict

from mmgraph.data.dataset import Features
from mmgraph.features.encoded import Encodes


class NoiseCheck(BaseModel):
    """Do videos that are near in the features share users, more than by chance?

    Attributes:
        videos: how many were looked at (present, and with interactions).
        neighbours: nearest neighbours of each, by cosine of centred features.
        agreement: mean cosine of the sets of users of a video and of its neighbours.
        shuffled: the same with features dealt to the videos at random, mean over the shuffles.
        p_value: share of shuffles that agree at least as much, (1 + #) / (1 + shuffles).
        noise_rows: share of videos whose own agreement is no better than the shuffled mean.
        looks_like_noise: p_value above 0.05.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: int
    neighbours: int
    agreement: float
    shuffled: float
    p_value: float
    noise_rows: float
    looks_like_noise: bool


class Passport(BaseModel):
    """What is known of one feature matrix.

    Attributes:
        modality: its name.
        encoder: name, version, weights hash and settings; None when the matrix came from elsewhere.
        fingerprint: what identifies it: encoder and media where they are known (alike on any machine), else its bits.
        rows, dim: its shape. ``present`` rows have features.
        duplicates: present rows that equal an earlier present row.
        zero_rows, constant_rows: present rows that are all zero, or all one other value.
        constant_columns: columns with one value over all present rows.
        norm_mean, norm_std: of the present rows' Euclidean norms.
        noise: the neighbour check; None without interactions, or with too few videos.
        warnings: what deserves a look, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str
    encoder: dict[str, Any] | None
    fingerprint: str
    rows: int
    dim: int
    present: int
    duplicates: int
    zero_rows: int
    constant_rows: int
    constant_columns: int
    norm_mean: float
    norm_std: float
    noise: NoiseCheck | None
    warnings: tuple[str, ...]

    def text(self) -> str:
        """For people: a few lines."""
        made = "unknown encoder"
        if self.encoder is not None:
            made = f"{self.encoder['name']} v{self.encoder['version']}, weights {self.encoder['weights'][:12]}"
        lines = [
            f"{self.modality}: {self.rows} x {self.dim} from {made}",
            f"  present {self.present} ({self.present / max(1, self.rows):.1%}), duplicates {self.duplicates}, "
            f"all-zero {self.zero_rows}, constant {self.constant_rows}, "
            f"constant columns {self.constant_columns} of {self.dim}, "
            f"norm {self.norm_mean:.3g} ± {self.norm_std:.2g}",
        ]
        if self.noise is None:
            lines.append("  neighbours: not checked")
        else:
            noise = self.noise
            lines.append(
                f"  neighbours share users: {noise.agreement:.4f}, shuffled {noise.shuffled:.4f} "
                f"(p = {noise.p_value:.3f}, {noise.videos} videos, {noise.noise_rows:.0%} no better than chance)"
            )
        lines += [f"  look: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def passport(
    modality: str,
    features: Features,
    *,
    encoder: Encodes | dict[str, Any] | None = None,
    interactions: pl.DataFrame | None = None,
    max_videos: int = 2000,
    neighbours: int = 10,
    shuffles: int = 99,
    seed: int = 0,
) -> Passport:
    """Look a feature matrix over.

    Args:
        modality: its name.
        features: values [V, D] and present [V].
        encoder: what made it, or its ``describe()``.
        interactions: columns ``user`` and ``video`` (rows), for the noise check: give the training interactions,
            the test is sealed.
        max_videos: the noise check samples so many.
        neighbours: nearest neighbours of each.
        shuffles: random deals to compare with.
        seed: of the sample and the shuffles.
    """
    values = features.values[features.present]
    same = (values == values[:, :1]).all(1) if values.numel() else torch.zeros(len(values), dtype=torch.bool)
    zero = (values == 0).all(1)
    distinct = len({row.tobytes() for row in (values.numpy() + 0.0)})
    flat = int((values == values[:1]).all(0).sum()) if len(values) else 0
    norms = values.norm(dim=1)
    check = None
    if interactions is not None:
        check = noise_check(
            features,
            interactions,
            max_videos=max_videos,
            neighbours=neighbours,
            shuffles=shuffles,
            seed=seed,
        )
    counts = {
        "duplicates": len(values) - distinct,
        "zero_rows": int(zero.sum()),
        "constant_rows": int((same & ~zero).sum()),
        "constant_columns": flat if len(values) > 1 else 0,
    }
    return Passport(
        modality=modality,
        encoder=encoder if encoder is None or isinstance(encoder, dict) else encoder.describe(),
        fingerprint=features.fingerprint(),
        rows=len(features.values),
        dim=features.dim,
        present=len(values),
        norm_mean=float(norms.mean()) if len(values) else 0.0,
        norm_std=float(norms.std(correction=0)) if len(values) else 0.0,
        noise=check,
        warnings=tuple(_warnings(counts, len(values), len(features.values), check)),
        **counts,
    )


def _warnings(counts: dict[str, int], present: int, rows: int, check: NoiseCheck | None) -> list[str]:
    found = []
    if present < rows:
        found.append(f"{rows - present} of {rows} videos have no features")
    if counts["zero_rows"]:
        found.append(f"{counts['zero_rows']} present rows are all zero: missing rows marked as present?")
    if counts["constant_rows"]:
        found.append(f"{counts['constant_rows']} present rows hold one value only")
    if present and counts["duplicates"] > 0.05 * present:
        found.append(f"{counts['duplicates']} of {present} rows repeat another row")
    if check is not None and check.looks_like_noise:
        found.append("near videos share no more users than random ones: the features look like noise")
    return found


def noise_check(
    features: Features,
    interactions: pl.DataFrame,
    *,
    max_videos: int = 2000,
    neighbours: int = 10,
    shuffles: int = 99,
    seed: int = 0,
) -> NoiseCheck | None:
    """Nearest-neighbour agreement with interactions, against shuffled features.

    agreement = mean over videos i and their k nearest j of |U_i ∩ U_j| / sqrt(|U_i| |U_j|), U_i the users of i.
    A permutation test: shuffling deals the feature rows to other videos, which keeps popularity and the
    neighbour graph as they are. None with fewer than ``neighbours`` + 2 usable videos.
    """
    from scipy.sparse import csr_matrix

    rows = interactions["video"].unique().to_numpy()
    usable = np.sort(rows[features.present.numpy()[rows]])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(usable, min(max_videos, len(usable)), replace=False)) if len(usable) else usable
    if len(chosen) < neighbours + 2:
        return None
    position = np.full(len(features.values), -1)
    position[chosen] = np.arange(len(chosen))
    # only the sampled videos' interactions are looked at: of a large log a small part
    mine = interactions.select("user", "video").filter(pl.Series(position[interactions["video"].to_numpy()] >= 0))
    pairs = mine.unique()
    user, video = pairs["user"].to_numpy(), position[pairs["video"].to_numpy()]
    count = np.bincount(video, minlength=len(chosen))
    size = (len(chosen), int(user.max()) + 1)
    sets = csr_matrix((1.0 / np.sqrt(count[video]), (video, user)), shape=size)
    shared = (sets @ sets.T).toarray()
    values = features.values[torch.from_numpy(chosen)].double()
    values = torch.nn.functional.normalize(values - values.mean(0), dim=1)
    similar = values @ values.T
    similar.fill_diagonal_(-torch.inf)
    near = similar.topk(neighbours, dim=1).indices.numpy()
    own = np.arange(len(chosen))
    each = shared[own[:, None], near].mean(1)
    random = np.empty(shuffles)
    for turn in range(shuffles):
        dealt = rng.permutation(len(chosen))
        random[turn] = shared[dealt[own][:, None], dealt[near]].mean()
    p_value = float((1 + (random >= each.mean()).sum()) / (1 + shuffles))
    return NoiseCheck(
        videos=len(chosen),
        neighbours=neighbours,
        agreement=float(each.mean()),
        shuffled=float(random.mean()),
        p_value=p_value,
        noise_rows=float((each <= random.mean()).mean()),
        looks_like_noise=p_value > 0.05,
    )
