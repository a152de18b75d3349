"""A stop is an event: SIGINT, SIGTERM and SIGHUP wait until what there is has been written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class StopAsked(BaseException):
    """A signal came where waiting is not needed; only within :meth:`Signals.at_once`."""


class Signals:
    """While the context is open a signal is noted in ``caught``; :meth:`deliver` gives it to whoever had it before.

    A second signal is delivered at once. Signals that are ignored (``nohup``) stay ignored. Outside the main thread, or
    with ``active=False``, nothing is touched.

    Args:
        active: whether to take the signals at all.
    """

    def __init__(self, active: bool = True) -> None:
        self.active = active and threading.current_thread() is threading.main_thread()
        self.caught: int | None = None
        self._before: dict[int, object] = {}
        self._at_once = False

    def __enter__(self) -> Signals:
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _take(self) -> None:
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)] if self.active else []
        for number in numbers:
            before = signal.getsignal(number)
            if before is not None and before != signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._note)

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.caught = self.caught is not None, number
        if again:
            self.deliver()
        elif self._at_once:
            raise StopAsked

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that may be left anywhere: a signal raises :class:`StopAsked` in it."""
        self._at_once = True
        try:
            if self.caught is not None:
                raise StopAsked
            yield
        finally:
            self._at_once = False

    @property
    def name(self) -> str:
        """Of the signal that was caught."""
        return "" if self.caught is None else signal.Signals(self.caught).name

    def deliver(self) -> None:
        """Sends the signal again to the handler there was before; returns where that one lets the program go on."""
        number, self.caught = self.caught, None
        self._give_back()
        if number is not None:
            signal.raise_signal(number)
        self._take()
