"""From a trained model to a bundle."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.bundle.bundle import ROWLESS, Bundle, load
from mmgraph.bundle.folder import seal, writing
from mmgraph.bundle.making_towers import Making, cold_tower, pair_tower, user_tower
from mmgraph.bundle.manifest import LogPlace, Manifest, Rescore, TowerFacts, Training
from mmgraph.bundle.scorer import served
from mmgraph.bundle.towers import Tower
from mmgraph.bundle.writing import write_history, write_ids, write_pair, write_tables

if TYPE_CHECKING:
    from mmgraph.data.dataset import Dataset
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Recommender
    from mmgraph.ops.csr import CSR

DAY = 86_400.0
MODEL = "model"  # where the trained model lies in a bundle that can be refreshed


class Carried(NamedTuple):
    """What is known of users and videos beside the model.

    Attributes:
        gate: [V] uint8, see :class:`Bundle`.
        columns: V rows, ``id`` first.
        popularity: [V] float64, and the moment at which its weights are 1.
        popularity_at: UTC seconds.
        history: indptr [U + 1], video [E], time [E], in order within each user.
        untrained: [U] and [V] bool, who has no trained row: such a user's row becomes 0, which is nothing known, such a
            video's what a distilled content tower makes of it, or it is :data:`ROWLESS`.
    """

    gate: Tensor
    columns: pl.DataFrame
    popularity: Tensor
    popularity_at: float
    history: tuple[NDArray, NDArray, NDArray]
    untrained: tuple[Tensor, Tensor] | None = None


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
    embedding_dim: int = 64,
    reg: float = 1.0,
    background: float = 0.1,
    half_life: float = 7 * DAY,
    protocol: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    passports: Mapping[str, Mapping[str, Any]] | None = None,
    log: LogPlace | None = None,
    seen: CSR | None = None,
    training: Training | None = None,
    carried: Carried | None = None,
) -> Bundle:
    """Writes a bundle, whole or not at all, and reads it back.

    Args:
        model: trained. A score that is a dot product, a cosine, or clicks times an item matrix is served exactly; any
            other is distilled into rows, and where it is a head over rows that re-scores the best of them.
        graph: what it reads; its interactions are what users have seen.
        dataset: gives raw ids, titles, columns and entities (tags); rows as in the graph.
        folder: where; an existing bundle only with ``replace``, and then in one step.
        name: for people; the model's class by default.
        onnx: write the towers as ONNX too (packages of ``mmgraph[export]``).
        replace: put it in the place of an existing bundle.
        distil: where the model has no way from content to a video's row, or from a history to a user's, train small
            networks on what it ranks (:mod:`mmgraph.bundle.distil`); with fewer than 50 users or videos closed forms
            stand in. False: closed forms for users, new videos as popular only, and no rows for other scores.
        embedding_dim: width of the rows, where those are distilled.
        reg, background: λ and b of :class:`FoldIn`.
        half_life: after so many seconds a click counts half for popularity.
        protocol, metrics, passports: kept in the manifest; passports by modality.
        log: what of an event log the model was trained on.
        seen: CSR [U, V] where users have seen more than the graph's interactions, because a transform thinned them.
        training: how it was trained: the model goes along in ``model/``, so that ``mmgraph refresh`` can go on.
        carried: what a server knew, in place of what dataset and graph say.

    Raises:
        RefusedModelError: a score that no table gives, and ``distil`` is off.
        BundleError: the folder exists.
        WriteFailed: it cannot be written.
        ValueError: the dataset is not the graph's.
    """
    _same_rows(graph, dataset)
    tables = served(model, graph, distil, embedding_dim)
    with writing(Path(folder), replace) as place:
        making = Making(model, graph, tables, place, distil, onnx)
        if tables.history is not None:
            making.notes.append(f"{type(model).__name__} scores by no product of rows: its lists are distilled")
        cold, modalities = cold_tower(making, passports or {})
        known = carried or _known(graph, dataset, half_life, seen)
        if known.untrained is not None and tables.user is not None:
            known = _fill(making, cold, tuple(modalities), known, known.untrained)
            tables = making.tables
        user, fold_in = user_tower(making, reg, background)
        pair = pair_tower(making)
        if pair is not None and tables.pair is not None:
            write_pair(place, tables.pair.user, tables.pair.video)
        write_tables(place, tables.user, tables.video, known.popularity, known.gate)
        write_history(place, *known.history)
        write_ids(place, dataset.user_ids.ids, known.columns)
        if training is not None:
            from mmgraph.experiment import save

            save(model, place / MODEL, graph, dataset, protocol=protocol, seen=seen)
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
                rescore=None if pair is None else Rescore(tower=pair),
                half_life=half_life,
                popularity_at=known.popularity_at,
                training=training,
                log=log or LogPlace(),
                protocol=None if protocol is None else dict(protocol),
                metrics=dict(metrics or {}),
                notes=tuple(making.notes),
            ),
        )
    return load(folder)


def _fill(
    making: Making,
    cold: TowerFacts | None,
    modalities: Sequence[str],
    known: Carried,
    untrained: tuple[Tensor, Tensor],
) -> Carried:
    """Puts rows for who has no trained one into the tables; the gate with those closed that get none."""
    tables, graph = making.tables, making.graph
    if cold is not None and cold.kind == "own":
        return known  # the model makes rows of content itself
    users, videos = untrained
    assert tables.user is not None
    features = [graph.features(m) for m in modalities]
    has = torch.stack([f.present for f in features]).any(0).cpu() if cold is not None else torch.zeros_like(videos)
    filled, rows = tables.video.clone(), (videos & has).nonzero().flatten()
    if len(rows):
        inputs = [t.cpu()[rows] for f in features for t in (f.values, f.present)]
        filled[rows] = Tower(making.place / "towers/cold.pt2")(*inputs)
    making.tables = tables._replace(user=tables.user.masked_fill(users.unsqueeze(1), 0), video=filled)
    return known._replace(gate=torch.where(videos & ~has, known.gate | ROWLESS, known.gate & ~(videos * ROWLESS)))


def _known(graph: MultimodalGraph, dataset: Dataset, half_life: float, seen: CSR | None) -> Carried:
    popularity, moment = _popularity(graph, half_life)
    gate = torch.zeros(graph.num_videos, dtype=torch.uint8)
    return Carried(gate, video_columns(dataset), popularity, moment, _history(graph, seen))


def _same_rows(graph: MultimodalGraph, dataset: Dataset) -> None:
    sizes = (graph.num_users, graph.num_videos), (dataset.num_users, dataset.num_videos)
    if sizes[0] != sizes[1]:
        raise ValueError(f"the graph has {sizes[0]} users and videos, the dataset {sizes[1]}: give the graph's dataset")


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
