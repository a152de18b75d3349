"""All results of a place: an index that rebuilds itself, and the extract that is committed."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.files import DamagedFile, read_json, write_atomically, write_json
from mmgraph.experiment.result import Result, without_nan

INDEX = "index.json"

_log = logging.getLogger(__name__)


def finished(out: str | Path = "runs") -> list[Result]:
    """Every finished run below a folder, by protocol, experiment and seed. One that is damaged is named in a warning.

    Args:
        out: parent folder of all runs.
    """
    results = []
    for path in _found(Path(out)):
        try:
            results.append(Result.load(path.parent))
        except DamagedFile as error:
            _log.warning("left out: %s", error)
    return sorted(results, key=lambda r: (r.protocol, r.experiment, r.seed))


def _found(out: Path) -> list[Path]:
    return sorted(path for path in out.glob("*/*/result.json") if path.parent.name.isdigit())


def index(out: str | Path = "runs") -> pl.DataFrame:
    """One row a finished run: experiment, seed, protocol, identity, opened, seconds, and every test metric of ``all``.

    Kept in ``<out>/index.json``; what is new, changed or gone since is read again, and an index that is damaged or
    missing is built anew.

    Args:
        out: parent folder of all runs.
    """
    out = Path(out)
    try:
        kept: dict[str, Any] = read_json(out / INDEX, "index").get("runs", {})
    except (FileNotFoundError, DamagedFile):
        kept = {}
    runs: dict[str, Any] = {}
    for path in _found(out):
        key, stat = str(path.relative_to(out)), path.stat()
        stamp = [stat.st_mtime_ns, stat.st_size]
        there = kept.get(key)
        if there is not None and there.get("stamp") == stamp:
            runs[key] = there
            continue
        try:
            runs[key] = {"stamp": stamp, "row": _row(Result.load(path.parent))}
        except DamagedFile as error:
            _log.warning("left out: %s", error)
    if runs != kept:
        write_json(out / INDEX, {"runs": runs})
    rows = [entry["row"] | {"folder": str(Path(key).parent)} for key, entry in runs.items()]
    return pl.DataFrame(rows, infer_schema_length=None)


def _row(result: Result) -> dict[str, Any]:
    head = {
        "experiment": result.experiment,
        "seed": result.seed,
        "protocol": result.protocol,
        "identity": result.identity,
        "opened": result.opened,
        "seconds": result.training.get("seconds"),
    }
    return head | without_nan(result.test.get("all", {}))


def extract(results: Sequence[Result], path: str | Path) -> Path:
    """Writes results as JSON lines, one a run, sorted: what is committed of them. Per-user values stay where they are.

    Args:
        results: such as :func:`finished` gives.
        path: the file; replaced whole.
    """
    ordered = sorted(results, key=lambda r: (r.protocol, r.experiment, r.seed))
    lines = [json.dumps(without_nan(r.model_dump(mode="json")), allow_nan=False, ensure_ascii=False) for r in ordered]
    write_atomically(Path(path), "".join(line + "\n" for line in lines).encode())
    return Path(path)
