"""An experiment made ready, and trained: split, graph and model, and the one call of fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from mmgraph.evaluate import evaluate
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity, judged_split
from mmgraph.graph import build_graph
from mmgraph.models import Recommender
from mmgraph.ops import CSR
from mmgraph.train import FitReport, fit
from mmgraph.train.together import ALONE, Together

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.graph.multimodal import MultimodalGraph


@dataclass(frozen=True)
class Prepared:
    """An experiment made ready: its graph and an untrained model.

    Attributes:
        split: as the experiment's function returned it, its protocol with what the transforms add
            (``protocol_parameters``).
        graph: of the wanted stage, transformed.
        seen: CSR [U, V], the pairs to mask, from the graph before the transforms.
        model: initialised under the seed.
    """

    split: Split
    graph: MultimodalGraph
    seen: CSR
    model: Recommender


def prepare(
    experiment: Experiment, seed: int, stage: Literal["valid", "test"] = "valid", split: Split | None = None
) -> Prepared:
    """Builds split, graph and model; the same every time for one seed.

    Args:
        experiment: what to build.
        seed: of the model's initial weights and of random transforms.
        stage: whose graph: ``"valid"``, the one models are trained on, or ``"test"``.
        split: an already built one, to save reading the data again.
    """
    built = judged_split(experiment, experiment.split() if split is None else split)
    graph = build_graph(built, stage)
    seen = graph.seen
    for transform in experiment.transforms:
        graph = transform(graph, torch.Generator().manual_seed(seed))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        make: Any = experiment.model  # each class has a signature of its own, checked by Experiment
        # a head, say, is the model's own: what one run trains is not where the next begins
        model = make(graph, **copy.deepcopy(experiment.given()))
    return Prepared(built, graph, seen, model)


def fit_prepared(
    experiment: Experiment,
    ready: Prepared,
    seed: int,
    directory: Path,
    identity: Identity,
    *,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    together: Together = ALONE,
) -> FitReport:
    """Trains a prepared model in a folder, or goes on there; judged on valid by the experiment's monitor.

    Args:
        experiment, ready, seed: what to train.
        directory: of checkpoint and log.
        identity: of the run; a checkpoint of another one is refused.
        callbacks: beside the experiment's own.
        progress: show a bar.
        together: the processes that train it.
    """
    config = experiment.evaluate.for_split(ready.split).for_validation(experiment.fit.monitor)

    def validate(model: Recommender) -> dict[str, float]:
        found = evaluate(model, ready.graph, ready.split.valid, config, experiment.fit.device, seen=ready.seen)
        named = {f"{group}/{m}": v for group, metrics in found.metrics.items() for m, v in metrics.items()}
        return found["all"] | {m: v for m, v in named.items() if m == experiment.fit.monitor}

    return fit(
        ready.model,
        ready.graph,
        validate,
        experiment.fit,
        seed=seed,
        directory=directory,
        resume=True,
        epoch_transforms=experiment.epoch_transforms,
        callbacks=(*copy.deepcopy(experiment.callbacks), *callbacks),
        identity=identity.id,
        progress=progress,
        together=together,
    )
