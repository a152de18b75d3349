"""What a report says, as plain values; `mmgraph.report.page` turns it into HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clip:
    """A video as a card: title, a line below it, a picture and a sound (`data:` URIs, or None)."""

    title: str
    caption: str = ""
    image: str | None = None
    sound: str | None = None


@dataclass(frozen=True)
class Because:
    """One reason: `kind` names it ("co-watched", or what is alike: "visual", "text", …), `text` says it.

    `clip` is the watched video that the path goes through; `strength` in [0, 1] draws the bar.
    """

    kind: str
    text: str
    strength: float
    clip: Clip | None = None


@dataclass(frozen=True)
class Pick:
    """A recommended video with its reasons, strongest first, and badges such as "new"."""

    clip: Clip
    reasons: Sequence[Because] = ()
    badges: Sequence[str] = ()


@dataclass(frozen=True)
class Viewer:
    """A user: what they watched, newest first, and what is recommended, best first."""

    name: str
    about: str
    tastes: Sequence[str]
    watched: Sequence[Clip]
    picks: Sequence[Pick]


@dataclass(frozen=True)
class Column:
    """A column of the results: `share` shows per cent, `best` prints the highest value in bold (ceilings left out)."""

    title: str
    about: str = ""
    share: bool = False
    best: bool = True


@dataclass(frozen=True)
class Row:
    """A line of the results table; `kind` is "ceiling", "model" (the one the report is about) or "baseline"."""

    name: str
    note: str
    kind: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Table:
    """Results: columns (or their titles) and rows. Bars are drawn against the largest value of a column."""

    columns: Sequence[str | Column]
    rows: Sequence[Row]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """A line over epochs; `best` marks one epoch."""

    title: str
    epochs: Sequence[float]
    values: Sequence[float]
    best: float | None = None


@dataclass(frozen=True)
class Point:
    """A video on the map: position, index into the groups, whether it is new, and its title."""

    x: float
    y: float
    group: int
    new: bool
    title: str


@dataclass(frozen=True)
class Map:
    """A 2-d map of videos. `sprite` is a `data:` URI of their frames in `columns` columns of `tile` pixels, or None.

    Tile i (row by row) is the frame of point i.
    """

    points: Sequence[Point]
    groups: Sequence[str]
    sprite: str | None = None
    columns: int = 1
    tile: tuple[int, int] = (48, 64)
    note: str = ""


@dataclass(frozen=True)
class ModalityFacts:
    """Coverage and passport of a modality: `facts` are label -> value, `warnings` deserve a look."""

    name: str
    made_by: str
    coverage: float
    facts: Mapping[str, str]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """A whole report, top to bottom. A part that is empty (or None) has no section on the page.

    ``links`` are other pages beside this one: address (relative) and title, last in the contents.
    """

    title: str
    lead: str
    figures: Sequence[tuple[str, str, str]]  # value, label, explanation
    table: Table
    viewers: Sequence[Viewer] = ()
    map: Map | None = None
    curves: Sequence[Curve] = ()
    modalities: Sequence[ModalityFacts] = ()
    footer: Sequence[str] = field(default_factory=tuple)
    links: Sequence[tuple[str, str]] = ()
