"""The engine owns a server's state: it folds the log and answers, up to 32 questions at a time."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from mmgraph.bundle import Bundle, load
from mmgraph.bundle.folder import MANIFEST
from mmgraph.serve.answering import Asked, Route, answer, late
from mmgraph.serve.cascade import CascadeRouter
from mmgraph.serve.index import MakeIndex, exact
from mmgraph.serve.log import EventLog, LogError
from mmgraph.serve.question import Answer, Busy, Question, Unready
from mmgraph.serve.snapshot import StateError, restore, snapshot, write_snapshot
from mmgraph.serve.state import Rules, State

_LOGGER = logging.getLogger("mmgraph.serve")
MICRO_BATCH = 32
WAITING = 256  # questions that may wait
WINDOW = 300.0  # seconds between two rankings by popularity
PROFILES = 60.0  # seconds after which a user's row is brought up to date unasked
QUICK = 0.003  # seconds of work in a batch, of late, up to which it is answered in the thread that asks
_CHUNK = 1000  # entries folded between two batches of questions
_IDLE = 0.05  # seconds after which the log is looked at without a question
_PROFILES_AT_ONCE = 64
_LATELY = 0.1  # weight of the last batch in what is said of the next


class Engine:
    """Questions in, answers out, in the state after everything that was written before the question.

    Before each batch of questions it folds what the log holds: what was acknowledged counts in the next answer,
    whichever process wrote it. One thread at a time has the state: the engine's own, which answers what waits in its
    queue, or the one that asks, where nobody waits and batches took no more than 3 ms of late (:meth:`at_once`), which
    saves two changes of threads.

    Args:
        bundle: folder of the bundle; :meth:`reload` reads it anew.
        log: what happened and happens. ``log.identity``, where it has one, says which snapshots belong to it.
        snapshot: where the state is kept between runs; None for nowhere.
        keep_snapshots: write it too, not only read it: one process of several does.
        watch: read the bundle anew when its manifest changes.
        waiting: questions that may wait.
        snapshot_every: entries after which a snapshot is written.
        rules, make_index: what is added to the constraint, and how videos are searched, see :class:`State`.
        route: which way to answer; by default what the bundle's :class:`mmgraph.serve.cascade.CascadeRouter` says at
            ``price``, and without one as well as can be.
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
        rules: Rules | None = None,
        make_index: MakeIndex = exact,
        route: Route | None = None,
        price: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.log, self.rules, self.clock, self.route = Path(bundle), log, rules, clock, route
        self.make_index, self.price = make_index, price
        self.identity = str(getattr(log, "identity", "log"))
        self.snapshot_path = None if snapshot is None else Path(snapshot)
        self.keep_snapshots, self.snapshot_every, self.watch = keep_snapshots, snapshot_every, watch
        self.started: Callable[[], Any] = gc.collect
        """Called once the bundle is read and the log folded."""
        self._manifest: tuple[int, int] | None = None
        self._queue: queue.SimpleQueue[Asked | Callable[[], None] | None] = queue.SimpleQueue()
        self._mine = threading.Lock()  # whoever holds it has the state
        self._pace = 0.0  # seconds of work that a batch is of late
        self._waiting, self._room = 0, waiting
        self._counting = threading.Lock()
        self._reloading = threading.Lock()
        self._state: State | None = None
        self._snapshot_seq = 0
        self._writer: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
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
        """Reads the bundle, goes on from the snapshot, folds the log, begins to answer. Returns when it does.

        The towers are read beside the first answers, where nothing in the log needed them: that takes longer than all
        the rest.
        """
        self._state = self._made()
        self._snapshot_seq = self._state.seq
        self._refreshed = self.clock()
        self.started()
        self._beside(self._warm, self._state, name="towers")
        self._thread.start()  # from here on it alone starts others
        return self

    def _beside(self, work: Callable[..., None], *given: Any, name: str) -> threading.Thread:
        """Does work in a thread of its own, for which :meth:`close` waits: torch aborts a process that ends before."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, args=given, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _warm(self, state: State) -> None:
        try:
            state.warm()
        except Exception as error:
            self.failed = f"{type(error).__name__}: {error}"
            _LOGGER.error("no more answers: %s", self.failed)

    def _made(self) -> State:
        self._manifest = self._stamp()
        bundle = load(self.folder)
        place = bundle.manifest.log
        if place.identity not in (None, self.identity):
            raise StateError(f"bundle {bundle.id} was made from log {place.identity}, this one is {self.identity}")
        state = self._restored(bundle) or State(bundle, self.rules, self.make_index)
        state.catch_up(self.log)
        state.publish(self.clock())
        router = CascadeRouter.of(bundle)
        state.route = None if router is None else functools.partial(router.route, price=self.price)
        return state

    def _restored(self, bundle: Bundle) -> State | None:
        if self.snapshot_path is not None:
            with contextlib.suppress(FileNotFoundError, StateError):  # then the log is folded from its start
                return restore(bundle, self.identity, self.snapshot_path, self.rules, self.make_index)
        return None

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
        for thread in self._threads:
            thread.join()
        if self._state is not None and self.snapshot_path is not None and self.keep_snapshots:
            with self._mine, contextlib.suppress(OSError):  # without a snapshot the next start folds more of the log
                write_snapshot(self._state, self.identity, self.snapshot_path)

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
        self.enter(Asked(question, done))
        return done

    def ask_all(self, questions: Sequence[Question]) -> list[Future[Answer]]:
        """The answers to several questions, which wait in one place of the queue.

        Raises:
            Busy: too many wait.
            Unready: starting or ending.
        """
        out = [self.ask(questions[0])]
        for question in questions[1:]:
            out.append(Future())
            self._queue.put(Asked(question, out[-1], counted=False))
        return out

    def enter(self, asked: Asked) -> None:
        """Lets a question wait for the engine's thread.

        Raises:
            Busy, Unready: as :meth:`ask`.
        """
        self._must_be_ready()
        with self._counting:
            if self._waiting >= self._room:
                raise Busy(f"{self._waiting} questions wait already")
            self._waiting += 1
        self._queue.put(asked)

    def at_once(self, asked: Sequence[Asked]) -> bool:
        """Finds the outcomes now, in this thread, where that is a matter of a few milliseconds; else says False.

        Raises:
            Unready: starting or ending.
        """
        if not self._take():
            return False
        try:
            self._turn(asked)
        finally:
            self._mine.release()
        return True

    def _take(self) -> bool:
        """Gets the state for this thread: False where another has it, somebody waits, or batches are slow."""
        self._must_be_ready()
        return self._pace <= QUICK and self._queue.empty() and self._mine.acquire(blocking=False)

    def _must_be_ready(self) -> None:
        if not self.ready:
            raise Unready("the server is starting or ending")

    def late(self, question: Question, reason: str = "late") -> Answer:
        """The popular list, made at once in the caller's thread: for when the answer would come too late."""
        return late(self.state, question, reason)

    def applied(self, seq: int) -> Future[int]:
        """Done when everything up to ``seq`` counts in answers; its result is the state's seq."""

        def reach(state: State) -> int:
            while state.seq < seq and state.catch_up(self.log, _CHUNK):
                pass
            return state.seq

        return self.look(reach)

    def call(self, function: Callable[[State], Any]) -> Future[Any]:
        """Runs a function on the state in the engine's thread, after the log was folded, between two batches.

        Raises:
            Unready: starting or ending.
        """
        self._must_be_ready()
        done: Future[Any] = Future()

        def work() -> None:
            if done.set_running_or_notify_cancel():
                self._run_for(done, function)

        self._queue.put(work)
        return done

    def look(self, function: Callable[[State], Any]) -> Future[Any]:
        """:meth:`call` for a function that takes no longer than a batch: at once in this thread where it can be.

        Raises:
            Unready: starting or ending.
        """
        if not self._take():
            return self.call(function)
        done: Future[Any] = Future()
        try:
            self._fold()
            self._run_for(done, function)
        finally:
            self._mine.release()
        return done

    def _run_for(self, done: Future[Any], function: Callable[[State], Any]) -> None:
        try:
            done.set_result(function(self.state))
        except BaseException as error:
            done.set_exception(error)

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
            state.warm()
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
                with self._mine:
                    self._tend()
                continue
            asked: list[Asked] = []
            calls: list[Callable[[], None]] = []
            while True:
                if job is None:
                    ended = True
                elif isinstance(job, Asked):
                    asked.append(job)
                else:
                    calls.append(job)
                if ended or len(asked) >= MICRO_BATCH or len(calls) >= MICRO_BATCH:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            with self._counting:
                self._waiting -= sum(one.counted for one in asked)
            with self._mine:
                self._turn(asked, calls)
            _settle(asked)

    def _turn(self, asked: Sequence[Asked], calls: Sequence[Callable[[], None]] = ()) -> None:
        """One batch, of who has the state."""
        began = time.thread_time()  # not the clock's: how much there is to do, not how busy the machine is
        self._fold()
        for work in calls:
            work()
        if asked:
            self.batches += 1
            self.questions += len(asked)
            answer(self.state, asked, self.clock(), self.route or self.state.route)
            self._pace += _LATELY * (time.thread_time() - began - self._pace)
        if self.clock() - self._looked > 1.0:
            self._tend()

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
        if now - state.popularity.published_at >= WINDOW:
            state.publish(now)
        due = now - self._refreshed >= PROFILES
        if not state.profiles.behind or (due and not state.profiles.refresh(_PROFILES_AT_ONCE)):
            self._refreshed = now
        if self.watch and (stamp := self._stamp()) is not None and stamp != self._manifest:
            self._manifest = stamp
            self._beside(self._reload_quietly, name="reload")
        busy = not self.keep_snapshots or (self._writer is not None and self._writer.is_alive())
        if self.snapshot_path is not None and not busy and state.seq - self._snapshot_seq >= self.snapshot_every:
            self._snapshot_seq = state.seq
            body, path = snapshot(state, self.identity), self.snapshot_path
            self._writer = self._beside(_write_quietly, path, body, name="snapshot")


def _settle(asked: Sequence[Asked]) -> None:
    """Hands out the answers of a batch. Each event loop is woken once, which is a system call."""
    loops: dict[asyncio.AbstractEventLoop, list[Asked]] = {}
    for one in asked:
        if one.loop is None:
            one.settle()
        else:
            loops.setdefault(one.loop, []).append(one)
    for loop, mine in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits there
            loop.call_soon_threadsafe(settle_all, mine)


def settle_all(asked: Sequence[Asked]) -> None:
    """Hands out the answers of a batch in the thread of their event loop."""
    for one in asked:
        one.settle()


def _write_quietly(path: Path, body: bytes) -> None:
    from mmgraph.data.files import write_atomically

    with contextlib.suppress(OSError):  # a snapshot saves time at the next start; the log is what counts
        write_atomically(path, body)


def _trim() -> None:
    """Gives freed memory back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
