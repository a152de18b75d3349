"""Callbacks: what happens beside training. ``fit(..., callbacks=[TensorBoard("logs"), Pruning(hopeless)])``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from mmgraph.train.fit_report import FitReport

if TYPE_CHECKING:
    from mmgraph.models import Recommender
    from mmgraph.train.fit_config import FitConfig


class StopTraining(Exception):
    """Raised by a callback: training ends here as if it were done, with the best epoch's weights. Give the reason."""


class Pruned(StopTraining):
    """The run is not worth going on with; ``FitReport.pruned`` says so to a search."""


class Start(NamedTuple):
    """What ``on_start`` gets.

    Attributes:
        epoch, batch: where training begins; not 0 and 0 in a resumed run.
        batches: an epoch.
        config: the settings.
        report: so far, with a history where a run goes on.
        model: before the step.
    """

    epoch: int
    batch: int
    batches: int
    config: FitConfig
    report: FitReport
    model: Recommender


class Step(NamedTuple):
    """What ``on_step`` gets after each step.

    Attributes:
        epoch, batch: from 0.
        batches: an epoch.
        learning_rate: of this step.
        terms: the loss, term by term, on the model's device. Reading a number from them waits for the device.
        model: after the step.
    """

    epoch: int
    batch: int
    batches: int
    learning_rate: float
    terms: Mapping[str, Tensor]
    model: Recommender


class Epoch(NamedTuple):
    """What ``on_epoch`` gets after each epoch and its validation.

    Attributes:
        epoch: from 0.
        row: loss terms (``loss/<term>``), the validation's metrics where there was one, ``learning_rate``, ``seconds``.
        monitor: name of the metric that chooses.
        report: so far, this epoch included.
        model: after the epoch.
    """

    epoch: int
    row: Mapping[str, float]
    monitor: str
    report: FitReport
    model: Recommender


class Callback:
    """Override what you need; an object with some of these methods will do as well.

    Nothing here may change the model or draw from torch's random numbers: then a run with callbacks has the numbers
    of one without. What :meth:`state_dict` gives goes into each checkpoint, and comes back when the run is resumed.
    """

    def on_start(self, start: Start) -> None:
        """Before the first step, also of a resumed run."""

    def on_step(self, step: Step) -> None:
        """After each step. May raise :class:`StopTraining`."""

    def on_epoch(self, epoch: Epoch) -> None:
        """After each epoch. May raise :class:`StopTraining`."""

    def on_end(self, report: FitReport) -> None:
        """After the last epoch; not when an error or a signal ends the run."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint should keep: tensors, numbers, text, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""


@dataclass
class LogEpochs(Callback):
    """A line an epoch to a logger of yours.

    ``fit`` itself logs to ``mmgraph.train``: epochs at INFO, what you should know at WARNING.

    Args:
        logger: where to.
        level: of the lines.
        every: epochs from one line to the next.
    """

    logger: logging.Logger
    level: int = logging.INFO
    every: int = 1

    def on_epoch(self, epoch: Epoch) -> None:
        """The line."""
        if (epoch.epoch + 1) % self.every == 0:
            self.logger.log(self.level, "epoch %d: %s", epoch.epoch, in_short(epoch.row, epoch.monitor))


def in_short(row: Mapping[str, float], monitor: str) -> str:
    """``bpr 0.6412, recall@20 0.0512, 3.1 s``: the loss terms, the monitored metric, the time."""
    parts = [f"{name.removeprefix('loss/')} {value:.4f}" for name, value in row.items() if name.startswith("loss/")]
    if monitor in row:
        parts.append(f"{monitor} {row[monitor]:.4f}")
    return ", ".join([*parts, f"{row['seconds']:.1f} s"])


@dataclass
class TensorBoard(Callback):
    """Loss terms, metrics and learning rate over steps for TensorBoard; needs the package ``tensorboard``.

    Args:
        folder: where the event files go; a resumed run goes on in it.
        every_steps: also write the loss of every so many steps (reading it waits for the device); 0 for none.

    Raises:
        ImportError: when training starts, where ``tensorboard`` is not installed.
    """

    folder: str | Path
    every_steps: int = 0

    def on_start(self, start: Start) -> None:
        """Opens the event file."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoard needs the package: pip install tensorboard") from error
        self._batches = start.batches
        # what a killed run wrote after its last checkpoint will be written again
        done = start.epoch * start.batches + start.batch
        self._writer = SummaryWriter(str(self.folder), purge_step=done or None)

    def on_step(self, step: Step) -> None:
        """The loss, now and then."""
        at = step.epoch * step.batches + step.batch
        if self.every_steps and at % self.every_steps == 0:
            for name, value in step.terms.items():
                self._writer.add_scalar(f"step/{name}", float(value), at)

    def on_epoch(self, epoch: Epoch) -> None:
        """All numbers of the epoch."""
        for name, value in epoch.row.items():
            if name not in ("epoch", "seconds"):
                self._writer.add_scalar(name, value, (epoch.epoch + 1) * self._batches - 1)
        self._writer.flush()

    def on_end(self, report: FitReport) -> None:
        """Closes the file."""
        self._writer.close()


@dataclass
class Pruning(Callback):
    """Ends a run that is not worth going on with.

    With optuna::

        def hopeless(epoch, value):
            trial.report(value, epoch)
            return trial.should_prune()

        report = fit(..., callbacks=[Pruning(hopeless)])
        if report.pruned:
            raise optuna.TrialPruned

    Args:
        hopeless: ``hopeless(epoch, value)`` after each validation, with the value of ``FitConfig.monitor``. It is not
            asked again about validations that a resumed run has behind it.
    """

    hopeless: Callable[[int, float], bool]

    def on_epoch(self, epoch: Epoch) -> None:
        """Asks."""
        value = epoch.row.get(epoch.monitor, math.nan)
        if epoch.monitor in epoch.row and self.hopeless(epoch.epoch, value):
            raise Pruned(f"pruned after epoch {epoch.epoch}, {epoch.monitor} {value:.4f}")


def acts(callback: object, method: str) -> bool:
    """Whether a callback does something there: not the empty method of the base class, and not nothing."""
    found = getattr(callback, method, None)
    return found is not None and getattr(found, "__func__", found) is not getattr(Callback, method)


def name_of(callback: object) -> str:
    """``module:class``, as a checkpoint tells callbacks apart."""
    return f"{type(callback).__module__}:{type(callback).__qualname__}"
