"""Writes the tables of a bundle."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from mmgraph.bundle.bundle import HISTORY, PAIR, TABLES, USERS, VIDEOS, Bundle, load
from mmgraph.bundle.folder import seal, writing
from mmgraph.data.files import write_atomically


def write_tables(place: Path, user: Tensor | None, video: Tensor, popularity: Tensor, gate: Tensor) -> None:
    """tables.safetensors: user [U, D] (None: linear), video [V, D] or [V, V], popularity [V] float64, gate [V]."""
    out = {"video": video.cpu().contiguous(), "popularity": popularity, "gate": gate}
    if user is not None:
        out["user"] = user.cpu().contiguous()
        out["gram"] = out["video"].T @ out["video"]
    write_atomically(place / TABLES, save(out))


def write_pair(place: Path, user: Tensor, video: Tensor) -> None:
    """pair.safetensors: the rows that ``towers/pair`` reads, user [U, D] and video [V, D]."""
    write_atomically(place / PAIR, save({"user": user.contiguous(), "video": video.contiguous()}))


def write_history(place: Path, indptr: NDArray, video: NDArray, time: NDArray) -> None:
    """history.safetensors: what each user met, in order of time."""
    arrays = {"indptr": indptr.astype(np.int64), "video": video.astype(np.int32), "time": time.astype(np.float64)}
    write_atomically(place / HISTORY, save({name: torch.from_numpy(array) for name, array in arrays.items()}))


def write_ids(place: Path, users: pl.Series, videos: pl.DataFrame) -> None:
    """users.parquet and videos.parquet; the videos' first column is ``id``."""
    write_atomically(place / USERS, _parquet(pl.DataFrame([users.cast(pl.String).alias("id")])))
    write_atomically(place / VIDEOS, _parquet(videos))


def with_file(bundle: Bundle, name: str, body: bytes) -> Bundle:
    """The bundle with one more file, or another one under this name, put into its place in one step.

    Raises:
        WriteFailed: it cannot be written; the bundle is as it was.
    """
    with writing(bundle.folder, replace=True) as place:
        for known in bundle.manifest.files:
            (place / known).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / known, place / known)
        (place / name).write_bytes(body)
        seal(place, bundle.manifest.model_copy(update={"created": time.time()}))
    return load(bundle.folder)


def _parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()
