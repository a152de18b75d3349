"""The one ``fit`` for every model: what it is given is checked, then solved or trained."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmgraph.data.files import make_folder
from mmgraph.models import Recommender
from mmgraph.train.answers import Validate, validated
from mmgraph.train.callbacks import Callback
from mmgraph.train.checkpoint import save_checkpoint, write_log
from mmgraph.train.fit_config import FitConfig, open_device
from mmgraph.train.fit_report import FitReport
from mmgraph.train.loop import Loop
from mmgraph.train.together import ALONE, Together

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.graph.transforms import Transform


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
            report = Loop(model, graph, validate, config, seed, folder, *told).run(resume, progress)
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
    best = validated(model, validate)
    row = {"epoch": 0, **best, "seconds": time.perf_counter() - start}
    report = FitReport([row], 0, best, "closed form")
    if folder is not None:
        write_log(folder / "log.jsonl", report.history)
        state = model.state_dict()
        saved = {"model": state, "last": state, "report": json.dumps(vars(report)), "done": True}
        save_checkpoint(folder / "checkpoint.pt", saved)
    return report


def _listed(values: Sequence[Any], name: str) -> Sequence[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence, got {values!r}")
    return tuple(values)
