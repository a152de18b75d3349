"""Keep freed memory in the process: a training step frees and asks again for the same megabytes."""

from __future__ import annotations

import ctypes

_MALLINFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # names of glibc's mallopt(3)


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
