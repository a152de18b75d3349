"""From a trained model to a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmgraph.bundle.bundle import Bundle, load
from mmgraph.bundle.distil import content_tower
from mmgraph.bundle.folder import seal, writing
from mmgraph.bundle.manifest import FoldIn, LogPlace, Manifest, Modality, TowerFacts
from mmgraph.bundle.scorer import Served, served
from mmgraph.bundle.towers import ContentTower, RidgeTower, TowerError, write_tower
from mmgraph.bundle.writing import write_history, write_ids, write_tables

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Recommender
    from mmgraph.ops.csr import CSR

DAY = 86_400.0


@torch.no_grad()
def export(
    model: Recommender,
    graph: MultimodalGraph,
    dataset: Dataset,
    folder: str | Path,
    *,
    name: str | None = None,
    onnx: bool = False,
    replace: bool = False,
    distil: bool = True,
    reg: float = 1.0,
    background: float = 0.1,
    half_life: float = 7 * DAY,
    protocol: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    passports: Mapping[str, Mapping[str, Any]] | None = None,
    log: LogPlace | None = None,
    seen: CSR | None = None,
) -> Bundle:
    """Writes a bundle, whole or not at all, and reads it back.

    Args:
        model: trained; its score must be a dot product, a cosine, or clicks times an item matrix.
        graph: what it reads; its interactions are what users have seen.
        dataset: gives raw ids, titles, columns and entities (tags); rows as in the graph.
        folder: where; an existing bundle only with ``replace``, and then in one step.
        name: for people; the model's class by default.
        onnx: write the towers as ONNX too (packages of ``mmgraph[export]``).
        replace: put it in the place of an existing bundle.
        distil: where the model has no way from content to a row, fit a matrix to its rows for new videos.
        reg, background: λ and b of :class:`FoldIn`.
        half_life: after so many seconds a click counts half for popularity.
        protocol, metrics, passports: kept in the manifest; passports by modality.
        log: what of an event log the model was trained on.
        seen: CSR [U, V] where users have seen more than the graph's interactions, because a transform thinned them.

    Raises:
        RefusedModelError: a score that no table gives.
        BundleError: the folder exists.
        WriteFailed: it cannot be written.
        ValueError: the dataset is not the graph's.
    """
    _same_rows(graph, dataset)
    tables, notes = served(model, graph), []
    with writing(Path(folder), replace) as place:
        cold, modalities = _cold_tower(model, graph, tables, place, distil, onnx, notes, passports or {})
        user, fold_in = _user_tower(model, graph, tables, place, onnx, reg, background, notes)
        popularity, moment = _popularity(graph, half_life)
        write_tables(place, tables.user, tables.video, popularity, torch.zeros(graph.num_videos, dtype=torch.uint8))
        write_history(place, *_history(graph, seen))
        write_ids(place, dataset.user_ids.ids, video_columns(dataset))
        from mmgraph import __version__

        seal(
            place,
            Manifest(
                mmgraph=__version__,
                created=time.time(),
                name=name or type(model).__name__,
                model=type(model).__name__,
                kind=tables.kind,
                users=graph.num_users,
                videos=graph.num_videos,
                dim=tables.video.shape[1],
                modalities=modalities,
                cold=cold,
                user=user,
                fold_in=fold_in,
                half_life=half_life,
                popularity_at=moment,
                log=log or LogPlace(),
                protocol=None if protocol is None else dict(protocol),
                metrics=dict(metrics or {}),
                notes=tuple(notes),
            ),
        )
    return load(folder)


def _same_rows(graph: MultimodalGraph, dataset: Dataset) -> None:
    sizes = (graph.num_users, graph.num_videos), (dataset.num_users, dataset.num_videos)
    if sizes[0] != sizes[1]:
        raise ValueError(f"the graph has {sizes[0]} users and videos, the dataset {sizes[1]}: give the graph's dataset")


def _cold_tower(
    model: Recommender,
    graph: MultimodalGraph,
    tables: Served,
    place: Path,
    distil: bool,
    onnx: bool,
    notes: list[str],
    passports: Mapping[str, Mapping[str, Any]],
) -> tuple[TowerFacts | None, dict[str, Modality]]:
    """Writes towers/cold; what it is, and the modalities it reads."""
    if tables.user is None:
        notes.append("new videos: an item matrix has no row for a video without clicks; they are shown as popular only")
        return None, {}
    from mmgraph.nn.evaluating import evaluating

    content: Any = getattr(model, "content", None)
    tower: nn.Module | None = None
    kind, about = "own", "the model's own"
    names = list(graph.modalities)
    if hasattr(model, "embed") and content is not None:
        names = list(content.modalities)
        tower = ContentTower(evaluating(model), names)
    elif distil and names:
        kind = "distilled"
        tower, about = content_tower(graph, tables.video.to(graph.features(names[0]).values.device), names)
    if tower is None:
        why = "the graph has no modality" if not names else "the model reads no content, and distil is off"
        notes.append(f"new videos: {why}; they are shown as popular only")
        return None, {}
    dims = {m: graph.feature_dims[m] for m in names}
    example: list[Tensor] = []
    for width in dims.values():
        example += [torch.zeros(3, width), torch.ones(3, dtype=torch.bool)]
    try:
        write_tower(tower.cpu(), example, [{0: "batch"}] * len(example), place / "towers/cold", onnx)
    except TowerError as error:
        notes.append(f"new videos: {error}; they are shown as popular only")
        return None, {}
    inputs = [text for m, d in dims.items() for text in (f"{m} [B, {d}] float32", f"{m} present [B] bool")]
    facts = TowerFacts(kind=kind, inputs=tuple(inputs), output=f"[B, {tables.video.shape[1]}] float32", about=about)
    found = {m: dict(passports[m]) if m in passports else None for m in dims}
    return facts, {m: Modality(dim=d, passport=found[m]) for m, d in dims.items()}


def _same_users(tower: nn.Module, graph: MultimodalGraph, tables: Served, steps: int) -> None:
    """That the tower gives the users' rows from their histories.

    Raises:
        TowerError: it does not.
    """
    past = graph.histories(max_len=steps, users=torch.arange(min(32, graph.num_users)))
    some = past.length > 0
    assert tables.user is not None
    found = tower(tables.video[past.video[some].clamp_min(0)], past.mask[some], past.time[some])
    worst = float((found - tables.user[: len(some)][some]).abs().max()) if bool(some.any()) else 0.0
    if not worst <= 1e-4 * max(1.0, float(tables.user.abs().max())):
        raise TowerError(f"{type(tower).__name__} gives other rows than the model, by up to {worst:.3g}")


def _user_tower(
    model: Recommender,
    graph: MultimodalGraph,
    tables: Served,
    place: Path,
    onnx: bool,
    reg: float,
    background: float,
    notes: list[str],
) -> tuple[TowerFacts | None, FoldIn]:
    """Writes towers/user; what it is, and how the server follows new clicks."""
    if tables.user is None:
        notes.append("user tower: a user is the clicks themselves, summed over the item matrix")
        return None, FoldIn(method="clicks")
    dim = tables.video.shape[1]
    free = [{0: "batch", 1: "steps"}] * 2
    make: Any = getattr(model, "history_tower", None)
    if make is not None:
        tower, steps = make().cpu().eval(), int(getattr(model, "max_len", 50))
        try:
            _same_users(tower, graph, tables, steps)
            times = torch.arange(3, dtype=torch.float64).expand(3, 3).contiguous()
            example = (torch.zeros(3, 3, dim), torch.ones(3, 3, dtype=torch.bool), times)
            write_tower(tower, example, [*free, free[0]], place / "towers/user", onnx, max_steps=steps)
            inputs = (f"videos [B, T, {dim}] float32", "mask [B, T] bool", "time [B, T] float64")
            facts = TowerFacts(kind="own", inputs=inputs, output=f"[B, {dim}] float32", about="the model's own")
            return facts, FoldIn(method="tower", steps=steps)
        except TowerError as error:
            notes.append(f"user tower: {error}; rows follow new clicks by ridge regression, not as the model would")
    gram = (tables.video.T @ tables.video).cpu()
    tower, products = (RidgeTower(gram, reg, background, products) for products in (False, True))
    example = (torch.zeros(3, 3, dim), torch.ones(3, 3, dtype=torch.bool), torch.zeros(3, dim))
    write_tower(tower, example, [*free, {0: "batch"}], place / "towers/user", onnx, products)
    inputs = (f"videos [B, T, {dim}] float32", "mask [B, T] bool", f"prior [B, {dim}] float32")
    about = "ridge regression on the frozen video rows"
    return TowerFacts(kind="ridge", inputs=inputs, output=f"[B, {dim}] float32", about=about), FoldIn(
        method="ridge", reg=reg, background=background
    )


def _popularity(graph: MultimodalGraph, half_life: float) -> tuple[Tensor, float]:
    """Decayed click counts [V] float64, and the moment at which a click counts 1."""
    store = graph["user", "interacts", "video"]
    video = graph.interactions()[1].cpu()
    weight = torch.ones(len(video), dtype=torch.float64)
    moment = time.time()
    if "time" in store and len(video):
        times = store.time.cpu().double()
        moment = float(times.max())
        weight = torch.exp2((times - moment) / half_life)
    return torch.zeros(graph.num_videos, dtype=torch.float64).index_add_(0, video, weight), moment


def _history(graph: MultimodalGraph, seen: CSR | None) -> tuple[NDArray, NDArray, NDArray]:
    """The graph's events in order, and before them what users have seen beside those, at time 0."""
    events = graph.ordered_events()
    user, video, moment = (t.cpu().numpy() for t in (events.user, events.video, events.time))
    if seen is not None:
        pairs = seen.row_indices().cpu().numpy().astype(np.int64), seen.indices.cpu().numpy().astype(np.int64)
        known = np.isin(pairs[0] * graph.num_videos + pairs[1], user * graph.num_videos + video)
        more = [part[~known] for part in pairs]
        user, video = np.concatenate([more[0], user]), np.concatenate([more[1], video])
        moment = np.concatenate([np.zeros(len(more[0])), moment])
    order = np.lexsort((np.arange(len(user)), moment, user))
    indptr = np.zeros(graph.num_users + 1, np.int64)
    np.cumsum(np.bincount(user, minlength=graph.num_users), out=indptr[1:])
    return indptr, video[order], moment[order]


def video_columns(dataset: Dataset) -> pl.DataFrame:
    """What a bundle keeps of each video: ``id`` and title as text, other text and whole-number columns, and the
    entities as lists of text under their names."""
    columns = [dataset.video_ids.ids.cast(pl.String).alias("id")]
    for column in dataset.videos.columns[1:]:
        series = dataset.videos[column]
        if column != "id" and (series.dtype == pl.String or series.dtype.is_integer() or series.dtype == pl.Boolean):
            columns.append(series.cast(pl.String).alias(column))
    taken = {c.name for c in columns}
    for name, entity in dataset.entities.items():
        if name in taken:
            continue
        lists: list[list[str]] = [[] for _ in range(dataset.num_videos)]
        raw = [str(value) for value in entity.ids.ids]
        for video, row in entity.edges.T.tolist():
            lists[video].append(raw[row])
        columns.append(pl.Series(name, lists, dtype=pl.List(pl.String)))
    return pl.DataFrame(columns)
