"""Where the coroutines of an event loop ask the engine and write to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import TypeVar

from mmgraph.serve.answering import Asked
from mmgraph.serve.engine import MICRO_BATCH, Engine, settle_all
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.question import Answer, Question
from mmgraph.serve.state import State

PATIENCE = 5.0  # seconds for what has no popular list to fall back to
T = TypeVar("T")


class Desk:
    """Asks together what came within one turn of the loop.

    Where the engine has the time the answers are found in the loop's own thread; else they wait for the engine's, up to
    a deadline.

    Args:
        engine: who answers.
        log: where writes go.
        deadline: seconds after which a recommendation is the popular list.
    """

    def __init__(self, engine: Engine, log: SqliteLog, deadline: float) -> None:
        self.engine, self.log, self.deadline = engine, log, deadline
        self._asked: list[Asked] = []

    async def ask(self, question: Question) -> Answer:
        """The answer; the popular list when it comes too late.

        Raises:
            Busy, Unready, UnknownId, UnknownColumn: as the engine says.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answer] = loop.create_future()
        if not self._asked:
            loop.call_soon(self._pass_on)
        self._asked.append(Asked(question, done, loop))
        try:
            return await done
        except TimeoutError:
            return self.engine.late(question)

    def _pass_on(self) -> None:
        asked, self._asked = self._asked, []
        for start in range(0, len(asked), MICRO_BATCH):
            some = asked[start : start + MICRO_BATCH]
            try:
                if self.engine.at_once(some):
                    settle_all(some)
                    continue
            except Exception as error:
                _refuse(some, error)
                continue
            for one in some:
                self._wait(one)

    def _wait(self, one: Asked) -> None:
        try:
            self.engine.enter(one)
        except Exception as error:
            _refuse([one], error)
            return
        # half the price of asyncio.timeout, which cancels and catches
        timer = asyncio.get_running_loop().call_later(self.deadline, _expire, one.done)
        one.done.add_done_callback(lambda _: timer.cancel())

    async def ask_all(self, questions: Sequence[Question]) -> list[Answer]:
        """The answers to several questions at once; without a deadline.

        Raises:
            Busy, Unready, UnknownId, UnknownColumn: as the engine says.
        """
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*(asyncio.wrap_future(done) for done in self.engine.ask_all(questions)))

    async def look(self, function: Callable[[State], T]) -> T:
        """What a function says of the state, with everything folded in that was written before."""
        return await _result(self.engine.look(function))

    async def applied(self, seq: int) -> None:
        """Waits until everything up to a place of the log counts in answers."""
        if self.engine.state.seq < seq:
            await _result(self.engine.applied(seq))

    async def write(self, events: Sequence[Event]) -> tuple[int, int, int]:
        """Appends and waits until it counts in answers: seq, accepted, duplicates."""
        done = await asyncio.wrap_future(self.log.submit(events))
        await self.applied(done.seq)
        return done.seq, done.accepted, done.duplicates


async def _result(done: futures.Future[T]) -> T:
    if done.done():
        return done.result()
    async with asyncio.timeout(PATIENCE):
        return await asyncio.wrap_future(done)


def _refuse(asked: Sequence[Asked], error: Exception) -> None:
    for one in asked:
        one.outcome = error
        one.settle()


def _expire(future: futures.Future[Answer] | asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
