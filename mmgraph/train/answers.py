"""What a model's ``loss`` and the person's ``validate`` answer, checked: they are anybody's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mmgraph.models import Recommender

Validate = Callable[[Recommender], Mapping[str, float]]


@torch.no_grad()
def validated(model: Recommender, validate: Validate | None) -> dict[str, float]:
    """What ``validate`` says of a model in evaluation mode, as plain numbers by name.

    Raises:
        TypeError: it gave something else than numbers by name.
    """
    if validate is None:
        return {}
    model.eval()
    found = validate(model)
    model.train()
    groups = isinstance(found, Mapping) and any(isinstance(value, Mapping) for value in found.values())
    if groups or not isinstance(found, Mapping):
        what = "metrics of several groups" if groups else f"a {type(found).__name__}"
        raise TypeError(
            f"validate gave {what}, but fit needs metric -> number: return one group's, as "
            'lambda model: evaluate(model, graph, split.valid)["all"]'
        )
    try:
        return {str(name): float(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:
        raise TypeError(f"validate gave a metric that is no number: {error}") from None


def scalars(terms: dict[str, Tensor], model: Recommender) -> list[Tensor]:
    """The loss terms as float32.

    Raises:
        TypeError: something else than scalar tensors by name.
        ValueError: no term depends on a parameter.
    """
    if not terms:
        raise TypeError(f"{type(model).__name__}.loss gave no term: return name -> scalar tensor")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim:
            what = f"of shape {list(term.shape)}" if isinstance(term, Tensor) else f"a {type(term).__name__}"
            raise TypeError(f"{type(model).__name__}.loss: the term {name!r} is {what}, not a scalar tensor")
    if not any(term.requires_grad for term in terms.values()):
        raise ValueError(f"{type(model).__name__}.loss: no term of {sorted(terms)} depends on a parameter")
    return [term.float() for term in terms.values()]
