"""Which videos a user may get now, and which are best: lists, constraints, new people and videos, reasons."""

from __future__ import annotations

from mmgraph.recommend.constraint import Blocked, Constraint, Prerequisites, Quota, Released
from mmgraph.recommend.explanation import Explanation, Reason, explain
from mmgraph.recommend.ids import (
    Recommendations,
    add_videos,
    audience_ids,
    constraint_of,
    find_rows,
    plain_text,
    recommend_ids,
    similar_ids,
    to_pandas,
)
from mmgraph.recommend.lists import Audience, Lists, audience, predict, recommend, similar
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
    "Constraint",
    "Explanation",
    "Lists",
    "Prerequisites",
    "Quota",
    "Reason",
    "Recommendations",
    "Released",
    "add_videos",
    "audience",
    "audience_ids",
    "constraint_of",
    "explain",
    "find_rows",
    "plain_text",
    "predict",
    "ranking_factors",
    "recommend",
    "recommend_ids",
    "require_fitted",
    "score_block",
    "score_given",
    "similar",
    "similar_ids",
    "to_pandas",
    "user_blocks",
]
