"""Features straight from the generator, for a world without rendered media."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmgraph.data.synthetic.config import WorldConfig
from mmgraph.data.synthetic.factors import Factors
from mmgraph.data.synthetic.words import GENERATORS

WIDTHS = {"text": 64, "visual": 128, "audio": 48}
# How strongly each modality shows (topic, style, sound): words name the topic, a picture its style and, less,
# its topic, and only the sound track tells the sound.
SHOWS = {"text": (1.0, 0.0, 0.0), "visual": (0.6, 1.0, 0.0), "audio": (0.0, 0.0, 1.0)}


def make_features(
    shown: Mapping[str, Factors],
    generator: NDArray[np.int64],
    steps: NDArray[np.float64],
    present: Mapping[str, NDArray[np.bool_]],
    config: WorldConfig,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float32]]:
    """Feature matrices [V, D] float32: prototype vectors of the shown levels plus Gaussian noise.

    text [V, 64], visual [V, 128], audio [V, 48], generation [V, 6] (generator one-hot, log steps). The row of
    a video without the modality is zero; `present` tells it from a value.
    """
    features: dict[str, NDArray[np.float32]] = {}
    sizes = (config.topics, config.styles, config.sounds)
    for modality, width in WIDTHS.items():
        values = 0.5 * rng.standard_normal((config.videos, width))
        for level, size, weight in zip(shown[modality], sizes, SHOWS[modality]):
            prototypes = rng.standard_normal((size, width))
            values += weight * prototypes[level]
        features[modality] = values.astype(np.float32)
    one_hot = np.eye(len(GENERATORS))[generator]
    features["generation"] = np.column_stack([one_hot, np.log(steps) - np.log(25.0)]).astype(np.float32)
    for modality, values in features.items():
        values[~present[modality]] = 0.0
    return features
