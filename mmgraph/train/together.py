"""What the processes that train one model do together; alone, there is nothing to agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmgraph.models import Recommender
from mmgraph.train.checkpoint import load_checkpoint, save_checkpoint
from mmgraph.train.optimisers import Optimiser

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


class Together:
    """One process that trains a whole model: what ``fit`` asks at each place where several would have to agree.

    :class:`mmgraph.distributed.Columns` is the one for several processes.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        checkpoint: what :meth:`save` writes into a run's folder, a file or a folder.
    """

    rank: int = 0
    size: int = 1
    checkpoint: str = "checkpoint.pt"

    @property
    def leads(self) -> bool:
        """Whether this process writes, shows and judges."""
        return self.rank == 0

    def check(self, model: Recommender, optimizer: Optimiser, callbacks: Sequence[Any]) -> None:
        """Refuses what these processes cannot train.

        Raises:
            ValueError: what is wrong, and what to do.
        """

    def shared(self, graph: MultimodalGraph, model: Recommender) -> MultimodalGraph:
        """The graph, what the processes of a machine can share of it in one copy."""
        return graph

    def divide(self, model: Recommender) -> None:
        """Leaves this process with its part of a whole model, in place."""

    def unite(self, model: Recommender) -> None:
        """Gives every process the whole model again, in place."""

    def loss(self, model: Recommender, graph: MultimodalGraph, batch: Any) -> dict[str, Tensor]:
        """The loss terms of the whole model on a batch; their gradient with respect to this process's part."""
        return model.loss(graph, batch)

    def clip(self, parameters: Iterable[nn.Parameter], norm: float) -> None:
        """Makes the gradient of the whole model no longer than ``norm``."""
        torch.nn.utils.clip_grad_norm_(parameters, norm)

    def agree(self, batch: int, *numbers: int) -> list[int]:
        """The largest of each number among the processes, asked after each batch of an epoch; 0 after the epoch.

        Where asking costs something, it is done now and then only, and in between the answer is zeros.
        """
        return list(numbers)

    def judged(self, model: Recommender, judge: Callable[[Recommender], dict[str, float]]) -> dict[str, float]:
        """What ``judge`` says of the whole model."""
        return judge(model)

    def from_leader(self, value: Any) -> Any:
        """The value that the leading process gave; waits until all have come here."""
        return value

    def save(self, folder: Path, model: Recommender, state: Mapping[str, Any]) -> None:
        """Writes the checkpoint of a run into its folder: whole, or not at all.

        Args:
            folder: of the run.
            model: at its present state.
            state: weights under ``model`` and ``last``, an optimiser's state under ``optimizer``, and what else a
                resume needs, which is the same in all processes.
        """
        save_checkpoint(folder / self.checkpoint, dict(state))

    def load(self, folder: Path, model: Recommender) -> dict[str, Any] | None:
        """What :meth:`save` wrote, this process's part of it; None where there is no checkpoint.

        Raises:
            DamagedFile: (a ValueError) it is not what was written.
            ValueError: it was written by several processes, which one alone does not read.
        """
        path = folder / self.checkpoint
        if path.exists():
            return load_checkpoint(path)
        if (folder / PARTS).is_dir():
            raise ValueError(
                f"{folder / PARTS} is the checkpoint of several processes: go on with --nproc (1 is enough, any number "
                "that divides the columns will do), or remove it to start over"
            )
        return None


# The folder beside ``checkpoint.pt`` that several processes write into.
PARTS = "checkpoint"

ALONE = Together()
