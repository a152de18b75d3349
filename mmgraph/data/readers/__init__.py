"""One reader a layout. Each returns a checked :class:`mmgraph.data.Dataset`."""

from __future__ import annotations

from mmgraph.data.readers.csv_parquet import from_frame, read_csv, read_parquet
from mmgraph.data.readers.feature_folder import read_feature_folder, write_feature_folder
from mmgraph.data.readers.lists import read_lightgcn, read_sequences
from mmgraph.data.readers.media_folder import read_media_folder
from mmgraph.data.readers.mmrec import read_mmrec
from mmgraph.data.readers.movielens import read_movielens
from mmgraph.data.readers.ogb import OGBLink, read_ogb_link
from mmgraph.data.readers.recognise import read_any

__all__ = [
    "OGBLink",
    "from_frame",
    "read_any",
    "read_csv",
    "read_feature_folder",
    "read_lightgcn",
    "read_media_folder",
    "read_mmrec",
    "read_movielens",
    "read_ogb_link",
    "read_parquet",
    "read_sequences",
    "write_feature_folder",
]
