"""Progress on a terminal and off it."""

from __future__ import annotations

import io
import threading

from mmgraph import progress as progress_module
from mmgraph.progress import Advance, Lines, clock, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(advance: Advance) -> None:
    advance(3, "done")


def test_nothing_is_shown_unless_asked(capsys) -> None:
    with progress("epochs", 3) as advance:
        work(advance)
    assert capsys.readouterr() == ("", "")


def test_a_short_step_leaves_no_line_off_a_terminal() -> None:
    out = io.StringIO()
    with progress("epochs", 3, shown=True, out=out) as advance:
        advance()
    assert out.getvalue() == ""


def test_a_long_step_prints_by_itself_and_once_more_at_its_end(monkeypatch) -> None:
    monkeypatch.setattr(progress_module, "FIRST", 0.0)
    monkeypatch.setattr(progress_module, "EVERY", 1e9)
    printed = threading.Event()

    class Out(io.StringIO):
        def flush(self) -> None:
            printed.set()

    out = Out()
    with progress("epochs", 4, shown=True, out=out) as advance:
        assert printed.wait(30)  # no call of advance was needed
        advance(4, "loss 0.1")
    first, last = out.getvalue().splitlines()
    assert first == "epochs: 0 of 4, 0 s"
    assert last == "epochs: 4 of 4, 0 s, loss 0.1"
    lines = Lines("still", 1, 0, out)
    lines.tick()
    lines.close()
    assert out.getvalue().count("still") == 1  # nothing has changed


def test_a_line_says_what_is_known() -> None:
    lines = Lines("pictures", 2000, 1000, io.StringIO())
    assert lines.line(3) == "pictures: 1,000 of 2,000, 3 s"
    lines.advance(250, "reading")
    lines.advance(250)
    assert lines.line(70) == "pictures: 1,500 of 2,000, 1 min 10 s, 1 min 10 s left, reading"
    unknown = Lines("index", None, 0, io.StringIO())
    assert unknown.line(8) == "index: 8 s"
    unknown.advance(3)
    assert unknown.line(8) == "index: 3, 8 s"


def test_seconds_read_like_a_clock() -> None:
    assert [clock(s) for s in (0.4, 59.4, 59.6, 185, 7440)] == ["0 s", "59 s", "1 min 0 s", "3 min 5 s", "2 h 4 min"]


def test_a_terminal_gets_a_bar_and_labels_are_no_markup() -> None:
    out = Terminal()
    with progress("[/] my [bold]model", 2, shown=True, out=out) as advance:
        advance(2, "[/red] note")
    assert "2/2" in out.getvalue()
    assert "[/] my [bold]model" in out.getvalue()
    assert "[/red] note" in out.getvalue()


def test_a_bar_of_a_passing_step_is_wiped_away() -> None:
    out = Terminal()
    with progress("hashing", 2, shown=True, lasting=False, out=out) as advance:
        advance(2)
    assert out.getvalue().endswith("\x1b[2K")  # the line is erased
