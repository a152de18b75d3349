"""The run under audit: its graph, its groups of modalities, and what was found so far."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from mmgraph.audit.findings import AuditConfig
from mmgraph.audit.steps import Step
from mmgraph.data.files import write_atomically
from mmgraph.description import describe, hash_of
from mmgraph.experiment import Experiment, Identity, prepare
from mmgraph.experiment.saved import WEIGHTS, fill, read_weights
from mmgraph.graph import build_graph

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import Recommender

WORK = "audit"


@dataclass(frozen=True)
class Subject:
    """A run, what to ask of it, and where its rankings are kept.

    Attributes:
        folder, experiment, seed, split, identity: the run.
        config: what is asked.
        refit: whether changed graphs are trained on anew.
    """

    folder: Path
    experiment: Experiment
    config: AuditConfig
    seed: int
    split: Split
    identity: Identity
    refit: bool

    @property
    def metric(self) -> str:
        """The one asked for, the monitor, or recall at the longest cut-off."""
        if self.config.metric is not None:
            return self.config.metric
        monitor, measures = self.experiment.fit.monitor, self.experiment.evaluate.measures
        return monitor if measures(monitor) else f"recall@{max(self.experiment.evaluate.k)}"

    @cached_property
    def graph(self) -> MultimodalGraph:
        """Of the stage, before any transform."""
        return build_graph(self.split, self.config.stage)

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Name -> modalities.

        Raises:
            ValueError: there is nothing to audit.
            KeyError: no such modality.
        """
        known = self.graph.modalities
        if not known:
            raise ValueError(f"{self.split.dataset.name} has no modalities, so there is nothing to audit")
        groups = self.config.groups or {name: (name,) for name in known}
        unknown = [m for modalities in groups.values() for m in modalities if m not in known]
        if unknown:
            raise KeyError(f"no modality {', '.join(map(repr, unknown))} in this graph; it has {known}")
        return {name: tuple(modalities) for name, modalities in groups.items()}

    def graph_after(self, step: Step) -> MultimodalGraph:
        """The stage's graph, changed by the step and then by the experiment's transforms, as they were for the run."""
        graph = copy.copy(self.graph)  # an evaluation moves what it is given to its device
        for transform in step.transforms:
            graph = transform(graph, torch.Generator().manual_seed(self.config.seed))
        for transform in self.experiment.transforms:
            graph = transform(graph, torch.Generator().manual_seed(self.seed))
        return graph

    def trained(self) -> Recommender:
        """The run's model."""
        model = prepare(self.experiment, self.seed, "valid", self.split).model
        fill(model, read_weights(self.folder), self.folder / WEIGHTS)
        return model

    def key(self, *parts: Any) -> str:
        """Of what was made for this run, on this stage, from these parts."""
        made_of = [self.identity.id, self.config.stage, self.metric, self.config.buckets, self.config.seed, *parts]
        return hash_of(describe(made_of), size=8)

    def kept(self, key: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """What lies under the key, or is made and laid there."""
        path = self.folder / WORK / f"{key}.parquet"
        with contextlib.suppress(OSError, pl.exceptions.PolarsError):
            return pl.read_parquet(path)
        made, buffer = make(), io.BytesIO()
        made.write_parquet(buffer)
        write_atomically(path, buffer.getvalue())
        return made
