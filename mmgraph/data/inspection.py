"""What is in this data: counts, coverage, time span, what was decided, not read, and looks wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from mmgraph.data.checks import has_duplicates, pair_keys
from mmgraph.data.dataset import Dataset
from mmgraph.data.readers.delimited import ID_NAME
from mmgraph.data.readers.media_folder import holds_lists
from mmgraph.data.readers.recognise import read_any
from mmgraph.data.times import looks_like_times

_NAMED_SEPARATELY = 20
_DOCUMENT = re.compile(r"(?i)^(readme|license|licence|changelog|citation|makefile|checksums?|_success|.*passports?)")
# What mmgraph itself writes beside data: a world's truth, the passports of features.
_OWN = ("world.json", "truth.npz")
_FEATURE_FILES = (".npy", ".csv", ".json", ".safetensors")
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
        exposures: rows of what was shown.
        decided: what the reader decided by the content.
        hints: columns that look like something they are not used as: times, lists, ids, probabilities.
        unread: the files of the folder that were not read.
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
    exposures: int = 0
    decided: list[str] = []
    hints: list[str] = []
    unread: list[str] = []
    problems: list[str]

    def lines(self) -> list[tuple[str, str]]:
        """(what, value) pairs for a table."""
        rows = [
            ("layout", self.layout),
            ("users", f"{self.users:,} ({self.users_without_interactions:,} without interactions)"),
            ("videos", f"{self.videos:,} ({self.videos_without_interactions:,} without interactions)"),
            ("interactions", f"{self.interactions:,}" + (f" of {self.exposures:,} shown" if self.exposures else "")),
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
        rows += [("read as", note) for note in self.decided]
        rows += [("hint", hint) for hint in self.hints]
        rows += [("not read", name) for name in self.unread]
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


def inspect(data: Dataset | str | Path, **options: Any) -> Report:
    """Look at a dataset, or at a folder or file whose layout is recognised (:func:`mmgraph.data.read_any`).

    Repeated pairs are kept and counted as a problem.

    Args:
        data: what to look at.
        **options: of :func:`mmgraph.data.read_any`, for a folder or a file: ``columns``, ``separator``, ….

    Raises:
        DataError: no known layout, or anything the reader refuses.
        TypeError: options for a dataset, which is read already.
    """
    if isinstance(data, Dataset):
        if options:
            raise TypeError(f"{', '.join(options)}: for a folder or a file; a Dataset is read already")
        return _report(data, [])
    dataset = read_any(data, **options)
    return _report(dataset, unread(Path(data), dataset))


def unread(path: Path, dataset: Dataset) -> list[str]:
    """The files of a folder that its reader did not read, a folder of many as one entry; documents are left out."""
    if not path.is_dir():
        return []
    read = {file.resolve() for file in dataset.origin.files}
    read |= {file.resolve() for kind in dataset.media.values() for files in kind for file in files}
    left: dict[Path, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        where = file.relative_to(path)
        hidden = any(part.startswith((".", "__")) for part in where.parts)
        if hidden or not file.is_file() or _DOCUMENT.match(file.stem) or file.name in _OWN:
            continue
        place = file.resolve()
        inside = any(parent in read for parent in place.parents)
        if place not in read and not (inside and file.suffix in _FEATURE_FILES):
            left.setdefault(where.parent, []).append(where)
    named = []
    for folder, files in left.items():
        if len(files) <= _NAMED_SEPARATELY:
            named += [file.as_posix() for file in files]
        else:
            endings = sorted({file.suffix or "no ending" for file in files})
            named.append(f"{folder.as_posix()}/ ({len(files):,} files: {', '.join(endings)})")
    return named


def _report(dataset: Dataset, left: list[str]) -> Report:
    frame = dataset.interactions
    per_user = np.bincount(frame["user"].to_numpy(), minlength=dataset.num_users)
    per_video = np.bincount(frame["video"].to_numpy(), minlength=dataset.num_videos)
    parts = {"user", "video", "time", "weight", "position"}
    return Report(
        name=dataset.name,
        layout=dataset.origin.layout or "Dataset",
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
        exposures=0 if dataset.exposures is None else len(dataset.exposures),
        decided=list(dataset.origin.notes),
        hints=_hints(dataset),
        unread=left,
        problems=_problems(dataset, per_user),
    )


def _hints(dataset: Dataset) -> list[str]:
    """Columns that look like something they are not used as."""
    found = []
    log = dataset.interactions
    taken = {"user", "video", "time", "weight", "position"}
    for what, table, left_out in (
        ("interactions", log, taken),
        ("videos", dataset.videos, {"video_id", *dataset.entities, *(f"{name}s" for name in dataset.entities)}),
        ("users", dataset.users, {"user_id"}),
    ):
        for column in table:
            if column.name not in left_out:
                hint = _hint(what, column, "time" in log.columns)
                found += [] if hint is None else [f"{what}: column {column.name!r} {hint}"]
    return found


def _hint(what: str, column: pl.Series, timed: bool) -> str | None:
    moments = looks_like_times(column)
    if moments is not None:
        use = f"time={column.name!r} makes it the time" if what == "interactions" and not timed else "kept as it is"
        return f"looks like times ({moments}): {use}"
    entities = f"entities=[{column.name!r}] makes them entities" if what == "videos" else "kept as it is"
    known = column.drop_nulls()
    if isinstance(column.dtype, (pl.List, pl.Array)) or (column.dtype == pl.String and holds_lists(known.head(1000))):
        return f"holds lists: {entities}"
    if column.dtype == pl.String and len(known) and known.head(1000).str.contains("|", literal=True).mean() > 0.2:  # type: ignore[operator]
        return f"holds several words with | between them: {entities}"
    if ID_NAME.search(column.name) and len(known):
        shared = known.n_unique() <= len(known) // 2
        return f"looks like ids ({known.n_unique():,} different): {entities if shared else 'kept as it is'}"
    if column.dtype.is_float() and len(known):
        inside = known.is_between(0, 1).all() and known.n_unique() > 2
        if inside and not known.is_in([0.0, 1.0]).all():
            return f"looks like probabilities ({known.min():.3g} to {known.max():.3g})"
    return None


def _mean(column: pl.Series) -> float | None:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        return None
    mean = column.cast(pl.Float64).mean()
    return None if mean is None else float(mean)  # type: ignore[arg-type]


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
