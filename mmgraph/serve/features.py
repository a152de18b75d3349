"""Features of videos as the log keeps them, and the rows that a bundle's cold tower makes of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.bundle import Bundle

_LONGEST = 1e12  # norm of a row beyond which products with it mean nothing


def pack(values: Sequence[float] | NDArray | Tensor) -> str:
    """Features as the log keeps them: base64 of float32, little-endian."""
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def unpack(text: str) -> NDArray[np.float32]:
    """From :func:`pack`; empty for what is no such text."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    except ValueError:
        return np.empty(0, np.float32)


def embed(bundle: Bundle, described: Sequence[Mapping[str, str]], width: int) -> tuple[Tensor, list[bool]]:
    """Rows [n, width] of features as the log keeps them, and which of them the bundle's tower could read."""
    cold, modalities = bundle.cold, bundle.manifest.modalities
    if cold is None:
        return torch.zeros(len(described), width), [False] * len(described)
    inputs: list[Tensor] = []
    any_present = torch.zeros(len(described), dtype=torch.bool)
    for name, modality in modalities.items():
        values = torch.zeros(len(described), modality.dim)
        present = torch.zeros(len(described), dtype=torch.bool)
        for at, features in enumerate(described):
            if name in features:
                found = unpack(features[name])
                if len(found) == modality.dim and np.isfinite(found).all():
                    values[at], present[at] = torch.from_numpy(found.copy()), True
        inputs += [values, present]
        any_present |= present
    rows = cold(*inputs)
    good = any_present & (torch.linalg.vector_norm(rows, dim=1) < _LONGEST)  # NaN is not below it either
    return rows, good.tolist()
