"""What the models' arguments may be: one door for all of them, so that no senseless setting trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from mmgraph.config import SettingError

# One meaning a name, in all models: that is why one table can hold what it may be.
AT_LEAST_ONE = {
    *("embedding_dim", "feature_dim", "hidden", "hidden_dim", "expert_dim", "tower_dim", "num_heads", "max_len"),
    *("max_interval", "k", "rank", "neighbours", "hyperedges", "experts", "negatives", "num_negatives", "sweeps"),
    *("steps", "order", "hyper_layers", "layer"),
}
AT_LEAST_ZERO = {"num_layers", "content_layers", "num_similar_layers", "routings", "anneal_steps", "seed"}
SHARE = {"dropout", "modality_dropout", "long_dropout", "mix", "raw", "hide", "late"}
WHOLE_SHARE = {"long_dropout", "mix", "raw"}  # 1 too
POSITIVE = {
    *("temperature", "contrast_temperature", "user_temperature", "reg", "ridge", "feature_reg", "known", "flatness"),
    *("half_life",),
}
NOT_NEGATIVE = {
    *("l2", "contrast", "align", "content", "noise", "shrink", "unobserved", "frequency", "beta", "cold", "norm"),
    *("moments", "mask", "videos", "negative_weight", "feature_weight", "ideal", "sharpen"),
}
NUMBERS = AT_LEAST_ONE | AT_LEAST_ZERO | SHARE | POSITIVE | NOT_NEGATIVE
# An argument of a shared name that means something else in one class.
OTHERWISE = {("LightGCNPP", "beta"), ("MENTOR", "hidden"), ("Sequential", "layer")}


def check_settings(model: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuses settings of a model that cannot mean anything.

    Args:
        model: name of its class.
        given: its arguments, without the graph.
        defaults: what they are when left out; one that is a number by default takes nothing else.

    Raises:
        SettingError: (a ValueError) naming the class, the argument, what it takes and what it got.
    """
    for name, value in given.items():
        usual = defaults.get(name)
        # None by default stands for "as something else is": what is given in its place is a number all the same
        left_out = usual is None and name in NUMBERS and (model, name) not in OTHERWISE
        of_number = left_out or (isinstance(usual, (int, float)) and not isinstance(usual, bool))
        if isinstance(value, (bool, int, float)):
            wanted = None if (model, name) in OTHERWISE else _wrong(name, value)
        else:
            wrong = of_number and not isinstance(value, Real) and not (left_out and value is None)
            wanted = "a number" if wrong else None
        if wanted:
            raise SettingError(f"{model}: {name} must be {wanted}, got {value!r}")


def _wrong(name: str, value: float) -> str | None:
    """What was wanted, where the value is not that."""
    if name in AT_LEAST_ONE or name in AT_LEAST_ZERO:
        least = int(name in AT_LEAST_ONE)
        fine = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return None if fine else f"a whole number of at least {least}"
    if name in SHARE:
        fine = not isinstance(value, bool) and (0 <= value < 1 or (value == 1 and name in WHOLE_SHARE))
        return None if fine else "a share from 0 up to 1"
    if name in POSITIVE:
        return None if not isinstance(value, bool) and 0 < value < math.inf else "a number above 0"
    if name in NOT_NEGATIVE:
        return None if not isinstance(value, bool) and 0 <= value < math.inf else "a number of at least 0"
    return None if isinstance(value, bool) or math.isfinite(value) else "a finite number"
