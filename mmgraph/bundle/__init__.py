"""A trained model as a folder that ranks without the code that trained it.

:func:`export` writes one, :func:`load` reads one, checking every hash. Tables are safetensors, ids Parquet, towers
``.pt2`` and ``.onnx``; nothing in it is a pickle.
"""

from __future__ import annotations

from mmgraph.bundle.bundle import Bundle, load
from mmgraph.bundle.exporting import export
from mmgraph.bundle.folder import BundleError
from mmgraph.bundle.history import History
from mmgraph.bundle.ids import Ids
from mmgraph.bundle.manifest import FileFacts, FoldIn, LogPlace, Manifest, Modality, Rescore, TowerFacts, Training
from mmgraph.bundle.scorer import RefusedModelError
from mmgraph.bundle.towers import Tower, TowerError

__all__ = [
    "Bundle",
    "BundleError",
    "FileFacts",
    "FoldIn",
    "History",
    "Ids",
    "LogPlace",
    "Manifest",
    "Modality",
    "RefusedModelError",
    "Rescore",
    "Tower",
    "TowerError",
    "TowerFacts",
    "Training",
    "export",
    "load",
]
