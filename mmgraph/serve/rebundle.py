"""A state as the next bundle: what the log did is in its tables, and it goes on from there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from mmgraph.bundle import Bundle, LogPlace, load
from mmgraph.bundle.bundle import DELETED, HIDDEN, NAMELESS, PAIR, ROWLESS
from mmgraph.bundle.exporting import Carried
from mmgraph.bundle.folder import seal, writing
from mmgraph.bundle.writing import write_history, write_ids, write_tables
from mmgraph.serve.state import State


def rebundle(state: State, log_identity: str, folder: str | Path, *, replace: bool = False) -> Bundle:
    """Writes the state as a bundle that has taken in the log up to ``state.seq``.

    Users who clicked have the rows that the server gave them, new users and videos their rows and ids; what is hidden
    or deleted stays so. The towers are the old bundle's. No model is trained, and none goes along: what can be trained
    on is the bundle that was exported, see :func:`mmgraph.serve.refresh.refresh`.

    Args:
        state: folded.
        log_identity: of the log that it was folded from.
        folder, replace: as :func:`mmgraph.bundle.export`.

    Raises:
        BundleError, WriteFailed: as there.
    """
    bundle, size, users = state.bundle, len(state.index), len(state.users)
    known = carried(state)
    with writing(Path(folder), replace) as place:
        if state.linear:
            video = torch.zeros(size, size)
            video[: state.trained, : state.trained] = bundle.video
            user = None
        else:
            video = state.index.rows
            width = bundle.manifest.dim
            rows = [state.profiles.of(u) for u in range(users)]
            user = torch.stack([torch.zeros(width) if row is None else row for row in rows])
        write_tables(place, user, video, known.popularity, known.gate)
        write_history(place, *known.history)
        write_ids(place, pl.Series(state.users.raw, dtype=pl.String), known.columns)
        for name in bundle.manifest.files:
            if name.startswith("towers/") or name == PAIR:
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_bytes((bundle.folder / name).read_bytes())
        seal(
            place,
            bundle.manifest.model_copy(
                update={
                    "created": time.time(),
                    "users": users,
                    "videos": size,
                    "dim": size if state.linear else bundle.manifest.dim,
                    "popularity_at": state.popularity.at,
                    "training": None,
                    "log": LogPlace(identity=log_identity, seq=state.seq),
                    "files": {},
                }
            ),
        )
    return load(folder)


def carried(state: State) -> Carried:
    """What a state knows beside its model: the gate, columns, decayed popularity, and what everybody met."""
    size, users = len(state.index), len(state.users)
    gate = torch.zeros(size, dtype=torch.uint8)
    groups = {HIDDEN: state.hidden, DELETED: state.deleted, NAMELESS: state.nameless, ROWLESS: state.rowless}
    for bit, rows in groups.items():
        gate[list(rows)] += bit
    past = [state.profiles.history(u) for u in range(users)]
    skipped = [[m for m in state.profiles.met.get(u, ()) if m.kind == "skip"] for u in range(users)]
    met = [sorted(a + b, key=lambda m: m.time) for a, b in zip(past, skipped, strict=True)]
    indptr = np.zeros(users + 1, np.int64)
    np.cumsum([len(one) for one in met], out=indptr[1:])
    flat = [m for one in met for m in one]
    history = indptr, np.array([m.video for m in flat]), np.array([m.time for m in flat])
    popularity = torch.from_numpy(state.popularity.weight[:size].copy())
    return Carried(gate, _columns(state), popularity, state.popularity.at, history)


def _columns(state: State) -> pl.DataFrame:
    """The bundle's columns with what the log described; a column that is a list for anybody is one for all."""
    out: dict[str, Any] = {"id": state.videos.raw}
    for name in state.columns.names():
        values = [state.columns.of(row, name) for row in range(len(state.videos))]
        several = any(isinstance(value, list) for value in values)
        if several:
            values = [[] if v is None else v if isinstance(v, list) else [v] for v in values]
        out[name] = pl.Series(name, values, dtype=pl.List(pl.String) if several else pl.String)
    return pl.DataFrame(out)
