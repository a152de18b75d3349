"""Columns shared out among processes: exact training of models whose layers leave columns apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmgraph.distributed.checkpoint import load_parts, save_parts
from mmgraph.distributed.shared import share_matrix
from mmgraph.distributed.wire import Wire
from mmgraph.models import ByColumns, Recommender
from mmgraph.nn.heads import Products
from mmgraph.nn.heads.base import dot
from mmgraph.ops import pair_dot
from mmgraph.train import Optimiser, load_checkpoint
from mmgraph.train.together import PARTS, Together

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

# batches from one question whether to stop or to save to the next
ASK = 64


class ColumnProducts(Products):
    """Products of rows of which each process holds some columns: every one adds up its own, and the sums travel.

    A dot product sends one number a pair, a norm one number a row, and one more for its gradient.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def dot(self, user: Tensor, video: Tensor) -> Tensor:
        """Whole dot products [B, V] or [B, N] of parts [B, D/P] and [V, D/P] or [B, N, D/P]."""
        return self.wire.total(dot(user, video))

    def dot_at(self, user: Tensor, video: Tensor, places: Tensor) -> Tensor:
        """Whole dot products [B, N] of parts [B, D/P] and the rows of [n, D/P] at ``places`` [B, N]."""
        return self.wire.total(pair_dot(user, video, places))

    def unit(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """This process's columns of the unit rows; one message for all."""
        own = torch.cat([row.square().sum(-1).flatten() for row in rows])
        # each process scales its own columns by the norm, so each knows a part of the norm's gradient
        norm = self.wire.total(own, shared=True).clamp_min(1e-24).sqrt()
        sizes = [row.shape[:-1].numel() for row in rows]
        parts = [part.view(row.shape[:-1]) for part, row in zip(norm.split(sizes), rows, strict=True)]
        return tuple(row / part.unsqueeze(-1) for row, part in zip(rows, parts, strict=True))


class Columns(Together):
    """P processes that hold D/P columns of every table each, and the whole graph: what ``fit(together=…)`` takes.

    A linear propagation, y = Σ_k w_k Aᵏ x, treats each column by itself, and dot products add up over columns. So a
    process propagates its own columns, and a step sends the partial scores of the batch (4 bytes a pair) and nothing
    else; the backward needs no exchange. The numbers are those of one process, up to the order of sums: every process
    builds the whole model from the same seed and keeps its columns, and draws the same batches.

    Exact for models with :meth:`~mmgraph.models.Recommender.by_columns` (LightGCN, BPRMF, UltraGCN, FREEDOM), under
    objectives and heads that read rows by dot products and norms, and Adam or AdamW.

    Args:
        wire: the processes.
    """

    checkpoint = PARTS

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.rank, self.size = wire.rank, wire.size

    def check(self, model: Recommender, optimizer: Optimiser, callbacks: Sequence[Any]) -> None:
        """Refuses a model, head, objective or optimiser that mixes columns, widths that P does not divide, callbacks.

        Raises:
            ValueError: what is wrong, and what to do.
        """
        check_columns(model, self.size)
        if not optimizer.by_entry:
            raise ValueError(
                f"{type(optimizer).__name__} looks at whole rows, of which each process has some columns: train with "
                "Adam or AdamW, or on one process"
            )
        if callbacks:
            raise ValueError(
                "callbacks would see one process's columns for the model: leave them out, or train on one process"
            )

    def shared(self, graph: MultimodalGraph, model: Recommender) -> MultimodalGraph:
        """The adjacencies that the model reads, built by one process of each machine and mapped by all."""
        for edge_types, norm in _layout(model).matrices:
            matrix = share_matrix(partial(graph.adjacency, edge_types, norm), self.wire)
            graph = graph.with_adjacency(matrix, edge_types, norm)
        return graph

    def divide(self, model: Recommender) -> None:
        """Each table keeps this process's columns; the head's products become sums over processes."""
        for name, dim in _layout(model).tables.items():
            table = model.get_parameter(name)
            table.data = table.data.chunk(self.size, dim)[self.rank].clone(memory_format=torch.contiguous_format)
        model.head.products = ColumnProducts(self.wire)

    def unite(self, model: Recommender) -> None:
        """Every process gets all columns."""
        for name, dim in _layout(model).tables.items():
            table = model.get_parameter(name)
            whole = self.wire.gather(table.data, dim)
            assert whole is not None
            table.data = whole
        del model.head.products  # the class's own again

    def loss(self, model: Recommender, graph: MultimodalGraph, batch: Any) -> dict[str, Tensor]:
        """The model's terms, those that are sums over columns summed over the processes in one message."""
        terms = model.loss(graph, batch)
        names = [name for name in _layout(model).sums if name in terms]
        if names:
            whole = self.wire.total(torch.stack([terms[name].float() for name in names]))
            terms |= dict(zip(names, whole.unbind(), strict=True))
        return terms

    def clip(self, parameters: Iterable[nn.Parameter], norm: float) -> None:
        """By the norm over all columns."""
        grads = [p.grad for p in parameters if p.grad is not None]
        square = torch.stack([grad.square().sum() for grad in grads]).sum().float()
        length = self.wire.sum_in_place(square).sqrt()
        scale = (norm / (length + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_
        for grad in grads:
            grad.mul_(scale.to(grad))

    def agree(self, batch: int, *numbers: int) -> list[int]:
        """The largest of each, asked after the epoch and every 64 batches."""
        if batch % ASK:
            return [0] * len(numbers)
        return self.wire.largest(torch.tensor(numbers, dtype=torch.int64, device=self.wire.device)).tolist()

    def judged(self, model: Recommender, judge: Callable[[Recommender], dict[str, float]]) -> dict[str, float]:
        """Process 0 gets all columns for as long as it judges, and tells the others."""
        tables = _layout(model).tables
        found = {name: self.wire.gather(model.get_parameter(name).data, dim, to=0) for name, dim in tables.items()}
        metrics = None
        if self.leads:
            with _whole(model, found):
                metrics = judge(model)
        return self.from_leader(metrics)

    def from_leader(self, value: Any) -> Any:
        """What process 0 gave."""
        return self.wire.from_first(value)

    def save(self, folder: Path, model: Recommender, state: Mapping[str, Any]) -> None:
        """Each process writes its columns (DCP), process 0 the rest; then the folder's ``LATEST`` names the new one."""
        save_parts(folder / PARTS, self.wire, _layout(model).tables, _names(model), state)

    def load(self, folder: Path, model: Recommender) -> dict[str, Any] | None:
        """This process's columns of what any number of processes wrote, one (``checkpoint.pt``) included."""
        plain = folder / Together.checkpoint
        if not (folder / PARTS / "LATEST").exists():
            if not plain.exists():
                return None
            return self._own(model, load_checkpoint(plain))
        return load_parts(folder / PARTS, self.wire, _layout(model).tables, model, _names(model))

    def _own(self, model: Recommender, state: dict[str, Any]) -> dict[str, Any]:
        """This process's part of a whole checkpoint."""
        tables, names = _layout(model).tables, _names(model)
        for key in ("model", "last"):
            for name, dim in tables.items():
                state[key][name] = self._chunk(state[key][name], dim)
        for index, name in enumerate(names):
            moments = state["optimizer"]["state"].get(index, {})
            for key, value in moments.items():
                if value.ndim == model.get_parameter(name).ndim and name in tables:
                    moments[key] = self._chunk(value, tables[name])
        return state

    def _chunk(self, table: Tensor, dim: int) -> Tensor:
        return table.chunk(self.size, dim)[self.rank].contiguous()


def _layout(model: Recommender) -> ByColumns:
    found = model.by_columns()
    assert found is not None  # checked before
    return found


def _names(model: Recommender) -> list[str]:
    """Of the parameters, in the order that the optimiser counts them."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@contextmanager
def _whole(model: Recommender, tables: Mapping[str, Tensor | None]) -> Iterator[None]:
    """The model with whole tables; afterwards with its own ones again."""
    products, own = model.head.products, {name: model.get_parameter(name).data for name in tables}
    del model.head.products
    try:
        for name, table in tables.items():
            assert table is not None
            model.get_parameter(name).data = table
        yield
    finally:
        model.head.products = products
        for name, table in own.items():
            model.get_parameter(name).data = table


def check_columns(model: Recommender, size: int) -> None:
    """Refuses a model whose columns cannot be shared out among ``size`` processes.

    Raises:
        ValueError: the model, head or objective that mixes columns, or a width that ``size`` does not divide; and what
            to do.
    """
    kind = type(model)
    home = next(cls for cls in kind.__mro__ if "by_columns" in vars(cls))
    later = [cls for cls in kind.__mro__[: kind.__mro__.index(home)] if {"encode", "loss", "score"} & vars(cls).keys()]
    layout = None if later else model.by_columns()
    if layout is None:
        who = f"{kind.__name__} does not say that its layers leave columns apart"
        raise ValueError(
            f"{who}, so they cannot be shared out among {size} processes: train it on one (without --nproc), or take "
            "LightGCN, BPRMF, UltraGCN or FREEDOM. A model of your own says so by by_columns()"
        )
    for what in (model.head, model.objective):
        if not what.by_columns:
            name = type(what).__name__
            raise ValueError(
                f"{name} reads whole rows, of which each of {size} processes has some columns: take a dot product or "
                "a cosine under BPR, BCE, MaxMargin, CosineContrastive or SampledSoftmax, or train on one process"
            )
    if left := sorted(name for name, p in model.named_parameters() if p.requires_grad and name not in layout.tables):
        raise ValueError(f"{kind.__name__}.by_columns() leaves out {left}, which take a gradient: train on one process")
    for name, dim in layout.tables.items():
        width = model.get_parameter(name).shape[dim]
        if width % size:
            fits = [p for p in range(2, min(width, 2 * size) + 1) if width % p == 0] or [1]
            raise ValueError(
                f"{kind.__name__}.{name} has {width} columns, which {size} processes cannot share evenly: take "
                f"--nproc {' or '.join(map(str, fits))}, or an embedding_dim that is a multiple of {size}"
            )
