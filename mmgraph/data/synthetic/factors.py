"""What a generated video is about and what users think of it: the three factors and their tastes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Factors(NamedTuple):
    """Levels of the three factors, one of each per video: [V] int64."""

    topic: Ints
    style: Ints
    sound: Ints


class Tastes(NamedTuple):
    """What users think of the levels of one factor, at the first and towards the last moment: [U, levels]."""

    first: Floats
    second: Floats

    def at(self, angle: ArrayLike) -> Floats:
        """The taste turned by `angle` [] or [U, 1]: cos·first + sin·second, which keeps its variance."""
        return np.cos(angle) * self.first + np.sin(angle) * self.second
