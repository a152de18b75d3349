"""The loop over epochs and batches of one training."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgraph.graph.samplers import epoch_generator
from mmgraph.models import Recommender
from mmgraph.process import return_unused_memory
from mmgraph.progress import progress as progress_bar
from mmgraph.train.answers import Validate, scalars, validated
from mmgraph.train.callbacks import Callback, Epoch, Pruned, Start, Step, StopTraining, acts, in_short
from mmgraph.train.checkpoint import append_log, write_log
from mmgraph.train.fit_config import FitConfig
from mmgraph.train.fit_report import FitReport
from mmgraph.train.health import Health, NotFinite
from mmgraph.train.resuming import go_on, identity_of, set_random_state, state_of
from mmgraph.train.schedules import Position
from mmgraph.train.signals import Signals, StopAsked
from mmgraph.train.together import Together

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.graph.transforms import Transform

UNUSED = 4 << 30  # bytes that the allocator may keep free from one epoch to the next
LOOK = 64  # steps from one look at the losses to the next

_log = logging.getLogger(__name__)


class Loop:
    """The state of one run: what a checkpoint saves and a resume restores."""

    def __init__(
        self,
        model: Recommender,
        graph: MultimodalGraph,
        validate: Validate | None,
        config: FitConfig,
        seed: int,
        folder: Path | None,
        transforms: tuple[Transform, ...],
        callbacks: tuple[Callback, ...],
        identity: str | Mapping[str, Any] | None,
        together: Together,
    ) -> None:
        self.together = together
        self.model, self.graph, self.validate, self.config = model, graph, validate, config
        self.seed, self.folder, self.transforms, self.callbacks = seed, folder, transforms, callbacks
        self.device = torch.device(config.device)
        self.schedule = None if config.schedule is None else config.schedule.resolved(config.epochs)
        self.identity = {} if folder is None else identity_of(self, identity)
        together.divide(model)
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(
                f"{type(model).__name__} has no parameter that takes a gradient: there is nothing to train"
            )
        self.optimizer = config.optimizer.make(parameters, config.learning_rate, config.weight_decay)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.report = FitReport(monitor=config.monitor)
        self.best_state: dict[str, Tensor] = {}
        self.ended = ""
        # where the run stands: batches of the epoch that are done, their sums and seconds, the random state behind them
        self.epoch, self.batch, self.spent = 0, 0, 0.0
        self.health = Health()
        self.random: dict[str, Tensor] | None = None
        self.saved_at = time.monotonic()

    def run(self, resume: bool, progress: bool) -> FitReport:
        """Trains to the end, from the checkpoint where ``resume`` says so and there is one."""
        if self.folder is not None:
            if resume and (state := self.together.load(self.folder, self.model)) is not None:
                go_on(self, state)
            if self.together.leads:
                write_log(self.folder / "log.jsonl", self.report.history)
        if not self.ended:
            with Signals(active=self.folder is not None) as self.signals:
                self._epochs(progress)
        if self.best_state:
            self.model.load_state_dict(self.best_state)
        self.together.unite(self.model)
        return self.report

    def _epochs(self, progress: bool) -> None:
        sampler = self.model.sampler(self.graph, self.config.batch_size)
        self.batches = len(sampler)
        start = Start(self.epoch, self.batch, self.batches, self.config, self.report, self.model)
        self._tell("on_start", start)
        try:
            shown = progress and self.together.leads
            with progress_bar("epochs", self.config.epochs, shown=shown, done=self.epoch) as advance:
                while self.epoch < self.config.epochs and not self.ended:
                    row = self._one_epoch(sampler)
                    advance(1, in_short(row, self.config.monitor))
            if not self.ended:
                self._end("epochs", f"all {self.config.epochs} epochs")
        except StopTraining as stop:  # in the middle of an epoch, which does not count
            self.report.pruned = isinstance(stop, Pruned)
            self._end("callback", str(stop) or type(stop).__name__)
        self._save()
        self._tell("on_end", self.report)

    def _one_epoch(self, sampler) -> dict[str, float]:
        epoch, started = self.epoch, time.perf_counter() - self.spent
        self._train(sampler, started)
        row: dict[str, float] = {"epoch": epoch, **self.health.means(self.batches)}
        if self.validate is not None and (epoch + 1) % self.config.eval_every == 0:
            row |= self._judge(epoch)
        row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        row["seconds"] = time.perf_counter() - started
        if self.device.type == "cpu":
            return_unused_memory(beyond=UNUSED)
        self.report.history.append(row)
        self.epoch, self.batch, self.spent, self.health, self.random = epoch + 1, 0, 0.0, Health(), None
        _log.info("epoch %d of %d: %s", epoch, self.config.epochs, in_short(row, self.config.monitor))
        if self.folder is not None and self.together.leads:
            append_log(self.folder / "log.jsonl", row)
        self._stop_if_patience_is_out(epoch)
        try:
            self._tell("on_epoch", Epoch(epoch, dict(row), self.config.monitor, self.report, self.model))
        except StopTraining as stop:
            self.report.pruned = isinstance(stop, Pruned)
            self._end("callback", str(stop) or type(stop).__name__)
        self._save_if_due()
        return row

    def _train(self, sampler, started: float) -> None:
        """Takes the steps of the epoch that are left."""
        epoch = self.epoch
        generator = epoch_generator(self.seed, epoch)
        torch.manual_seed(generator.initial_seed())
        graph = self.graph
        for transform in self.transforms:
            graph = transform(graph, generator)
        self.model.train()
        batches = iter(sampler.epoch(self.seed, epoch))
        if self.batch:
            for _ in islice(batches, self.batch):
                pass
            assert self.random is not None
            set_random_state(self.device, self.random)
        self.monitored = [row[self.config.monitor] for row in self.report.history if self.config.monitor in row]
        watched = any(acts(callback, "on_step") for callback in self.callbacks)
        for batch in batches:
            terms = self._step(graph, batch)
            self.batch += 1
            if watched:
                rate = self.optimizer.param_groups[0]["lr"]
                told = {name: term.detach() for name, term in terms.items()}
                self._tell("on_step", Step(epoch, self.batch - 1, self.batches, rate, told, self.model))
            self.spent = time.perf_counter() - started
            if self.batch % LOOK == 0:
                self._look()
            self._save_if_due()
        self._look()

    def _step(self, graph: MultimodalGraph, batch: Any) -> dict[str, Tensor]:
        if self.schedule is not None:
            factor = self.schedule.factor(Position(self.epoch, self.batch, self.batches, self.monitored))
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext():
            terms = self.together.loss(self.model, graph, batch)
        values = torch.stack(scalars(terms, self.model))
        loss = values.sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip_norm is not None:
            self.together.clip(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.health.add(terms, values.detach(), loss.detach())
        return terms

    def _look(self) -> None:
        try:
            self.health.look()
        except NotFinite as found:
            where = f"epoch {self.epoch}, batch {found.batch} of {self.batches} (seed {self.seed})"
            kept = f"; the last checkpoint in {self.folder} is from before it" if self.folder else ""
            raise FloatingPointError(
                f"loss is not finite at {where}: {found.bad}. Try a smaller learning_rate (now "
                f"{self.config.learning_rate}) or clip_norm, or look for extreme features{kept}"
            ) from None

    def _judge(self, epoch: int) -> dict[str, float]:
        try:
            with self.signals.at_once() if self.together.size == 1 else nullcontext():
                metrics = self.together.judged(self.model, lambda model: validated(model, self.validate))
        except StopAsked:
            self._stop_for_signal()
            return self._judge(epoch)  # whoever had the signal lets training go on
        name = self.config.monitor
        if name not in metrics:
            raise KeyError(f"monitor {name!r} is not among the validation metrics {sorted(metrics)}")
        if math.isnan(metrics[name]):
            _log.warning("%s is not a number in the validation of epoch %d: it does not count as a rise", name, epoch)
        elif not self.report.best or metrics[name] > self.report.best[name]:
            self.report.best, self.report.best_epoch = metrics, epoch
            self.best_state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        return metrics

    def _stop_if_patience_is_out(self, epoch: int) -> None:
        waited = (epoch - self.report.best_epoch) // self.config.eval_every
        if self.validate is not None and waited >= self.config.patience:
            self._end("patience", f"{self.config.monitor} did not rise for {self.config.patience} validations")

    def _end(self, how: str, why: str) -> None:
        """The run is over."""
        validations = self.epoch // self.config.eval_every
        best = self.report.best_epoch // self.config.eval_every
        if how == "epochs" and self.report.best and validations > 1 and best >= validations - max(validations // 10, 1):
            self.report.rising = True
            why += f", {self.config.monitor} still rising"
            _log.warning(
                "training ended after %s (best epoch %d of %d): give it more epochs",
                why,
                self.report.best_epoch,
                self.epoch,
            )
        if self.validate is not None and self.epoch >= self.config.eval_every and not self.report.best:
            why += f"; {self.config.monitor} was never a number, so the last weights remain"
            _log.warning("training ended: %s", why)
        self.ended, self.report.stopped = how, why
        _log.info("training ended after epoch %d: %s", self.epoch - 1, why)

    def _tell(self, what: str, about: Any) -> None:
        for callback in self.callbacks:
            if acts(callback, what):
                getattr(callback, what)(about)

    def _save_if_due(self) -> None:
        if self.folder is None:
            return
        late = time.monotonic() - self.saved_at >= self.config.checkpoint_seconds
        caught, due = self.together.agree(self.batch, self.signals.caught or 0, late)
        if caught:
            self.signals.caught = caught
            self._stop_for_signal()
        if due:
            self._save()

    def _stop_for_signal(self) -> None:
        """Writes what there is, then lets the signal do what it would have done."""
        self._save()
        _log.warning(
            "%s: stopped in epoch %d after %d batches. %s holds it; fit(…, resume=True) goes on from there",
            *(self.signals.name, self.epoch, self.batch, self.folder and self.folder / self.together.checkpoint),
        )
        self.signals.deliver()

    def _save(self) -> None:
        if self.folder is None:
            return
        self._look()
        self.together.save(self.folder, self.model, state_of(self))
        _log.debug("wrote the checkpoint in %s: epoch %d, batch %d", self.folder, self.epoch, self.batch)
        self.saved_at = time.monotonic()
