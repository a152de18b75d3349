"""More than one process: columns of tables shared out (exact), rows by all-to-all, users in buckets on disk."""

from __future__ import annotations

from mmgraph.distributed.buckets import Buckets, bucket_epoch
from mmgraph.distributed.checkpoint import read_parts
from mmgraph.distributed.columns import ColumnProducts, Columns, check_columns
from mmgraph.distributed.cost import Machine, column_step_bytes, row_step_bytes
from mmgraph.distributed.joining import LostProcess, joined
from mmgraph.distributed.rows import RowTable
from mmgraph.distributed.shared import map_matrix, share_matrix, write_matrix
from mmgraph.distributed.wire import Wire

__all__ = [
    "Buckets",
    "ColumnProducts",
    "Columns",
    "LostProcess",
    "Machine",
    "RowTable",
    "Wire",
    "bucket_epoch",
    "check_columns",
    "column_step_bytes",
    "joined",
    "map_matrix",
    "read_parts",
    "row_step_bytes",
    "share_matrix",
    "write_matrix",
]
