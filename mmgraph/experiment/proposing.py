"""What a slot of a study tries: the recipe's own setting, then draws at random, then Optuna's multivariate TPE."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from mmgraph.experiment.space import Choice, Integer, Range, Tuning


class Tried(Protocol):
    """What a proposal reads of an attempt at another slot."""

    @property
    def slot(self) -> int:
        """Its number."""
        ...

    @property
    def parameters(self) -> dict[str, Any]:
        """What it tries, as the sampler knows it."""
        ...

    @property
    def value(self) -> float | None:
        """What came of it; None where it failed or runs."""
        ...


def distributions_of(space: Mapping[str, Range]) -> dict[str, Any]:
    """The space as Optuna knows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    out: dict[str, Any] = {}
    for path, values in space.items():
        if isinstance(values, Choice):
            out[path] = CategoricalDistribution(tuple(range(len(values.values))))
        elif isinstance(values, Integer):
            out[path] = IntDistribution(values.low, values.high, log=values.log)
        else:
            out[path] = FloatDistribution(values.low, values.high, log=values.log)
    return out


def batch_begins(slot: int, rules: Tuning) -> int:
    """Results of the slots before this one are what a slot may know."""
    past = slot - rules.startup
    return 0 if past < 0 else rules.startup + past // rules.batch * rules.batch


def propose(study: str, slot: int, rules: Tuning, known: Sequence[Tried], beside: Sequence[Tried]) -> dict[str, Any]:
    """The parameters of a slot after the first.

    Args:
        study: its id; with the slot it is the seed of the draw.
        slot: its number, 1 or more.
        rules: of the tuning, its space among them.
        known: finished attempts at the slots before its batch.
        beside: attempts at the slots of its batch before it.
    """
    import optuna
    from optuna.samplers import RandomSampler, TPESampler
    from optuna.trial import TrialState, create_trial

    seed = int.from_bytes(hashlib.blake2b(f"{study}/{slot}".encode(), digest_size=4).digest())
    distributions = distributions_of(rules.space)
    with quiet():
        sampler: Any = RandomSampler(seed=seed)
        if slot >= rules.startup:
            sampler = TPESampler(
                seed=seed,
                multivariate=True,
                constant_liar=True,
                n_startup_trials=min(rules.startup, len(known)),
            )
        memory = optuna.create_study(sampler=sampler, direction="maximize")
        if slot >= rules.startup:
            values = [a.value for a in known if a.value is not None]
            worst = min(values, default=0.0)
            for attempt in sorted(known, key=lambda a: a.slot):
                value = worst if attempt.value is None else attempt.value
                memory.add_trial(create_trial(params=attempt.parameters, distributions=distributions, value=value))
            for attempt in sorted(beside, key=lambda a: a.slot):
                running = create_trial(state=TrialState.RUNNING, params=attempt.parameters, distributions=distributions)
                running.datetime_start = datetime.now()
                memory.add_trial(running)
        return dict(memory.ask(distributions).params)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing meanwhile: neither that a study was made nor that an option is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(before)
