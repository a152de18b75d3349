"""What determines a number, as one hash: it names results, guards resuming and keys every cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from mmgraph.description import describe, differences, hash_of
from mmgraph.graph import build_graph

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.experiment.config import Experiment
    from mmgraph.graph.multimodal import MultimodalGraph

# Settings of FitConfig and EvalConfig that change how long a run takes, never what comes out.
WITHOUT_EFFECT = {"fit": {"checkpoint_seconds"}, "evaluate": {"block_size"}}


class Identity(BaseModel):
    """Everything that determines the numbers of one run, part by part.

    Attributes:
        parts: ``split`` (method, parameters, seed, and the hashes of users, videos, features and of each part's pairs),
            ``graph`` (hashes of the edges and their attributes for both stages), ``transforms``, ``epoch_transforms``,
            ``model``, ``model_args``, ``fit``, ``evaluate``, ``seed``, … as plain JSON; tensors and arrays are hashed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: dict[str, Any]

    @property
    def id(self) -> str:
        """16 hex digits: equal where, and only where, all parts are."""
        return hash_of(self.parts, size=8)

    def differences(self, other: Identity) -> list[str]:
        """One line for each value that is not the same there (``self``) and here (``other``), deepest first part."""
        return differences(self.parts, other.parts)


def identify(experiment: Experiment, seed: int, split: Split) -> Identity:
    """The identity of one run of an experiment.

    It is made of values. The split enters by what it holds, not by the function that made it; functions and classes by
    their qualified name, so that a recipe which was moved or renamed stays the same; a function without a name of
    its own (a ``lambda``) by its code. The version of the code is recorded with a result and is no part of this.

    Args:
        experiment: what runs.
        seed: of the run.
        split: as the experiment's function returned it.

    Raises:
        TypeError: a value that cannot be told from another one of its kind (an open file, for one).
    """
    split = judged_split(experiment, split)
    protocol = split.protocol.model_dump(mode="json", exclude={"name", "dataset"})
    parts: dict[str, Any] = {
        "split": describe(protocol, portable=True),
        "graph": {stage: hash_graph(build_graph(split, stage)) for stage in ("valid", "test")},
        "seed": seed,
    }
    for name in type(experiment).model_fields:
        if name not in ("name", "split", "objective", "seeds", "baselines", "tuning"):
            parts[name] = describe(experiment.arguments() if name == "model_args" else getattr(experiment, name), True)
    for name, free in WITHOUT_EFFECT.items():
        parts[name] = {key: value for key, value in parts[name].items() if key not in free}
    return Identity(parts=parts)


def judged_split(experiment: Experiment, split: Split) -> Split:
    """The split under the protocol that an experiment measures: with what its transforms let a model see, and with what
    its evaluation ranks."""
    for transform in experiment.transforms:
        if added := getattr(transform, "protocol_parameters", None):
            split = split.with_parameters(**added)
    added = experiment.evaluate.protocol_parameters(split)
    return split.with_parameters(**added) if added else split


def hash_graph(graph: MultimodalGraph, features: bool = False) -> str:
    """Hash of a graph's nodes and edges with all their attributes.

    Args:
        graph: what to hash.
        features: the features of modalities too. A split's protocol holds their hashes already, which follow the
            encoder and its media rather than the last bit of a float.
    """
    modalities = set(graph.modalities)
    told = {}
    for kind in (*graph.node_types, *graph.edge_types):
        store = graph[kind]
        known = {key: value for key, value in store.items() if features or key != "x" or kind not in modalities}
        told[kind if isinstance(kind, str) else " ".join(kind)] = describe(known, portable=True)
    return hash_of(told)


def write_identity(folder: Path, identity: Identity) -> None:
    """Says in ``identity.json`` whose folder this is."""
    from mmgraph.data.files import write_json

    write_json(folder / "identity.json", {"id": identity.id, "parts": identity.parts})


def read_identity(folder: Path) -> Identity | None:
    """What :func:`write_identity` wrote, or None where there is none.

    Raises:
        DamagedFile: the file is not what was written.
    """
    from mmgraph.data.files import read_json

    path = folder / "identity.json"
    return Identity(parts=read_json(path, "identity").get("parts") or {}) if path.exists() else None
