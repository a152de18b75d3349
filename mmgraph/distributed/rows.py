"""Tables whose rows are shared out: a batch's rows come by all-to-all, their gradients go back the same way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgraph.distributed.wire import Wire
from mmgraph.ops import checks


class RowTable(nn.Module):
    """A table [n, D] of which process p holds the rows p, p + P, p + 2P, …; called with ids, it gives their rows.

    Each process asks for the rows of its own share of a batch. The distinct ids go to their owners, the rows come back,
    and in the backward pass the gradients go the same way and are added up by the owner, as a sparse gradient: 4 D
    bytes a distinct row each way and 8 for its id. What a process holds is its rows alone, so that a table may be P
    times the memory of one. The numbers are those of ``nn.Embedding(sparse=True)`` in one process on the whole batch.

    Args:
        wire: the processes.
        num_rows: n.
        dim: D.
        seed: of the first values, which depend on (seed, row) alone and not on P.
        std: of the first values, normal.

    Attributes:
        weight: [⌈(n − p)/P⌉, D], this process's rows.

    Raises:
        ValueError: sizes below 1.
    """

    def __init__(self, wire: Wire, num_rows: int, dim: int, *, seed: int = 0, std: float = 0.1) -> None:
        super().__init__()
        self.wire = wire
        self.num_rows, self.dim = checks.count(num_rows, "num_rows"), checks.count(dim, "dim")
        held = torch.arange(wire.rank, num_rows, wire.size)
        self.weight = nn.Parameter(first_rows(held, dim, num_rows, seed, std))

    def forward(self, ids: Tensor) -> Tensor:
        """Rows [..., D] of ids of any shape; every process has to call it, with as many ids as it likes.

        Raises:
            ValueError: an id outside the table.
        """
        ids = checks.rows(ids, self.num_rows, "ids", like=self.weight, dim=-1)
        distinct, place = torch.unique(ids, return_inverse=True)
        rows = _Fetch.apply(self.weight, distinct, self.wire)
        return nn.functional.embedding(place, rows)  # type: ignore[arg-type]

    def whole(self) -> Tensor:
        """The whole table [n, D], in every process."""
        most = -(-self.num_rows // self.wire.size)
        padded = nn.functional.pad(self.weight.detach(), (0, 0, 0, most - len(self.weight)))
        parts = self.wire.gather(padded.unsqueeze(1), 1)
        assert parts is not None
        return parts.flatten(0, 1)[: self.num_rows]  # [most, P, D]: row r lies at (r // P, r % P)


class _Fetch(torch.autograd.Function):
    """Rows of distinct ids from their owners."""

    @staticmethod
    def forward(ctx, weight: Tensor, ids: Tensor, wire: Wire) -> Tensor:
        order = torch.argsort(ids % wire.size, stable=True)
        asked = torch.bincount(ids % wire.size, minlength=wire.size).tolist()
        wanted, coming = wire.exchange(ids[order], asked)
        local = torch.div(wanted, wire.size, rounding_mode="floor")
        came, _ = wire.exchange(weight.detach()[local], coming)
        rows = torch.empty_like(came)
        rows[order] = came
        ctx.save_for_backward(order, local)
        ctx.wire, ctx.asked, ctx.shape = wire, asked, weight.shape
        return rows

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        order, local = ctx.saved_tensors
        values, _ = ctx.wire.exchange(grads[0][order], ctx.asked)
        grad = torch.sparse_coo_tensor(local.unsqueeze(0), values, ctx.shape, check_invariants=False)
        return grad.coalesce(), None, None


def first_rows(rows: Tensor, dim: int, num_rows: int, seed: int, std: float) -> Tensor:
    """Normal first values of some rows of a table [num_rows, dim]: the same for a row wherever it lies.

    Drawn in blocks of 2^16 rows, each from a stream of its own, so that memory holds one block at a time.
    """
    out = torch.empty(len(rows), dim)
    for block in range(0, num_rows, BLOCK):
        inside = (rows >= block) & (rows < block + BLOCK)
        if bool(inside.any()):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + block) % (2**63))
            drawn = torch.randn(min(BLOCK, num_rows - block), dim, generator=generator)
            out[inside] = drawn[rows[inside] - block] * std
    return out


BLOCK = 1 << 16
