"""How processes find one another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import torch
import torch.distributed as dist

from mmgraph.distributed.wire import PATIENCE, Wire

_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


class LostProcess(RuntimeError):
    """Another process of the group is gone; its own message says why."""


@contextmanager
def joined(rank: int, size: int, store: str, backend: str = "gloo") -> Iterator[Wire]:
    """This process as one of several, for as long as the block runs.

    Args:
        rank: of this process, from 0.
        size: P.
        store: where they meet: ``file:///path`` of a file that nobody wrote yet, on a disk they share, or
            ``tcp://host:port/prefix`` of a store that ``torchrun`` keeps. The prefix must be another one after each
            restart: gloo leaves its addresses there.
        backend: ``"gloo"`` for tensors in memory, ``"nccl"`` on GPUs.

    Raises:
        ValueError: a store of another kind.
        LostProcess: (a RuntimeError) another one of them ended.
    """
    place = urlsplit(store)
    if place.scheme == "file":
        meeting: dist.Store = dist.FileStore(place.path, size)
    elif place.scheme == "tcp" and place.hostname and place.port:
        kept = dist.TCPStore(place.hostname, place.port, None, False, timeout=PATIENCE)
        meeting = dist.PrefixStore(place.path.strip("/") or "mmgraph", kept)
    else:
        raise ValueError(f"processes meet at file:///path or tcp://host:port/prefix; got {store!r}")
    if backend == "nccl":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    dist.init_process_group(backend, store=meeting, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Wire()
    except RuntimeError as error:
        if any(words in str(error) for words in _LOST):
            raise LostProcess("another process ended, so this one cannot go on: what it said tells why") from error
        raise
    finally:
        dist.destroy_process_group()
