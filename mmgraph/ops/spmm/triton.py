"""SpMM and SDDMM kernels for CUDA (and, under ``TRITON_INTERPRET=1``, for tests on CPU).

The work is the list "edges of row 0, end of row 0, edges of row 1, …" of E + R items, and each program takes
the same number of them (merge path: Merrill and Garland, SC 2016, https://doi.org/10.1109/SC.2016.57), so a
hub row is shared by many programs and a run of empty rows is not free work for one. A program writes the
rows that end in its share; what it has of a row that ends later goes to a carry, which a second kernel adds
in order. No atomics: the same input gives the same bits.
"""

# pyright: reportCallIssue=false, reportIndexIssue=false, reportArgumentType=false
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

CARRIES = 16  # carries added at a time: a hub row has hundreds


# Counts are 32 bits in a launch where they fit, but their sums and products need not: all that an address is made of is
# widened first. They are not specialised (one kernel for all graphs); widths and strides are, so that the compiler
# knows which of them 16 divides and loads 128 bits at a time.
COUNTS = ("rows", "edges", "programs")


@triton.jit
def first_row(indptr, rows, item):
    """The row, int64, that item number ``item`` (int64) of the work list belongs to."""
    low = item * 0
    high = low + rows
    while low < high:
        middle = (low + high) // 2
        inside = tl.load(indptr + middle + 1) + middle >= item
        high = tl.where(inside, middle, high)
        low = tl.where(inside, low, middle + 1)
    return low


@triton.jit
def _gather(
    indices, values, x, x_stride, start, stop, column, inside, EDGES: tl.constexpr, HAS: tl.constexpr, ACC: tl.constexpr
):
    """The weighted sum of the neighbours in edges [start, stop)."""
    total = tl.zeros([EDGES, column.shape[0]], dtype=ACC)
    for edge in range(start, stop, EDGES):
        place = edge + tl.arange(0, EDGES)
        live = place < stop
        # 64 bits: a row's address exceeds 2^31 elements in a large table
        source = tl.load(indices + place, mask=live, other=0).to(tl.int64)
        address = source[:, None] * x_stride + column[None, :]
        part = tl.load(x + address, mask=live[:, None] & inside[None, :], other=0.0).to(ACC)
        if HAS:
            weight = tl.load(values + place, mask=live, other=0.0).to(ACC)
            part = part * weight[:, None]
        total += part
    return tl.sum(total, axis=0)


@triton.jit(do_not_specialize=COUNTS)
def _spmm(
    indptr,
    indices,
    values,
    x,
    out,
    carry,
    carry_row,
    rows,
    edges,
    width,
    x_stride,
    out_stride,
    SHARE: tl.constexpr,
    EDGES: tl.constexpr,
    WIDTH: tl.constexpr,
    HAS: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    column = (tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)).to(tl.int64)
    inside = column < width
    begin = program * SHARE
    end = tl.minimum(begin + SHARE, edges.to(tl.int64) + rows)
    row = first_row(indptr, rows, begin)
    last = first_row(indptr, rows, end)
    edge = begin - row
    while row < last:
        stop = tl.load(indptr + row + 1)
        total = _gather(indices, values, x, x_stride, edge, stop, column, inside, EDGES, HAS, ACC)
        tl.store(out + row * out_stride + column, total, mask=inside)
        edge = stop
        row += 1
    rest = end - last
    tail = _gather(indices, values, x, x_stride, edge, rest, column, inside, EDGES, HAS, ACC)
    tl.store(carry + program * width + column, tail, mask=inside)
    if tl.program_id(1) == 0:
        tl.store(carry_row + program, tl.where(edge < rest, last, -1))


@triton.jit(do_not_specialize=COUNTS)
def _add_carries(
    carry,
    carry_row,
    out,
    programs,
    width,
    out_stride,
    CARRIES: tl.constexpr,
    WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    column = (tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)).to(tl.int64)
    inside = column < width
    row = tl.load(carry_row + program)
    before = tl.load(carry_row + program - 1, mask=program > 0, other=-1)
    if (row >= 0) & (row != before):
        total = tl.load(out + row * out_stride + column, mask=inside, other=0.0).to(ACC)
        at, more = program, 1
        while more == 1:  # the carries of a row follow one another
            place = at + tl.arange(0, CARRIES)
            same = tl.load(carry_row + place, mask=place < programs, other=-1) == row
            address = place[:, None] * width + column[None, :]
            total += tl.sum(tl.load(carry + address, mask=same[:, None] & inside[None, :], other=0.0), axis=0)
            at += CARRIES
            more = tl.min(same.to(tl.int32), axis=0)
        tl.store(out + row * out_stride + column, total, mask=inside)


@triton.jit(do_not_specialize=COUNTS)
def _edge_dot(
    row,
    indices,
    left,
    right,
    out,
    edges,
    width,
    left_stride,
    right_stride,
    EDGES: tl.constexpr,
    WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    live = place < edges
    target = tl.load(row + place, mask=live, other=0).to(tl.int64)
    source = tl.load(indices + place, mask=live, other=0).to(tl.int64)
    total = tl.zeros([EDGES, WIDTH], dtype=ACC)
    for start in range(0, width, WIDTH):
        column = start + tl.arange(0, WIDTH)
        mask = live[:, None] & (column < width)[None, :]
        a = tl.load(left + target[:, None] * left_stride + column[None, :], mask=mask, other=0.0)
        b = tl.load(right + source[:, None] * right_stride + column[None, :], mask=mask, other=0.0)
        total += a.to(ACC) * b.to(ACC)
    tl.store(out + place, tl.sum(total, axis=1), mask=live)


def launching(x: Tensor) -> AbstractContextManager:
    """The device of ``x`` made current: Triton launches on the current one, wherever the tensors lie."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """float32, or float64 for float64."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def share(items: int) -> int:
    """Items a program: fewer of them where there are few in all, so that every multiprocessor has programs enough to
    hide the latency of memory, and more where each further program costs a carry."""
    return 64 if items < 1 << 18 else 128 if items < 1 << 20 else 256


def in_flight(columns: int, size: int) -> int:
    """Edges a warp loads at a time, for rows of ``columns`` numbers of ``size`` bytes: 8, with 64 columns four loads
    of 128 bits a thread; more where that would be less than one."""
    return max(8, 32 * 16 // (columns * size))


def panel(width: int) -> int:
    """Columns a program: a power of two, at most 128."""
    return min(max(1 << (width - 1).bit_length(), 16), 128)


def warps(most: int, numbers: int, size: int) -> int:
    """Warps for a tile of ``numbers`` of ``size`` bytes: at most so many that each thread loads 128 bits at once."""
    return max(min(most, numbers * size // (32 * 16)), 1)


def dot_panel(width: int, dtype: torch.dtype) -> int:
    """As :func:`panel`, for kernels that keep a sum a number of the tile: of float64 half as many fit."""
    return min(panel(width), 64 if dtype == torch.float64 else 128)


def edge_rows(indptr: Tensor, edges: int) -> Tensor:
    """[E] int32 or int64, the row of each edge."""
    rows = indptr.numel() - 1
    kind = torch.int32 if rows < 2**31 else torch.int64
    row = torch.arange(rows, dtype=kind, device=indptr.device)
    return torch.repeat_interleave(row, indptr[1:] - indptr[:-1], output_size=edges)


def matmul(indptr: Tensor, indices: Tensor, values: Tensor | None, x: Tensor, out: Tensor | None = None) -> Tensor:
    """``A x``, [R, D]; the arguments of ``reference.matmul``. ``x`` and ``out`` may have strided rows.

    Programs * D must stay below 2^63; one launch holds up to 2^31 - 1 programs, that is 5·10^11 edges.
    """
    rows, width, edges = indptr.numel() - 1, x.shape[1], indices.numel()
    if out is None:
        out = x.new_empty(rows, width)
    if rows == 0 or width == 0:
        return out
    if x.stride(1) != 1:
        x = x.contiguous()
    # a gradient, for one, may be a single number repeated by a stride of 0
    indptr, indices, values = indptr.contiguous(), indices.contiguous(), None if values is None else values.contiguous()
    size = share(rows + edges)
    programs = -(-(rows + edges) // size)
    acc, columns = accumulator(x.dtype), panel(width)
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    carry = torch.empty(programs, width, dtype=kind, device=x.device)
    carry_row = torch.empty(programs, dtype=torch.int64, device=x.device)
    grid = (programs, -(-width // columns))
    with launching(x):
        _spmm[grid](
            indptr,
            indices,
            x if values is None else values,
            x,
            out,
            carry,
            carry_row,
            rows,
            edges,
            width,
            x.stride(0),
            out.stride(0),
            SHARE=size,
            EDGES=in_flight(columns, x.element_size()),
            WIDTH=columns,
            HAS=values is not None,
            ACC=acc,
            num_warps=1,
        )
        sizes = {"CARRIES": CARRIES, "WIDTH": columns, "ACC": acc, "num_warps": 1}
        _add_carries[grid](carry, carry_row, out, programs, width, out.stride(0), **sizes)
    return out


def edge_dot(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """SDDMM, as ``reference.edge_dot``. Rows of ``left`` and ``right`` may be strided."""
    edges, width = indices.numel(), left.shape[1]
    out = left.new_empty(edges)
    if edges == 0:
        return out
    indptr, indices = indptr.contiguous(), indices.contiguous()
    left = left if left.stride(1) == 1 else left.contiguous()
    right = right if right.stride(1) == 1 else right.contiguous()
    columns = dot_panel(width, left.dtype)
    with launching(left):
        _edge_dot[(-(-edges // 32),)](
            edge_rows(indptr, edges),
            indices,
            left,
            right,
            out,
            edges,
            width,
            left.stride(0),
            right.stride(0),
            EDGES=32,
            WIDTH=columns,
            ACC=accumulator(left.dtype),
            num_warps=warps(4, 32 * columns, left.element_size()),
        )
    return out
