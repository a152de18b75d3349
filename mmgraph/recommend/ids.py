"""Raw ids in, raw ids and titles out."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from torch import Tensor

from mmgraph.constraint import Blocked, Constraint
from mmgraph.data.dataset import Features
from mmgraph.data.errors import DataError, UnknownIdError
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.models import People
from mmgraph.ops import CSR
from mmgraph.recommend.lists import UnknownUser, audience, recommend, similar

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from mmgraph.data.dataset import Dataset
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Recommender


@dataclass(frozen=True, eq=False, repr=False)
class Recommendations:
    """Recommendations in raw ids.

    Attributes:
        frame: one row a recommended video: ``user`` (raw id), ``rank`` (from 1), ``video`` (raw id), ``title`` where
            the videos have one, ``score``, and ``fallback``: ``"profile"`` where the user has no interactions and the
            model was asked by their features, ``"popular"`` where it can read nothing of them, so that the list is
            the popular one; else null.
    """

    frame: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """The table, as polars."""
        return self.frame

    def to_pandas(self) -> pd.DataFrame:
        """The table, as pandas."""
        return to_pandas(self.frame)

    def rich(self, title: str | None = None) -> Table:
        """A ``rich`` table for the terminal; titles and ids stand in it as they are, never as markup."""
        from rich.table import Table
        from rich.text import Text

        out = Table(title=None if title is None else Text(plain_text(title)), title_justify="left")
        for name in self.frame.columns:
            out.add_column(name, justify="right" if name in ("rank", "score") else "left")
        for line in self.frame.iter_rows():
            out.add_row(*(Text(_cell(value)) for value in line))
        return out

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        keys = [name for name in ("user", "video") if name in self.frame.columns]
        counts = ", ".join(f"{self.frame[name].n_unique():,} {name}s" for name in keys)
        fallen = self.frame.filter(pl.col("fallback").is_not_null()) if "fallback" in self.frame.columns else None
        said = "" if fallen is None or not len(fallen) else f", {fallen['user'].n_unique():,} by fallback"
        return f"Recommendations({len(self.frame):,} rows: {counts}{said})"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.frame.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in line) + "</tr>"
            for line in self.frame.head(200).iter_rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def recommend_ids(
    model: Recommender,
    graph: MultimodalGraph,
    dataset: Dataset,
    user_ids: Sequence[Any],
    k: int = 10,
    *,
    people: People | None = None,
    exclude_seen: bool = True,
    candidates: Sequence[Any] | None = None,
    exclude: Sequence[Any] | None = None,
    constraint: Constraint | None = None,
    unknown_user: UnknownUser = "popular",
) -> Recommendations:
    """:func:`recommend`, raw ids in, raw ids and titles out.

    Args:
        model, graph, k, exclude_seen, constraint, unknown_user: as there.
        dataset: where the graph came from; it holds the vocabularies and titles.
        user_ids: raw user ids. Text is read as a number where the data's ids are numbers. With ``people``: what to
            call them.
        people: people who came after training, see :func:`recommend` and :func:`clicks_of`.
        candidates, exclude: raw video ids.

    Raises:
        UnknownIdError: (a KeyError) an unknown raw id; the message shows close ones.
    """
    only, barred = (
        None if ids is None else find_rows(dataset.video_ids, ids, "video") for ids in (candidates, exclude)
    )
    given = {"exclude_seen": exclude_seen, "candidates": only, "exclude": barred, "constraint": constraint}
    if people is None:
        users = find_rows(dataset.user_ids, user_ids, "user")
        found = recommend(model, graph, users, k, **given, unknown_user=unknown_user)
        names = dataset.user_ids.raw(users.numpy())
    else:
        found = recommend(model, graph, None, k, people=people, **given, unknown_user=unknown_user)
        names = list(user_ids)
        if len(names) != len(found.video):
            raise ValueError(f"{len(names)} user_ids for {len(found.video)} people: give one name each")
    line, place = (found.video >= 0).nonzero().cpu().unbind(1)
    fallback = [found.fallback[i] for i in line.tolist()]
    rows = found.video.cpu()[line, place]
    columns = {"user": [names[i] for i in line.tolist()], "rank": (place + 1).numpy()} | _named(dataset, rows)
    columns["score"] = found.score.cpu()[line, place].float().numpy()
    columns["fallback"] = pl.Series("fallback", fallback, dtype=pl.String)
    return Recommendations(pl.DataFrame(columns))


def audience_ids(
    model: Recommender,
    graph: MultimodalGraph,
    dataset: Dataset,
    video_ids: Sequence[Any],
    k: int = 10,
    *,
    exclude_seen: bool = True,
    constraint: Constraint | None = None,
) -> Recommendations:
    """:func:`audience`, raw ids in and out: a row a user, with ``video``, ``title``, ``rank``, ``user``, ``score``."""
    videos = find_rows(dataset.video_ids, video_ids, "video")
    found = audience(model, graph, videos, k, exclude_seen=exclude_seen, constraint=constraint)
    line, place = (found.user >= 0).nonzero().cpu().unbind(1)
    columns = _named(dataset, videos[line]) | {"rank": (place + 1).numpy()}
    columns["user"] = dataset.user_ids.raw(found.user.cpu()[line, place].numpy())
    columns["score"] = found.score.cpu()[line, place].float().numpy()
    return Recommendations(pl.DataFrame(columns))


def similar_ids(
    model: Recommender | None,
    graph: MultimodalGraph,
    dataset: Dataset,
    video_ids: Sequence[Any],
    k: int = 10,
    *,
    modality: str | None = None,
    constraint: Constraint | None = None,
) -> Recommendations:
    """:func:`similar`, raw ids in and out: ``to`` (raw id), ``rank``, ``video``, ``title``, ``score``."""
    videos = find_rows(dataset.video_ids, video_ids, "video")
    found = similar(model, graph, videos, k, modality=modality, constraint=constraint)
    line, place = (found.video >= 0).nonzero().cpu().unbind(1)
    columns: dict[str, Any] = {"to": dataset.video_ids.raw(videos[line].numpy()), "rank": (place + 1).numpy()}
    columns |= _named(dataset, found.video.cpu()[line, place])
    columns["score"] = found.score.cpu()[line, place].float().numpy()
    return Recommendations(pl.DataFrame(columns))


def add_videos(
    graph: MultimodalGraph, dataset: Dataset, videos: Any, features: Mapping[str, Any] | None = None
) -> tuple[MultimodalGraph, Dataset]:
    """The graph and the dataset with videos that came after training: a new graph, a new dataset.

    From then on every function with raw ids knows them and their titles. A model that embeds content ranks them; one
    with a row a video id refuses the graph.

    Args:
        graph, dataset: as they are.
        videos: polars or pandas, the raw ids in the first column; columns that the dataset's table has too (``title``)
            are kept.
        features: modality -> [n, D] matrix or :class:`~mmgraph.data.Features` with presence, rows as in ``videos``.

    Raises:
        DataError: an id that is known already, or rows that do not match.
        KeyError, ValueError: a modality or a width that the graph does not have.
    """
    frame = videos if isinstance(videos, pl.DataFrame) else pl.DataFrame(dict(videos))
    ids = frame[frame.columns[0]]
    known = dataset.video_ids.find(ids) >= 0
    if known.any():
        raise DataError(
            f"video {ids[int(known.argmax())]!r} is known already", column=ids.name, fix="give videos that are new"
        )
    made = {
        name: value if isinstance(value, Features) else Features.of(value) for name, value in (features or {}).items()
    }
    for name, value in made.items():
        if len(value.values) != len(frame):
            raise DataError(
                f"{len(value.values)} feature rows for {len(frame)} videos", column=name, fix="one row each"
            )
    old = dataset.videos
    table = pl.DataFrame({old.columns[0]: ids.cast(old[old.columns[0]].dtype)})
    for name in old.columns[1:]:
        column = frame[name] if name in frame.columns else pl.Series(name, [None] * len(frame), dtype=old[name].dtype)
        table = table.with_columns(column.cast(old[name].dtype, strict=False).alias(name))
    both = {}
    for name, there in dataset.features.items():
        new = made.get(name) or Features(torch.zeros(len(frame), there.dim), torch.zeros(len(frame), dtype=torch.bool))
        values, present = (
            torch.cat([there.values, new.values.to(there.values)]),
            torch.cat([there.present, new.present]),
        )
        both[name] = Features(values, present)
    grown = replace(
        dataset,
        video_ids=Vocabulary(
            pl.concat([dataset.video_ids.ids, table[table.columns[0]].rename(dataset.video_ids.ids.name)])
        ),
        videos=pl.concat([old, table]),
        features=both,
        media={kind: [*files, *([] for _ in range(len(frame)))] for kind, files in dataset.media.items()},
    )
    return graph.with_videos(made, count=len(frame)), grown


def clicks_of(dataset: Dataset, histories: Mapping[Any, Sequence[Any]]) -> People:
    """People who came after training, from the raw ids of what each has watched, oldest first.

    Args:
        dataset: whose vocabulary the ids are of.
        histories: name -> raw video ids in the order they were watched.

    Returns:
        People: with both ``clicks`` and ``histories``, so that models with and without order read it.

    Raises:
        UnknownIdError: an unknown video id.
    """
    from mmgraph.graph import Histories

    rows = [find_rows(dataset.video_ids, ids, "video") for ids in histories.values()]
    longest = max((len(r) for r in rows), default=0)
    video = torch.full((len(rows), longest), -1)
    for line, mine in enumerate(rows):
        video[line, : len(mine)] = mine
    mask = video >= 0
    length = mask.sum(1)
    time = torch.arange(longest).expand(len(rows), -1).double() * mask
    line = torch.repeat_interleave(torch.arange(len(rows)), length)
    clicks = CSR.from_edges(line, video[mask], (len(rows), len(dataset.video_ids)))
    return People(clicks=clicks, histories=Histories(video, mask, time, length), features=None)


def constraint_of(
    dataset: Dataset,
    *,
    allowed: Sequence[Any] | None = None,
    blocked: Sequence[Any] = (),
) -> Constraint:
    """A :class:`Constraint` from raw video ids.

    Raises:
        UnknownIdError: an id that the dataset does not know; a list with a misspelt id would let that video through.
    """
    permitted = None
    if allowed is not None:
        permitted = torch.zeros(dataset.num_videos, dtype=torch.bool)
        permitted[find_rows(dataset.video_ids, allowed, "allowed video")] = True
    rows = find_rows(dataset.video_ids, blocked, "blocked video").tolist() if len(blocked) else []
    return Constraint(dataset.num_videos, permitted, Blocked(frozenset(rows)))


def find_rows(vocabulary: Vocabulary, raw_ids: Sequence[Any], kind: str = "id") -> Tensor:
    """Rows [n] int64 of raw ids in a vocabulary; ``"7"`` finds the number 7.

    Args:
        vocabulary: the ids.
        raw_ids: what to look up.
        kind: the word for the error message.

    Raises:
        UnknownIdError: (a KeyError) an id is unknown; the message shows the closest ones.
    """
    if isinstance(raw_ids, str):
        raise TypeError(f"give a list of {kind} ids, such as [{raw_ids!r}], not one text")
    rows = vocabulary.find([str(raw) for raw in raw_ids])
    for raw, row in zip(raw_ids, rows, strict=True):
        if row < 0:
            raise UnknownIdError(f"unknown {kind} {raw!r} among {len(vocabulary):,}", fix=_close(vocabulary.ids, raw))
    return torch.tensor(rows)


def to_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    """A polars table as pandas, column by column: it needs no pyarrow.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd

    columns = {
        name: frame[name].to_numpy() if frame[name].dtype.is_numeric() else frame[name].to_list()
        for name in frame.columns
    }
    return pd.DataFrame(columns)


def plain_text(text: str) -> str:
    """A title without what a terminal would obey: control and format characters become ``�``."""
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.4f}" if isinstance(value, float) else plain_text(str(value))


def _named(dataset: Dataset, rows: Tensor) -> dict[str, Any]:
    columns: dict[str, Any] = {"video": dataset.video_ids.raw(rows.numpy())}
    if "title" in dataset.videos.columns:
        columns["title"] = dataset.videos["title"].gather(rows.numpy())
    return columns


def _close(ids: pl.Series, raw: Any) -> str:
    close: list[Any] = []
    if ids.dtype.is_numeric():
        number = pl.Series([str(raw)]).cast(pl.Int64, strict=False)[0]
        if number is not None:
            close = ids.to_frame("id").sort((pl.col("id") - number).abs())["id"].head(3).to_list()
    else:
        text = ids.cast(pl.String)
        near = text.filter((text.str.len_chars().cast(pl.Int64) - len(str(raw))).abs() <= 2)
        close = difflib.get_close_matches(str(raw), near.head(20_000).to_list(), n=3, cutoff=0.5)
    shown = ", ".join(map(str, close or ids.head(3).to_list()))
    return f"use one that exists; {'close to it' if close else 'for example'}: {shown}"
