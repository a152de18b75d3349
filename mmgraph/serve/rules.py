"""What an operator adds to the constraint: quotas of columns, and concepts that have to be mastered first."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mmgraph.constraint import Constraint, Prerequisites, Quota
from mmgraph.ops import CSR
from mmgraph.serve.state import State

_QUOTA = re.compile(r"([^:]+):(.+?)(<=|>=)(\d{1,4})")


@dataclass(frozen=True)
class ColumnQuota:
    """How many videos of a column's value a list may or has to hold: ``tag:ads<=2``, ``tag:news>=1``."""

    column: str
    value: str
    at_least: int = 0
    at_most: int | None = None

    @classmethod
    def parse(cls, text: str) -> ColumnQuota:
        """From ``COLUMN:VALUE<=N`` or ``COLUMN:VALUE>=N``.

        Raises:
            ValueError: another form.
        """
        found = _QUOTA.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"a quota is COLUMN:VALUE<=N or COLUMN:VALUE>=N, not {text!r}")
        column, value, sign, number = found.groups()
        bounds = {"at_most": int(number)} if sign == "<=" else {"at_least": int(number)}
        return cls(column, value, **bounds)

    def group(self, state: State) -> Tensor:
        """[V] bool, the videos it is about; none where no video has the column."""
        try:
            found = state.allowed({self.column: [self.value]})
        except KeyError:
            found = None
        return torch.zeros(len(state.index), dtype=torch.bool) if found is None else found


@dataclass(frozen=True, eq=False)
class Concepts:
    """A video may be shown to who has met videos that teach every concept it needs: :class:`Prerequisites` of a state.

    Attributes:
        state: where users, what they met, and the videos' columns are.
        needs, teaches: the columns that name concepts. A concept that a video teaches itself is none of its needs.
    """

    state: State
    needs: str
    teaches: str

    def permits(self, users: Tensor, num_videos: int) -> Tensor:
        """[B, V] bool; a user that nobody knows has mastered nothing."""
        state = self.state
        needs, column, taught = state.columns.remembered(
            f"concepts {self.needs} {self.teaches}", len(state.index), self._read
        )
        met = [state.profiles.seen(user).tolist() if user < len(state.users) else [] for user in users.tolist()]
        mastered = [{concept for row in dict.fromkeys(rows) for concept in taught[row]} for rows in met]
        return Prerequisites(needs, _csr(mastered, column)).permits(torch.arange(len(users)), num_videos)

    def _read(self) -> tuple[CSR, dict[str, int], list[list[str]]]:
        """What each video needs, the concepts' places, what each teaches."""
        size = len(self.state.index)
        taught = [_texts(self.state, row, self.teaches) for row in range(size)]
        needed = [set(_texts(self.state, row, self.needs)) - set(taught[row]) for row in range(size)]
        column = {concept: at for at, concept in enumerate(sorted(set().union(*needed)))}
        return _csr(needed, column), column, taught

    def digest(self) -> str:
        """What it depends on: the columns, and how far the log is folded."""
        return f"concepts {self.needs} {self.teaches} {self.state.bundle.id} {self.state.seq}"


@dataclass(frozen=True)
class ServerRules:
    """Adds quotas and concepts to a state's constraint.

    Attributes:
        quotas: a video of several groups counts for the first of them.
        needs, teaches: the columns of :class:`Concepts`; both, or none.

    Raises:
        ValueError: one column without the other.
    """

    quotas: tuple[ColumnQuota, ...] = ()
    needs: str | None = None
    teaches: str | None = None

    def __post_init__(self) -> None:
        if (self.needs is None) != (self.teaches is None):
            raise ValueError("concepts need both columns: what a video needs and what it teaches")

    def __call__(self, constraint: Constraint, state: State) -> Constraint:
        """The constraint with all of it."""
        taken = torch.zeros(constraint.num_videos, dtype=torch.bool)
        quotas = []
        for one in self.quotas:
            group = one.group(state) & ~taken
            taken |= group
            name = f"{one.column}:{one.value}"
            quotas.append(Quota(group, at_least=one.at_least, at_most=one.at_most, name=name))
        rules = () if self.needs is None or self.teaches is None else (Concepts(state, self.needs, self.teaches),)
        return replace(constraint, quotas=tuple(quotas), rules=rules)


def _texts(state: State, row: int, name: str) -> list[str]:
    value = state.columns.of(row, name)
    return value if isinstance(value, list) else [] if value is None else [value]


def _csr(sets: list[set[str]], column: dict[str, int]) -> CSR:
    rows = [sorted(column[concept] for concept in one if concept in column) for one in sets]
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    indices = np.array([at for row in rows for at in row], np.int32)
    return CSR(torch.from_numpy(indptr), torch.from_numpy(indices), None, (len(rows), len(column)))
