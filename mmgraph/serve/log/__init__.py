"""The event log: what happened, in order, once; everything a server knows is a fold over it."""

from __future__ import annotations

from mmgraph.serve.log.base import Appended, Entry, Event, EventLog, LogError, LogFullError
from mmgraph.serve.log.events import EventError, derived_id, interaction
from mmgraph.serve.log.kafka import KafkaLog
from mmgraph.serve.log.redis import RedisLog
from mmgraph.serve.log.sqlite import SqliteLog

__all__ = [
    "Appended",
    "Entry",
    "Event",
    "EventError",
    "EventLog",
    "KafkaLog",
    "LogError",
    "LogFullError",
    "RedisLog",
    "SqliteLog",
    "derived_id",
    "interaction",
]
