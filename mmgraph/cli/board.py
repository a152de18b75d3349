"""The live table of ``mmgraph bench``."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mmgraph.cli.text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmgraph.experiment import Job, Progress, Suite


class Board:
    """Shows a suite as it is worked: a table that stays in its place on a terminal, one line a change anywhere else.

    Args:
        suite: what is worked.
        console: where; standard error without.
    """

    def __init__(self, suite: Suite, console: Console | None = None) -> None:
        from rich.console import Console

        self.suite = suite
        self.console = Console(file=sys.stderr, highlight=False) if console is None else console
        self.last = ""
        self.live: Any = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            from rich.live import Live

            self.live = Live(console=self.console, auto_refresh=False)
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, progress: Progress) -> None:
        """Shows where the suite stands."""
        text = summary(progress)
        if self.live is not None:
            self.live.update(board(self.suite, progress), refresh=True)
        elif text != self.last:
            self.console.print(text, markup=False, soft_wrap=True)
        self.last = text


def board(suite: Suite, progress: Progress) -> Table:
    """One row an experiment: its runs that are done, running, left, failed; its budget, its time and the rest."""
    from rich.table import Table
    from rich.text import Text

    out = Table(title=Text(summary(progress)), title_justify="left")
    out.add_column("experiment")
    for name in ("done", "running", "left", "failed", "tuning budget", "trained for", "about left"):
        out.add_column(name, justify="right")
    everyone = [job.seconds for job in progress.jobs if job.seconds is not None]
    for name in dict.fromkeys(job.experiment for job in progress.jobs):
        jobs = [job for job in progress.jobs if job.experiment == name]
        out.add_row(Text(one_line(name)), *_row(suite, progress, name, jobs, everyone))
    return out


def _row(suite: Suite, progress: Progress, name: str, jobs: list[Job], everyone: list[float]) -> list[str]:
    def count(*states: str) -> int:
        return sum(job.state in states for job in jobs)

    over = [job.seconds for job in jobs if job.seconds is not None]
    known = over or everyone
    left = count("waiting", "running")
    estimate = span(left * sum(known) / len(known)) if left and known else "–" if not left else "?"
    trained = count("trained")
    done = f"{count('done') + trained} of {len(jobs)}"
    return [
        done + (" (test closed)" if trained else ""),
        "tuning" if progress.tuning == name else str(count("running") or "–"),
        str(left or "–"),
        str(count("failed") or "–"),
        _budget(suite, name),
        span(sum(over)) if over else "–",
        estimate,
    ]


def _budget(suite: Suite, name: str) -> str:
    tuned = any(m.tuning.space and name in (m.name, f"{m.name}-tuned") for m in suite.members())
    if not suite.trials or not tuned:
        return "–"
    return f"{suite.trials} trials" + (f", {span(suite.seconds)}" if suite.seconds else "")


def summary(progress: Progress) -> str:
    """One line: what is tuned, done, trained, running, left, failed, and how long that will take."""
    counts = [(progress.count(state), state) for state in ("done", "trained", "running", "waiting", "failed")]
    parts = [f"{count} {state}" for count, state in counts if count]
    if progress.tuning:
        parts.insert(0, f"tuning {progress.tuning}")
    left = progress.estimate
    if left:
        parts.append(f"about {span(left)} of training left")
    return f"{progress.suite}: {', '.join(parts)} ({span(progress.seconds)} trained)"


def span(seconds: float) -> str:
    """Seconds in words of one unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
