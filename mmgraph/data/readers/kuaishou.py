"""The files of the Kuaishou user-interest challenge: exposures with and without labels, faces, words, pictures.

Full size is 37,821 users, 9,204,230 videos and 60,315,152 exposures, so everything here is a scan: polars streams the
file in batches, ids are 32-bit, and only what is asked for is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from mmgraph.data.dataset import Dataset, Features
from mmgraph.data.errors import DataError

TRAIN_SCHEMA = {
    "user_id": pl.UInt32,
    "photo_id": pl.UInt32,
    "click": pl.Int8,
    "like": pl.Int8,
    "follow": pl.Int8,
    "time": pl.Int64,
    "playing_time": pl.Int32,
    "duration_time": pl.Int32,
}
TEST_SCHEMA = {k: TRAIN_SCHEMA[k] for k in ("user_id", "photo_id", "time", "duration_time")}
FACE_COLUMNS = ("faces", "area", "largest", "female", "age", "look")


@dataclass(frozen=True, eq=False)
class KuaishouChallenge:
    """The challenge as this library reads it.

    Attributes:
        dataset: ``interactions`` are the clicks of the training file, with ``like``, ``follow``, ``playing_time`` and
            ``duration_time``; users and videos are those of both files, so test videos are there and have no
            interaction.
        exposures: every exposure, one row each: user, video (rows, UInt32), ``time`` (as in the file), ``click``
            (null in the test), ``test`` (bool). Give it to :class:`mmgraph.graph.Exposures`.
    """

    dataset: Dataset
    exposures: pl.DataFrame


def scan_interactions(path: str | Path, *, test: bool = False) -> pl.LazyFrame:
    """A lazy scan of an interaction file: tab-separated, no header.

    Args:
        path: ``train_interaction.txt`` (user_id photo_id click like follow time playing_time duration_time) or
            ``test_interaction.txt`` (user_id photo_id time duration_time); or a parquet of :func:`to_parquet`.
        test: the file has the test's columns.

    Raises:
        FileNotFoundError: no such file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no interaction file at {path}")
    if path.suffix == ".parquet":
        return pl.scan_parquet(path)
    schema = TEST_SCHEMA if test else TRAIN_SCHEMA
    return pl.scan_csv(path, separator="\t", has_header=False, schema=schema)


def read_batches(path: str | Path, rows: int = 1_000_000, *, test: bool = False) -> Iterator[pl.DataFrame]:
    """The exposures of a file in order, ``rows`` at a time: memory is a few batches, whatever the file's size."""
    yield from _checked(lambda: scan_interactions(path, test=test).collect_batches(chunk_size=rows), path)


def to_parquet(source: str | Path, target: str | Path, *, test: bool = False) -> Path:
    """Rewrites an interaction file as parquet (a quarter of the size, read many times faster), streaming."""
    for _ in _checked(lambda: [scan_interactions(source, test=test).sink_parquet(Path(target))], source):
        pass
    return Path(target)


def read_kuaishou(
    folder: str | Path,
    *,
    train: str = "train_interaction.txt",
    test: str | None = "test_interaction.txt",
    faces: str | None = None,
    words: str | None = None,
    visual: str | None = None,
    word_dim: int = 64,
    users: Sequence[int] | None = None,
    exposures: bool = True,
) -> KuaishouChallenge:
    """Reads the challenge's files.

    The visual vectors of all videos are 75 GB: leave ``visual`` out, or choose ``users``, unless that fits.

    Args:
        folder: where the files lie.
        train, test: interaction files; no test when None.
        faces: the face file -> modality ``face`` (:func:`read_faces`).
        words: the text file -> modality ``text`` (:func:`word_features`).
        visual: a folder of ``<photo_id>.npy``, one [1, 2048] each -> modality ``visual``.
        word_dim: width of ``text``.
        users: only these raw user ids.
        exposures: whether ``dataset.exposures`` holds them too, the test's marked ``held_out``: 26 bytes a showing.

    Raises:
        FileNotFoundError: a file that is not there.
        DataError: a line that does not fit its columns, or no click at all.
    """
    folder = Path(folder)
    parts = [_exposures(folder / train, False, users)]
    if test is not None:
        parts.append(_exposures(folder / test, True, users))
    everything = pl.concat(parts, how="diagonal_relaxed")
    del parts
    user_table = everything.select(pl.col("user_id").unique().sort())
    photo_table = everything.select(pl.col("photo_id").unique().sort())
    clicks = everything.filter(pl.col("click") == 1).drop("click", "test")
    if not len(clicks):
        raise DataError("there is no click", file=folder / train, fix="check the file's columns")
    ids = photo_table["photo_id"]
    features: dict[str, Features] = {}
    if faces is not None:
        features["face"] = _aligned(ids, read_faces(folder / faces))
    if words is not None:
        features["text"] = word_features(ids, read_words(folder / words), word_dim)
    if visual is not None:
        features["visual"] = read_visual(folder / visual, ids)
    dataset = Dataset.from_frames(
        clicks.with_columns(pl.col("user_id", "photo_id").cast(pl.Int64)),
        user_table.cast(pl.Int64),
        photo_table.cast(pl.Int64),
        features,
        user="user_id",
        video="photo_id",
        time=None if clicks["time"].dtype == pl.Null else "time",
        duplicates="last",
        name="kuaishou",
        source=folder / train,
    )
    rows = everything.select(
        pl.Series("user", _rank(user_table["user_id"], everything["user_id"])),
        pl.Series("video", _rank(ids, everything["photo_id"])),
        "time",
        "click",
        "test",
    )
    files = (folder / train, *((folder / test,) if test is not None else ()))
    files += tuple(folder / name for name in (faces, words, visual) if name is not None)
    shown = None
    if exposures:
        moments = [] if rows["time"].dtype == pl.Null else [pl.col("time").cast(pl.Float64)]
        shown = rows.select(
            pl.col("user", "video").cast(pl.Int64),
            pl.col("click").cast(pl.Int8),
            *moments,
            held_out=pl.col("test"),
        )
    origin = replace(dataset.origin, layout="Kuaishou challenge", files=files)
    return KuaishouChallenge(replace(dataset, exposures=shown, origin=origin), rows)


def read_faces(path: str | Path) -> pl.DataFrame:
    """Faces of each photo: ``photo_id`` and :data:`FACE_COLUMNS` (Float32).

    A line is ``photo_id\\t[[ratio, sex, age, look], …]``, sex 0 = female: the number of faces, the share of the
    picture they cover together, the largest share, the share of women, mean age / 100 and mean look / 100.
    """
    face = pl.element()
    lines = pl.scan_csv(
        Path(path), separator="\t", has_header=False, schema={"photo_id": pl.UInt32, "list": pl.String}, quote_char=None
    )
    parsed = lines.with_columns(pl.col("list").str.json_decode(pl.List(pl.List(pl.Float32))))
    parsed = parsed.filter(pl.col("list").list.len() > 0)

    def each(column: int) -> pl.Expr:
        return pl.col("list").list.eval(face.list.get(column))

    return (
        parsed.select(
            "photo_id",
            pl.col("list").list.len().cast(pl.Float32).alias("faces"),
            each(0).list.sum().alias("area"),
            each(0).list.max().alias("largest"),
            (1 - each(1).list.mean()).alias("female"),
            (each(2).list.mean() / 100).alias("age"),
            (each(3).list.mean() / 100).alias("look"),
        )
        .cast({c: pl.Float32 for c in FACE_COLUMNS})
        .collect(engine="streaming")
    )


def read_words(path: str | Path) -> pl.DataFrame:
    """Words of each photo that has any: ``photo_id`` and ``words`` (list of UInt32).

    A line is ``photo_id\\tw1,w2,…``; ``0`` alone means none.
    """
    lines = pl.scan_csv(
        Path(path), separator="\t", has_header=False, schema={"photo_id": pl.UInt32, "words": pl.String}
    )
    kept = lines.filter(pl.col("words").is_not_null() & (pl.col("words") != "0"))
    return kept.with_columns(pl.col("words").str.split(",").cast(pl.List(pl.UInt32))).collect(engine="streaming")


def word_features(photo_ids: pl.Series, words: pl.DataFrame, dim: int = 64) -> Features:
    """Hashed TF-IDF: [V, dim] float32, unit rows; a photo without words is absent.

    Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009,
    https://arxiv.org/abs/0902.2206: word w adds ±idf(w) to one column, both chosen by a hash, idf = ln(n / n_w). One
    pass; no vocabulary is kept.

    Args:
        photo_ids: V raw ids, ascending: the rows.
        words: what :func:`read_words` gave.
        dim: width.
    """
    long = words.filter(pl.col("photo_id").is_in(photo_ids.implode())).explode("words")
    count = words["photo_id"].n_unique()
    idf = long.group_by("words").agg((pl.lit(float(count)) / pl.col("photo_id").n_unique()).log1p().alias("idf"))
    long = long.join(idf, on="words")
    mixed = long["words"].to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    column = (mixed % np.uint64(dim)).astype(np.int64)
    sign = np.where((mixed >> np.uint64(40)) & np.uint64(1), 1.0, -1.0).astype(np.float32)
    rows = _rank(photo_ids, long["photo_id"]).astype(np.int64)
    values = np.zeros(len(photo_ids) * dim, dtype=np.float32)
    np.add.at(values, rows * dim + column, sign * long["idf"].to_numpy().astype(np.float32))
    values = values.reshape(-1, dim)
    norm = np.linalg.norm(values, axis=1)
    values /= np.maximum(norm, 1e-12)[:, None]
    return Features(torch.from_numpy(values), torch.from_numpy(norm > 0))


def read_visual(folder: str | Path, photo_ids: pl.Series, dim: int = 2048) -> Features:
    """Pictures' vectors from ``<folder>/<photo_id>.npy``, each [1, dim]: [V, dim] float32; a photo without a file is
    absent.

    Raises:
        DataError: a file of another shape.
    """
    values = torch.zeros(len(photo_ids), dim)
    present = torch.zeros(len(photo_ids), dtype=torch.bool)
    for row, photo in enumerate(photo_ids):
        path = Path(folder) / f"{photo}.npy"
        if not path.exists():
            continue
        vector = np.load(path)
        if vector.size != dim:
            raise DataError(f"shape {vector.shape}", file=path, fix=f"give a vector of {dim}, or set dim")
        values[row], present[row] = torch.from_numpy(vector.reshape(-1).astype(np.float32)), True
    return Features(values, present)


def _exposures(path: Path, test: bool, users: Sequence[int] | None) -> pl.DataFrame:
    frame = scan_interactions(path, test=test)
    if users is not None:
        frame = frame.filter(pl.col("user_id").is_in(list(users)))
    frame = frame.with_columns(pl.lit(test).alias("test"))
    return next(_checked(lambda: [frame.collect(engine="streaming")], path))


def _checked(read, path: str | Path) -> Iterator[pl.DataFrame]:
    try:
        yield from read()
    except pl.exceptions.PolarsError as error:
        raise DataError(
            str(error).splitlines()[0], file=path, fix="columns are tab-separated, without a header, all whole numbers"
        ) from error


def _rank(ids: pl.Series, values: pl.Series) -> np.ndarray:
    """Places of values among ascending distinct ids, UInt32; every value must occur."""
    return np.searchsorted(ids.to_numpy(), values.to_numpy()).astype(np.uint32)


def _aligned(ids: pl.Series, table: pl.DataFrame) -> Features:
    table = table.filter(pl.col("photo_id").is_in(ids.implode())).unique("photo_id", keep="last")
    columns = [c for c in table.columns if c != "photo_id"]
    values = torch.zeros(len(ids), len(columns))
    present = torch.zeros(len(ids), dtype=torch.bool)
    rows = torch.from_numpy(_rank(ids, table["photo_id"]).astype(np.int64))
    values[rows] = torch.from_numpy(table.select(columns).to_numpy().astype(np.float32))
    present[rows] = True
    return Features(values, present)
