"""mmgraph: graph recommenders over things that have a look, a sound and words.

The names below are imported when first used, so that ``import mmgraph`` and ``mmgraph --help`` stay quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Dataset": "mmgraph.data",
    "Split": "mmgraph.data",
    "build_graph": "mmgraph.graph",
    "MultimodalGraph": "mmgraph.graph",
    "Recommender": "mmgraph.models",
    "Embeddings": "mmgraph.models",
    "fit": "mmgraph.train",
    "FitConfig": "mmgraph.train",
    "EvalConfig": "mmgraph.evaluate",
    "evaluate_test": "mmgraph.evaluate",
    "Constraint": "mmgraph.recommend",
    "audience_ids": "mmgraph.recommend",
    "predict": "mmgraph.recommend",
    "recommend_ids": "mmgraph.recommend",
    "similar_ids": "mmgraph.recommend",
    "Experiment": "mmgraph.experiment",
    "run": "mmgraph.experiment",
    "save": "mmgraph.experiment",
    "load": "mmgraph.experiment",
}

# the rooms of the library, reachable as attributes without an import of their own
_ROOMS = (
    *("config", "data", "features", "encoders", "graph", "nn", "losses", "objectives", "ops", "models", "train"),
    *("recommend", "evaluate", "experiment", "report", "bundle", "serve", "demo", "recipes", "testing"),
)

__all__ = [
    "Constraint",
    "Dataset",
    "Embeddings",
    "EvalConfig",
    "Experiment",
    "FitConfig",
    "MultimodalGraph",
    "Recommender",
    "Split",
    "__version__",
    "audience_ids",
    "build_graph",
    "evaluate_test",
    "fit",
    "load",
    "predict",
    "recommend_ids",
    "run",
    "save",
    "similar_ids",
]

if TYPE_CHECKING:
    from mmgraph.data import Dataset as Dataset
    from mmgraph.data import Split as Split
    from mmgraph.evaluate import EvalConfig as EvalConfig
    from mmgraph.evaluate import evaluate_test as evaluate_test
    from mmgraph.experiment import Experiment as Experiment
    from mmgraph.experiment import load as load
    from mmgraph.experiment import run as run
    from mmgraph.experiment import save as save
    from mmgraph.graph import MultimodalGraph as MultimodalGraph
    from mmgraph.graph import build_graph as build_graph
    from mmgraph.models import Embeddings as Embeddings
    from mmgraph.models import Recommender as Recommender
    from mmgraph.recommend import Constraint as Constraint
    from mmgraph.recommend import audience_ids as audience_ids
    from mmgraph.recommend import predict as predict
    from mmgraph.recommend import recommend_ids as recommend_ids
    from mmgraph.recommend import similar_ids as similar_ids
    from mmgraph.train import FitConfig as FitConfig
    from mmgraph.train import fit as fit


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(__import__(_HOME[name], fromlist=[name]), name)
    if name in _ROOMS:
        return __import__(f"mmgraph.{name}", fromlist=[name])
    if name.startswith("__"):  # what other programs ask every module for
        raise AttributeError(f"module 'mmgraph' has no attribute {name!r}")
    from mmgraph.config import did_you_mean

    raise AttributeError(f"module 'mmgraph' has no attribute {name!r}{did_you_mean(name, [*_HOME, *_ROOMS])}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
