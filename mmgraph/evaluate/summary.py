"""From rankings to the numbers of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mmgraph.evaluate.evalconfig import EvalConfig, cut_at_k, mean_of, measured, metric_name
from mmgraph.evaluate.evaluation import Evaluation, GroupMetrics
from mmgraph.evaluate.full import Ranked
from mmgraph.evaluate.metrics import (
    average_popularity,
    coverage,
    gini,
    mann_whitney_auc,
    new_recall,
    new_share,
    top_k_metrics,
)


def summarise(parts: Sequence[Ranked], config: EvalConfig, activity: Tensor, dropped: int) -> Evaluation:
    """Every metric of every group.

    Args:
        parts: the ranked groups, ``all`` first.
        config: what to measure.
        activity: [U] training interactions of each user, for the activity groups.
        dropped: given targets that no list could hold.
    """
    out = Evaluation({}, {}, {})
    for part in parts:
        values = _per_list(part, config)
        _add(out, part, config, values)
        if part.name == "all":
            out.counts["all"]["dropped"] = dropped
            if "activity" in config.groups:
                for name, about, lines in _activity(activity[part.ranking.users], config.activity_groups):
                    subset = Ranked(name, about, part.ranking.select(lines), part.candidates)
                    _add(out, subset, config, {metric: value[lines] for metric, value in values.items()})
    return out


def _per_list(part: Ranked, config: EvalConfig) -> dict[str, Tensor]:
    ranking = part.ranking
    counts = ranking.num_targets
    values = top_k_metrics(ranking.hits, counts, config.k)
    new = ranking.popularity == 0
    # how new and known videos share the one list a person gets
    shared = part.name == "all" and bool(ranking.in_pool(new).any())
    for k in config.k:
        values[f"popularity@{k}"] = average_popularity(ranking.lists[:, :k], ranking.popularity)
        if shared:
            cut = ranking.at(k)
            values[f"new_share@{k}"] = new_share(cut.lists, new)
            values[f"recall_new@{k}"], values[f"recall_known@{k}"] = new_recall(
                cut.lists, cut.hits, ranking.target_lines, ranking.target_videos, new
            )
    if ranking.rank_sums is not None:
        values["user_auc"] = mann_whitney_auc(ranking.rank_sums, counts, ranking.num_candidates)
    # one after the other in memory: a sum over a stride rounds differently
    return {metric: value.contiguous() for metric, value in values.items()}


def _add(out: Evaluation, part: Ranked, config: EvalConfig, values: dict[str, Tensor]) -> None:
    ranking = part.ranking
    metrics = {metric: float(value.nanmean()) for metric, value in values.items()}
    new = ranking.popularity == 0
    for k in config.k:
        exposure = ranking.at(k).exposure()
        seen = ranking.in_pool(exposure)
        metrics |= {f"coverage@{k}": coverage(seen), f"gini@{k}": gini(seen)}
        if f"new_share@{k}" in values:
            metrics[f"new_shown@{k}"] = coverage(seen[ranking.in_pool(new)])
    if "user_auc" in values:
        known = ~values["user_auc"].isnan()
        weight = ranking.num_targets[known].double()
        metrics["gauc"] = float((values["user_auc"][known] * weight).sum() / weight.sum())
    if part.auc is not None:
        metrics["auc"] = part.auc
    per_list = dict(values)
    for metric in config.metrics:
        cuts = [(f"{metric_name(metric)}@{k}", ranking.at(k)) for k in config.k]
        for name, cut in cuts if cut_at_k(metric) else [(metric_name(metric), ranking)]:
            value = measured(metric, cut)
            metrics[name] = mean_of(value)
            if isinstance(value, Tensor):
                per_list[name] = value
    counts = {"users": len(ranking.users.unique()), "targets": len(ranking.target_videos)}
    counts["candidates"] = part.candidates
    whole = ranking.requests is None  # the order within a request is a result however short it is
    if not whole:
        counts["requests"] = len(ranking)
    out.metrics[part.name] = GroupMetrics(metrics, counts)
    out.counts[part.name] = out.metrics[part.name].counts
    out.per_user[part.name] = {metric: value.cpu() for metric, value in per_list.items()}
    out.rankings[part.name] = ranking.cpu()
    out.about[part.name] = part.about
    out.trivial[part.name] = tuple(k for k in config.k if whole and k >= part.candidates)


def _activity(activity: Tensor, parts: int) -> Iterator[tuple[str, str, Tensor]]:
    # The smallest number of interactions of each quantile's upper part; ties stay on one side.
    ordered = activity.sort().values
    cuts = ordered[[len(activity) * i // parts for i in range(1, parts)]]
    belongs = torch.searchsorted(cuts, activity, right=True)
    for part in range(parts):
        lines = (belongs == part).nonzero().flatten()
        if len(lines):
            low, high = int(activity[lines].min()), int(activity[lines].max())
            yield f"activity_{part + 1}", f"users with {low} to {high} training interactions", lines
