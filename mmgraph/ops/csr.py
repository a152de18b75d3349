"""The sparse matrix that every op reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mmgraph.ops import checks

Norm = Literal["sym", "row"]


@dataclass(frozen=True, eq=False, repr=False)
class CSR:
    """An immutable sparse matrix ``A`` of shape [R, C] in compressed rows, with its transpose cached.

    ``A = diag(row_scale) · S · diag(col_scale)`` where ``S`` holds ``values`` (ones when ``None``). The
    scales exist so that a symmetric-normalised adjacency needs no stored weights: see :meth:`normalized`.
    Duplicate edges are kept and add up. Build one with :meth:`from_edges` or :meth:`bipartite`.

    The kernels follow its indices without looking, so they are checked here, when it is made, and the tensors must not
    be written to afterwards. A matrix made from another one is not checked again.

    Attributes:
        indptr: [R + 1] int64, where each row's edges start.
        indices: [E] int32 (int64 when C >= 2^31), the column of each edge, ascending within a row.
        values: [E] the weight of each edge, or None for ones.
        shape: (R, C).
        symmetric: A is its own transpose, and :meth:`transpose` returns ``self``.
        row_scale: [R] or None.
        col_scale: [C] or None.

    Raises:
        TypeError: ``indptr`` or ``indices`` are not whole numbers, weights not floating point.
        ValueError: ``indptr`` does not rise from 0 to E, a column lies outside 0..C-1, columns do not ascend within a
            row, sizes or devices differ, or ``symmetric`` is not true of the edges.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor | None
    shape: tuple[int, int]
    symmetric: bool = False
    row_scale: Tensor | None = None
    col_scale: Tensor | None = None
    # What depends on the pattern only (row of each edge, transpose); shared by every matrix made from this one with
    # other values. One that holds _SOUND belongs to indices that were checked.
    _pattern: dict[str, Any] = field(default_factory=dict)
    _cache: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if _SOUND not in self._pattern:
            self._check_pattern()
        rows, cols = self.shape
        for name, weights, size in (
            ("values", self.values, self.num_edges),
            ("row_scale", self.row_scale, rows),
            ("col_scale", self.col_scale, cols),
        ):
            if weights is not None:
                checks.numbers(weights, (size,), name, like=self)
        if self.symmetric and rows != cols:
            raise ValueError(f"a symmetric matrix is square, got {list(self.shape)}")
        if _SOUND not in self._pattern:
            self._pattern[_SOUND] = True
            if self.symmetric and not _is_symmetric(self.row_indices().long(), self.indices.long(), self.values):
                raise ValueError(_NOT_SYMMETRIC)

    def _check_pattern(self) -> None:
        rows, cols = _shape(self.shape)
        for name, tensor in (("indptr", self.indptr), ("indices", self.indices)):
            if not isinstance(tensor, Tensor) or tensor.dtype not in (torch.int32, torch.int64):
                kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
                raise TypeError(f"{name} must be a tensor of int32 or int64, got {kind}")
        indptr = checks.rows(self.indptr, self.indices.numel() + 1, "indptr", like=self)
        indices = checks.rows(self.indices, cols, "indices")
        if indptr.shape != (rows + 1,):
            raise ValueError(f"indptr must be [{rows + 1}] for {rows} rows, got {list(indptr.shape)}")
        if indptr.device.type != "meta":
            steps = indptr.diff()
            whole = indptr[0] == 0, indptr[-1] == indices.numel(), (steps >= 0).all()
            if not bool(torch.stack(whole).all()):
                raise ValueError(f"indptr must rise from 0 to {indices.numel()}, the number of indices, and never fall")
            falls = indices.diff() < 0
            starts = indptr[1:-1]
            falls[starts[(starts > 0) & (starts < indices.numel())] - 1] = False
            if bool(falls.any()):
                raise ValueError("indices must ascend within each row: CSR.from_edges sorts them")
        sound = {"shape": (rows, cols), "indptr": indptr.contiguous()}
        for name, value in (sound | {"indices": indices.to(_index_dtype(cols)).contiguous()}).items():
            object.__setattr__(self, name, value)

    # -- building ----------------------------------------------------------------------------------

    @classmethod
    def from_edges(
        cls,
        row: Tensor,
        col: Tensor,
        shape: tuple[int, int],
        values: Tensor | None = None,
        symmetric: bool = False,
    ) -> CSR:
        """Sorts edges by row, then column. The sort is stable, duplicates are kept.

        Args:
            row: [E] integers in 0..R-1.
            col: [E] integers in 0..C-1.
            shape: (R, C).
            values: [E] floating point, or None for ones. Gradients flow through it.
            symmetric: says that the edges already are symmetric, values included (checked).

        Raises:
            TypeError: indices that are not whole numbers, values that are not floating point.
            ValueError: sizes or devices differ, an index lies outside the shape, or ``symmetric`` is not true of the
                edges.
        """
        rows, cols = _shape(shape)
        row = checks.rows(row, rows, "row")
        col = checks.rows(col, cols, "col", like=row)
        if row.shape != col.shape:
            raise ValueError(f"row and col must be [E] alike, got {list(row.shape)} and {list(col.shape)}")
        if values is not None:
            values = checks.numbers(values, row.shape, "values", like=row, beside="row")
        if rows * cols < 2**63:
            key, order = torch.sort(row * cols + col, stable=True)
            row, col = key // max(cols, 1), key % max(cols, 1)
            del key
        else:
            order = torch.argsort(col, stable=True)
            order = order[torch.argsort(row[order], stable=True)]
            row, col = row[order], col[order]
        values = None if values is None else values[order]
        if symmetric and rows == cols and not _is_symmetric(row, col, values):
            raise ValueError(_NOT_SYMMETRIC)
        return cls(offsets(row, rows), col.to(_index_dtype(cols)), values, (rows, cols), symmetric, _pattern=sound())

    @classmethod
    def bipartite(cls, row: Tensor, col: Tensor, shape: tuple[int, int], values: Tensor | None = None) -> CSR:
        """The square symmetric matrix ``[[0, R], [Rᵀ, 0]]`` over R + C stacked nodes (users, then videos).

        Args:
            row: [E] users, 0..R-1.
            col: [E] videos, 0..C-1.
            shape: (R, C).
            values: as for :meth:`from_edges`.
        """
        rows, cols = _shape(shape)
        row = checks.rows(row, rows, "row")
        col = checks.rows(col, cols, "col", like=row) + rows
        both = None if values is None else torch.cat([values, values])
        total = rows + cols
        return cls.from_edges(torch.cat([row, col]), torch.cat([col, row]), (total, total), both, True)

    # -- reading -----------------------------------------------------------------------------------

    @property
    def num_edges(self) -> int:
        """Edges stored, duplicates counted."""
        return self.indices.numel()

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.indices.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights (float32 when there are none)."""
        for tensor in (self.values, self.row_scale, self.col_scale):
            if tensor is not None:
                return tensor.dtype
        return torch.float32

    def degree(self) -> Tensor:
        """[R] int64, the edges of each row (counted, not weighted)."""
        return self.indptr[1:] - self.indptr[:-1]

    def row_indices(self) -> Tensor:
        """[E] the row of each edge, of the type of ``indices``; cached."""
        if "rows" not in self._pattern:
            rows = torch.arange(self.shape[0], device=self.device, dtype=_index_dtype(self.shape[0]))
            self._pattern["rows"] = torch.repeat_interleave(rows, self.degree(), output_size=self.num_edges)
        return self._pattern["rows"]

    def weights(self) -> Tensor | None:
        """[E] the full weight of each edge, scales multiplied in; None when all are one."""
        out = self.values
        if self.row_scale is not None:
            scale = self.row_scale[self.row_indices()]
            out = scale if out is None else out * scale
        if self.col_scale is not None:
            scale = self.col_scale[self.indices]
            out = scale if out is None else out * scale
        return out

    def dense(self) -> Tensor:
        """[R, C] dense copy; duplicates summed. For tests and small graphs."""
        weights = self.weights()
        if weights is None:
            weights = torch.ones(self.num_edges, device=self.device)
        index = (self.row_indices().long(), self.indices.long())
        return torch.zeros(self.shape, dtype=weights.dtype, device=self.device).index_put(
            index, weights, accumulate=True
        )

    def __repr__(self) -> str:
        kind = "symmetric, " if self.symmetric else ""
        size = f"{self.shape[0]} x {self.shape[1]}, {kind}{self.num_edges} edges"
        return f"CSR({size}, {self.dtype}, {self.device})"

    # -- other matrices of the same pattern --------------------------------------------------------

    def transpose(self) -> CSR:
        """Aᵀ, [C, R]. Built once and cached; ``self`` when symmetric."""
        if self.symmetric:
            return self
        if "transpose" not in self._cache:
            indptr, indices, order = self._transposed_pattern()
            out = CSR(
                indptr,
                indices,
                None if self.values is None else self.values[order],
                (self.shape[1], self.shape[0]),
                row_scale=self.col_scale,
                col_scale=self.row_scale,
                _pattern=sound(),
            )
            if self.values is not None and self.values.requires_grad:
                return out  # its values belong to one autograd graph, so it is not kept
            out._cache["transpose"] = self
            self._cache["transpose"] = out
        return self._cache["transpose"]

    def _transposed_pattern(self) -> tuple[Tensor, Tensor, Tensor]:
        """indptr, indices of Aᵀ and the [E] position in A of each of its edges."""
        if "transposed" not in self._pattern:
            # Stable: within a column the rows stay ascending, so Aᵀ is sorted too.
            col, order = torch.sort(self.indices, stable=True)
            self._pattern["transposed"] = (offsets(col, self.shape[1]), self.row_indices()[order], order)
        return self._pattern["transposed"]

    def with_values(self, values: Tensor | None, symmetric: bool | None = None) -> CSR:
        """The same pattern with other values ([E] in the order of ``indices``), scales dropped.

        Pass ``symmetric=True`` when the values of a symmetric pattern are symmetric again.

        Raises:
            ValueError: not one value an edge, or ``symmetric=True`` of a pattern that is not.
        """
        if symmetric is None:
            symmetric = self.symmetric and values is None
        if symmetric and not self.symmetric:
            raise ValueError("symmetric=True, but the pattern is not known to be symmetric")
        return CSR(self.indptr, self.indices, values, self.shape, symmetric, _pattern=self._pattern)

    def unscaled(self) -> CSR:
        """``S`` alone: the same values, without the scales."""
        if self.row_scale is None and self.col_scale is None:
            return self
        return self.with_values(self.values, self.symmetric)

    def distinct(self, values: Literal["sum", "ones"] = "ones") -> CSR:
        """Each edge once: the duplicates' weights added up, or (``"ones"``) nothing but the fact, without weights.

        Clicks that were repeated count once in most models; this is the matrix that they read.
        """
        if values not in ("sum", "ones"):
            raise ValueError(f"values must be 'sum' or 'ones', got {values!r}")
        row = self.row_indices()
        first = torch.ones(self.num_edges, dtype=torch.bool, device=self.device)
        first[1:] = (self.indices[1:] != self.indices[:-1]) | (row[1:] != row[:-1])
        weights = self.weights()
        if values == "ones":
            kept, symmetric = None, self.symmetric
        else:
            weights = torch.ones(self.num_edges, device=self.device) if weights is None else weights
            place = torch.cumsum(first, 0) - 1
            kept = weights.new_zeros(int(first.sum())).index_add(0, place, weights)
            symmetric = False
        if values == "ones" and weights is None and bool(first.all()):
            return self
        indptr = offsets(row[first].long(), self.shape[0])
        return CSR(indptr, self.indices[first], kept, self.shape, symmetric, _pattern=sound())

    def normalized(self, norm: Norm | None, *, store: bool = True) -> CSR:
        """The normalised matrix; weighted degrees, and a node without edges gives 0, not NaN.

        ``"sym"``: ``d_r^-1/2 · w · d_c^-1/2`` (LightGCN, GCN). ``"row"``: ``w / d_r`` (mean aggregation).
        ``None``: the matrix as it is.

        Args:
            norm: which.
            store: True writes one weight an edge. False keeps two vectors of scales instead, R + C numbers
                in place of E, multiplied in on the fly.

        Raises:
            ValueError: an unknown norm, or a negative weighted degree under ``"sym"``.
        """
        if norm is None:
            return self
        if norm not in ("sym", "row"):
            raise ValueError(f"norm must be 'sym', 'row' or None, got {norm!r}")
        weights = self.weights()
        symmetric = self.symmetric and norm == "sym"
        row_scale = _power(self._weighted_degree(weights), -1.0 if norm == "row" else -0.5)
        col_scale = None
        if norm == "sym":
            col_scale = row_scale if symmetric else _power(self._column_degree(weights), -0.5)
        scaled = CSR(self.indptr, self.indices, weights, self.shape, symmetric, row_scale, col_scale, self._pattern)
        return scaled.with_values(scaled.weights(), symmetric) if store else scaled

    def _weighted_degree(self, weights: Tensor | None) -> Tensor:
        """[R] what the edges of each row weigh together."""
        if weights is None:
            return self.degree().to(self.dtype)
        return weights.new_zeros(self.shape[0]).index_add(0, self.row_indices(), weights)

    def _column_degree(self, weights: Tensor | None) -> Tensor:
        """[C] the same of each column."""
        if weights is None:
            return torch.bincount(self.indices, minlength=self.shape[1]).to(self.dtype)
        return weights.new_zeros(self.shape[1]).index_add(0, self.indices, weights)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> CSR:
        """A copy on another device, or with weights of another type. The transpose is rebuilt there."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device=device, dtype=dtype)

        same_device = device is None or torch.device(device) == self.device
        if same_device and (dtype is None or dtype == self.dtype):
            return self
        return replace(
            self,
            indptr=self.indptr.to(device),
            indices=self.indices.to(device),
            values=move(self.values),
            row_scale=move(self.row_scale),
            col_scale=move(self.col_scale),
            _pattern=self._pattern if same_device else sound(),
            _cache={},
        )

    def select(self, rows: Tensor) -> tuple[CSR, Tensor]:
        """The matrix of some rows, [len(rows), C], in their order, and the [E'] positions of its edges in
        A.

        Args:
            rows: [B] integers in 0..R-1; repeats are allowed.
        """
        rows = checks.rows(rows, self.shape[0], "rows", like=self)
        indptr, edges = selected(self.indptr, rows)
        out = CSR(
            indptr,
            self.indices[edges],
            None if self.values is None else self.values[edges],
            (rows.numel(), self.shape[1]),
            row_scale=None if self.row_scale is None else self.row_scale[rows],
            col_scale=self.col_scale,
            _pattern=sound(),
        )
        return out, edges


_SOUND = "sound"
_NOT_SYMMETRIC = (
    "symmetric=True, but some edge (i, j) has no (j, i) of the same value: pass both directions, or use CSR.bipartite"
)


def sound() -> dict[str, Any]:
    """The pattern of a matrix whose indices come from one that was checked."""
    return {_SOUND: True}


def _shape(shape: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list, torch.Size)):
        raise TypeError(f"shape must be (R, C), got {shape!r}")
    if len(shape) != 2:
        raise ValueError(f"shape must be (R, C), got {tuple(shape)}")
    return checks.count(shape[0], "shape[0]", 0), checks.count(shape[1], "shape[1]", 0)


def selected(indptr: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """indptr [B + 1] of some rows [B], and the positions [E'] of their edges."""
    start = indptr[rows]
    count = indptr[rows + 1] - start
    out = torch.zeros(rows.numel() + 1, dtype=torch.int64, device=indptr.device)
    torch.cumsum(count, 0, out=out[1:])
    total = int(out[-1])
    edges = torch.repeat_interleave(start - out[:-1], count, output_size=total)
    return out, edges.add_(torch.arange(total, device=indptr.device))


def _index_dtype(size: int) -> torch.dtype:
    return torch.int32 if size < 2**31 else torch.int64


def offsets(sorted_rows: Tensor, num_rows: int) -> Tensor:
    """indptr [num_rows + 1] int64 of edges whose rows ascend.

    One pass, and its size is known before: it can be traced, and on a GPU nothing waits for it (unlike bincount).
    """
    return torch._convert_indices_from_coo_to_csr(sorted_rows, num_rows)


def _power(degree: Tensor, exponent: float) -> Tensor:
    if not torch.compiler.is_compiling() and bool((degree < 0).any()):
        raise ValueError("a node's weighted degree is negative, its normalisation has no meaning")
    return torch.where(degree > 0, degree.clamp(min=torch.finfo(degree.dtype).tiny).pow(exponent), 0.0)


def _is_symmetric(row: Tensor, col: Tensor, values: Tensor | None) -> bool:
    """Whether the multisets {(i, j, w)} and {(j, i, w)} agree, by a 63-bit hash of each: one pass, no
    sort."""

    def mix(index: Tensor, key: int) -> Tensor:
        out = (index + key) * -7046029254386353131
        out = (out ^ (out >> 29)) * -4658895280553007687
        return out ^ (out >> 32)

    weight = torch.ones_like(row) if values is None else mix(values.detach().double().view(torch.int64), 11)
    first, second = mix(row, 3), mix(col, 3)
    forward = (mix(first + 5 * second, 17) * weight).sum()
    backward = (mix(second + 5 * first, 17) * weight).sum()
    return bool(forward == backward)
