"""The log in one partition of a Kafka topic."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from mmgraph.serve.log.base import Appended, Entry, Event, LogError

_WAIT = 10.0  # seconds for a broker to answer
REMEMBER = 1_000_000  # event ids kept to tell duplicates


class KafkaLog:
    """An :class:`EventLog` in one partition of a topic, which is what Kafka keeps in order; ``seq`` is the offset + 1.

    A topic cannot be asked for an id, so the ids of the last million events are read at the start and kept up while
    reading: a duplicate is passed over wherever it comes from, and ``seq`` skips it. Beyond that window, and between
    two writers at the very same moment, the reader's own fold is what tells a duplicate.

    Args:
        servers: bootstrap servers, as ``127.0.0.1:9092``.
        topic: made where it does not exist, if the broker makes topics.
        partition: which; the others are neither read nor written.
        settings: more settings of librdkafka, such as security.

    Raises:
        ImportError: without the package: ``pip install mmgraph[kafka]``.
        LogError: no broker answers, or the topic has no such partition.
    """

    def __init__(
        self, servers: str, topic: str = "mmgraph", partition: int = 0, *, settings: dict[str, Any] | None = None
    ) -> None:
        try:
            import confluent_kafka as kafka
        except ImportError as error:
            raise ImportError("a Kafka log needs the package confluent-kafka: pip install 'mmgraph[kafka]'") from error
        self._kafka, self.topic = kafka, topic
        self._settings = {"bootstrap.servers": servers, **(settings or {})}
        self._producer = kafka.Producer({**self._settings, "enable.idempotence": True, "linger.ms": 1})
        try:
            about = self._producer.list_topics(topic, timeout=_WAIT).topics[topic]
        except kafka.KafkaException as error:
            raise LogError(f"no Kafka broker answers at {servers}: {error}") from error
        if about.partitions and partition not in about.partitions:
            raise LogError(f"topic {topic!r} has partitions {sorted(about.partitions)}, not {partition}")
        self.partition, self._place = partition, functools.partial(kafka.TopicPartition, topic, partition)
        self._readers: dict[str, Any] = {}
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._known = max(0, self._end() - REMEMBER)  # ids are known of offsets below it
        self._learn()

    def append(self, events: Sequence[Event]) -> Appended:
        """Stores what is new of these; returns when the broker has them all.

        Raises:
            LogError: the broker refused or did not answer; some of the events may be stored, and sending all again is
                safe.
        """
        self._learn()
        failures: list[Any] = []
        offsets: list[int] = []

        def report(error: Any, message: Any) -> None:
            if error is not None:
                failures.append(error)
            else:
                offsets.append(message.offset())

        highest = accepted = 0
        fresh: set[str] = set()
        for event in events:
            if event.id in fresh:
                continue
            if event.id in self._ids:
                highest = max(highest, self._ids[event.id])
                continue
            fresh.add(event.id)
            self._produce(event, report)
            accepted += 1
        if self._producer.flush(_WAIT) or failures:
            raise LogError(
                f"topic {self.topic!r} took {len(offsets)} of {accepted} events: {failures[:1] or 'no answer'}"
            )
        highest = max([highest, *(offset + 1 for offset in offsets)])
        return Appended(highest, accepted, len(events) - accepted)

    def _produce(self, event: Event, report: Any) -> None:
        for _ in range(100):
            try:
                place = {"partition": self.partition, "timestamp": int(time.time() * 1000), "on_delivery": report}
                return self._producer.produce(self.topic, event.encode(), event.id, **place)
            except BufferError:  # the local queue is full: let some of it go out
                self._producer.poll(0.1)
        raise LogError(f"topic {self.topic!r}: the local queue stays full")

    def read(self, after: int = 0, limit: int = 1000) -> list[Entry]:
        """The first ``limit`` entries with ``seq > after``, in order, without duplicates."""
        out: list[Entry] = []
        end = self._end()
        for message in self._messages("read", after, end):
            event, seq = Event.decode(message.value()), message.offset() + 1
            if self._ids.setdefault(event.id, seq) == seq:
                out.append(Entry(seq, message.timestamp()[1] / 1000, event))
            self._forget()
            if len(out) >= limit:
                break
        return out

    def last(self) -> int:
        """The highest ``seq``; 0 for an empty log."""
        return self._end()

    def commit(self, consumer: str, seq: int) -> None:
        """Notes at the broker that a consumer group is done with everything up to ``seq``; it never goes back."""
        if seq <= self.committed(consumer):
            return
        group = self._reader(consumer)
        group.commit(offsets=[self._place(seq)], asynchronous=False)

    def committed(self, consumer: str) -> int:
        """Where a consumer group is; 0 for one that never committed."""
        found = self._reader(consumer).committed([self._place()], timeout=_WAIT)
        return max(0, found[0].offset)

    def close(self) -> None:
        """Lets go of the connections."""
        self._producer.flush(_WAIT)
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _reader(self, group: str) -> Any:
        if group not in self._readers:
            settings = {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
            self._readers[group] = self._kafka.Consumer({**self._settings, **settings})
        return self._readers[group]

    def _end(self) -> int:
        place = self._place()
        try:
            return self._reader("mmgraph-offsets").get_watermark_offsets(place, timeout=_WAIT)[1]
        except self._kafka.KafkaException as error:
            raise LogError(f"topic {self.topic!r} failed: {error}") from error

    def _messages(self, reader: str, start: int, end: int) -> Any:
        """Messages of offsets [start, end)."""
        if start >= end:
            return
        consumer = self._reader(f"mmgraph-{reader}")
        consumer.assign([self._place(start)])
        with contextlib.ExitStack() as stack:
            stack.callback(consumer.unassign)
            waited = time.monotonic()
            while start < end:
                for message in consumer.consume(500, timeout=0.2):
                    if message.error():
                        raise LogError(f"topic {self.topic!r} failed: {message.error()}")
                    waited = time.monotonic()
                    start = message.offset() + 1
                    if message.offset() < end:
                        yield message
                if time.monotonic() - waited > _WAIT:
                    raise LogError(f"topic {self.topic!r}: no message for {_WAIT:.0f} s, {end - start} still to come")

    def _learn(self) -> None:
        """Reads the ids that came since; those of duplicates keep their first place."""
        end = self._end()
        for message in self._messages("ids", self._known, end):
            self._ids.setdefault((message.key() or b"").decode(), message.offset() + 1)
            self._forget()
        self._known = max(self._known, end)

    def _forget(self) -> None:
        while len(self._ids) > REMEMBER:
            self._ids.popitem(last=False)
