"""Further processes that do what was typed, beside this one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from mmgraph.cli.shell import UsageError


@contextlib.contextmanager
def beside(count: int) -> Iterator[None]:
    """While the block runs, ``count`` more processes run this command as one worker each; then they are waited for.

    Raises:
        UsageError: one of them failed; what it did not finish is gone on with by typing the command again.
    """
    command = [sys.executable, "-m", "mmgraph.cli", *alone(sys.argv[1:])]
    with contextlib.ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        others = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file) for file in said]
        try:
            yield
            codes = [other.wait() for other in others]
        except BaseException:
            for other in others:
                other.terminate()
            for other in others:
                other.wait()
            raise
        failed = [(code, file) for code, file in zip(codes, said, strict=True) if code]
        for code, file in failed:
            file.seek(0)
            last = file.read().decode(errors="replace").strip().splitlines()[-3:]
            raise UsageError(
                f"{len(failed)} of {count} further workers failed; type it again to go on. One ended with exit code "
                f"{code}: " + "\n".join(last)
            )


def alone(typed: list[str]) -> list[str]:
    """The same arguments for a single worker."""
    out, skip = [], False
    for word in typed:
        if skip or word == "--workers" or word.startswith("--workers="):
            skip = word == "--workers"
            continue
        out.append(word)
    return out
