"""What an objective is, and the batch as it reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.graph.samplers import Draws
from mmgraph.ops import checks

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.nn.heads import Head


class Examples(NamedTuple):
    """A batch as an objective reads it: B examples of a user's state and the video they chose.

    Attributes:
        state: [B, S], what the head compares with videos (:meth:`mmgraph.nn.Head.draw`).
        video: [n, D], the rows of the videos that the batch reads, or of all V.
        positive: [B] int64 places in ``video``.
        negative: [B, N] int64 places in ``video``; [N] where the whole batch shares them.
        user_row: [B] int64 rows of the users in the graph.
        video_row: [n] int64 rows of ``video`` in the graph; None: all V, in their order.
        memory: what the objective remembers of earlier batches (:meth:`Objective.memory`); it lies on the model.
    """

    state: Tensor
    video: Tensor
    positive: Tensor
    negative: Tensor
    user_row: Tensor
    video_row: Tensor | None
    memory: nn.Module | None = None

    def rows_of(self, place: Tensor) -> Tensor:
        """Rows in the graph of places in ``video``, any shape."""
        return place if self.video_row is None else self.video_row[place]

    @property
    def candidates(self) -> Tensor:
        """Places of each example's own videos, [B, 1 + N]: the chosen one, then its negatives."""
        return torch.cat([self.positive.unsqueeze(1), self.negative], 1)

    def scores(self, head: Head) -> tuple[Tensor, Tensor]:
        """Scores of the positives [B, 1] and of the negatives [B, N]."""
        if self.negative.dim() == 1:
            own = head.compare_at(self.state, self.video, self.positive.unsqueeze(1))
            return own, head.compare(self.state, F.embedding(self.negative, self.video))
        scores = head.compare_at(self.state, self.video, self.candidates)
        return scores[:, :1], scores[:, 1:]

    def cosines(self, head: Head) -> tuple[Tensor, Tensor]:
        """The same of cosines, whatever the head makes of rows."""
        unit = self.unit(head)
        cosines = head.products.dot_at(unit.state, unit.video, self.candidates)
        return cosines[:, :1], cosines[:, 1:]

    def unit(self, head: Head) -> Examples:
        """The same with states and videos of norm 1, by the head's products."""
        state, video = head.products.unit(self.state, self.video)
        return self._replace(state=state, video=video)


@dataclass(frozen=True)
class Objective:
    """Base of the objectives: a value without weights, called with a batch's examples.

    Attributes:
        every_video: the batch is compared with the whole catalogue.
        by_columns: rows meet in the head alone, so that their columns may lie in several processes.
    """

    every_video: ClassVar[bool] = False
    by_columns: ClassVar[bool] = False

    @property
    def draws(self) -> Draws:
        """Which negatives the sampler draws; none by default."""
        return Draws(0)

    def memory(self, num_users: int) -> nn.Module | None:
        """What it must remember from batch to batch, as buffers of a module; None by default.

        The objective itself is a value and holds no state: the model keeps the module, so that it is saved, resumed and
        moved with the weights, and gives it back in ``examples.memory``.
        """
        return None

    def check(self, head: Head) -> None:
        """Refuses a head that it cannot train.

        Raises:
            ValueError: says why, and what to use instead.
        """

    def __call__(self, head: Head, examples: Examples, graph: MultimodalGraph) -> dict[str, Tensor]:
        """Named scalar terms, each a mean over the examples.

        Args:
            head: compares states with videos.
            examples: the batch.
            graph: gives how often each video was chosen.
        """
        raise NotImplementedError(f"{type(self).__name__} has no terms")


def at_least(name: str, value: float, least: float, *, above: bool = False) -> None:
    """Refuses a setting below ``least``, or at it where it has to be ``above``; negatives are counted, not measured."""
    if name == "negatives":
        checks.count(value, name, int(least))
    else:
        checks.number(value, name, least, above=above)


def needs_rows(objective: Objective, head: Head) -> None:
    """Refuses a head that does not compare rows."""
    if not head.compares_rows:
        raise ValueError(
            f"{type(objective).__name__} compares rows, which {type(head).__name__} does not: use a dot product, or an "
            "objective on scores (BPR, BCE, SampledSoftmax)"
        )
