"""Fair timing: all implementations in turn, round after round, so that a busy machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from mmgraph.ops.memory import peak_bytes

Lap = Callable[[], dict[str, float]]


def now(device: str) -> float:
    """Seconds; waits for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(laps: dict[str, Lap], rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Median milliseconds of each part of each implementation.

    Args:
        laps: by name, a function that runs once and returns the seconds of its parts.
        rounds: at most so many rounds after one that warms up, but at least three.
        seconds: stop early when so much time was spent.
    """
    for lap in laps.values():
        lap()
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in laps}
    started = time.perf_counter()
    for number in range(rounds):
        for name, lap in laps.items():
            taken[name].append(lap())
        if number >= 2 and time.perf_counter() - started > seconds:
            break
    return {
        name: {part: 1e3 * median(lap[part] for lap in parts) for part in parts[0]} for name, parts in taken.items()
    }


def peak(lap: Lap, device: str) -> int:
    """Peak bytes of one run."""
    return peak_bytes(lap, device)


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a plain copy of 256 MB reads and writes here, the best of five."""
    source = torch.ones(64 << 20, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(6):
        start = now(device)
        target.copy_(source)
        best = min(best, now(device) - start)
    return 2 * source.numel() * 4 / best
