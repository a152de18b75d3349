"""A bundle and a log, served over HTTP."""

from __future__ import annotations

import functools
import gc
import ipaddress
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmgraph.serve.answering import Route
from mmgraph.serve.app import App
from mmgraph.serve.cascade import CascadeRouter
from mmgraph.serve.engine import Engine
from mmgraph.serve.index import MakeIndex, exact
from mmgraph.serve.keys import Keys, Rate
from mmgraph.serve.log import SqliteLog
from mmgraph.serve.media import MediaStore, encode_media, kind_of, media_folder
from mmgraph.serve.rules import ColumnQuota, ServerRules

SNAPSHOT = ".snapshot"  # beside the log
_COLLECT = 20_000  # objects between two looks of the collector: a list of 20 is 60 of them, and none is part of a cycle


@dataclass(frozen=True)
class ServeConfig:
    """How to serve.

    Attributes:
        bundle: folder of the bundle.
        log: file of the event log.
        host, port: where to listen. Beyond this machine only with keys.
        workers: processes; each answers and writes, and reads in the log what the others wrote.
        api_key_file: lines of ``ROLE KEY``; without it everybody on this machine may do everything.
        durability: of the log, ``full`` or ``normal``.
        unknown_user: a stranger gets the popular list (``popular``), or 404 (``error``).
        deadline_ms: after so long a recommendation is the popular list.
        rate: requests a second of one key or client; 0 for any number.
        watch: read the bundle anew when its manifest changes; always so with several workers.
        max_log_bytes: refuse writes beyond it, as on a full disk.
        quotas: of the lists, as ``tag:ads<=2`` or ``tag:news>=1``.
        concepts: the two columns that name what a video needs and what it teaches; a video is shown to who has met what
            it needs.
        index: ``exact``, or ``faiss`` for more videos than are searched exactly in time, see
            :class:`mmgraph.serve.ann.ApproximateIndex`; its lists are made at each start and reload.
        router: file of a :class:`mmgraph.serve.cascade.CascadeRouter`, which says which requests get the popular list,
            the index, or re-scoring; by default the bundle's own, and without one all get the best there is.
        price: gain (NDCG) that a millisecond must bring, for the router; ``inf`` for the cheapest answers.
        snapshot_every: entries after which the state is kept beside the log, so that a start folds fewer.

    Raises:
        ValueError: settings that do not go together.
    """

    bundle: Path
    log: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    api_key_file: Path | None = None
    durability: Literal["full", "normal"] = "full"
    unknown_user: Literal["popular", "error"] = "popular"
    deadline_ms: float = 100.0
    rate: float = 0.0
    watch: bool = False
    max_log_bytes: int | None = None
    quotas: tuple[str, ...] = ()
    concepts: tuple[str, str] | None = None
    index: Literal["exact", "faiss"] = "exact"
    router: Path | None = None
    price: float = 0.0
    snapshot_every: int = 100_000

    def __post_init__(self) -> None:
        if not local(self.host) and self.api_key_file is None:
            raise ValueError(f"{self.host} is reached from other machines: give --api-key-file, or listen on 127.0.0.1")
        if self.workers < 1 or self.deadline_ms <= 0 or self.rate < 0 or not 0 <= self.port < 65536:
            raise ValueError("workers is at least 1, deadline_ms above 0, rate at least 0, port 0 to 65535")
        if self.unknown_user not in ("popular", "error"):
            raise ValueError(f"unknown_user is 'popular' or 'error', not {self.unknown_user!r}")
        self.rules()
        if self.index not in ("exact", "faiss"):
            raise ValueError(f"index is 'exact' or 'faiss', not {self.index!r}")
        if not self.price >= 0:
            raise ValueError(f"price is a number from 0, got {self.price}")
        self.route()

    def rules(self) -> ServerRules | None:
        """Quotas and concepts; None for neither."""
        needs, teaches = self.concepts or (None, None)
        quotas = tuple(ColumnQuota.parse(text) for text in self.quotas)
        return ServerRules(quotas, needs, teaches) if quotas or needs else None

    def make_index(self) -> MakeIndex:
        """How videos are searched."""
        if self.index == "exact":
            return exact
        from mmgraph.serve.ann import approximate

        return approximate

    def route(self) -> Route | None:
        """The way of each request; None for the best."""
        if self.router is None:
            return None
        return functools.partial(CascadeRouter.load(self.router).route, price=self.price)


def local(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_app(config: ServeConfig, *, first: bool = True, clock: Callable[[], float] = time.time) -> App:
    """The application of a configuration, its engine not yet started.

    Args:
        config: how to serve.
        first: the one of several processes that writes snapshots.
        clock: UTC seconds, for the engine.
    """
    log = SqliteLog(config.log, durability=config.durability, max_bytes=config.max_log_bytes)
    engine = Engine(
        config.bundle,
        log,
        snapshot=config.log.with_name(config.log.name + SNAPSHOT),
        keep_snapshots=first,
        watch=config.watch or config.workers > 1,
        snapshot_every=config.snapshot_every,
        rules=config.rules(),
        make_index=config.make_index(),
        route=config.route(),
        price=config.price,
        clock=clock,
    )
    return App(
        engine,
        log,
        keys=Keys(config.api_key_file),
        rate=Rate(config.rate),
        deadline=config.deadline_ms / 1000,
        unknown_user=config.unknown_user,
        local=local(config.host),
        media=MediaStore(media_folder(config.log)),
    )


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket that listens; ``shared``: several processes may each have one at the same address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    out = socket.socket(family, socket.SOCK_STREAM)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        out.bind((host, port))
    except OSError as error:
        out.close()
        raise OSError(error.errno, f"cannot listen at {host}:{port}: {error.strerror}") from None
    out.set_inheritable(True)
    return out


def server(app: App) -> Any:
    """uvicorn around an application: ``server(app).run(sockets=[...])``.

    Raises:
        ImportError: without the packages of ``mmgraph[serve]``.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError("serving needs uvicorn: pip install 'mmgraph[serve]'") from error
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,  # who asks is known by key, or is a program of this machine: no header says otherwise
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    return uvicorn.Server(config)


def serve(config: ServeConfig, announce: Callable[[str], None] = print) -> None:
    """Serves until it is told to stop (SIGINT or SIGTERM); sets threads and memory of the process.

    Args:
        config: how.
        announce: told the address.

    Raises:
        BundleError, LogError, ValueError: before anything listens, where the bundle, log or key file is wrong.
    """
    from mmgraph.bundle.folder import read_manifest

    manifest = read_manifest(config.bundle)
    Keys(config.api_key_file)
    sockets = [listen(config.host, config.port, shared=config.workers > 1)]
    host, port = sockets[0].getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    announce(f"{manifest.name}: {manifest.users:,} users, {manifest.videos:,} videos, bundle {manifest.id}")
    announce(f"http://{shown}:{port}/  (API: http://{shown}:{port}/openapi.json)")
    if config.workers == 1:
        _work(config, sockets[0], first=True)
        return
    sockets += [listen(config.host, port, shared=True) for _ in range(config.workers - 1)]
    _supervise(config, sockets)


def _work(config: ServeConfig, place: socket.socket, first: bool) -> None:
    import torch

    torch.set_num_threads(1)
    if config.index == "faiss":
        import faiss

        faiss.omp_set_num_threads(1)  # several processes share the cores, and requests this one
    app = make_app(config, first=first)
    app.engine.started = gc.freeze  # what was read lives as long as the process: the collector need not look at it
    gc.set_threshold(_COLLECT, *gc.get_threshold()[1:])
    running = server(app)
    app.fatal = lambda: setattr(running, "should_exit", True)
    ending = threading.Event()
    if first:
        threading.Thread(target=keep_encoding, args=(config, ending), name="encoder", daemon=True).start()
    try:
        running.run(sockets=[place])
    finally:
        ending.set()
    if app.engine.failed is not None:
        raise SystemExit(app.engine.failed)


def keep_encoding(config: ServeConfig, ending: threading.Event) -> None:
    """Runs the process that encodes media, while the bundle names an encoder and a medium has ever come."""
    from mmgraph.bundle.folder import read_manifest

    context = multiprocessing.get_context("spawn")
    process: Any = None
    while not ending.wait(0.2):
        if (process is not None and process.is_alive()) or not media_folder(config.log).exists():
            continue
        modalities = read_manifest(config.bundle).modalities.values()
        if any(kind_of((one.passport or {}).get("encoder")) for one in modalities):
            about = (config.bundle, config.log, config.durability, os.getpid())
            process = context.Process(target=encode_media, args=about, name="encoder", daemon=True)
            process.start()
    if process is not None:
        process.terminate()
        process.join()


def _supervise(config: ServeConfig, sockets: list[socket.socket]) -> None:
    """Runs the workers; one that dies is started again at its socket, which kept its connections waiting."""
    context = multiprocessing.get_context("spawn")
    ending = False

    def start(number: int) -> Any:
        process = context.Process(target=_work, args=(config, sockets[number], number == 0), daemon=False)
        process.start()
        return process

    def stop(*_: object) -> None:
        nonlocal ending
        ending = True

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    workers = [start(number) for number in range(len(sockets))]
    while not ending:
        for number, worker in enumerate(workers):
            worker.join(0.2)
            if worker.exitcode is not None and not ending:
                workers[number] = start(number)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()
