"""Protocols: which interactions train, choose and test a model, with the test part sealed.

Every function here returns a :class:`Split`. What it did is written in its :class:`Protocol`, whose hash is part of
the protocol id: equal ids mean the same users, videos, pairs, features and parts, whatever the row order of the file.

How many interactions of a user go where (random and per-user time splits): a user with n >= 3 interactions keeps
floor(n · train share) of them for training, but at least 1 and at most n - 2; the rest is shared between valid and test
by their ratio, rounded, at least 1 each. A user with fewer than 3 trains only.
"""

from __future__ import annotations

from mmgraph.data.split.per_user import leave_last_one_out, random_split, user_time_split
from mmgraph.data.split.protocol import Protocol, SeenAtTest
from mmgraph.data.split.published import published_split
from mmgraph.data.split.sealed import Repeats, Split
from mmgraph.data.split.whole import cold_video_split, global_time_split

__all__ = [
    "Protocol",
    "Repeats",
    "SeenAtTest",
    "Split",
    "cold_video_split",
    "global_time_split",
    "leave_last_one_out",
    "published_split",
    "random_split",
    "user_time_split",
]
