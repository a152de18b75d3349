"""The one progress bar: a bar on a terminal, a plain line every few seconds anywhere else, nothing unless asked."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

__all__ = ["Advance", "progress"]

FIRST, EVERY = 2.0, 5.0


class Advance(Protocol):
    """What a step calls: ``advance(3)`` after three more, ``advance(1, "loss 0.21")`` with a word about them."""

    def __call__(self, amount: int = 1, note: str = "", /) -> None:
        """``amount`` more are done."""
        ...


@contextmanager
def progress(
    label: str,
    total: int | None = None,
    *,
    shown: bool = False,
    done: int = 0,
    lasting: bool = True,
    out: TextIO | None = None,
) -> Iterator[Advance]:
    """Shows how far a step is, while the block runs.

    ::

        with progress("epochs", 100, shown=True) as advance:
            for epoch in range(100):
                advance(1, f"loss {loss:.3f}")

    On a terminal a bar with the time left. Elsewhere (a pipe, a log file, a notebook's server) a line after two seconds
    and then every five, also while a single call takes long; a step that ends sooner leaves no trace.

    Args:
        label: what is going on.
        total: how many there are; None where nobody knows.
        shown: False shows nothing, and costs nothing.
        done: how many are done already.
        lasting: on a terminal, leave the bar there when the step is over; False for steps that are usually short.
        out: where to; by default stderr.
    """
    out = sys.stderr if out is None else out
    if not shown or out is None:
        yield lambda amount=1, note="", /: None
        return
    if out.isatty():
        with _bar(label, total, done, lasting, out) as advance:
            yield advance
        return
    lines = Lines(label, total, done, out)
    finished = threading.Event()
    ticker = threading.Thread(target=lines.run, args=(finished,), name="progress", daemon=True)
    ticker.start()
    try:
        yield lines.advance
    finally:
        finished.set()
        ticker.join()
        lines.close()


class Lines:
    """Progress in plain lines: what :func:`progress` prints where there is no terminal."""

    def __init__(self, label: str, total: int | None, done: int, out: TextIO) -> None:
        self.label, self.total, self.done, self.out = label, total, done, out
        self.start, self.note = done, ""
        self.printed: tuple[int, str] | None = None
        self.began = time.perf_counter()

    def advance(self, amount: int = 1, note: str = "", /) -> None:
        """``amount`` more are done."""
        self.done += amount
        self.note = note or self.note

    def run(self, finished: threading.Event) -> None:
        """Prints until told to stop: first after ``FIRST`` seconds, then every ``EVERY``."""
        pause = FIRST
        while not finished.wait(pause):
            self.tick()
            pause = EVERY

    def tick(self) -> None:
        """Prints where the step is now."""
        self.printed = self.done, self.note
        self.out.write(self.line(time.perf_counter() - self.began) + "\n")
        self.out.flush()

    def close(self) -> None:
        """One last line, where there was one and something has changed since."""
        if self.printed not in (None, (self.done, self.note)):
            self.tick()

    def line(self, seconds: float) -> str:
        """``label: 40 of 100, 12 s, 18 s left, note``, with what is known of it."""
        parts = []
        if self.total is not None:
            parts.append(f"{self.done:,} of {self.total:,}")
        elif self.done:
            parts.append(f"{self.done:,}")
        parts.append(clock(seconds))
        new = self.done - self.start
        if self.total is not None and new > 0 and self.done < self.total:
            parts.append(f"{clock(seconds / new * (self.total - self.done))} left")
        if self.note:
            parts.append(self.note)
        return f"{self.label}: {', '.join(parts)}"


def clock(seconds: float) -> str:
    """Seconds for people: ``8 s``, ``3 min 5 s``, ``2 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def _bar(label: str, total: int | None, done: int, lasting: bool, out: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}", markup=False), BarColumn(24), MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False)]
    with Progress(*columns, console=Console(file=out), transient=not lasting) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")

        def advance(amount: int = 1, note: str = "", /) -> None:
            if note:
                bar.update(task, advance=amount, note=note)
            else:
                bar.update(task, advance=amount)

        yield advance
