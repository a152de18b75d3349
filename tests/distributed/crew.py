"""Four processes that stay for the whole session and do jobs together, on the loopback, without a fixed port."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mmgraph.distributed import joined


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    while (job := pipe.recv()) is not None:
        function, rank, size, store, arguments = job
        try:
            with joined(rank, size, store) as wire:
                pipe.send((True, function(wire, *arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


class Crew:
    """``crew(function, size, *arguments)`` calls ``function(wire, *arguments)`` in ``size`` processes at once."""

    def __init__(self, size: int = 4) -> None:
        context = multiprocessing.get_context("forkserver")  # which imports once for all of them
        context.set_forkserver_preload(["mmgraph.distributed", "mmgraph.models", "mmgraph.graph.multimodal"])
        self.pipes = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            context.Process(target=_serve, args=(theirs,), daemon=True).start()
            self.pipes.append(ours)

    def __call__(self, function: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
        """The results, by rank."""
        with tempfile.TemporaryDirectory() as folder:
            store = f"file://{Path(folder) / 'store'}"
            for rank, pipe in enumerate(self.pipes[:size]):
                pipe.send((function, rank, size, store, arguments))
            answers = [pipe.recv() for pipe in self.pipes[:size]]
        failed = [text for fine, text in answers if not fine]
        assert not failed, failed[0]
        return [value for _, value in answers]

    def dismiss(self) -> None:
        """Ends them."""
        for pipe in self.pipes:
            pipe.send(None)
