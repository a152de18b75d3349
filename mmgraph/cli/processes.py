"""Several processes that do what was typed together, started again from their checkpoint when one is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mmgraph.cli.shell import SIGNALLED, Stopped, say
from mmgraph.process import launched

if TYPE_CHECKING:
    from mmgraph.train.together import Together

LOOK = 0.05  # seconds from one look at the processes to the next
TO_SAVE, TO_END = 120.0, 10.0  # seconds that a process has to write its checkpoint, or to end when another one failed


@contextlib.contextmanager
def processes(device: str) -> Iterator[Together]:
    """The processes that this one is part of; alone where nobody launched several.

    Args:
        device: of the training: NCCL on GPUs, gloo elsewhere.
    """
    from mmgraph.train.together import ALONE

    where = launched()
    if where is None:
        yield ALONE
        return
    from mmgraph.distributed import Columns, joined

    with joined(*where, backend="nccl" if device.startswith("cuda") else "gloo") as wire:
        yield Columns(wire)


def start(count: int, restarts: int, typed: Sequence[str], again: Sequence[str]) -> int:
    """Runs a command in ``count`` processes; the first one shows what it does. Returns the exit code.

    When a signal ends one of them (no memory left, ``kill -9``) all are started again, to go on from their checkpoint,
    ``restarts`` times at most. An error ends the command: it would come again.

    Args:
        count: of processes.
        restarts: see above.
        typed: the command.
        again: the one that goes on with what it left.
    """
    code = 0
    for attempt in range(restarts + 1):
        code = _once(count, again if attempt else typed)
        if code >= 0:
            return code
        name = signal.Signals(-code).name
        if attempt < restarts:
            say(
                f"a process was ended by {name}: all {count} start again and go on ({attempt + 1}/{restarts})", err=True
            )
        else:
            say(f"error: a process was ended by {name}, after {restarts} restarts", err=True)
    return SIGNALLED - code


def this_process(*, going_on: bool = False) -> list[str]:
    """The command that was typed; with ``going_on`` it keeps what is there."""
    typed = [word for word in sys.argv[1:] if not going_on or word not in ("--overwrite", "--resume")]
    return [sys.executable, "-m", "mmgraph.cli", *typed, *(["--resume"] if going_on else [])]


def _once(count: int, typed: Sequence[str]) -> int:
    """The exit code: 0, that of a process that failed, or minus the signal that ended one."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        told = {"WORLD_SIZE": str(count), "MMGRAPH_STORE": f"file://{Path(folder) / 'store'}"}
        told["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
        crew = []
        for rank in range(count):
            # a session of its own: Ctrl-C reaches this process alone, which hands on one signal and not two
            aside = {"stdout": subprocess.DEVNULL, "stderr": said[rank - 1]} if rank else {}
            environment = {**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            crew.append(subprocess.Popen(typed, env=environment, start_new_session=True, **aside))
        try:
            code = _wait(crew)
        except KeyboardInterrupt as stop:
            _end(crew, stop.number if isinstance(stop, Stopped) else signal.SIGINT, TO_SAVE)
            raise
        except BaseException:
            _end(crew, signal.SIGTERM, TO_END)
            raise
        if code > 0 and crew[0].returncode != code:
            _tell_last(said, crew[1:])
        return code


def _wait(crew: Sequence[subprocess.Popen]) -> int:
    while all(process.poll() is None or process.returncode == 0 for process in crew):
        if all(process.returncode == 0 for process in crew):
            return 0
        time.sleep(LOOK)
    # one ended by a signal is the cause, the errors of those that lost it are not
    cause = min(process.returncode for process in crew if process.returncode)
    time.sleep(4 * LOOK)
    cause = min([cause, *(process.returncode for process in crew if process.poll())])
    _end(crew, signal.SIGTERM, TO_END)
    return cause


def _end(crew: Sequence[subprocess.Popen], number: int, seconds: float) -> None:
    """Hands a signal to those that still run, and waits; one that waits for a process that is gone is killed."""
    for process in crew:
        if process.poll() is None:
            process.send_signal(number)
    late = time.monotonic() + seconds
    for process in crew:
        try:
            process.wait(max(late - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tell_last(said: Sequence[IO[bytes]], crew: Sequence[subprocess.Popen]) -> None:
    """What the first process that failed besides the leading one said last."""
    for rank, (file, process) in enumerate(zip(said, crew, strict=True), 1):
        if process.returncode and process.returncode > 0:
            file.seek(0)
            lines = file.read().decode(errors="replace").strip().splitlines()[-3:]
            say(f"error: process {rank} ended with exit code {process.returncode}: " + "\n".join(lines), err=True)
            return
