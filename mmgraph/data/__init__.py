"""Tables and media in, a :class:`Dataset` and a :class:`Split` out."""

from __future__ import annotations

from mmgraph.data.dataset import Dataset, Encoding, Entities, Features, Vocabulary
from mmgraph.data.errors import DataError, Origin, SealedTestError, UnknownIdError
from mmgraph.data.inspection import inspect
from mmgraph.data.readers import (
    OGBLink,
    from_frame,
    read_any,
    read_csv,
    read_lightgcn,
    read_media_folder,
    read_mmrec,
    read_movielens,
    read_ogb_link,
    read_parquet,
    read_sequences,
)
from mmgraph.data.split import (
    Protocol,
    Split,
    cold_video_split,
    global_time_split,
    leave_last_one_out,
    published_split,
    random_split,
    user_time_split,
)
from mmgraph.data.user_features import encode_user_features

__all__ = [
    "DataError",
    "Dataset",
    "Encoding",
    "Entities",
    "Features",
    "OGBLink",
    "Origin",
    "Protocol",
    "SealedTestError",
    "Split",
    "UnknownIdError",
    "Vocabulary",
    "cold_video_split",
    "encode_user_features",
    "from_frame",
    "global_time_split",
    "inspect",
    "leave_last_one_out",
    "published_split",
    "random_split",
    "read_any",
    "read_csv",
    "read_lightgcn",
    "read_media_folder",
    "read_mmrec",
    "read_movielens",
    "read_ogb_link",
    "read_parquet",
    "read_sequences",
    "user_time_split",
]
