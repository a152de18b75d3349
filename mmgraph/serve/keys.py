"""API keys with roles, and how often each may ask."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from mmgraph.serve.http import Problem, Request, Role

_RANK = {role: rank for rank, role in enumerate(get_args(Role))}
_MIN_KEY = 16
_CLIENTS = 10_000


class Keys:
    """The keys of a file: one a line, ``ROLE KEY``, roles ``read`` < ``write`` < ``admin``; ``#`` begins a comment.

    Only hashes are kept. Without a file everybody may do everything, which is for loopback alone.

    Args:
        path: the file.

    Raises:
        ValueError: a line that is no such pair, a key shorter than 16 characters, or no key at all; the number is
            named, the key never.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.open = path is None
        self._roles: dict[bytes, Role] = {}
        if path is None:
            return
        for number, line in enumerate(Path(path).read_text().splitlines(), 1):
            parts = line.split("#")[0].split()
            if not parts:
                continue
            if len(parts) != 2 or parts[0] not in _RANK:
                raise ValueError(f"{path}, line {number}: a line is ROLE KEY, ROLE one of {', '.join(_RANK)}")
            if len(parts[1]) < _MIN_KEY:
                raise ValueError(f"{path}, line {number}: a key has at least {_MIN_KEY} characters")
            self._roles[_hashed(parts[1])] = parts[0]  # type: ignore[assignment]
        if not self._roles:
            raise ValueError(f"{path} holds no key; without --api-key-file the server is open, on loopback only")

    def role(self, request: Request) -> Role | None:
        """The role of the key that the request brings: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``."""
        if self.open:
            return "admin"
        given = request.header("x-api-key")
        kind, _, token = request.header("authorization").partition(" ")
        if kind.lower() == "bearer":
            given = token.strip()
        return self._roles.get(_hashed(given))  # how long it takes says something of a hash, nothing of a key

    def check(self, request: Request, wanted: Role | None) -> None:
        """That the request may do what needs a role; notes its own.

        Raises:
            Problem: no key, an unknown one, or one of a lower role.
        """
        if wanted is None:
            return
        request.role = role = self.role(request)
        if role is None:
            raise Problem("no-key", "send Authorization: Bearer KEY", {"www-authenticate": "Bearer"})
        if _RANK[role] < _RANK[wanted]:
            raise Problem("role", f"this needs a key of role {wanted}, this one has {role}")


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class Rate:
    """At most so many requests a second for each client, a second's worth at once.

    Args:
        per_second: 0 for no limit.
        clock: seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second, self.clock = per_second, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Counts a request.

        Raises:
            Problem: too many; says after how many seconds to come again.
        """
        if not self.per_second:
            return
        now = self.clock()
        left, then = self._left.pop(client, (self.per_second, now))
        left = min(self.per_second, left + (now - then) * self.per_second)
        if left < 1:
            self._left[client] = (left, now)
            wait = max(1, round((1 - left) / self.per_second))
            raise Problem("busy", f"at most {self.per_second:g} requests a second", {"retry-after": str(wait)})
        self._left[client] = (left - 1, now)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
