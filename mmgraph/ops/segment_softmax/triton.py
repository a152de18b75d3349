"""Graph attention kernels for CUDA (and, under ``TRITON_INTERPRET=1``, for tests on CPU).

The split of the work is that of ``mmgraph.ops.spmm.triton``: equal shares of edges + rows, no atomics.
Softmax and weighted sum run together (the online softmax of Milakov and Gimelshein, 2018,
https://arxiv.org/abs/1805.02867): each piece of a row is a maximum, a sum of exponentials and a weighted
sum, and pieces of a row that several programs share are merged in order by a second kernel.
"""

# pyright: reportCallIssue=false, reportIndexIssue=false, reportArgumentType=false
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmgraph.ops.operand import Operand
from mmgraph.ops.spmm import triton as spmm
from mmgraph.ops.spmm.triton import (
    CARRIES,
    COUNTS,
    accumulator,
    dot_panel,
    edge_rows,
    first_row,
    in_flight,
    launching,
    panel,
    share,
    warps,
)


@triton.jit
def _piece(
    indices,
    logits,
    x,
    heads,
    head,
    x_stride,
    start,
    stop,
    column,
    inside,
    EDGES: tl.constexpr,
    ACC: tl.constexpr,
):
    """Maximum, sum of exponentials and weighted sum over edges [start, stop)."""
    top = tl.full([1], float("-inf"), dtype=ACC)
    mass = tl.zeros([1], dtype=ACC)
    total = tl.zeros([column.shape[0]], dtype=ACC)
    for edge in range(start, stop, EDGES):
        place = edge + tl.arange(0, EDGES)
        live = place < stop
        logit = tl.load(logits + place * heads + head, mask=live, other=float("-inf")).to(ACC)
        new = tl.maximum(top, tl.max(logit, axis=0))
        base = tl.where(new == float("-inf"), 0.0, new)
        power = tl.exp(logit - base)
        scale = tl.exp(top - base)
        source = tl.load(indices + place, mask=live, other=0).to(tl.int64)
        address = source[:, None] * x_stride + column[None, :]
        part = tl.load(x + address, mask=live[:, None] & inside[None, :], other=0.0).to(ACC)
        # an edge that is switched off adds nothing, whatever its features hold
        part = tl.where(power[:, None] > 0, part * power[:, None], 0.0)
        total = total * scale + tl.sum(part, axis=0)
        mass = mass * scale + tl.sum(power, axis=0)
        top = new
    return top, mass, total


@triton.jit(do_not_specialize=COUNTS)
def _attend(
    indptr,
    indices,
    logits,
    x,
    out,
    stats,
    part_top,
    part_mass,
    part_sum,
    rows,
    edges,
    width,
    heads,
    x_stride,
    head_stride,
    SHARE: tl.constexpr,
    EDGES: tl.constexpr,
    WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    head = tl.program_id(2).to(tl.int64)
    column = (tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)).to(tl.int64)
    inside = column < width
    programs = tl.num_programs(0)
    x += head * head_stride
    begin = program * SHARE
    end = tl.minimum(begin + SHARE, edges.to(tl.int64) + rows)
    row = first_row(indptr, rows, begin)
    last = first_row(indptr, rows, end)
    edge = begin - row
    one = tl.arange(0, 1)
    while row <= last:
        ends = row < last
        stop = tl.load(indptr + row + 1, mask=ends, other=0)
        stop = tl.where(ends, stop, end - last)
        top, mass, total = _piece(indices, logits, x, heads, head, x_stride, edge, stop, column, inside, EDGES, ACC)
        started = tl.load(indptr + row) == edge
        if ends & started:
            whole = tl.where(mass == 0, 1.0, mass)
            tl.store(out + (row * heads + head) * width + column, total / whole, mask=inside)
            tl.store(stats + row * heads + head + one, tl.where(top == float("-inf"), 0.0, top))
            tl.store(stats + (rows + row) * heads + head + one, whole)
        else:
            # slot 2p: the end of a row that began earlier; slot 2p + 1: the start or middle of one
            slot = (program * 2 + tl.where(ends, 0, 1)) + programs.to(tl.int64) * 2 * head
            tl.store(part_top + slot + one, top)
            tl.store(part_mass + slot + one, mass)
            tl.store(part_sum + slot * width + column, total, mask=inside)
        edge = stop
        row += 1


@triton.jit(do_not_specialize=COUNTS)
def _merge(
    indptr,
    out,
    stats,
    part_top,
    part_mass,
    part_sum,
    rows,
    edges,
    width,
    heads,
    SHARE: tl.constexpr,
    CARRIES: tl.constexpr,
    WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    head = tl.program_id(2).to(tl.int64)
    column = (tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)).to(tl.int64)
    inside = column < width
    slots = tl.num_programs(0).to(tl.int64) * 2 * head
    end = tl.minimum((program + 1) * SHARE, edges.to(tl.int64) + rows)
    row = first_row(indptr, rows, end)
    one = tl.arange(0, 1)
    if row < rows:
        # the item at which the row begins lies in this program's share, and its end does not
        begins = tl.load(indptr + row) + row
        if (begins >= program * SHARE) & (begins < end):
            finish = (tl.load(indptr + row + 1) + row) // SHARE
            top = tl.full([1], float("-inf"), dtype=ACC)
            mass = tl.zeros([1], dtype=ACC)
            total = tl.zeros([WIDTH], dtype=ACC)
            at = program
            while at <= finish:
                place = at + tl.arange(0, CARRIES)
                live = place <= finish
                slot = place * 2 + tl.where(place == finish, 0, 1) + slots
                others = tl.load(part_top + slot, mask=live, other=float("-inf"))
                new = tl.maximum(top, tl.max(others, axis=0))
                base = tl.where(new == float("-inf"), 0.0, new)
                old_scale = tl.exp(top - base)
                new_scale = tl.exp(others - base)
                masses = tl.load(part_mass + slot, mask=live, other=0.0)
                mass = mass * old_scale + tl.sum(masses * new_scale, axis=0)
                address = slot[:, None] * width + column[None, :]
                pieces = tl.load(part_sum + address, mask=live[:, None] & inside[None, :], other=0.0)
                total = total * old_scale + tl.sum(pieces * new_scale[:, None], axis=0)
                top = new
                at += CARRIES
            whole = tl.where(mass == 0, 1.0, mass)
            tl.store(out + (row * heads + head) * width + column, total / whole, mask=inside)
            tl.store(stats + row * heads + head + one, tl.where(top == float("-inf"), 0.0, top))
            tl.store(stats + (rows + row) * heads + head + one, whole)


@triton.jit(do_not_specialize=COUNTS)
def _attend_edges(
    row,
    indices,
    logits,
    x,
    grad,
    stats,
    mean,
    alpha,
    grad_logits,
    rows,
    edges,
    width,
    heads,
    x_stride,
    head_stride,
    EDGES: tl.constexpr,
    WIDTH: tl.constexpr,
    ACC: tl.constexpr,
):
    """Weights, and the gradient of the logits: ``alpha (grad[i] · x[j] - mean[i])``."""
    place = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    head = tl.program_id(1).to(tl.int64)
    live = place < edges
    target = tl.load(row + place, mask=live, other=0).to(tl.int64)
    source = tl.load(indices + place, mask=live, other=0).to(tl.int64)
    total = tl.zeros([EDGES, WIDTH], dtype=ACC)
    for start in range(0, width, WIDTH):
        column = start + tl.arange(0, WIDTH)
        mask = live[:, None] & (column < width)[None, :]
        left = (target * heads + head)[:, None] * width + column[None, :]
        right = source[:, None] * x_stride + head * head_stride + column[None, :]
        g = tl.load(grad + left, mask=mask, other=0.0)
        f = tl.load(x + right, mask=mask, other=0.0)
        total += g.to(ACC) * f.to(ACC)
    top = tl.load(stats + target * heads + head, mask=live, other=0.0)
    mass = tl.load(stats + (rows + target) * heads + head, mask=live, other=1.0)
    logit = tl.load(logits + place * heads + head, mask=live, other=0.0).to(ACC)
    weight = tl.exp(logit - top) / mass
    centre = tl.load(mean + target * heads + head, mask=live, other=0.0)
    tl.store(alpha + head * edges + place, weight, mask=live)
    tl.store(grad_logits + place * heads + head, weight * (tl.sum(total, axis=1) - centre), mask=live)


def attend(indptr: Tensor, indices: Tensor, logits: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """As ``cpu.attend``: [R, H, D] weighted sums and [2, R, H] the statistics."""
    rows, edges, (heads, width) = indptr.numel() - 1, indices.numel(), x.shape[1:]
    wide = torch.promote_types(logits.dtype, torch.float32)
    wide = torch.promote_types(wide, x.dtype)
    out = x.new_zeros(rows, heads, width)
    stats = torch.zeros(2, rows, heads, dtype=wide, device=x.device)
    stats[1] = 1.0
    if rows == 0 or edges == 0 or heads == 0:
        return out, stats.to(torch.promote_types(logits.dtype, torch.float32))
    x, logits = x.contiguous(), logits.contiguous()
    size, columns = share(rows + edges), panel(max(width, 1))
    programs = -(-(rows + edges) // size)
    grid = (programs, -(-max(width, 1) // columns), heads)
    slots = programs * 2 * heads
    parts = (
        torch.empty(slots, dtype=wide, device=x.device),
        torch.empty(slots, dtype=wide, device=x.device),
        torch.empty(slots, width, dtype=wide, device=x.device),
    )
    acc = accumulator(wide)
    with launching(x):
        _attend[grid](
            indptr,
            indices,
            logits,
            x,
            out,
            stats,
            *parts,
            rows,
            edges,
            width,
            heads,
            x.stride(0),
            x.stride(1),
            SHARE=size,
            EDGES=in_flight(columns, x.element_size()),
            WIDTH=columns,
            ACC=acc,
            num_warps=1,
        )
        _merge[grid](
            indptr,
            out,
            stats,
            *parts,
            rows,
            edges,
            width,
            heads,
            SHARE=size,
            CARRIES=CARRIES,
            WIDTH=columns,
            ACC=acc,
            num_warps=1,
        )
    return out, stats.to(torch.promote_types(logits.dtype, torch.float32))


def attend_backward(
    a: Operand, logits: Tensor, x: Tensor, out: Tensor, stats: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """As ``cpu.attend_backward``."""
    edges, (heads, width) = a.indices.numel(), x.shape[1:]
    grad_x = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    grad_logits = torch.zeros(logits.shape, dtype=logits.dtype, device=x.device)
    if edges == 0 or heads == 0:
        return grad_logits, grad_x
    wide = torch.promote_types(stats.dtype, x.dtype)
    x, logits, grad = x.contiguous(), logits.contiguous(), grad.contiguous()
    mean = (grad * out).sum(2, dtype=wide)
    alpha = torch.empty(heads, edges, dtype=wide, device=x.device)
    columns = dot_panel(max(width, 1), wide)
    with launching(x):
        _attend_edges[(-(-edges // 32), heads)](
            edge_rows(a.indptr, edges),
            a.indices,
            logits,
            x,
            grad,
            stats.to(wide),
            mean,
            alpha,
            grad_logits,
            a.indptr.numel() - 1,
            edges,
            width,
            heads,
            x.stride(0),
            x.stride(1),
            EDGES=32,
            WIDTH=columns,
            ACC=accumulator(wide),
            num_warps=warps(4, 32 * columns, x.element_size()),
        )
    for head in range(heads):
        weight = alpha[head][a.t_order]
        spmm.matmul(a.t_indptr, a.t_indices, weight, grad[:, head], out=grad_x[:, head])
    return grad_logits, grad_x


def softmax(indptr: Tensor, logits: Tensor) -> Tensor:
    """As ``reference.softmax``."""
    edges = logits.shape[0]
    if edges == 0:
        return logits.clone()
    index = torch.zeros(edges, dtype=torch.int32, device=logits.device)
    _, stats = attend(indptr, index, logits, logits.new_zeros(1, logits.shape[1], 0))
    row = edge_rows(indptr, edges)
    return ((logits.to(stats.dtype) - stats[0][row]).exp() / stats[1][row]).to(logits.dtype)


def softmax_backward(indptr: Tensor, alpha: Tensor, grad: Tensor) -> Tensor:
    """As ``reference.softmax_backward``."""
    wide = torch.promote_types(alpha.dtype, torch.float32)
    product = alpha.to(wide) * grad.to(wide)
    edge = torch.arange(alpha.shape[0], dtype=torch.int64, device=alpha.device)
    mean = spmm.matmul(indptr, edge, None, product)[edge_rows(indptr, alpha.shape[0])]
    return (product - alpha.to(wide) * mean).to(alpha.dtype)
