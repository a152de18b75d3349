"""Settings of the whole process: the command makes them, a library may not.

Importing or calling mmgraph changes nothing of this. ``mmgraph …`` and ``python -m benchmarks.…`` call
:func:`prepare_process` as they begin; a script or a notebook may do so in its first line.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from typing import NamedTuple

_MALLINFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # names of glibc's mallopt(3)

# How often a thread of GNU OpenMP looks for work before it sleeps: chosen by measurement, see docs/performance.md.
SPINS = 1000

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # either one, set by the user, says how threads wait
_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"

_log = logging.getLogger(__name__)


def prepare_process(*, keep_memory: bool = True) -> list[str]:
    """Makes this process fit for training: threads that sleep when they wait, memory that is used again.

    Three settings, none of which changes a number:

    - ``GOMP_SPINCOUNT``: by default the threads of OpenMP spin at each barrier. On a machine that others use too they
      spin while the one they wait for does not get a core: a step takes twenty times as long. A short spin avoids
      that. Left alone where ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT`` is set.
    - ``THP_MEM_ALLOC_ENABLE``: torch takes large tensors on huge pages. Left alone where it is set.
    - :func:`reuse_freed_memory`, unless ``keep_memory=False`` (for a server that should give memory back).

    The first two are read once, when torch is loaded. Call this before ``import torch``; after it they still reach the
    processes that this one starts, and a warning says so.

    Returns:
        What was set, for a log: ``["GOMP_SPINCOUNT=1000", …]``.
    """
    done = []
    if not any(name in os.environ for name in _WAITING):
        done.append(("GOMP_SPINCOUNT", str(SPINS)))
    if _HUGE_PAGES not in os.environ:
        done.append((_HUGE_PAGES, "1"))
    if done and "torch" in sys.modules:
        _log.warning(
            "torch is loaded already, so OpenMP's threads keep waiting as they do: call prepare_process() before "
            "`import torch`, or set %s in the environment",
            " ".join(f"{name}={value}" for name, value in done),
        )
    os.environ.update(done)
    kept = keep_memory and reuse_freed_memory()
    return [f"{name}={value}" for name, value in done] + (["freed memory is kept"] if kept else [])


def reuse_freed_memory(limit: int = 1 << 30) -> bool:
    """Tells glibc's malloc to keep blocks up to ``limit`` bytes when they are freed, for the rest of the process.

    By default glibc returns each tensor of more than 128 KiB (32 MiB at most) to the system and maps a new one, and
    every page of it faults again. A LightGCN step on a graph of 16,000 nodes spends half its time there. Numbers do
    not change; the process keeps its peak memory until it ends. The effect is that of the environment variables
    ``MALLOC_MMAP_THRESHOLD_`` and ``MALLOC_TRIM_THRESHOLD_``.

    Returns:
        Whether the C library took it: False where it is not glibc (musl, macOS, Windows), which is harmless.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    limit = min(limit, 2**31 - 1)  # mallopt takes an int
    return all(mallopt(key, value) == 1 for key, value in ((_MMAP_THRESHOLD, limit), (_TRIM_THRESHOLD, limit)))


class _MallInfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _MALLINFO)


def return_unused_memory(beyond: int) -> bool:
    """Gives what glibc keeps free back to the system, when it is more than ``beyond`` bytes.

    Kept blocks of many sizes cannot always be used again for one another, so that a long training on batches of uneven
    length would keep more and more of them.

    Returns:
        Whether anything was given back.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _MallInfo
        free = library.mallinfo2().fordblks
    except (AttributeError, OSError, TypeError):
        return False
    return free > beyond and bool(library.malloc_trim(0))


class Launched(NamedTuple):
    """This process as one of several: its ``rank``, their number ``size``, and the ``store`` where they meet
    (:func:`mmgraph.distributed.joined`)."""

    rank: int
    size: int
    store: str


def launched() -> Launched | None:
    """What ``torchrun`` or ``mmgraph run --nproc`` tells this process in its environment; None: it is alone.

    Raises:
        ValueError: ``RANK`` is set by something that runs no store to meet at.
    """
    told = os.environ
    if "RANK" not in told or "WORLD_SIZE" not in told:
        return None
    rank, size = int(told["RANK"]), int(told["WORLD_SIZE"])
    if "MMGRAPH_STORE" in told:
        return Launched(rank, size, told["MMGRAPH_STORE"])
    if told.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ValueError(
            "RANK and WORLD_SIZE are set, but not by torchrun: start with `mmgraph run … --nproc P` or "
            "`torchrun --nproc-per-node P -m mmgraph run …`, or unset them"
        )
    # gloo leaves its addresses in the store, so each restart needs a place of its own
    attempt = f"{told.get('TORCHELASTIC_RUN_ID', 'run')}-{told.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return Launched(rank, size, f"tcp://{told['MASTER_ADDR']}:{told['MASTER_PORT']}/mmgraph-{attempt}")
