"""Evaluation mode without touching the model: the one switch that ranking, recommending and fold-in use."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def evaluating(module: M) -> M:
    """The module in evaluation mode, sharing its parameters and buffers; the one given keeps its mode.

    ``module.eval()`` switches for everyone who holds the module: a training step in another thread would lose its
    dropout, and its batch statistics would stand still. This copies the skeleton (one object a layer, no tensor), so
    that a model may train while it is asked::

        emb = evaluating(model).encode(graph)

    What it encodes is what the weights are at that moment; a training step in between is seen. Attributes that a
    layer sets on itself stay on the copy; a buffer written in place is the shared one.

    Args:
        module: any module. A layer that occurs twice is one layer in the copy too. A bound method or a module kept
            where torch does not look (in a plain list) still belongs to the module given.
    """
    copies: dict[int, nn.Module] = {}

    def of(layer: nn.Module) -> nn.Module:
        if id(layer) not in copies:
            twin = copies[id(layer)] = copy.copy(layer)
            children = {name: None if child is None else of(child) for name, child in layer._modules.items()}
            vars(twin).update(_modules=children, training=False)
        return copies[id(layer)]

    return of(module)  # type: ignore[return-value]
