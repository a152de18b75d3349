"""From the rankings of an audit to its findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from mmgraph.audit.findings import Audit, EffectRow, FidelityRow, Kind, MissingRow, paired_effect
from mmgraph.audit.judged import Buckets
from mmgraph.audit.shapley import MOST_GROUPS, coalitions, shapley_values
from mmgraph.audit.steps import FULL, curves, kept, missing, noisy, shuffled

if TYPE_CHECKING:
    from mmgraph.audit.subject import Subject

Frames = Mapping[str, pl.DataFrame]


def told(subject: Subject, frames: Frames, popularity: Buckets, explained: pl.DataFrame | None) -> Audit:
    """All findings."""
    full = frames[FULL.name]
    groups, config = subject.groups, subject.config
    effects = tuple(_effects(subject, frames, popularity))
    lost = tuple(_missing(subject, frames))
    nothing = kept(groups, frozenset()).name
    return Audit(
        experiment=subject.experiment.name,
        seed=subject.seed,
        identity=subject.identity.id,
        protocol=subject.split.protocol_id,
        model=subject.experiment.model.__name__,
        stage=config.stage,
        metric=subject.metric,
        refit=subject.refit,
        full=_mean(full["value"]),
        none=_mean(frames[nothing]["value"]),
        groups=groups,
        coverage={m: float(subject.graph.features(m).present.float().mean()) for m in subject.graph.modalities},
        effects=effects,
        missing=lost,
        fidelity=() if explained is None else tuple(_fidelity(explained)),
        notes=tuple(_notes(subject, frames, explained)),
        config=config,
    )


def _mean(values: pl.Series) -> float:
    return float(np.nanmean(values.to_numpy()))


def _effects(subject: Subject, frames: Frames, popularity: Buckets) -> Iterator[EffectRow]:
    groups, everything = subject.groups, frozenset(subject.groups)
    for column, where, named, lines in _slices(subject, frames, popularity):
        of = {name: frame[column].to_numpy()[lines] for name, frame in frames.items()}
        full = of[FULL.name]
        pairs: dict[str, dict[Kind, np.ndarray]] = {}
        for name in groups:
            alone, none = of[kept(groups, frozenset((name,))).name], of[kept(groups, frozenset()).name]
            pairs[name] = {
                "drop": full - of[kept(groups, everything - {name}).name],
                "alone": alone - none,
                "shuffle": full - of[shuffled(groups, name).name],
                "noise": full - of[noisy(groups, name, subject.config.noise).name],
            }
        if len(groups) <= MOST_GROUPS:
            worth = {coalition: of[kept(groups, coalition).name] for coalition in coalitions(list(groups))}
            for name, values in shapley_values(list(groups), worth).items():
                pairs[name]["shapley"] = values
        for name, kinds in pairs.items():
            for kind, differences in kinds.items():
                effect = paired_effect(differences)
                if effect.users:
                    yield EffectRow(group=name, kind=kind, where=where, range=named, effect=effect)


def _slices(subject: Subject, frames: Frames, popularity: Buckets) -> Iterator[tuple[str, Any, str, Any]]:
    """Column, where, range, and the lines of the users: all, by the targets' popularity, by the users' activity."""
    full = frames[FULL.name]
    yield "value", "all", "", slice(None)
    for part, name in enumerate(popularity.names):
        yield f"recall_{part}", "popularity", name, slice(None)
    users = torch.tensor(full["user"].to_numpy())
    activity = Buckets.make(subject.graph.seen.degree(), users, subject.config.buckets)
    for part, name in enumerate(activity.names):
        yield "value", "activity", name, (activity.of[users] == part).numpy()


def _missing(subject: Subject, frames: Frames) -> Iterator[MissingRow]:
    full = frames[FULL.name]["value"].to_numpy()
    for name in curves(subject.groups, not subject.refit):
        for how in subject.config.missing:
            for rate in subject.config.rates:
                values = frames[missing(subject.groups, name, how, rate).name]["value"]
                lost = paired_effect(full - values.to_numpy())
                yield MissingRow(group=name, how=how, rate=rate, value=_mean(values), lost=lost)


def _fidelity(explained: pl.DataFrame) -> Iterator[FidelityRow]:
    for reasons in explained["reasons"].unique(maintain_order=True):
        rows = explained.filter(pl.col("reasons") == reasons)
        fall, chance = rows["explained"].to_numpy(), rows["random"].to_numpy()
        known = ~np.isnan(fall)
        yield FidelityRow(
            reasons=reasons,
            explained=float(fall[known].mean()) if known.any() else None,
            random=float(chance[known].mean()) if known.any() else None,
            gap=paired_effect(fall - chance),
        )


def _notes(subject: Subject, frames: Frames, explained: pl.DataFrame | None) -> Iterator[str]:
    full = frames[FULL.name]["value"].to_numpy()
    same = all(np.array_equal(full, frame["value"].to_numpy(), equal_nan=True) for frame in frames.values())
    if same and not subject.refit:
        yield (
            "No list changed whatever was taken away: the trained model does not read features when it ranks. With "
            "refit it is trained anew on each changed graph."
        )
    what = "one training on each graph" if subject.refit else "one trained model"
    yield (
        f"Each number is of {what}, under seed {subject.seed}; the intervals are over users and know nothing of other "
        "seeds."
    )
    if len(subject.groups) > MOST_GROUPS:
        yield f"{len(subject.groups)} groups: no Shapley values, which need at most {MOST_GROUPS}; put some together."
    if explained is not None and len(explained) and not np.nan_to_num(explained["explained"].to_numpy()).any():
        yield "No score fell when clicks were deleted: the model's rows do not read the graph's clicks."
