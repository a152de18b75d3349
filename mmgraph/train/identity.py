"""What a run is, as far as ``fit`` can see it: what a resumed run must have in common with the one it goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from mmgraph.description import describe

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


def describe_part(value: Any) -> Any:
    """As :func:`mmgraph.description.describe`, by names that survive a move of the code; what has no readable state is
    known by its class."""
    if isinstance(value, Mapping):
        return {str(key): describe_part(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe_part(inner) for inner in value]
    try:
        return describe(value, portable=True)
    except TypeError:
        return {"class": type(value).__qualname__}


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Each layer's class and settings (its attributes that are no layers and no weights), and the weights' shapes."""
    layers = {
        name or "model": {"class": type(layer).__qualname__}
        | {key: _setting(value) for key, value in vars(layer).items() if key[0] != "_" and key != "training"}
        for name, layer in model.named_modules()
    }
    weights = {name: [str(value.dtype), *value.shape] for name, value in model.state_dict().items()}
    trained = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    return {"layers": layers, "weights": weights, "trained": trained}


def _setting(value: Any) -> Any:
    return describe_graph(value) if hasattr(value, "edge_types") else describe_part(value)


def describe_graph(graph: MultimodalGraph) -> dict[str, Any]:
    """Every attribute of the nodes and edges, tensors hashed; not what the graph derived from them."""
    kinds = (*graph.node_types, *graph.edge_types)
    return {k if isinstance(k, str) else " ".join(k): describe_part(dict(graph[k].items())) for k in kinds}
