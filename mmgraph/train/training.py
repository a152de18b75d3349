"""One training loop for every model."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmgraph.data.files import WriteFailed, make_folder, write_atomically
from mmgraph.description import differences
from mmgraph.graph.samplers import epoch_generator
from mmgraph.models import Recommender
from mmgraph.process import return_unused_memory
from mmgraph.progress import progress as progress_bar
from mmgraph.train.callbacks import Callback, Epoch, Pruned, Start, Step, StopTraining, in_short
from mmgraph.train.checkpoint import save_checkpoint
from mmgraph.train.fit_config import FitConfig, open_device
from mmgraph.train.fit_report import FitReport
from mmgraph.train.health import Health, NotFinite
from mmgraph.train.identity import describe_graph, describe_model, describe_part
from mmgraph.train.schedules import Position
from mmgraph.train.signals import Signals, StopAsked
from mmgraph.train.together import ALONE, Together

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.graph.transforms import Transform

UNUSED = 4 << 30  # bytes that the allocator may keep free from one epoch to the next
LOOK = 64  # steps from one look at the losses to the next

Validate = Callable[[Recommender], Mapping[str, float]]

_log = logging.getLogger(__name__)


def fit(
    model: Recommender,
    graph: MultimodalGraph,
    validate: Validate | None = None,
    config: FitConfig | None = None,
    *,
    seed: int = 0,
    directory: Path | str | None = None,
    resume: bool = False,
    epoch_transforms: Sequence[Transform] = (),
    callbacks: Sequence[Callback] = (),
    identity: str | Mapping[str, Any] | None = None,
    progress: bool = False,
    together: Together = ALONE,
) -> FitReport:
    """Trains a model on a graph, in place, and leaves it with the weights of its best epoch.

    Everything random in epoch e (order, negatives, dropout, transforms) depends on (seed, e) alone, so a run that
    was killed and resumed gives the same weights, to the bit, as one that was not.

    With a ``directory``, SIGINT, SIGTERM and SIGHUP wait for the step at hand, what there is is written, and then the
    signal goes to whoever had it before ``fit`` (Ctrl-C raises KeyboardInterrupt as ever).

    Args:
        model: trained by its own ``loss`` on its own ``sampler``, or solved when ``closed_form``.
        graph: the training graph; validation uses it whole even where ``epoch_transforms`` thin it.
        validate: model -> metrics, higher is better; without it the last epoch's weights remain. Where it has an
            attribute ``metrics`` (the names it will give), ``config.monitor`` is looked up in it before training.
        config: see :class:`FitConfig`.
        seed: of everything random after the model's initialisation.
        directory: where ``checkpoint.pt`` and ``log.jsonl`` go; nothing is written without it.
        resume: continue from the checkpoint in ``directory`` if there is one.
        epoch_transforms: applied to ``graph`` at the start of each epoch, with that epoch's generator.
        callbacks: see :class:`~mmgraph.train.callbacks.Callback`.
        identity: what else determines the numbers (data, split, validation); a resumed run must have the same.
        progress: show a progress bar.
        together: the processes that train this model, each of which calls ``fit`` with the same arguments
            (:class:`mmgraph.distributed.Columns`); the result is the whole model in each of them.

    Raises:
        FloatingPointError: a loss term is NaN or infinite; the message names epoch, batch and term. The model's weights
            are then of no use; those of the checkpoint are.
        KeyError: ``validate`` gave no metric named ``config.monitor``.
        TypeError: ``validate`` gave something else than numbers by name, or ``loss`` something else than scalar
            tensors.
        ValueError: the checkpoint in ``directory`` is of another run (the message says what differs), the device is not
            there, or the model has nothing to train.
        WriteFailed: (an OSError) the disk is full, for one; the file is named, and the checkpoint before it is whole.
    """
    _expect(model, graph)
    config = _checked(config, seed, validate)
    folder = None if directory is None else make_folder(directory)
    device = open_device(config.device)
    for transform in _listed(epoch_transforms, "epoch_transforms"):
        if not callable(transform):
            raise TypeError(f"epoch_transforms must hold transforms, which take a graph; got {transform!r}")
    for callback in _listed(callbacks, "callbacks"):
        if not any(hasattr(callback, name) for name in vars(Callback) if not name.startswith("_")):
            raise TypeError(f"callbacks must hold objects with some of Callback's methods; got {callback!r}")
    model.to(device)
    graph = graph if device.type == "cpu" else graph.to(str(device))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if model.closed_form:
            report = _solve(model, graph, validate, folder)
        else:
            together.check(model, config.optimizer, callbacks)
            graph = together.shared(graph, model)
            told = (tuple(epoch_transforms), tuple(callbacks), identity, together)
            report = _Loop(model, graph, validate, config, seed, folder, *told).run(resume, progress)
    model.eval()
    return report


def _expect(model: Any, graph: Any) -> None:
    if isinstance(model, type) or not isinstance(model, Recommender):
        name = f"the class {model.__name__}: make it, as {model.__name__}(graph)" if isinstance(model, type) else ""
        raise TypeError(f"fit takes a model first, got {name or f'a {type(model).__name__}'}")
    if not hasattr(graph, "num_users") or not hasattr(graph, "seen") or callable(graph.seen):
        raise TypeError(f"fit takes a graph second, got a {type(graph).__name__}: make one with build_graph(split)")


def _checked(config: FitConfig | None, seed: int, validate: Validate | None) -> FitConfig:
    config = FitConfig() if config is None else config
    if not isinstance(config, FitConfig):
        raise TypeError(f"config must be a FitConfig, as FitConfig(epochs=10); got a {type(config).__name__}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be a whole number from 0, got {seed!r}")
    if config.schedule is not None and config.schedule.needs_validation and validate is None:
        raise ValueError(f"{config.schedule!r} reads {config.monitor!r}, so fit needs `validate`")
    if validate is not None and not callable(validate):
        where = "; the settings go by name, config=" if isinstance(validate, FitConfig) else ""
        raise TypeError(f"validate must be a function of the model, got a {type(validate).__name__}{where}")
    names = getattr(validate, "metrics", None)
    if names is not None and config.monitor not in names:
        raise KeyError(f"monitor {config.monitor!r} is not among the validation metrics {sorted(names)}")
    return config


def _solve(model: Recommender, graph: MultimodalGraph, validate: Validate | None, folder: Path | None) -> FitReport:
    start = time.perf_counter()
    model.solve(graph)
    best = _validated(model, validate)
    row = {"epoch": 0, **best, "seconds": time.perf_counter() - start}
    report = FitReport([row], 0, best, "closed form")
    if folder is not None:
        _write_log(folder / "log.jsonl", report.history)
        state = model.state_dict()
        saved = {"model": state, "last": state, "report": json.dumps(vars(report)), "done": True}
        save_checkpoint(folder / "checkpoint.pt", saved)
    return report


@torch.no_grad()
def _validated(model: Recommender, validate: Validate | None) -> dict[str, float]:
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


class _Loop:
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
        self.identity = {} if folder is None else self._identity(identity)
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
        if self.folder is not None:
            if resume and (state := self.together.load(self.folder, self.model)) is not None:
                self._restore(state)
            if self.together.leads:
                _write_log(self.folder / "log.jsonl", self.report.history)
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
            _append_log(self.folder / "log.jsonl", row)
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
            self._set_random(self.random)
        self.monitored = [row[self.config.monitor] for row in self.report.history if self.config.monitor in row]
        watched = any(_has(callback, "on_step") for callback in self.callbacks)
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
        values = torch.stack(_scalars(terms, self.model))
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
                metrics = self.together.judged(self.model, lambda model: _validated(model, self.validate))
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
            if _has(callback, what):
                getattr(callback, what)(about)

    def _identity(self, given: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """What must agree for a resumed run to equal an uninterrupted one; more epochs or patience may be asked for."""
        settings = {name: getattr(self.config, name) for name in FitConfig.model_fields}
        for free in ("epochs", "patience", "checkpoint_seconds"):
            del settings[free]
        settings["schedule"] = self.schedule
        return {
            "seed": self.seed,
            "fit": describe_part(settings),
            "model": describe_model(self.model),
            "graph": describe_graph(self.graph),
            "epoch_transforms": describe_part(self.transforms),
            "identity": describe_part(given),
        }

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
        last = self.model.state_dict()
        state = {
            "identity": json.dumps(self.identity, sort_keys=True),
            "model": self.best_state or last,
            "last": last,
            "optimizer": self.optimizer.state_dict(),
            "callbacks": [
                {"class": _name(c), "state": c.state_dict()} for c in self.callbacks if _has(c, "state_dict")
            ],
            "report": json.dumps(vars(self.report)),
            "ended": self.ended,
            "done": bool(self.ended),
            "epoch": self.epoch,
            "batch": self.batch,
            "spent": self.spent,
            "sums": self.health.sums(),
            "random": self._get_random(),
        }
        self.together.save(self.folder, self.model, state)
        _log.debug("wrote the checkpoint in %s: epoch %d, batch %d", self.folder, self.epoch, self.batch)
        self.saved_at = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        path = (self.folder or Path()) / self.together.checkpoint
        there = json.loads(state.get("identity", "{}"))
        if changed := differences(there, json.loads(json.dumps(self.identity))):
            lines = "\n".join(f"  {line}" for line in changed)
            raise ValueError(
                f"{path} is of another run, so going on from it would mix the two:\n{lines}\n"
                "Remove it, choose another directory, or run without resume"
            )
        self.model.load_state_dict(state["last"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.report = FitReport(**json.loads(state["report"]))
        self.best_state = state["model"] if self.report.best else {}
        self.epoch, self.batch, self.spent, self.ended = (state[k] for k in ("epoch", "batch", "spent", "ended"))
        sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self.health, self.random = Health(self.batch, sums), state["random"]
        self._restore_callbacks(state["callbacks"])
        waited = (self.epoch - 1 - self.report.best_epoch) // self.config.eval_every
        more = self.ended == "epochs" and self.epoch < self.config.epochs
        if more or (self.ended == "patience" and waited < self.config.patience):
            self.ended, self.report.stopped, self.report.rising = "", "", False
        _log.info("going on from %s: epoch %d, batch %d", path, self.epoch, self.batch)

    def _restore_callbacks(self, saved: list[dict[str, Any]]) -> None:
        left = list(saved)
        for callback in self.callbacks:
            mine = next((entry for entry in left if entry["class"] == _name(callback)), None)
            if mine is not None and _has(callback, "load_state_dict"):
                left.remove(mine)
                callback.load_state_dict(mine["state"])
        if left:
            _log.warning("callbacks of the checkpoint that are not given now: %s", [entry["class"] for entry in left])

    def _get_random(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def _set_random(self, states: dict[str, Tensor]) -> None:
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self.device)


def _scalars(terms: dict[str, Tensor], model: Recommender) -> list[Tensor]:
    """The loss terms as float32."""
    if not terms:
        raise TypeError(f"{type(model).__name__}.loss gave no term: return name -> scalar tensor")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim:
            what = f"of shape {list(term.shape)}" if isinstance(term, Tensor) else f"a {type(term).__name__}"
            raise TypeError(f"{type(model).__name__}.loss: the term {name!r} is {what}, not a scalar tensor")
    if not any(term.requires_grad for term in terms.values()):
        raise ValueError(f"{type(model).__name__}.loss: no term of {sorted(terms)} depends on a parameter")
    return [term.float() for term in terms.values()]


def _listed(values: Sequence[Any], name: str) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence, got {values!r}")
    return tuple(values)


def _has(callback: object, method: str) -> bool:
    """Whether a callback does something there: not the empty method of the base class, and not nothing."""
    found = getattr(callback, method, None)
    return found is not None and getattr(found, "__func__", found) is not getattr(Callback, method)


def _name(callback: object) -> str:
    return f"{type(callback).__module__}:{type(callback).__qualname__}"


def _write_log(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in history).encode())


def _append_log(path: Path, row: Mapping[str, float]) -> None:
    try:
        with path.open("a") as log:
            log.write(json.dumps(row) + "\n")
    except OSError as error:
        raise WriteFailed.about(error, path) from error
