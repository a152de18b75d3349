"""One thread that owns the state: it folds the log and answers, up to 32 questions at a time."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmgraph.bundle import load
from mmgraph.bundle.folder import MANIFEST
from mmgraph.serve.log import EventLog, LogError
from mmgraph.serve.state import Met, State, StateError

_LOGGER = logging.getLogger("mmgraph.serve")
MICRO_BATCH = 32
WAITING = 256  # questions that may wait
WINDOW = 300.0  # seconds between two rankings by popularity
PROFILES = 60.0  # seconds after which a user's row is brought up to date unasked
_CHUNK = 1000  # entries folded between two batches of questions
_IDLE = 0.05  # seconds after which the log is looked at without a question
_PROFILES_AT_ONCE = 64


class Busy(RuntimeError):
    """More questions wait than may; ask again after a moment."""


class Unready(RuntimeError):
    """The engine is starting or ending."""


class UnknownId(KeyError):
    """A raw id that is not known: ``kind`` ``user`` or ``video``, the id, and ids spelt like it."""

    def __init__(self, kind: str, raw: str, close: Sequence[str] = ()) -> None:
        super().__init__(kind, raw)
        self.kind, self.raw, self.close = kind, raw, tuple(close)


class UnknownColumn(KeyError):
    """A filter by a column that no video has; ``names`` are those there are."""

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(name)
        self.name, self.names = name, tuple(names)


@dataclass
class Question:
    """What to recommend to whom.

    Attributes:
        user: raw id, or None when only a history is given.
        k: how many.
        history: raw video ids, oldest first, in place of what is known of the user.
        exclude: raw video ids that may not be in the list.
        candidates: raw video ids, the only ones that may be in it.
        filter: column -> values, one of which a video must have.
        explain: say why each is in the list.
        unknown_user: ``popular``: a stranger gets the popular list; ``error``: :class:`UnknownId`.
        popular: the popular list and nothing else.
    """

    user: str | None
    k: int = 20
    history: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    candidates: Sequence[str] | None = None
    filter: dict[str, list[str]] = field(default_factory=dict)
    explain: bool = False
    unknown_user: str = "popular"
    popular: bool = False


@dataclass
class Answer:
    """A list, best first.

    Attributes:
        user: raw id.
        items: ``video``, ``score``, ``source`` (``model`` | ``new`` | ``popular``), the title where there is one, and
            ``because`` where it was asked for.
        meta: bundle, seq, when popularity and profile are of, ``fallback`` and why.
    """

    user: str | None
    items: list[dict[str, Any]]
    meta: dict[str, Any]


class _Soon:
    """A future of an event loop as the engine's thread sees it. Results wait in the outbox until the batch is done:
    each wake-up of the loop is a system call, and one does for all."""

    __slots__ = ("future", "outbox")

    def __init__(self, future: asyncio.Future[Answer], outbox: list) -> None:
        self.future, self.outbox = future, outbox

    def set_running_or_notify_cancel(self) -> bool:
        """Whether somebody still waits."""
        return not self.future.done()

    def set_result(self, answer: Answer) -> None:
        """The answer, with the next wake-up."""
        self.outbox.append((self.future, answer, None))

    def set_exception(self, error: BaseException) -> None:
        """The error, with the next wake-up."""
        self.outbox.append((self.future, None, error))

    def done(self) -> bool:
        """Whether it has been answered, or is about to be."""
        return self.future.done() or any(entry[0] is self.future for entry in self.outbox)


def _deliver(entries: list[tuple[asyncio.Future[Answer], Answer, BaseException | None]]) -> None:
    for future, answer, error in entries:
        if not future.done():  # nobody waits for one that was given up
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)


@dataclass
class _Asked:
    question: Question
    done: Future[Answer] | _Soon
    query: torch.Tensor | None = None
    exclude: NDArray[np.int64] | None = None
    history: list[Met] | None = None
    allowed: torch.Tensor | None = None
    fallback: str | None = None
    user: int = -1
    counted: bool = True


class Engine:
    """Questions in, answers out, in the state after everything that was written before the question.

    Before each batch of questions the thread folds what the log holds: what was acknowledged counts in the next answer,
    whichever process wrote it.

    Args:
        bundle: folder of the bundle; :meth:`reload` reads it anew.
        log: what happened and happens. ``log.identity``, where it has one, says which snapshots belong to it.
        snapshot: where the state is kept between runs; None for nowhere.
        keep_snapshots: write it too, not only read it: one process of several does.
        watch: read the bundle anew when its manifest changes.
        waiting: questions that may wait.
        snapshot_every: entries after which a snapshot is written.
        clock: UTC seconds.
    """

    def __init__(
        self,
        bundle: str | Path,
        log: EventLog,
        *,
        snapshot: str | Path | None = None,
        keep_snapshots: bool = True,
        watch: bool = False,
        waiting: int = WAITING,
        snapshot_every: int = 100_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.log, self.clock = Path(bundle), log, clock
        self.identity = str(getattr(log, "identity", "log"))
        self.snapshot_path = None if snapshot is None else Path(snapshot)
        self.keep_snapshots, self.snapshot_every, self.watch = keep_snapshots, snapshot_every, watch
        self.started: Callable[[], Any] = gc.collect
        """Called once the bundle is read and the log folded."""
        self._manifest: tuple[int, int] | None = None
        self._queue: queue.SimpleQueue[_Asked | Callable[[], None] | None] = queue.SimpleQueue()
        self._outbox: list = []
        self._waiting, self._room = 0, waiting
        self._counting = threading.Lock()
        self._reloading = threading.Lock()
        self._state: State | None = None
        self._snapshot_seq = 0
        self._writer: threading.Thread | None = None
        self.closing = False
        self.failed: str | None = None
        self.reloads = 0
        self.batches = 0
        self.questions = 0
        self.log_failures = 0
        self._refreshed = self._looked = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> Engine:
        """Reads the bundle, goes on from the snapshot, folds the log, begins to answer. Returns when it does."""
        self._state = self._made()
        self._snapshot_seq = self._state.seq
        self._refreshed = self.clock()
        self.started()
        self._thread.start()
        return self

    def _made(self) -> State:
        self._manifest = self._stamp()
        bundle = load(self.folder)
        state = State(bundle)
        if self.snapshot_path is not None:
            with contextlib.suppress(FileNotFoundError, StateError):  # then the log is folded from its start
                state = State.restore(bundle, self.identity, self.snapshot_path)
        for tower in (bundle.cold, bundle.tower if bundle.manifest.fold_in.method == "tower" else None):
            if tower is not None:  # now, not while the first new video waits
                tower.load()
        place = bundle.manifest.log
        if place.identity not in (None, self.identity):
            raise StateError(f"bundle {bundle.id} was made from log {place.identity}, this one is {self.identity}")
        state.catch_up(self.log)
        state.publish(self.clock())
        return state

    def _stamp(self) -> tuple[int, int] | None:
        """What changes when another bundle is put in place."""
        try:
            found = (self.folder / MANIFEST).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def close(self) -> None:
        """Answers what waits, writes a snapshot, ends."""
        self.closing = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._writer is not None:
            self._writer.join()
        if self._state is not None and self.snapshot_path is not None and self.keep_snapshots:
            with contextlib.suppress(OSError):  # without a snapshot the next start folds more of the log
                self._state.write(self.identity, self.snapshot_path)

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive() and not self.closing and self.failed is None

    @property
    def waiting(self) -> int:
        """Questions that wait."""
        return self._waiting

    @property
    def state(self) -> State:
        """The state of this moment; only :meth:`call` may look at what changes.

        Raises:
            Unready: there is none yet.
        """
        if self._state is None:
            raise Unready("the bundle is being read")
        return self._state

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, question: Question) -> Future[Answer]:
        """The answer, when it is there.

        Raises:
            Busy: too many wait.
            Unready: starting or ending.
        """
        done: Future[Answer] = Future()
        self._enter(_Asked(question, done))
        return done

    def ask_soon(self, question: Question, future: asyncio.Future[Answer]) -> None:
        """:meth:`ask` for a coroutine: the answer goes into a future of its event loop.

        Raises:
            Busy, Unready: as there.
        """
        self._enter(_Asked(question, _Soon(future, self._outbox)))

    def _enter(self, asked: _Asked) -> None:
        if not self.ready:
            raise Unready("the server is starting or ending")
        with self._counting:
            if self._waiting >= self._room:
                raise Busy(f"{self._waiting} questions wait already")
            self._waiting += 1
        self._queue.put(asked)

    def ask_all(self, questions: Sequence[Question]) -> list[Future[Answer]]:
        """The answers to several questions, which wait in one place of the queue.

        Raises:
            Busy: too many wait.
            Unready: starting or ending.
        """
        out = [self.ask(questions[0])]
        for question in questions[1:]:
            out.append(Future())
            self._queue.put(_Asked(question, out[-1], counted=False))
        return out

    def late(self, question: Question, reason: str = "late") -> Answer:
        """The popular list, made at once in the caller's thread: for when the answer would come too late."""
        state = self.state
        user = -1 if question.user is None else state.users.find(question.user)
        barred = set(state.seen(user).tolist()) if user >= 0 else set()
        barred |= {state.videos.find(raw) for raw in (*question.exclude, *(question.history or ()))}
        only = None if question.candidates is None else {state.videos.find(raw) for raw in question.candidates}
        pairs: list[tuple[int, float]] = []
        for row in state.published.tolist():
            if row in barred or (only is not None and row not in only) or not state.fits(row, question.filter):
                continue
            pairs.append((row, float(state.popularity[row])))
            if len(pairs) == question.k:
                break
        return self._listed(state, _Asked(question, Future(), fallback=reason), pairs, popular=True)

    def applied(self, seq: int) -> Future[int]:
        """Done when everything up to ``seq`` counts in answers; its result is the state's seq."""

        def reach(state: State) -> int:
            while state.seq < seq and state.catch_up(self.log, _CHUNK):
                pass
            return state.seq

        return self.call(reach)

    def call(self, function: Callable[[State], Any]) -> Future[Any]:
        """Runs a function on the state, after the log was folded, between two batches.

        Raises:
            Unready: starting or ending.
        """
        if not self.ready:
            raise Unready("the server is starting or ending")
        done: Future[Any] = Future()

        def work() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(function(self.state))
                except BaseException as error:
                    done.set_exception(error)

        self._queue.put(work)
        return done

    def reload(self) -> dict[str, Any]:
        """Reads the bundle's folder anew, folds the log into it, and puts it in place between two batches.

        Answers go on meanwhile. Returns the old and the new bundle's id.

        Raises:
            BundleError: the folder is no bundle now; the old one goes on.
            Busy: another reload is under way.
        """
        if not self._reloading.acquire(blocking=False):
            raise Busy("another reload is under way")
        try:
            state = self._made()
            before = self.call(lambda old: self._swap(old, state)).result()
            self.reloads += 1
        finally:
            self._reloading.release()
        return {"before": before, "bundle": state.bundle.id}

    def _reload_quietly(self) -> None:
        with contextlib.suppress(ValueError, OSError, Busy, Unready):  # the old bundle goes on
            self.reload()

    def _swap(self, old: State, state: State) -> str:
        state.catch_up(self.log)
        self._state = state
        self._snapshot_seq = state.seq
        before = old.bundle.id
        del old
        gc.collect()
        _trim()
        return before

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        ended = False
        while not ended:
            try:
                job = self._queue.get(timeout=_IDLE)
            except queue.Empty:
                self._tend()
                continue
            asked: list[_Asked] = []
            calls: list[Callable[[], None]] = []
            while True:
                if job is None:
                    ended = True
                elif isinstance(job, _Asked):
                    asked.append(job)
                else:
                    calls.append(job)
                if ended or len(asked) >= MICRO_BATCH or len(calls) >= MICRO_BATCH:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            self._fold()
            for work in calls:
                work()
            if asked:
                self._answer(asked)
                self._send()
            if self.clock() - self._looked > 1.0:
                self._tend()

    def _send(self) -> None:
        """Wakes the event loops that wait for what is in the outbox."""
        loops: dict[asyncio.AbstractEventLoop, list] = {}
        for entry in self._outbox:
            loops.setdefault(entry[0].get_loop(), []).append(entry)
        self._outbox.clear()
        for loop, entries in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits there
                loop.call_soon_threadsafe(_deliver, entries)

    def _fold(self) -> None:
        """Folds what the log holds; where it cannot be read, answers go on in the state that is known."""
        try:
            self.state.catch_up(self.log, _CHUNK)
        except LogError:
            self.log_failures += 1
        except Exception:
            self.log_failures += 1
            _LOGGER.exception("the log could not be folded beyond %d", self.state.seq)

    def _tend(self) -> None:
        """What is due without a question: the log, rows that are behind, the ranking by popularity, a snapshot."""
        now = self._looked = self.clock()
        self._fold()
        state = self.state
        if now - state.published_at >= WINDOW:
            state.publish(now)
        due = now - self._refreshed >= PROFILES
        if not state.dirty or (due and not state.refresh_profiles(_PROFILES_AT_ONCE)):
            self._refreshed = now
        if self.watch and (stamp := self._stamp()) is not None and stamp != self._manifest:
            self._manifest = stamp
            threading.Thread(target=self._reload_quietly, name="reload", daemon=True).start()
        busy = not self.keep_snapshots or (self._writer is not None and self._writer.is_alive())
        if self.snapshot_path is not None and not busy and state.seq - self._snapshot_seq >= self.snapshot_every:
            self._snapshot_seq = state.seq
            body, path = state.snapshot(self.identity), self.snapshot_path
            self._writer = threading.Thread(target=_write_quietly, args=(path, body), name="snapshot", daemon=True)
            self._writer.start()

    def _answer(self, asked: list[_Asked]) -> None:
        with self._counting:
            self._waiting -= sum(one.counted for one in asked)
        self.batches += 1
        self.questions += len(asked)
        state = self.state
        searched: dict[tuple[int, int], list[_Asked]] = {}
        for one in asked:
            if not one.done.set_running_or_notify_cancel():
                continue
            try:
                self._prepare(state, one)
                if one.query is None:
                    one.done.set_result(self._popular(state, one))
                elif one.question.candidates is not None:
                    one.done.set_result(self._chosen(state, one))
                else:
                    searched.setdefault((id(one.allowed), 0), []).append(one)
            except Exception as error:
                one.done.set_exception(error)
        for group in searched.values():
            try:
                self._search(state, group)
            except Exception as error:
                for one in group:
                    if not one.done.done():
                        one.done.set_exception(error)

    def _prepare(self, state: State, one: _Asked) -> None:
        """Finds the rows of everything the question names."""
        question = one.question
        try:
            one.allowed = state.allowed(question.filter)
        except KeyError as error:
            raise UnknownColumn(str(error.args[0]), state.filterable()) from None
        exclude = [row for raw in question.exclude if (row := state.videos.find(raw)) >= 0]
        if question.popular:
            one.exclude = np.array(exclude, np.int64)
            return
        seen = np.empty(0, np.int64)
        user = -1 if question.user is None else state.users.find(question.user)
        one.user = user
        if user < 0 and question.history is None:
            if question.unknown_user == "error" and question.user is not None:
                raise UnknownId("user", question.user, state.users.close(question.user))
            one.fallback = "unknown user"
        if user >= 0:
            seen = state.seen(user)
        if question.history is not None:
            now = self.clock()
            rows = [find_video(state, raw) for raw in question.history]
            one.history = [Met(row, now - len(rows) + at, "click") for at, row in enumerate(rows)]
            seen = np.concatenate([seen, np.array(rows, np.int64)])
            one.query = state.of_history(one.history)
        elif user >= 0:
            one.query = state.profile(user)
        if one.query is None and one.fallback is None:
            one.fallback = "nothing known"
        one.exclude = np.concatenate([seen, np.array(exclude, np.int64)])

    def _search(self, state: State, group: list[_Asked]) -> None:
        k = max(one.question.k for one in group)
        queries = [one.query for one in group if one.query is not None]
        exclude = [one.exclude for one in group if one.exclude is not None]
        found = state.search(queries, k, exclude, group[0].allowed)
        for one, scores, rows in zip(group, found.score.tolist(), found.video.tolist(), strict=True):
            wanted = one.question.k
            pairs = [(row, score) for row, score in zip(rows[:wanted], scores[:wanted], strict=True) if row >= 0]
            one.done.set_result(self._listed(state, one, pairs))

    def _chosen(self, state: State, one: _Asked) -> Answer:
        """The best of a given set of candidates."""
        assert one.query is not None
        assert one.exclude is not None
        rows = np.unique([row for raw in one.question.candidates or () if (row := state.videos.find(raw)) >= 0])
        rows = np.setdiff1d(rows.astype(np.int64), one.exclude)
        if one.allowed is not None:
            rows = rows[one.allowed.numpy()[rows]]
        if not len(rows):
            return self._listed(state, one, [])
        scores = state.scores(one.query, rows).numpy()
        order = np.lexsort((rows, -scores))[: one.question.k]
        pairs = [(int(rows[at]), float(scores[at])) for at in order if scores[at] > -np.inf]
        return self._listed(state, one, pairs)

    def _popular(self, state: State, one: _Asked) -> Answer:
        question, allowed = one.question, one.allowed
        if question.candidates is not None:
            rows = [row for raw in question.candidates if (row := state.videos.find(raw)) >= 0]
            mask = torch.zeros(len(state.index), dtype=torch.bool)
            mask[rows] = True
            allowed = mask if allowed is None else mask & allowed
        exclude = np.empty(0, np.int64) if one.exclude is None else one.exclude
        rows = state.popular(question.k, exclude, allowed)
        return self._listed(state, one, [(row, float(state.popularity[row])) for row in rows.tolist()], popular=True)

    def _listed(self, state: State, one: _Asked, pairs: list[tuple[int, float]], popular: bool = False) -> Answer:
        """The list in raw ids. The last gate: whatever found a video, one that is barred does not leave."""
        raw, trained = state.videos.raw, state.trained
        titled = bool(state.columns) or "title" in state.bundle.columns.columns
        items = []
        for row, score in pairs:
            if row in state.out:
                continue
            source = "popular" if popular else "model" if row < trained else "new"
            item: dict[str, Any] = {"video": raw[row], "score": score, "source": source}
            if titled and (title := state.column(row, "title")) is not None:
                item["title"] = title
            items.append(item)
        if one.question.explain:
            history = one.history if one.history is not None else state.history(one.user) if one.user >= 0 else []
            explain(state, items, [row for row, _ in pairs if not state.barred(row)], history)
        return Answer(one.question.user, items, self.meta(state, one.fallback, one.user))

    def meta(self, state: State, fallback: str | None, user: int = -1) -> dict[str, Any]:
        """What an answer says about itself."""
        return {
            "bundle": state.bundle.id,
            "seq": state.seq,
            "popularity_at": state.published_at,
            "profile": "none" if user < 0 else "events" if user in state.profiles else "trained",
            "fallback": fallback,
        }


def find_video(state: State, raw: str) -> int:
    """The row of a video that may be shown.

    Raises:
        UnknownId: there is none, or it is hidden; close ids are never hidden ones.
    """
    row = state.videos.find(raw)
    if row < 0 or state.barred(row):
        out = [state.videos.raw[r] for group in (state.hidden, state.deleted, state.nameless) for r in group]
        raise UnknownId("video", raw, state.videos.close(raw, out))
    return row


def explain(state: State, items: list[dict[str, Any]], rows: list[int], history: list[Met], last: int = 100) -> None:
    """Adds ``because`` to each item: the clicked video that it is most like and how much, and the columns they share.

    Likeness is the cosine of the rows that the list was made with, or what a click on the one adds to the score of the
    other in a linear model. None where no click says anything. A barred video is no reason.
    """
    clicked = [m.video for m in reversed(history) if not state.barred(m.video) and m.video not in state.rowless]
    clicked = [row for row in dict.fromkeys(clicked) if not state.linear or row < state.trained][:last]
    for item, row in zip(items, rows, strict=True):
        item["because"] = None
        if item["source"] == "popular" or not clicked or (state.linear and row >= state.trained):
            continue
        near = state.likeness(row, clicked)
        best = int(near.argmax())
        if float(near[best]) <= 0:  # what points the other way is no likeness
            continue
        through = clicked[best]
        because: dict[str, Any] = {"video": state.videos.raw[through], "likeness": round(float(near[best]), 4)}
        if (title := state.column(through, "title")) is not None:
            because["title"] = title
        if shared := state.shared(row, through):
            because["shared"] = shared
        item["because"] = because


def _write_quietly(path: Path, body: bytes) -> None:
    from mmgraph.data.files import write_atomically

    with contextlib.suppress(OSError):  # a snapshot saves time at the next start; the log is what counts
        write_atomically(path, body)


def _trim() -> None:
    """Gives freed memory back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
