"""How much memory a step takes: measured, predicted for another size, and the largest size that fits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmgraph.ops.csr import CSR

__all__ = [
    "MemoryPlan",
    "Need",
    "NotEnoughMemory",
    "available_bytes",
    "dense_bytes",
    "held_bytes",
    "model_need",
    "needs_by_size",
    "peak_bytes",
    "plan_memory",
    "propagate_bytes",
    "ranking_bytes",
    "readable_size",
    "training_bytes",
]


class MemoryPlan(NamedTuple):
    """A straight line: ``fixed + per_item · size`` bytes at the peak."""

    fixed: float
    """Bytes whatever the size: parameters, gradients, whole-graph layers."""
    per_item: float
    """Bytes for each further item of the batch or block."""

    def predict(self, size: int) -> int:
        """The peak in bytes of a batch (or block) of ``size``."""
        return int(self.fixed + self.per_item * size)

    def largest(self, budget: int) -> int:
        """The largest size whose predicted peak is within ``budget`` bytes; 0 when not even one item fits.

        Raises:
            ValueError: the size makes no difference, so no budget bounds it.
        """
        if self.per_item <= 0:
            raise ValueError("the peak does not grow with the size: nothing to choose")
        return max(int((budget - self.fixed) // self.per_item), 0)


def plan_memory(
    step: Callable[[int], object],
    probes: tuple[int, int] = (256, 1024),
    held: int = 0,
    device: torch.device | str = "cpu",
) -> MemoryPlan:
    """Runs ``step`` at two small sizes, measures both peaks and draws the line through them.

    For any model, since the model itself is run: pass a step of training (batch of ``size``) or of ranking (block of
    ``size`` users). A line is what a step is when its tensors are either of the graph's size or of the batch's. Choose
    the probes within a factor of 8 or so of the sizes in question: distinct rows of a batch grow more slowly than the
    batch, so a line through far smaller probes predicts too much.

    Args:
        step: does the work for a given size. It is called once to warm up and once a probe.
        probes: two sizes, the first the smaller.
        held: bytes already held that should count (see :func:`held_bytes`).
        device: where the step runs.

    Raises:
        ValueError: the probes are not two ascending sizes.
    """
    small, large = probes
    if not 0 < small < large:
        raise ValueError(f"probes must be two ascending sizes, got {probes}")
    step(small)
    low, high = (peak_bytes(lambda size=size: step(size), device) for size in (small, large))
    per_item = max((high - low) / (large - small), 0.0)
    return MemoryPlan(held + high - per_item * large, per_item)


def peak_bytes(function: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most memory that torch held at a time while ``function`` ran, over what it held before.

    On CPU from the allocations that torch's profiler records; on CUDA from the caching allocator.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        function()
    kineto: Any = record.profiler
    events = [e for e in kineto.kineto_results.events() if e.name() == "[memory]" and e.nbytes()]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def held_bytes(*owners: nn.Module | Tensor | CSR | torch.optim.Optimizer) -> int:
    """Bytes of the distinct storages behind modules, optimisers (their state), tensors, CSRs (their
    transposes)."""
    seen: dict[int, int] = {}
    for tensor in _tensors(owners):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def _tensors(owners: Iterable[object]) -> Iterable[Tensor]:
    for owner in owners:
        if isinstance(owner, Tensor):
            yield owner
        elif isinstance(owner, nn.Module):
            yield from owner.parameters()
            yield from owner.buffers()
        elif isinstance(owner, torch.optim.Optimizer):
            for state in owner.state.values():
                yield from (value for value in state.values() if isinstance(value, Tensor))
        elif isinstance(owner, CSR):
            parts = (owner.indptr, owner.indices, owner.values, owner.row_scale, owner.col_scale)
            yield from (part for part in parts if part is not None)
            for cached in (*owner._pattern.values(), *owner._cache.values()):
                if isinstance(cached, Tensor):
                    yield cached
                elif isinstance(cached, tuple):
                    yield from (part for part in cached if isinstance(part, Tensor))
                elif isinstance(cached, CSR):
                    # its own cache points back here
                    yield from (part for part in (cached.indptr, cached.indices, cached.values) if part is not None)
        else:
            raise TypeError(f"cannot count the bytes of a {type(owner).__name__}")


def available_bytes(device: torch.device | str = "cpu") -> int:
    """Bytes that can be taken without others being pushed out: of the machine (or its container), or of the GPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    lines = _read("/proc/meminfo").splitlines()
    # what the page cache would give back counts
    found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")] or found
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        stat = dict(line.split() for line in _read("/sys/fs/cgroup/memory.stat").splitlines())
        found.append(int(limit) - int(used) + int(stat.get("inactive_file", 0)))
    return max(min(found), 0)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


# -- before a run ----------------------------------------------------------------------------------


class NotEnoughMemory(ValueError):
    """What was asked for does not fit; the message says what it needs, what there is, and what to do."""


class Need(NamedTuple):
    """How many bytes something takes at its peak, by arithmetic: nothing is run."""

    name: str
    """What."""
    bytes: int
    """At the peak, at least."""
    advice: str
    """What to do where it does not fit."""

    def __str__(self) -> str:
        return f"{self.name}: {readable_size(self.bytes)}"

    def fits(self, device: torch.device | str = "cpu") -> bool:
        """Whether there is room for it now."""
        return self.bytes <= available_bytes(device)

    def check(self, device: torch.device | str = "cpu") -> None:
        """Refuses before it starts what could not end.

        Raises:
            NotEnoughMemory: a ValueError.
        """
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            return  # whoever uses the device says so better
        free = available_bytes(device)
        if self.bytes > free:
            where = "this machine" if torch.device(device).type == "cpu" else str(device)
            sizes = f"needs at least {readable_size(self.bytes)}, and {where} has {readable_size(free)} free"
            raise NotEnoughMemory(f"{self.name} {sizes}: {self.advice}")


def model_need(model: nn.Module, num_edges: int, *, trained: bool = True, device: torch.device | str = "cpu") -> Need:
    """What a run of ``model`` takes at least: its weights, for a trained one gradients and Adam's two moments too, and
    the graph's adjacency both ways. Call ``.check(device)`` on it before the run."""
    weights = held_bytes(model)
    kept = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    already = weights if torch.device(device).type == "cpu" else 0  # on CPU the model is there before it is asked
    total = weights + (3 * kept if trained else 0) + _adjacency_bytes(num_edges) - already
    return Need(
        type(model).__name__,
        total,
        "take a smaller embedding_dim, or fewer interactions; on a GPU, the CPU's memory may be larger",
    )


def dense_bytes(num_videos: int, copies: int = 1, element_size: int = 4) -> int:
    """[V, V] matrices."""
    return copies * num_videos * num_videos * element_size


def training_bytes(
    num_users: int,
    num_videos: int,
    num_edges: int,
    width: int = 64,
    *,
    num_layers: int = 3,
    batch_size: int = 2048,
    negatives: int = 1,
) -> int:
    """Training a table of users and videos by Adam, propagated ``num_layers`` times (0: factorisation) in float32."""
    nodes, rows = num_users + num_videos, batch_size * (2 + negatives)
    step = 6 * rows * width * 4
    if not num_layers:
        return 4 * nodes * width * 4 + step  # weights, gradients, two moments
    # weights, two moments, and two layers at a time, the last of which is the gradient
    return 5 * nodes * width * 4 + _adjacency_bytes(num_edges) + 4 * nodes + step


def ranking_bytes(num_users: int, num_videos: int, width: int = 64, *, k: int = 50, memory: int = 64 << 20) -> int:
    """Ranking all videos for all users by :func:`mmgraph.ops.topk`: both tables, the bounds, a block, the lists."""
    tables = (num_users + num_videos) * width * 4
    bounds = num_videos * 2 * (width + 3)
    return tables + bounds + max(memory, num_videos * 4) + 2 * 12 * k * num_users


def needs_by_size(num_users: int, num_videos: int, num_edges: int, width: int = 64) -> list[Need]:
    """What the usual things take on data of this size, before any of them is tried: for ``mmgraph inspect``."""
    smaller = "take fewer videos (a k-core), or ItemKNN, which stays sparse"
    trained = {"num_users": num_users, "num_videos": num_videos, "num_edges": num_edges, "width": width}
    return [
        Need("EASE", dense_bytes(num_videos) + 8 * 1024 * num_videos, smaller),
        Need("ItemKNN, k = 100", 12 * 100 * num_videos + 8 * num_edges + (192 << 20), "take a smaller k"),
        Need(
            f"training BPR, {width} dimensions",
            training_bytes(**trained, num_layers=0),
            "take a smaller embedding_dim",
        ),
        Need(
            f"training LightGCN, {width} dimensions, 3 layers",
            training_bytes(**trained),
            "take a smaller embedding_dim",
        ),
        Need(f"ranking, {width} dimensions", ranking_bytes(num_users, num_videos, width), "rank in several runs"),
    ]


def _adjacency_bytes(num_edges: int) -> int:
    """A symmetric normalised adjacency: each edge in both directions, its column and its weight."""
    return 2 * num_edges * (4 + 4)


def readable_size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.3g} GiB" if count < 1000 else f"{count:,.0f} GiB"


def propagate_bytes(
    a: CSR, width: int, *, rows: int | None = None, edges: int = 0, element_size: int = 4, backward: bool = True
) -> int:
    """The peak of :func:`mmgraph.ops.propagate` on CPU (two layers or more), without running it.

    Two layers of N rows are alive at a time, the result and its gradient, and when it starts from ``rows`` one int32 an
    edge: which packed row each edge reads.

    Args:
        a: [N, N].
        width: D times the number of right-hand sides.
        rows: B, or None for all.
        edges: the edges of those rows, where known.
        element_size: bytes a number.
        backward: count the backward pass too.
    """
    layer = a.shape[0] * width * element_size
    if rows is None:
        return layer * (4 if backward else 3)
    part = rows * width * element_size
    forward = max(2 * layer + part, layer + 2 * part + 16 * edges)
    if not backward:
        return forward
    starting = layer + 4 * part + 4 * a.num_edges + 4 * a.shape[0]
    return max(forward, starting, 2 * layer + 3 * part)
