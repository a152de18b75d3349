"""Training goes on with what a log holds, and the next bundle comes out of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mmgraph.bundle import Bundle, LogPlace, export, load
from mmgraph.bundle.bundle import ROWLESS
from mmgraph.bundle.exporting import MODEL
from mmgraph.serve.features import unpack
from mmgraph.serve.log import EventLog
from mmgraph.serve.rebundle import carried
from mmgraph.serve.state import State

if TYPE_CHECKING:
    from mmgraph.data import Dataset, Features
    from mmgraph.experiment import Saved
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import Recommender
    from mmgraph.ops import CSR

EPOCHS = 5


class RefreshError(ValueError):
    """A bundle that training cannot go on from; the message says what is missing."""


@dataclass(frozen=True)
class Refreshed:
    """The next bundle, and what went into it.

    Attributes:
        bundle: written and read back.
        interactions: clicks since the old bundle that it was trained on.
        users, videos: new ones.
        before: id of the old bundle.
    """

    bundle: Bundle
    interactions: int
    users: int
    videos: int
    before: str


def refresh(
    folder: str | Path,
    log: EventLog,
    out: str | Path | None = None,
    *,
    epochs: int = EPOCHS,
    learning_rate: float | None = None,
    model: Callable[[Any], Any] | type | None = None,
    onnx: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Refreshed:
    """Continues training a bundle's model on the log's clicks, and writes the next bundle, whole or not at all.

    The model starts from its weights; rows of users and videos that came since start as a new model's would. A model in
    closed form is solved anew. What the log hid, deleted or described stays so, and the bundle goes on at the log's
    place: a server reads it by a reload.

    Args:
        folder: of a bundle that was exported with ``training``.
        log: what happened since.
        out: folder of the next bundle; by default it takes the old one's place, in one step.
        epochs: over all clicks, old and new; the optimiser is Adam, begun anew.
        learning_rate: by default the one that it was trained with.
        model: class, or function of the graph, of a model that is not mmgraph's own.
        onnx: write the towers as ONNX too.
        seed: of new rows and of training.
        progress: show a bar.

    Raises:
        RefreshError: the bundle holds no model to go on with, is of another log, or its model cannot grow.
        BundleError, WriteFailed: as :func:`mmgraph.bundle.export`.
    """
    from mmgraph.experiment import load as load_model

    old = load(folder)
    told = old.manifest.training
    if told is None:
        raise RefreshError(
            f"{folder} holds no model to train on: export it with --trainable (training=…); a bundle that mmgraph "
            "replay wrote has none either"
        )
    identity = str(getattr(log, "identity", "log"))
    if old.manifest.log.identity not in (None, identity):
        raise RefreshError(f"bundle {old.id} was made from log {old.manifest.log.identity}, this one is {identity}")
    state = State(old)
    state.catch_up(log)
    saved = load_model(Path(folder) / MODEL, model=model)
    if saved.dataset is None:
        raise RefreshError(f"{folder}: its model was saved without raw ids")
    graph, count = grown_graph(saved.graph, state)
    trained = grown_model(saved.model, graph, (len(old.users), len(old.videos)), model, seed)
    given = told if learning_rate is None else told.model_copy(update={"learning_rate": learning_rate})
    _train(trained, graph, given, epochs, seed, progress)
    known = carried(state)
    made = export(
        trained,
        graph,
        _dataset(saved.dataset, state, known.columns),
        folder if out is None else out,
        name=old.manifest.name,
        onnx=onnx,
        replace=out is None,
        half_life=old.manifest.half_life,
        protocol=old.manifest.protocol,
        passports={m: one.passport for m, one in old.manifest.modalities.items() if one.passport is not None},
        log=LogPlace(identity=identity, seq=state.seq),
        seen=_seen(saved, graph),
        training=given,
        carried=known._replace(gate=_ungated(known.gate, graph), untrained=_untrained(old, graph)),
    )
    users, videos = len(state.users) - len(old.users), len(state.videos) - len(old.videos)
    return Refreshed(made, count, users, videos, old.id)


def _train(model: Recommender, graph: MultimodalGraph, told: Any, epochs: int, seed: int, progress: bool) -> None:
    from mmgraph.train import FitConfig, fit

    if model.closed_form:
        model.solve(graph)
    elif epochs:
        settings = {"batch_size": told.batch_size, "weight_decay": told.weight_decay}
        config = FitConfig(epochs=epochs, learning_rate=told.learning_rate, **settings)
        fit(model, graph, None, config, seed=seed, progress=progress)
    model.eval()


def grown_graph(graph: MultimodalGraph, state: State) -> tuple[MultimodalGraph, int]:
    """The graph with the users, videos and clicks of a state beyond its bundle, and how many clicks those are.

    New users have no features (0 where others have some), new videos the features that the log described, where the
    graph has such a modality, and no entities or neighbours that a transform made.
    """
    out = _more_users(graph, len(state.users)).with_videos(_features(graph, state), len(state.videos) - state.trained)
    clicks = [(user, met.video, met.time) for user in sorted(state.profiles.met) for met in state.profiles.clicks(user)]
    if not clicks:
        return out, 0
    user, video, time = zip(*clicks, strict=True)
    moment = torch.tensor(time, dtype=torch.float64)
    return out.with_interactions(torch.tensor(user), torch.tensor(video), moment), len(clicks)


def _more_users(graph: MultimodalGraph, count: int) -> MultimodalGraph:
    out, more = copy.copy(graph), count - graph.num_users
    store = out["user"]
    for key, value in list(store.items()):
        if isinstance(value, Tensor) and value.dim() and len(value) == graph.num_users:
            store[key] = torch.cat([value, value.new_zeros(more, *value.shape[1:])])
    store.num_nodes = count
    return out


def _features(graph: MultimodalGraph, state: State) -> dict[str, Features]:
    from mmgraph.data import Features

    count, out = len(state.videos) - state.trained, {}
    for name, width in graph.feature_dims.items():
        values, present = torch.zeros(count, width), torch.zeros(count, dtype=torch.bool)
        for at in range(count):
            found = unpack(state.features.get(state.trained + at, {}).get(name, ""))
            if len(found) == width and np.isfinite(found).all():
                values[at], present[at] = torch.from_numpy(found.copy()), True
        out[name] = Features(values, present)
    return out


def grown_model(
    model: Recommender,
    graph: MultimodalGraph,
    sizes: tuple[int, int],
    make: Callable[[Any], Any] | type | None = None,
    seed: int = 0,
) -> Recommender:
    """The model for a larger graph, with its weights; rows of what is new are a new model's.

    Args:
        model: trained.
        graph: the larger graph.
        sizes: users and videos of the graph that it was trained on.
        make: function of the graph that makes it, where its class and arguments do not.
        seed: of the new rows.

    Raises:
        RefreshError: a table whose rows are neither users nor videos has another size now.
    """
    kind: Any = type(model)
    by_function = make is not None and not isinstance(make, type)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out: Recommender = make(graph) if by_function else kind(graph, **model.made_with)  # type: ignore[misc]
    if model.closed_form:
        return out
    users, videos = sizes
    known = {(users, graph.num_users), (videos, graph.num_videos)}
    state, old = out.state_dict(), model.state_dict()
    for name, new in state.items():
        before = old[name]
        if before.shape == new.shape:
            new.copy_(before)
        elif before.dim() != new.dim() or before.shape[1:] != new.shape[1:]:
            raise RefreshError(_cannot(kind, name, before, new))
        elif (len(before), len(new)) in known:
            new[: len(before)] = before
        elif (len(before), len(new)) == (users + videos, graph.num_users + graph.num_videos):
            new[:users], new[graph.num_users : graph.num_users + videos] = before[:users], before[users:]
        else:
            raise RefreshError(_cannot(kind, name, before, new))
    out.load_state_dict(state)
    return out


def _cannot(kind: type, name: str, before: Tensor, new: Tensor) -> str:
    return (
        f"{kind.__name__} cannot grow: {name} is {list(before.shape)} and would be {list(new.shape)}, rows that are "
        "neither users nor videos. Train it anew on the whole data (mmgraph run) and export that"
    )


def _untrained(old: Bundle, graph: MultimodalGraph) -> tuple[Tensor, Tensor]:
    """Which users and videos are new and without a click: their rows are what the model was begun with."""
    seen = graph.seen
    users, videos = seen.degree() == 0, seen.transpose().degree() == 0
    users[: len(old.users)] = False
    videos[: len(old.videos)] = False
    return users, videos


def _ungated(gate: Tensor, graph: MultimodalGraph) -> Tensor:
    """The gate, open for videos that had no row and were clicked since: now they have one."""
    clicked = graph.seen.transpose().degree() > 0
    return torch.where(clicked, gate & ~ROWLESS, gate)


def _dataset(dataset: Dataset, state: State, columns: pl.DataFrame) -> Dataset:
    """Raw ids of everybody and everything now, as text; columns and tags as the state knows them."""
    from mmgraph.data import Dataset, Vocabulary

    users = pl.Series("user_id", state.users.raw, dtype=pl.String)
    videos = pl.Series("video_id", state.videos.raw, dtype=pl.String)
    return Dataset(
        name=dataset.name,
        user_ids=Vocabulary(users),
        video_ids=Vocabulary(videos),
        interactions=dataset.interactions,
        users=users.to_frame(),
        videos=columns.drop([name for name in columns.columns if isinstance(columns[name].dtype, pl.List)]).rename(
            {"id": "video_id"}
        ),
    )


def _seen(saved: Saved, graph: MultimodalGraph) -> CSR:
    """What users have seen: before any transform, and what they clicked since."""
    from mmgraph.ops import CSR

    one, two = saved.seen, graph.seen
    rows = torch.cat([one.row_indices().long(), two.row_indices().long()])
    videos = torch.cat([one.indices.long(), two.indices.long()])
    return CSR.from_edges(rows, videos, (graph.num_users, graph.num_videos))
