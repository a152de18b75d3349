"""One training loop for every model."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmgraph.config import Config
from mmgraph.graph.samplers import epoch_generator
from mmgraph.models.base import Recommender
from mmgraph.process import return_unused_memory
from mmgraph.train.checkpoint import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.graph.transforms import Transform

UNUSED = 4 << 30  # bytes that the allocator may keep free from one epoch to the next

Validate = Callable[[Recommender], dict[str, float]]


class FitConfig(Config):
    """How a model is trained. Unknown keys are refused.

    Adam with ``learning_rate`` and ``weight_decay``; every ``eval_every`` epochs the model is validated, and training
    stops when ``monitor`` has not risen for ``patience`` validations. The best epoch's weights are what remains.
    """

    epochs: int = Field(default=1000, ge=0)
    batch_size: int = Field(default=2048, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    patience: int = Field(default=20, ge=1, description="validations without a rise of `monitor` before stopping")
    eval_every: int = Field(default=1, ge=1)
    monitor: str = "recall@20"
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    clip_norm: float | None = Field(default=None, gt=0)
    checkpoint_seconds: float = Field(default=20.0, ge=0, description="least time between checkpoints")


@dataclass
class FitReport:
    """What ``fit`` did: a row an epoch (loss terms, validation, seconds), and which epoch's weights remain."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best: dict[str, float] = field(default_factory=dict)
    stopped: str = ""

    @property
    def seconds(self) -> float:
        """Training and validation time over all epochs, those before a resume included."""
        return sum(row["seconds"] for row in self.history)


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
    progress: bool = False,
) -> FitReport:
    """Trains a model on a graph, in place, and leaves it with the weights of its best epoch.

    Everything random in epoch e (order, negatives, dropout, transforms) depends on (seed, e) alone, so a run that
    was killed and resumed gives the same weights, to the bit, as one that was not.

    Args:
        model: trained by its own ``loss`` on its own ``sampler``, or solved when ``closed_form``.
        graph: the training graph; validation uses it whole even where ``epoch_transforms`` thin it.
        validate: model -> metrics, higher is better; without it the last epoch's weights remain.
        config: see :class:`FitConfig`.
        seed: of everything random after the model's initialisation.
        directory: where ``checkpoint.pt`` and ``log.jsonl`` go; nothing is written without it.
        resume: continue from the checkpoint in ``directory`` if there is one.
        epoch_transforms: applied to ``graph`` at the start of each epoch, with that epoch's generator.
        progress: show a progress bar.

    Raises:
        FloatingPointError: a loss term is NaN or infinite; the message names epoch, batch and term.
        KeyError: ``validate`` gave no metric named ``config.monitor``.
        ValueError: the checkpoint in ``directory`` is of another configuration or seed.
    """
    config = config or FitConfig()
    folder = None if directory is None else Path(directory)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(config.device)
    model.to(device)
    graph = graph if device.type == "cpu" else graph.to(str(device))
    with torch.random.fork_rng():
        if model.closed_form:
            report = _solve(model, graph, validate)
        else:
            report = _Loop(model, graph, validate, config, seed, folder, tuple(epoch_transforms), progress).run(resume)
    if folder is not None and model.closed_form:
        _write_log(folder / "log.jsonl", report.history)
        save_checkpoint(folder / "checkpoint.pt", {"model": model.state_dict(), "done": True})
    model.eval()
    return report


def _solve(model: Recommender, graph: MultimodalGraph, validate: Validate | None) -> FitReport:
    start = time.perf_counter()
    model.solve(graph)
    best = _validated(model, validate)
    row = {"epoch": 0, **best, "seconds": time.perf_counter() - start}
    return FitReport([row], 0, best, "closed form")


@torch.no_grad()
def _validated(model: Recommender, validate: Validate | None) -> dict[str, float]:
    if validate is None:
        return {}
    model.eval()
    metrics = dict(validate(model))
    model.train()
    return metrics


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
        progress: bool,
    ) -> None:
        self.model, self.graph, self.validate, self.config = model, graph, validate, config
        self.seed, self.folder, self.transforms, self.progress = seed, folder, transforms, progress
        self.optimizer = torch.optim.Adam(
            [p for p in model.parameters() if p.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.report = FitReport()
        self.best_state: dict[str, Tensor] = {}
        self.saved_at = time.monotonic()

    def run(self, resume: bool) -> FitReport:
        if self.folder is not None:
            if resume and (self.folder / "checkpoint.pt").exists():
                self._restore(load_checkpoint(self.folder / "checkpoint.pt"))
            _write_log(self.folder / "log.jsonl", self.report.history)
        if not self.report.stopped:
            self._epochs()
        if self.best_state:
            self.model.load_state_dict(self.best_state)
        return self.report

    def _epochs(self) -> None:
        sampler = self.model.sampler(self.graph, self.config.batch_size)
        with _bar(self.progress, self.config.epochs, len(self.report.history)) as advance:
            for epoch in range(len(self.report.history), self.config.epochs):
                started = time.perf_counter()
                row: dict[str, float] = {"epoch": epoch, **self._train(sampler, epoch)}
                if self.validate is not None and (epoch + 1) % self.config.eval_every == 0:
                    row |= self._judge(epoch)
                row["seconds"] = time.perf_counter() - started
                if self.config.device == "cpu":
                    return_unused_memory(beyond=UNUSED)
                self.report.history.append(row)
                self._stop_if_done(epoch)
                self._save(row, force=bool(self.report.stopped))
                advance(row)
                if self.report.stopped:
                    return
        self.report.stopped = f"all {self.config.epochs} epochs"
        self._save(None, force=True)

    def _train(self, sampler, epoch: int) -> dict[str, float]:
        generator = epoch_generator(self.seed, epoch)
        torch.manual_seed(generator.initial_seed())
        graph = self.graph
        for transform in self.transforms:
            graph = transform(graph, generator)
        self.model.train()
        device = torch.device(self.config.device)
        bf16 = self.config.precision == "bf16"
        totals: dict[str, Tensor] = {}
        for index, batch in enumerate(sampler.epoch(self.seed, epoch)):
            with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
                terms = self.model.loss(graph, batch)
            loss = torch.stack([t.float() for t in terms.values()]).sum()
            if not math.isfinite(loss.item()):
                self._refuse(terms, epoch, index, len(sampler))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.config.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
            self.optimizer.step()
            for name, term in terms.items():
                totals[name] = totals.get(name, torch.zeros(())) + term.detach()
        return {f"loss/{name}": float(total) / max(len(sampler), 1) for name, total in totals.items()}

    def _refuse(self, terms: dict[str, Tensor], epoch: int, index: int, count: int) -> None:
        values = {name: float(term.detach()) for name, term in terms.items()}
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        where = f"epoch {epoch}, batch {index} of {count} (seed {self.seed})"
        kept = f"; the last checkpoint in {self.folder} is from before it" if self.folder else ""
        raise FloatingPointError(
            f"loss is not finite at {where}: {bad}. Try a smaller learning_rate (now {self.config.learning_rate}) or "
            f"clip_norm, or look for extreme features{kept}"
        )

    def _judge(self, epoch: int) -> dict[str, float]:
        metrics = _validated(self.model, self.validate)
        if self.config.monitor not in metrics:
            raise KeyError(f"monitor {self.config.monitor!r} is not among the validation metrics {sorted(metrics)}")
        if not self.report.best or metrics[self.config.monitor] > self.report.best[self.config.monitor]:
            self.report.best, self.report.best_epoch = metrics, epoch
            self.best_state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        return metrics

    def _stop_if_done(self, epoch: int) -> None:
        waited = (epoch - self.report.best_epoch) // self.config.eval_every
        if self.report.best and waited >= self.config.patience:
            self.report.stopped = f"{self.config.monitor} did not rise for {self.config.patience} validations"

    def _identity(self) -> dict[str, Any]:
        # what must agree for a resumed run to equal an uninterrupted one; more epochs or patience may be asked for
        free = {"epochs", "patience", "checkpoint_seconds"}
        parameters = {name: list(p.shape) for name, p in self.model.named_parameters()}
        return {"seed": self.seed, "fit": self.config.model_dump(exclude=free), "parameters": parameters}

    def _save(self, row: dict[str, float] | None, force: bool) -> None:
        if self.folder is None:
            return
        if row is not None:
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
        if not force and time.monotonic() - self.saved_at < self.config.checkpoint_seconds:
            return
        state = {
            "identity": json.dumps(self._identity(), sort_keys=True),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_state": self.best_state,
            "report": json.dumps(vars(self.report)),
        }
        save_checkpoint(self.folder / "checkpoint.pt", state)
        self.saved_at = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        mine = json.dumps(self._identity(), sort_keys=True)
        if state.get("identity") != mine:
            raise ValueError(
                f"the checkpoint in {self.folder} is of another seed, configuration or model:\n"
                f"  there: {state.get('identity')}\n  here:  {mine}\nremove it, or run without resume"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_state = state["best_state"]
        self.report = FitReport(**json.loads(state["report"]))
        if self.report.stopped.startswith("all") and len(self.report.history) < self.config.epochs:
            self.report.stopped = ""  # more epochs were asked for than the run had


def _write_log(path: Path, history: Sequence[dict[str, float]]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(row) + "\n" for row in history))
    part.replace(path)


class _bar:
    """A rich progress bar with the last epoch's figures, or nothing."""

    def __init__(self, show: bool, total: int, done: int) -> None:
        self.show, self.total, self.done = show, total, done

    def __enter__(self) -> Callable[[dict[str, float]], None]:
        if not self.show:
            return lambda row: None
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.bar = Progress(
            TextColumn("epoch"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self.bar.start()
        task = self.bar.add_task("", total=self.total, completed=self.done)

        def advance(row: dict[str, float]) -> None:
            shown = [
                f"{k.removeprefix('loss/')} {v:.4f}"
                for k, v in row.items()
                if k.startswith("loss/") or k == "recall@20"
            ]
            self.bar.update(task, advance=1, description="  ".join(shown))

        return advance

    def __exit__(self, *_: object) -> None:
        if self.show:
            self.bar.stop()
