"""Which videos a user may get now, and which are best: lists, constraints, new people and videos, reasons."""

from __future__ import annotations

from mmgraph.constraint import Blocked, Constraint, Prerequisites, Quota, Released
from mmgraph.recommend.calibration import Platt
from mmgraph.recommend.cold_start import ColdStart
from mmgraph.recommend.explanation import (
    Explanation,
    Fidelity,
    Reason,
    deletion_fidelity,
    explain,
    explain_by_model,
    scores_without,
)
from mmgraph.recommend.ids import (
    Recommendations,
    add_videos,
    audience_ids,
    clicks_of,
    constraint_of,
    find_rows,
    plain_text,
    recommend_ids,
    similar_ids,
    to_pandas,
)
from mmgraph.recommend.lists import Audience, Lists, audience, predict, recommend, similar
from mmgraph.recommend.rerank import (
    Calibrated,
    Reranker,
    Share,
    Varied,
    calibration_kl,
    discount,
    genre_profiles,
    genres_of,
)
from mmgraph.recommend.scores import (
    BLOCK_SCORES,
    ranking_factors,
    require_fitted,
    score_block,
    score_given,
    user_blocks,
)

__all__ = [
    "BLOCK_SCORES",
    "Audience",
    "Blocked",
    "Calibrated",
    "ColdStart",
    "Constraint",
    "Explanation",
    "Fidelity",
    "Lists",
    "Platt",
    "Prerequisites",
    "Quota",
    "Reason",
    "Recommendations",
    "Released",
    "Reranker",
    "Share",
    "Varied",
    "add_videos",
    "audience",
    "audience_ids",
    "calibration_kl",
    "clicks_of",
    "constraint_of",
    "deletion_fidelity",
    "discount",
    "explain",
    "explain_by_model",
    "find_rows",
    "genre_profiles",
    "genres_of",
    "plain_text",
    "predict",
    "ranking_factors",
    "recommend",
    "recommend_ids",
    "require_fitted",
    "score_block",
    "score_given",
    "scores_without",
    "similar",
    "similar_ids",
    "to_pandas",
    "user_blocks",
]
