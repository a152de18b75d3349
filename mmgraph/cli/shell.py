"""What all commands share: output, errors as messages, exit codes, what to do after a stop."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from mmgraph.cli.text import one_line, plain

if TYPE_CHECKING:
    from types import FrameType

# Exit codes. 2 is click's: the options do not parse.
REFUSED = 1
FAULT = 3
SIGNALLED = 128  # + the signal's number, as shells have it: 130 after Ctrl-C, 143 after SIGTERM

_options: dict[str, bool] = {"traceback": False}
_EXPECTED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OSError,
    ImportError,
    FloatingPointError,
    RuntimeError,
    MemoryError,
)


class UsageError(Exception):
    """A mistake in what was typed: shown as one message, without a traceback."""


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP, raised where the program stands: whatever saves its work on Ctrl-C saves it here too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def begin(*, traceback: bool) -> None:
    """Once a process: remember the options, and never fail on a terminal that lacks a character."""
    _options["traceback"] = traceback
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: object, *, err: bool = False) -> None:
    """Text to stdout, or stderr; nothing in it steers the terminal."""
    typer.echo(plain(text), err=err)


def say_table(title: str, columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> None:
    """A table to stdout; `columns` are title -> "left" or "right". Cells are text, never markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(one_line(title)), title_justify="left")
    for name, side in columns.items():
        shown.add_column(Text(one_line(name)), justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(one_line(cell)) for cell in row))
    Console(markup=False, highlight=False).print(shown)


def print_json(value: Any) -> None:
    """One JSON document on stdout: what ``--json`` promises. NaN and infinity become null."""
    # text from data stays ASCII: no character of it reaches the terminal raw
    typer.echo(json.dumps(_finite(value), indent=1, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value


def this_command(*more: str) -> str:
    """What was typed, with further options, fit to be typed again."""
    typed = sys.argv[1:]
    return shlex.join(["mmgraph", *typed, *(option for option in more if option not in typed)])


@contextlib.contextmanager
def errors_for_people(go_on: Callable[[], str] | None = None) -> Iterator[None]:
    """Turns errors into one paragraph each on stderr and an exit code.

    Args:
        go_on: gives what to say after a stop, such as the command that goes on; nothing where it would be the same.
    """
    with _signals_as_exceptions():
        try:
            yield
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Stopped) else int(signal.SIGINT)
            how = f" by {signal.Signals(number).name}" if isinstance(stop, Stopped) else ""
            say(f"stopped{how}" + (f"; {go_on()}" if go_on is not None else ""), err=True)
            raise typer.Exit(SIGNALLED + number) from None
        except BrokenPipeError:  # whoever read has seen enough
            with contextlib.suppress(OSError):
                sys.stdout.close()
            raise typer.Exit(SIGNALLED + int(signal.SIGPIPE)) from None
        except Exception as error:
            if _options["traceback"]:
                raise
            raise typer.Exit(_explain(error)) from None


def _explain(error: Exception) -> int:
    """Says what went wrong; returns the exit code."""
    if not isinstance(error, (UsageError, *_EXPECTED)):
        say(f"error: a fault in mmgraph, or in code of yours that it ran: {type(error).__name__}: {error}", err=True)
        say("(mmgraph --traceback … shows where)", err=True)
        return FAULT
    say(f"error: {message_of(error)}", err=True)
    others = getattr(error, "others", ())  # of a DataError; its module would bring torch
    for other in others:
        say(f"error: {message_of(other)}", err=True)
    if others:
        say(f"{1 + len(others)} problems", err=True)
    if not isinstance(error, UsageError):
        say("(mmgraph --traceback … shows where)", err=True)
    return REFUSED


def message_of(error: BaseException) -> str:
    """What an error says, in words."""
    if isinstance(error, MemoryError):
        return "not enough memory" + (f": {error}" if str(error) else "")
    if type(error) is KeyError and len(error.args) == 1:  # its str() is the repr of the message
        message = str(error.args[0])
        return message if " " in message else f"no such key: {message!r}"
    return str(error) or type(error).__name__


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """While a command runs, SIGTERM and SIGHUP raise :class:`Stopped`; a signal that nohup ignores stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
