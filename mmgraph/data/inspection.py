"""What is in this data: counts, coverage, time span and what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from mmgraph.data.checks import has_duplicates, pair_keys
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError
from mmgraph.data.readers import (
    read_csv,
    read_lightgcn,
    read_media_folder,
    read_mmrec,
    read_movielens,
    read_parquet,
    read_sequences,
)

_QUANTILES = {"min": 0.0, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}


class Report(BaseModel):
    """What :func:`inspect` found. All fields are plain numbers and text, so ``model_dump_json`` works.

    Attributes:
        layout: which reader read it.
        density: interactions / (users · videos).
        modalities: name -> width, videos that have it, and their share.
        media: kind -> videos with files, and files.
        signals: other interaction columns -> mean where numeric, else None.
        time: first and last moment (ISO, UTC) and days between, or None.
        per_user, per_video: quantiles of the number of interactions; users and videos without any count as 0.
        videos_without_interactions, users_without_interactions: how many have none.
        problems: sentences, empty when nothing looks wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layout: str
    users: int
    videos: int
    interactions: int
    density: float
    modalities: dict[str, dict[str, float]]
    media: dict[str, dict[str, int]]
    entities: dict[str, dict[str, int]]
    signals: dict[str, float | None]
    user_columns: list[str]
    video_columns: list[str]
    time: dict[str, str | float] | None
    per_user: dict[str, float]
    per_video: dict[str, float]
    users_without_interactions: int
    videos_without_interactions: int
    problems: list[str]

    def lines(self) -> list[tuple[str, str]]:
        """(what, value) pairs for a table."""
        rows = [
            ("layout", self.layout),
            ("users", f"{self.users:,} ({self.users_without_interactions:,} without interactions)"),
            ("videos", f"{self.videos:,} ({self.videos_without_interactions:,} without interactions)"),
            ("interactions", f"{self.interactions:,}"),
            ("density", f"{self.density:.4%}"),
        ]
        if self.time is not None:
            rows.append(("time", f"{self.time['first']} to {self.time['last']} ({self.time['days']:,.1f} days)"))
        rows += [("per user", _spread(self.per_user)), ("per video", _spread(self.per_video))]
        for name, value in self.signals.items():
            rows.append((f"signal {name}", "kept" if value is None else f"mean {value:.4g}"))
        for name, m in self.modalities.items():
            rows.append((f"modality {name}", f"width {m['width']:.0f}, {m['videos']:,.0f} videos ({m['share']:.1%})"))
        for kind, m in self.media.items():
            rows.append((f"media {kind}", f"{m['files']:,} files of {m['videos']:,} videos"))
        for name, m in self.entities.items():
            rows.append((f"entity {name}", f"{m['count']:,}, {m['edges']:,} edges, {m['videos']:,} videos"))
        rows.append(("user columns", ", ".join(self.user_columns) or "none"))
        rows.append(("video columns", ", ".join(self.video_columns) or "none"))
        rows += [("problem", problem) for problem in self.problems] or [("problems", "none found")]
        return rows

    def __str__(self) -> str:
        rows = self.lines()
        width = max(len(what) for what, _ in rows)
        return "\n".join([self.name, *(f"  {what:<{width}}  {value}" for what, value in rows)])

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.name, show_header=False, title_justify="left")
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for what, value in self.lines():
            # Text, not markup: ids and titles may hold brackets
            table.add_row(Text(what), Text(value, style="red" if what == "problem" else ""))
        return table


def _spread(quantiles: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.6g}" for name, value in quantiles.items())


def inspect(data: Dataset | str | Path) -> Report:
    """Look at a dataset, or at a folder or file whose layout is recognised (:func:`inspect_folder`)."""
    if isinstance(data, Dataset):
        return _report(data, "Dataset")
    return inspect_folder(data)


def inspect_folder(path: str | Path) -> Report:
    """Recognise the layout of a folder or file, read it and report. Repeated pairs are kept and counted as a problem.

    Raises:
        DataError: no known layout, or anything the reader refuses.
    """
    dataset, layout = read_any(path)
    return _report(dataset, layout)


def read_any(path: str | Path) -> tuple[Dataset, str]:
    """Read a folder or file with the reader its files call for, and the layout's name. Repeated pairs are kept.

    A folder with interactions.csv is a media folder; ratings.csv and movies.csv MovieLens; one ``.inter`` MMRec;
    train.txt and test.txt LightGCN; one ``*pairs.tsv``, or one other ``.txt``, ordered lists. A file is read by its
    ending: .parquet, .csv, .tsv, .txt, .inter.

    Raises:
        DataError: no known layout.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("the path does not exist", file=path, fix="check it")
    if path.is_file():
        return _read_file(path)
    names = {p.name for p in path.iterdir()}
    if "interactions.csv" in names:
        return read_media_folder(path, duplicates="keep"), "media folder"
    if {"ratings.csv", "movies.csv"} <= names:
        return read_movielens(path, duplicates="keep"), "MovieLens"
    if sum(n.endswith(".inter") for n in names) == 1:
        return read_mmrec(path, duplicates="keep"), "MMRec"
    if {"train.txt", "test.txt"} <= names:
        return read_lightgcn(path, duplicates="keep"), "LightGCN"
    if "interactions.parquet" in names:
        tables = [path / f"{what}.parquet" for what in ("users", "videos")]
        users, videos = (t if t.exists() else None for t in tables)
        return read_parquet(path / "interactions.parquet", users, videos, duplicates="keep", name=path.name), "Parquet"
    pairs = sorted(path.glob("*pairs.tsv"))
    titles = sorted(path.glob("*titles.csv"))
    if len(pairs) == 1:
        return read_sequences(pairs[0], titles=titles[0] if len(titles) == 1 else None, name=path.name), "ordered lists"
    lists = [p for p in sorted(path.glob("*.txt")) if p.stem.lower() not in ("readme", "license")]
    if len(lists) == 1:
        return read_sequences(lists[0]), "ordered lists"
    if lists:
        raise DataError(f"{len(lists)} list files: {[p.name for p in lists]}", file=path, fix="name one of them")
    raise DataError(
        f"no known layout; there are {sorted(names)[:10]}",
        file=path,
        fix="a media folder has interactions.csv, MovieLens ratings.csv and movies.csv, MMRec one .inter, LightGCN "
        "train.txt and test.txt, ordered lists one .txt or *pairs.tsv",
    )


def _read_file(path: Path) -> tuple[Dataset, str]:
    if path.suffix == ".parquet":
        return read_parquet(path, duplicates="keep"), "Parquet"
    if path.suffix == ".csv":
        return read_csv(path, duplicates="keep"), "CSV"
    if path.suffix == ".inter":
        return read_mmrec(path.parent, path.name, duplicates="keep"), "MMRec"
    if path.suffix in (".txt", ".tsv"):
        return read_sequences(path), "ordered lists"
    raise DataError(f"no known ending {path.suffix!r}", file=path, fix="use .parquet, .csv, .tsv, .txt or .inter")


def _report(dataset: Dataset, layout: str) -> Report:
    frame = dataset.interactions
    per_user = np.bincount(frame["user"].to_numpy(), minlength=dataset.num_users)
    per_video = np.bincount(frame["video"].to_numpy(), minlength=dataset.num_videos)
    parts = {"user", "video", "time", "weight", "position"}
    return Report(
        name=dataset.name,
        layout=layout,
        users=dataset.num_users,
        videos=dataset.num_videos,
        interactions=len(frame),
        density=len(frame) / max(1, dataset.num_users * dataset.num_videos),
        modalities={
            name: {
                "width": f.dim,
                "videos": int(f.present.sum()),
                "share": float(f.present.float().mean()) if len(f.present) else 0.0,
            }
            for name, f in dataset.features.items()
        },
        media={
            kind: {"videos": sum(bool(f) for f in files), "files": sum(len(f) for f in files)}
            for kind, files in dataset.media.items()
        },
        entities={
            name: {"count": len(e), "edges": e.edges.shape[1], "videos": int(e.edges[0].unique().numel())}
            for name, e in dataset.entities.items()
        },
        signals={c: _mean(frame[c]) for c in frame.columns if c not in parts},
        user_columns=[c for c in dataset.users.columns if c != "user_id"],
        video_columns=[c for c in dataset.videos.columns if c != "video_id"],
        time=_span(frame),
        per_user=_quantiles(per_user),
        per_video=_quantiles(per_video),
        users_without_interactions=int((per_user == 0).sum()),
        videos_without_interactions=int((per_video == 0).sum()),
        problems=_problems(dataset, per_user),
    )


def _mean(column: pl.Series) -> float | None:
    return float(column.cast(pl.Float64).mean()) if column.dtype.is_numeric() or column.dtype == pl.Boolean else None  # type: ignore[arg-type]


def _span(frame: pl.DataFrame) -> dict[str, str | float] | None:
    if "time" not in frame.columns or not len(frame):
        return None
    first, last = float(frame["time"].min()), float(frame["time"].max())  # type: ignore[arg-type]
    iso = [datetime.fromtimestamp(t, UTC).isoformat(timespec="seconds") for t in (first, last)]
    return {"first": iso[0], "last": iso[1], "days": (last - first) / 86400}


def _quantiles(counts: np.ndarray) -> dict[str, float]:
    if not len(counts):
        return {}
    return {name: float(np.quantile(counts, q)) for name, q in _QUANTILES.items()}


def _problems(dataset: Dataset, per_user: np.ndarray) -> list[str]:
    found = []
    frame = dataset.interactions
    keys = pair_keys(frame, dataset.num_videos)
    if has_duplicates(keys):
        repeated = len(keys) - len(np.unique(keys))
        found.append(f"{repeated:,} interactions repeat a (user, video) pair: choose duplicates='first', 'last', …")
    few = int(((per_user > 0) & (per_user < 3)).sum())
    if few:
        found.append(f"{few:,} users have fewer than 3 interactions: per-user splits leave them in train")
    for name, f in dataset.features.items():
        zero = int((f.present & ~f.values.any(dim=1)).sum())
        if zero:
            found.append(f"modality {name}: {zero:,} videos have a row of zeros that is not marked absent")
        constant = int((f.values[f.present].std(dim=0, correction=0) == 0).sum()) if bool(f.present.any()) else 0
        if constant:
            found.append(f"modality {name}: {constant:,} of {f.dim:,} columns are constant")
    if "time" in frame.columns and len(frame):
        time = frame["time"]
        if time.n_unique() == 1:
            found.append("all times are equal: time splits cannot work")
        old = int((time < 631152000).sum())
        if old:
            found.append(f"{old:,} times are before 1990: are they UTC seconds?")
        future = int((time > datetime.now(UTC).timestamp() + 86400).sum())
        if future:
            found.append(f"{future:,} times are in the future")
    return found
