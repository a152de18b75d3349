"""The log in a Redis stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmgraph.serve.log.base import Appended, Entry, Event, LogError, LogFullError

if TYPE_CHECKING:
    import redis

# One script, so that looking an id up, numbering and storing are one step for every client of the server.
_APPEND = """
local highest, accepted = 0, 0
for i = 2, #ARGV, 2 do
  local seq = redis.call('HGET', KEYS[2], ARGV[i])
  if not seq then
    seq = redis.call('INCR', KEYS[3])
    redis.call('XADD', KEYS[1], seq .. '-0', 'received', ARGV[1], 'event', ARGV[i + 1])
    redis.call('HSET', KEYS[2], ARGV[i], seq)
    accepted = accepted + 1
  end
  highest = math.max(highest, tonumber(seq))
end
return {highest, accepted}
"""


class RedisLog:
    """An :class:`EventLog` in a Redis stream: entry ``n-0`` is ``seq`` n; ids and consumers are hashes beside it.

    What is acknowledged is as durable as the server's ``appendonly`` and ``appendfsync`` make it: ``always`` for what
    ``SqliteLog`` does by itself.

    Args:
        url: as ``redis://127.0.0.1:6379/0``.
        name: of the stream; ``<name>:ids``, ``<name>:seq`` and ``<name>:consumers`` belong to it.
        client: an open ``redis.Redis`` in place of ``url``.

    Raises:
        ImportError: without the package: ``pip install mmgraph[redis]``.
    """

    def __init__(self, url: str = "redis://127.0.0.1:6379/0", name: str = "mmgraph", *, client: Any = None) -> None:
        try:
            import redis
            import redis.exceptions
        except ImportError as error:
            raise ImportError("a Redis log needs the package redis: pip install 'mmgraph[redis]'") from error
        self._errors = redis.RedisError
        self._full = redis.exceptions.OutOfMemoryError
        self._redis: redis.Redis = redis.Redis.from_url(url) if client is None else client
        self.name = name
        self._keys = [name, f"{name}:ids", f"{name}:seq"]
        self._append = self._redis.register_script(_APPEND)

    def append(self, events: Sequence[Event]) -> Appended:
        """Stores what is new of these, all or none; see :meth:`EventLog.append`."""
        if not events:
            return Appended(0, 0, 0)
        values: list[Any] = [repr(time.time())]
        for event in events:
            values += [event.id, event.encode()]
        highest, accepted = self._ask(self._append, self._keys, values)
        return Appended(int(highest), int(accepted), len(events) - int(accepted))

    def read(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """The first ``limit`` entries with ``seq > after``, in order."""
        found = self._ask(self._redis.xrange, self.name, f"{after + 1}-0", "+", limit)
        out = []
        for place, fields in found:
            seq = int(place.split(b"-")[0])
            out.append(Entry(seq, float(fields[b"received"]), Event.decode(fields[b"event"])))
        return out

    def last(self) -> int:
        """The highest ``seq``; 0 for an empty log."""
        return int(self._ask(self._redis.get, f"{self.name}:seq") or 0)

    def commit(self, consumer: str, seq: int) -> None:
        """Notes that a consumer is done with everything up to ``seq``; it never goes back."""
        if seq > self.committed(consumer):
            self._ask(self._redis.hset, f"{self.name}:consumers", consumer, seq)

    def committed(self, consumer: str) -> int:
        """Where a consumer is; 0 for one that never committed."""
        return int(self._ask(self._redis.hget, f"{self.name}:consumers", consumer) or 0)

    def close(self) -> None:
        """Lets go of the connections."""
        self._redis.close()

    def _ask(self, call: Any, *values: Any) -> Any:
        try:
            return call(*values)
        except self._full as error:
            raise LogFullError(f"Redis has no room for {self.name!r}: {error}") from error
        except self._errors as error:
            raise LogError(f"the Redis log {self.name!r} failed: {error}") from error
