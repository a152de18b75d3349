"""One reader a layout. Each returns a checked :class:`mmgraph.data.Dataset`."""

from __future__ import annotations

from mmgraph.data.readers.amazon import read_amazon
from mmgraph.data.readers.csv_parquet import from_frame, read_csv, read_parquet
from mmgraph.data.readers.feature_folder import read_feature_folder, write_feature_folder
from mmgraph.data.readers.impressions import read_impressions
from mmgraph.data.readers.kuairand import read_kuairand
from mmgraph.data.readers.kuairec import read_kuairec
from mmgraph.data.readers.kuaishou import KuaishouChallenge, read_kuaishou
from mmgraph.data.readers.lists import read_lightgcn, read_sequences
from mmgraph.data.readers.media_folder import read_media_folder
from mmgraph.data.readers.microlens import read_microlens
from mmgraph.data.readers.mind import read_mind
from mmgraph.data.readers.mmrec import read_mmrec
from mmgraph.data.readers.movielens import read_movielens
from mmgraph.data.readers.ogb import OGBLink, read_ogb_link
from mmgraph.data.readers.recbole import read_recbole
from mmgraph.data.readers.recognise import read_any
from mmgraph.data.readers.yelp import read_yelp

__all__ = [
    "KuaishouChallenge",
    "OGBLink",
    "from_frame",
    "read_amazon",
    "read_any",
    "read_csv",
    "read_feature_folder",
    "read_impressions",
    "read_kuairand",
    "read_kuairec",
    "read_kuaishou",
    "read_lightgcn",
    "read_media_folder",
    "read_microlens",
    "read_mind",
    "read_mmrec",
    "read_movielens",
    "read_ogb_link",
    "read_parquet",
    "read_recbole",
    "read_sequences",
    "read_yelp",
    "write_feature_folder",
]
