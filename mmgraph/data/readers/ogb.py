"""OGB link prediction, through the ``ogb`` package."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.dataset import Dataset, Features
from mmgraph.data.errors import DataError

_PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class OGBLink:
    """An OGB link-prediction set.

    Args:
        name: such as ``ogbl-collab``.
        dataset: one user and one video a node (a link is an interaction of its two ends). The column ``split`` holds
            0 train, 1 valid, 2 test; ``weight`` (1 for a link without) and ``year`` where the set has them; node
            features as ``node``. ogbl-collab repeats links over the years: split it with ``repeats="keep"``.
        negatives: ``valid`` | ``test`` -> OGB's negative pairs: [2, n] of node rows, or [E, n] target rows for each
            positive (ogbl-citation2).
        metric: the metric the set's name stands for, such as ``hits@50`` or ``mrr``.
    """

    name: str
    dataset: Dataset
    negatives: Mapping[str, Tensor]
    metric: str

    def evaluate(self, positive: Tensor, negative: Tensor) -> dict[str, float]:
        """OGB's own evaluator on scores.

        Args:
            positive: scores [E] of the positive pairs.
            negative: scores [n] of the negative pairs, or [E, n] for ``mrr``.

        Returns:
            The metric OGB takes from the set's name, such as ``{"hits@50": 0.6}``; means over pairs for ``mrr``.
        """
        with offline_ogb():
            from ogb.linkproppred import Evaluator

        values = Evaluator(name=self.name).eval({"y_pred_pos": positive, "y_pred_neg": negative})
        return {key.removesuffix("_list"): float(torch.as_tensor(v).float().mean()) for key, v in values.items()}


@contextmanager
def offline_ogb() -> Iterator[None]:
    """Import ``ogb`` without its call home.

    Importing ogb starts a thread that asks a server for its newest version, through the package ``outdated``, unless
    that cannot be imported: so it cannot, while this lasts.
    """
    had = sys.modules.get("outdated")
    sys.modules["outdated"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if had is None:
            del sys.modules["outdated"]
        else:
            sys.modules["outdated"] = had


def read_ogb_link(
    name: str, root: str | Path = "dataset", *, download: bool = False, meta: Mapping[str, Any] | None = None
) -> OGBLink:
    """Read an OGB link-prediction set that is on disk, or download it when asked.

    Hu et al., "Open Graph Benchmark", NeurIPS 2020, https://arxiv.org/abs/2005.00687. Sets with one node type
    (ogbl-collab, ogbl-ppa, ogbl-ddi, ogbl-citation2); a user and a video stand for the two ends of a link.

    Args:
        name: OGB's name.
        root: the folder that holds ``ogbl_…``.
        download: whether OGB may download the set (it asks on the terminal when it is large).
        meta: OGB's ``meta_dict`` for a set of one's own, with ``dir_path``.

    Raises:
        DataError: the set is not on disk, or has several node types.
    """
    with offline_ogb():
        from ogb.linkproppred import LinkPropPredDataset

    folder = Path(meta["dir_path"]) if meta is not None else Path(root) / name.replace("-", "_")
    if not download and not ((folder / "processed" / "data_processed").exists() or (folder / "raw").is_dir()):
        raise DataError(f"{name} is not here", file=folder, fix="put it there, or pass download=True")

    class Local(LinkPropPredDataset):
        """OGB's class, which calls ``torch.load`` in a way torch refuses since 2.6, with a loader that works."""

        def pre_process(self) -> None:
            processed = Path(self.root) / "processed" / "data_processed"
            if processed.exists():
                self.graph = load_arrays(processed)
            else:
                super().pre_process()

        def get_edge_split(self) -> dict[str, Any]:  # type: ignore[override]
            where = Path(self.root) / "split" / str(self.meta_info["split"])
            if (where / "split_dict.pt").exists():
                return load_arrays(where / "split_dict.pt")
            return {part: load_arrays(where / f"{part}.pt") for part in _PARTS}

    source = Local(name=name, root=str(root), meta_dict=None if meta is None else dict(meta))
    graph: dict[str, Any] = source.graph
    parts = source.get_edge_split()
    if bool(source.is_hetero) or "edge_index" not in graph:
        raise DataError(f"{name} has several node types", file=folder, fix="use a set with one node type")
    num_nodes = int(graph["num_nodes"])
    nodes = pl.DataFrame({"id": np.arange(num_nodes)})
    frame = pl.concat([_edges(parts[part], label, folder) for label, part in enumerate(_PARTS)], how="diagonal")
    if "weight" in frame.columns:
        frame = frame.with_columns(pl.col("weight").fill_null(1))
    node = graph.get("node_feat")
    dataset = Dataset.from_frames(
        frame,
        nodes.rename({"id": "user_id"}),
        nodes.rename({"id": "video_id"}),
        features=None if node is None else {"node": Features.of(np.asarray(node, dtype=np.float32))},
        duplicates="keep",  # ogbl-collab links a pair again in later years
        name=name,
        source=str(folder),
    )
    negatives = {part: _negatives(parts[part]) for part in ("valid", "test")}
    return OGBLink(name, dataset, {k: v for k, v in negatives.items() if v is not None}, str(source.eval_metric))


def _edges(part: Mapping[str, Any], label: int, folder: Path) -> pl.DataFrame:
    if "edge" in part:
        ends = np.asarray(part["edge"]).T
    elif "source_node" in part:
        ends = np.stack([np.asarray(part["source_node"]), np.asarray(part["target_node"])])
    else:
        raise DataError(f"links in none of the known forms: {sorted(part)}", file=folder, fix="use another set")
    columns: dict[str, NDArray] = {"user": ends[0], "video": ends[1], "split": np.full(ends.shape[1], label, np.int8)}
    columns |= {key: np.asarray(part[key]).reshape(-1) for key in ("weight", "year") if key in part}
    return pl.DataFrame(columns)


def _negatives(part: Mapping[str, Any]) -> Tensor | None:
    if "edge_neg" in part:
        return torch.as_tensor(np.asarray(part["edge_neg"])).T.contiguous()
    return torch.as_tensor(np.asarray(part["target_node_neg"])) if "target_node_neg" in part else None


class _OnlyArrays(pickle.Unpickler):
    """Unpickles arrays, tensors and containers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED or (module in ("numpy", "numpy.dtypes") and name.endswith("DType")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


_ALLOWED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("_codecs", "encode"),
}


def load_arrays(path: str | Path) -> dict[str, Any]:
    """A dict of arrays or tensors that ``torch.save`` wrote, of any pickle protocol.

    torch's own safe loader does not read protocol 4, which OGB writes; this one allows arrays and tensors only.

    Raises:
        DataError: the file holds anything else, or is damaged.
    """
    only_arrays = SimpleNamespace(
        Unpickler=_OnlyArrays, load=lambda file, **options: _OnlyArrays(file, **options).load(), __name__="only_arrays"
    )
    try:
        return torch.load(path, weights_only=False, pickle_module=only_arrays, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", file=path, fix="download the set again") from error
