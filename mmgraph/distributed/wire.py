"""What goes over the wire: collectives that count their bytes, and sums that autograd knows."""

from __future__ import annotations

import socket
from collections import Counter
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# A process that died is noticed at once, by its closed connection; this is for one that judges a large model.
PATIENCE = timedelta(days=1)


class Wire:
    """The processes of a group, as each of them sees it; every byte that it hands over is counted.

    Args:
        group: None for all processes.

    Attributes:
        rank: of this process, from 0.
        size: P.
        sent: name of the collective -> bytes that this process handed to it. What the network carries is up to the
            collective: 2 (P - 1)/P times as much for an all-reduce in a ring.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.sent: Counter[str] = Counter()
        #: where tensors that travel lie
        self.device = torch.device("cuda" if dist.get_backend(group) == "nccl" else "cpu")

    def sum_in_place(self, tensor: Tensor) -> Tensor:
        """Every process gets the sum of all processes' tensors, in place; the same to the bit in each."""
        dist.all_reduce(tensor, group=self.group)
        self.sent["all_reduce"] += tensor.nbytes
        return tensor

    def largest(self, tensor: Tensor) -> Tensor:
        """Every process gets the largest of each entry, in place."""
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.group)
        self.sent["all_reduce"] += tensor.nbytes
        return tensor

    def total(self, part: Tensor, *, shared: bool = False) -> Tensor:
        """The sum of every process's part, differentiable.

        Args:
            part: this process's.
            shared: the processes go on with the sum on parts of their own, so that each knows a part of its gradient
                (which is summed too). By default all of them go on alike, and each knows it whole.
        """
        return _Total.apply(part, self, shared)  # type: ignore[return-value]

    def gather(self, part: Tensor, dim: int, to: int | None = None) -> Tensor | None:
        """The parts of all processes one after the other along an axis, which all share evenly.

        Args:
            part: of this process, of the same shape in all.
            dim: the axis.
            to: the rank that gets it, None elsewhere; all of them by default.
        """
        part = part.detach().contiguous()
        wanted = to is None or to == self.rank
        parts = [torch.empty_like(part) for _ in range(self.size)] if wanted else None
        if to is None:
            assert parts is not None
            dist.all_gather(parts, part, group=self.group)
        else:
            dist.gather(part, parts, group=self.group, group_dst=to)
        self.sent["gather"] += part.nbytes
        return None if parts is None else torch.cat(parts, dim)

    def exchange(self, parts: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        """All-to-all of rows: the first ``counts[0]`` go to process 0, the next to process 1, …

        Returns:
            The rows that came, process by process, and how many came from each.
        """
        told = torch.tensor(counts, dtype=torch.int64, device=parts.device)
        coming = torch.empty_like(told)
        dist.all_to_all_single(coming, told, group=self.group)
        came = coming.tolist()
        out = parts.new_empty(sum(came), *parts.shape[1:])
        dist.all_to_all_single(out, parts.contiguous(), came, counts, group=self.group)
        own = counts[self.rank] * (parts[0].nbytes if len(parts) else 0)
        self.sent["all_to_all"] += parts.nbytes - own + told.nbytes
        return out, came

    def from_each(self, value: Any) -> list[Any]:
        """The value of each process, by rank, in all of them; any object that pickles."""
        told: list[Any] = [None] * self.size
        dist.all_gather_object(told, value, group=self.group)
        return told

    def machine_leader(self) -> int:
        """The first rank on this process's machine."""
        hosts = self.from_each(socket.gethostname())
        return hosts.index(hosts[self.rank])

    def from_first(self, value: Any) -> Any:
        """The value that process 0 gave, in all of them; any object that pickles."""
        told = [value]
        dist.broadcast_object_list(told, group=self.group, group_src=0)
        return told[0]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx, part: Tensor, wire: Wire, shared: bool) -> Tensor:
        ctx.wire, ctx.shared = wire, shared
        return wire.sum_in_place(part.detach().clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        grad = grads[0]
        return (
            (ctx.wire.sum_in_place(grad.clone(memory_format=torch.contiguous_format)) if ctx.shared else grad),
            None,
            None,
        )
