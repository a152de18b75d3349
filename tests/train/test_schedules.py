"""The learning rate at each step, against formulas."""

from __future__ import annotations

import math

import pytest
import torch

from mmgraph.config import SettingError
from mmgraph.models import BPRMF
from mmgraph.train import Callback, Constant, Cosine, FitConfig, Plateau, Position, Schedule, StepDecay, fit
from tests.worlds import checkerboard


def factors(schedule: Schedule, epochs: int, batches: int) -> list[float]:
    schedule = schedule.resolved(epochs)
    return [schedule.factor(Position(e, b, batches)) for e in range(epochs) for b in range(batches)]


def test_cosine_falls_from_one_to_the_floor():
    found = factors(Cosine(floor=0.2), 3, 4)
    assert found == pytest.approx([0.2 + 0.8 * (1 + math.cos(math.pi * i / 12)) / 2 for i in range(12)])
    assert Cosine(floor=0.2).resolved(3).factor(Position(7, 0, 4)) == pytest.approx(0.2)
    assert Cosine(epochs=2).resolved(99).epochs == 2


def test_warmup_rises_in_equal_steps_and_the_rest_begins_after_it():
    assert factors(Constant(warmup=1.5), 3, 2) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    found = factors(Cosine(warmup=1), 3, 2)
    assert found == pytest.approx(
        [0.5, 1, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 + math.cos(math.pi * 3 / 4)) / 2]
    )


def test_step_decay_is_a_power_of_gamma():
    assert factors(StepDecay(gamma=0.5, every=2), 5, 1) == [1, 1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("monitored", "expected"),
    [
        ([], 1.0),
        ([0.1, 0.1], 1.0),
        ([0.1, 0.1, 0.05], 0.5),  # two validations without a rise
        ([0.1, 0.1, 0.05, 0.2, 0.1, 0.1], 0.25),
        ([0.1, math.nan, math.nan], 0.5),
        ([0.1] * 9, 0.2),  # not below the floor
    ],
)
def test_plateau_waits_for_a_rise(monitored, expected):
    assert Plateau(gamma=0.5, patience=2, floor=0.2).factor(Position(9, 0, 1, monitored)) == expected


class Rates(Callback):
    """Remembers the learning rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step(self, step):
        self.seen.append(step.learning_rate)


def test_fit_steps_with_the_scheduled_rate():
    rates, values = Rates(), iter([0.3, 0.2, 0.1])
    model = BPRMF(checkerboard(), embedding_dim=4)
    config = FitConfig(epochs=3, batch_size=200, learning_rate=0.1, schedule=Plateau(patience=1, gamma=0.5))
    report = fit(model, checkerboard(), lambda m: {"recall@20": next(values)}, config, callbacks=[rates])
    batches = len(model.sampler(checkerboard(), 200))
    assert rates.seen == pytest.approx([0.1] * 2 * batches + [0.05] * batches)
    assert [row["learning_rate"] for row in report.history] == pytest.approx([0.1, 0.1, 0.05])


def test_a_rate_of_zero_moves_nothing():
    class Nothing(Schedule):
        def after_warmup(self, at):
            return 0.0

    model = BPRMF(checkerboard(), embedding_dim=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, checkerboard(), config=FitConfig(epochs=2, schedule=Nothing()))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_schedules_are_checked_and_read_back():
    config = FitConfig(schedule=Cosine(warmup=2, floor=0.1))
    assert FitConfig.model_validate(config.model_dump(mode="json")) == config
    with pytest.raises(SettingError, match="schedule takes an object"):
        FitConfig(schedule="cosine")
    with pytest.raises(SettingError, match=r"StepDecay\.gamma"):
        StepDecay(gamma=1.5)
    with pytest.raises(SettingError, match="warmup"):
        Constant(warmup=-1)
    with pytest.raises(ValueError, match="so fit needs `validate`"):
        fit(BPRMF(checkerboard()), checkerboard(), config=FitConfig(schedule=Plateau()))
    with pytest.raises(ValueError, match="resolved"):
        Cosine().factor(Position(0, 0, 1))
