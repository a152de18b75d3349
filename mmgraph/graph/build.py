"""From a split to the graph that models read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import polars as pl
import torch

from mmgraph.data.split.expected import expect_split

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.graph.multimodal import MultimodalGraph

# Columns with a part of their own.
_TAKEN = ("user", "video", "time", "weight", "position")


def build_graph(
    split: Split,
    stage: Literal["valid", "test"] = "valid",
    modalities: Sequence[str] | None = None,
    signals: Sequence[str] | None = None,
) -> MultimodalGraph:
    """The graph of a split's *seen* interactions: training data only, unless its protocol says otherwise.

    Args:
        split: where the edges come from. Held-out interactions never become edges.
        stage: the stage to be ranked. They differ only where the protocol shows valid before test
            (ordered histories): then ``"test"`` gives train + valid.
        modalities: which feature matrices become modality nodes; all by default.
        signals: which further columns of the interactions (finish, like, …) become attributes of the ``interacts``
            edges, [E] float32, NaN where unknown; by default every number or bool but the place in the list and what
            the protocol was made from.

    Returns:
        MultimodalGraph with all U users and V videos of the dataset (also those without an edge),
        ``has`` edges for present features only, ``exposed`` edges of what was shown as far as it is known at that
        stage (:meth:`mmgraph.data.Split.exposures`), and reverse edges.

    Raises:
        KeyError: a modality the dataset does not have, or a signal its interactions do not have.
    """
    from mmgraph.graph.multimodal import INTERACTS, MultimodalGraph

    expect_split(split, "build_graph")
    dataset = split.dataset
    seen = split.seen(stage)
    graph = MultimodalGraph()
    graph["user"].num_nodes = dataset.num_users
    graph["video"].num_nodes = dataset.num_videos
    if dataset.user_features is not None:
        graph["user"].x = dataset.user_features
    # copies: polars' buffers are read-only, and a graph's tensors must be ordinary ones
    edge_index = torch.stack([torch.tensor(seen[c].to_numpy(), dtype=torch.int64) for c in ("user", "video")])
    graph[INTERACTS].edge_index = edge_index
    for column, dtype in (("time", torch.float64), ("weight", torch.float32)):
        if column in seen.columns:
            graph[INTERACTS][column] = torch.tensor(seen[column].to_numpy(), dtype=dtype)
    for column in _signals(split) if signals is None else signals:
        if column not in seen.columns or column in _TAKEN:
            raise KeyError(f"no signal {column!r} in the interactions; there are {_signals(split)}")
        graph[INTERACTS][column] = torch.tensor(seen[column].cast(pl.Float32).to_numpy(), dtype=torch.float32)
    graph["video", "rev_interacts", "user"].edge_index = edge_index.flip(0)

    names = list(dataset.features) if modalities is None else list(modalities)
    for name in names:
        if name not in dataset.features:
            raise KeyError(f"no modality {name!r} in dataset {dataset.name!r}; it has {list(dataset.features)}")
        feature = dataset.features[name]
        rows = feature.present.nonzero().flatten()
        graph[name].x = feature.values[rows]
        edges = torch.stack([rows, torch.arange(len(rows))])
        graph["video", "has", name].edge_index = edges
        graph[name, "rev_has", "video"].edge_index = edges.flip(0)
    if (shown := split.exposures(stage)) is not None and len(shown):
        _add_exposures(graph, shown)
    for name, entity in dataset.entities.items():
        graph[name].num_nodes = len(entity.ids)
        graph["video", "belongs_to", name].edge_index = entity.edges
        graph[name, "rev_belongs_to", "video"].edge_index = entity.edges.flip(0)
    return graph


def _add_exposures(graph: MultimodalGraph, shown: pl.DataFrame) -> None:
    """Edges ``(user, exposed, video)`` and what is known of each showing: numbers, NaN where unknown."""
    store = graph["user", "exposed", "video"]
    store.edge_index = torch.stack([torch.tensor(shown[c].to_numpy(), dtype=torch.int64) for c in ("user", "video")])
    for column, kind in shown.schema.items():
        if column not in ("user", "video") and (kind.is_numeric() or kind == pl.Boolean):
            wide = pl.Float64 if column == "time" else pl.Float32
            store[column] = torch.tensor(shown[column].cast(wide).fill_null(float("nan")).to_numpy())
    graph["video", "rev_exposed", "user"].edge_index = store.edge_index.flip(0)


def _signals(split: Split) -> list[str]:
    made_from = [split.protocol.parameters.get(key) for key in ("column", "order_by")]
    table = split.train
    kinds = {name: kind.is_numeric() or kind == pl.Boolean for name, kind in table.schema.items()}
    return [name for name, fits in kinds.items() if fits and name not in _TAKEN and name not in made_from]
