"""What each user met and when, in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class History:
    """Each user's events in order of time: the seen lists of a bundle.

    Args:
        indptr: [U + 1] int64, where each user's events start.
        video: [E] int32 rows.
        time: [E] float64 UTC seconds, or the place in the list where times are unknown.

    Raises:
        ValueError: arrays that do not fit together.
    """

    def __init__(self, indptr: NDArray[np.int64], video: NDArray[np.int32], time: NDArray[np.float64]) -> None:
        if len(video) != len(time) or indptr[0] != 0 or indptr[-1] != len(video) or (np.diff(indptr) < 0).any():
            raise ValueError(f"{len(indptr)} offsets up to {indptr[-1]}, {len(video)} videos, {len(time)} times")
        self.indptr, self.video, self.time = indptr, video, time

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def videos(self, user: int) -> NDArray[np.int32]:
        """Videos of one user row; empty for one beyond the table."""
        if not 0 <= user < len(self):
            return self.video[:0]
        return self.video[self.indptr[user] : self.indptr[user + 1]]

    def of(self, user: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Videos and times of one user row; empty for one beyond the table."""
        if not 0 <= user < len(self):
            return self.video[:0], self.time[:0]
        at = slice(int(self.indptr[user]), int(self.indptr[user + 1]))
        return self.video[at], self.time[at]
