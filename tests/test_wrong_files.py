"""Fifty wrong files, through the API and the command line: each is a message that names the file and what to do.

Whole files of every kind are made once; each case takes a copy, spoils one of them and reads it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import mmgraph
from mmgraph import bundle
from mmgraph.cli.app import app
from mmgraph.data import (
    Dataset,
    random_split,
    read_amazon,
    read_csv,
    read_lightgcn,
    read_media_folder,
    read_parquet,
    read_sequences,
)
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, Result, run
from mmgraph.graph import build_graph
from mmgraph.models import ItemKNN
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.train.checkpoint import load_checkpoint, save_checkpoint
from tests.data import layouts


def spoilt(*edits: tuple[str, bytes | Callable[[bytes], bytes]]) -> Callable[[Path], None]:
    """Writes other bytes into files; a function changes what is there."""

    def spoil(folder: Path) -> None:
        for name, made in edits:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made(path.read_bytes()) if callable(made) else made)

    return spoil


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """One bit in the middle."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def a_folder(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir(parents=True)

    return spoil


def gone(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()

    return spoil


def array(name: str, values: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, values, allow_pickle=True)


def command(*words: str) -> Callable[[Path], Any]:
    """The command line on files of the folder: its words with ``@`` before a name are paths there."""

    def call(folder: Path) -> None:
        result = CliRunner().invoke(app, [str(folder / w[1:]) if w.startswith("@") else w for w in words])
        assert result.exit_code == 1, f"exit code {result.exit_code}: {result.output}{result.exception!r}"
        raise Told(result.output)

    return call


class Told(Exception):
    """What a command said before it left with exit code 1."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of whole files of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "clips").mkdir()
    layouts.media_folder(folder / "clips")
    (folder / "lists").mkdir()
    layouts.lightgcn(folder / "lists")
    frame = pl.DataFrame(layouts.PAIRS * 2, schema=["user_id", "video_id"], orient="row").unique(maintain_order=True)
    frame.write_parquet(folder / "log.parquet")
    frame.write_csv(folder / "log.csv")
    dataset = Dataset.from_frames(frame, name="toy")
    experiment = Experiment(
        name="knn",
        split=lambda: random_split(dataset, seed=0),
        model=ItemKNN,
        model_args={"k": 3},
        evaluate=EvalConfig(k=(3,), auc=False),
    )
    for name in ("knn", "other"):
        run(experiment.variant(name=name), 0, folder / "runs")
    graph = build_graph(random_split(dataset, seed=0))
    model = ItemKNN(graph, k=3)
    model.solve(graph)
    bundle.export(model, graph, dataset, folder / "bundle")
    save_checkpoint(folder / "state.pt", {"weights": torch.ones(3)})
    with SqliteLog(folder / "events.db") as log:
        log.append([Event(id="1", kind="interaction", time=1.0, data={"user": "1", "video": "2"})])
    return folder


_REVIEW = b'{"reviewerID": "a", "asin": "b", "overall": 5.0, "unixReviewTime": 1700000000}\n'


def encoded(folder: Path) -> None:
    """Encodes sounds that are none: what cannot be decoded is named, and the rest goes on."""
    pytest.importorskip("av")
    result = CliRunner().invoke(app, ["encode", str(folder / "clips"), "--audio", "mfcc"])
    raise Told(f"{result.exit_code} {result.output}")


HEAD = b"user_id,video_id,timestamp,click,finish,like\n"
CASES: dict[str, tuple[Callable[[Path], object], Callable[[Path], Any], str]] = {
    # what: (how it is spoilt, how it is read, what is said)
    # --- tables
    "nothing there": (
        lambda f: None,
        lambda f: read_csv(f / "none.csv"),
        r"none\.csv: the file does not exist.*check the path",
    ),
    "an empty table": (spoilt(("log.csv", b"")), command("inspect", "@log.csv"), r"log\.csv.*empty.*header"),
    "only blank lines": (spoilt(("log.csv", b"\n\n\n")), lambda f: read_csv(f / "log.csv"), r"log\.csv.*empty"),
    "a header and no row": (
        spoilt(("clips/interactions.csv", HEAD)),
        command("inspect", "@clips"),
        r"interactions\.csv: there are no interactions.*check the file",
    ),
    "a folder for a table": (
        a_folder("clips/interactions.csv"),
        command("inspect", "@clips"),
        r"interactions\.csv.*folder",
    ),
    "a picture for a table": (
        spoilt(("log.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)),
        command("inspect", "@log.csv"),
        r"log\.csv, line 1: byte 0x89.*not UTF-8.*encoding=",
    ),
    "UTF-16 without its mark": (
        spoilt(("log.csv", "user_id,video_id\n1,2\n".encode("utf-16-le"))),
        lambda f: read_csv(f / "log.csv"),
        r"log\.csv: many bytes are 0.*encoding='utf-16-le'",
    ),
    "latin-1": (
        spoilt(("clips/videos.csv", "video_id,title\nv0,élan\n".encode("latin-1"))),
        command("inspect", "@clips"),
        r"videos\.csv, line 2.*not UTF-8.*encoding=",
    ),
    "the wrong encoding": (
        lambda f: None,
        command("inspect", "@log.csv", "--encoding", "utf8-but-not"),
        r"encoding='utf8-but-not' is unknown",
    ),
    "gzip cut off": (
        lambda f: (f / "log.csv.gz").write_bytes(half(_gzip((f / "log.csv").read_bytes()))),
        command("inspect", "@log.csv.gz"),
        r"log\.csv\.gz.*(damaged|cut|end)",
    ),
    "gzip that is none": (
        spoilt(("log.csv.gz", b"\x1f\x8b" + bytes(range(200)))),
        command("inspect", "@log.csv.gz"),
        r"log\.csv\.gz: damaged: it cannot be unpacked.*download the file again",
    ),
    "a line too long": (
        spoilt(("log.csv", lambda c: c + b"1,2,3\n")),
        command("inspect", "@log.csv"),
        r"log\.csv, line 22.*3 fields",
    ),
    "two columns of one name": (
        spoilt(("log.csv", b"user_id,video_id,video_id\n1,2,3\n")),
        lambda f: read_csv(f / "log.csv"),
        r"log\.csv.*line 1, column 'video_id': the name is used for two columns.*rename",
    ),
    "no column of users": (
        spoilt(("log.csv", b"who,video_id\n1,2\n")),
        lambda f: read_csv(f / "log.csv"),
        r"log\.csv.*user_id.*missing.*who",
    ),
    "an ending that is none": (
        spoilt(("log.xlsx", b"PK\x03\x04")),
        command("inspect", "@log.xlsx"),
        r"log\.xlsx.*no known ending.*\.csv",
    ),
    "CSV called Parquet": (
        spoilt(("log.parquet", b"user_id,video_id\n1,2\n")),
        command("inspect", "@log.parquet"),
        r"log\.parquet.*not Parquet.*read_csv",
    ),
    "Parquet cut off": (
        spoilt(("log.parquet", half)),
        lambda f: read_parquet(f / "log.parquet"),
        r"log\.parquet.*(not Parquet|damaged)",
    ),
    "Parquet without the columns": (
        lambda f: pl.DataFrame({"a": [1], "b": [2]}).write_parquet(f / "log.parquet"),
        lambda f: read_parquet(f / "log.parquet"),
        r"log\.parquet.*user_id.*missing",
    ),
    "words among lists of ids": (
        spoilt(("lists/train.txt", lambda c: c + b"5 six seven\n")),
        command("inspect", "@lists"),
        r"train\.txt, line 6.*six",
    ),
    "ids below 0": (
        spoilt(("lists/test.txt", b"0 -3\n")),
        lambda f: read_lightgcn(f / "lists"),
        r"test\.txt, line 1.*-3",
    ),
    "JSON lines with a broken one": (
        spoilt(("reviews.json", _REVIEW + b'{"reviewerID": "a", "asin\n')),
        lambda f: read_amazon(f / "reviews.json"),
        r"reviews\.json, line 2",
    ),
    "a folder of nothing": (
        lambda f: (f / "empty").mkdir(),
        command("inspect", "@empty"),
        r"empty.*no known layout.*interactions\.csv",
    ),
    "a table that is a list": (
        spoilt(("seq.txt", b"\x00\x01\x02\x03\n")),
        lambda f: read_sequences(f / "seq.txt"),
        r"seq\.txt: .*check the file",
    ),
    # --- features
    "features cut off": (
        spoilt(("clips/features/visual.npy", half)),
        command("inspect", "@clips"),
        r"visual\.npy: (not an \.npy file|truncated).*",
    ),
    "features of another number": (
        array("clips/features/visual.npy", np.ones((3, 2), "f4")),
        command("inspect", "@clips"),
        r"visual\.npy.*shape \(3, 2\) for 8 videos",
    ),
    "features of words": (
        array("clips/features/visual.npy", np.array([["a"]] * 8)),
        lambda f: read_media_folder(f / "clips"),
        r"visual\.npy: holds text, not numbers.*float array",
    ),
    "pickled features": (
        array("clips/features/visual.npy", np.array([{"a": 1}] * 8, dtype=object)),
        lambda f: read_media_folder(f / "clips"),
        r"visual\.npy.*(pickle|objects)",
    ),
    "a vector for a matrix": (
        array("clips/features/visual.npy", np.ones(8, "f4")),
        lambda f: read_media_folder(f / "clips"),
        r"visual\.npy.*shape \(8,\)",
    ),
    "a NaN among features": (
        array("clips/features/visual.npy", np.full((8, 2), np.nan, "f4")),
        command("inspect", "@clips"),
        r"visual\.npy, row 0.*nan is not finite.*absent",
    ),
    "a folder for features": (
        a_folder("clips/features/visual.npy"),
        command("inspect", "@clips"),
        r"visual\.npy: this is a folder.*numpy\.save",
    ),
    "a mask of another length": (
        array("clips/features/audio_present.npy", np.ones(2, bool)),
        command("inspect", "@clips"),
        r"audio_present\.npy.*one bool",
    ),
    # --- media and their store
    "media that are none": (
        lambda f: None,
        encoded,
        r"2 unreadable.*video_audio/v2/x\.wav: not readable as sound.*video_audio/v1\.wav: not readable",
    ),
    "pictures that are not there": (
        lambda f: shutil.rmtree(f / "clips/video_frames"),
        command("encode", "@clips", "--image", "hash"),
        r"hash reads image files.*media are \['audio'\]; leave the encoder out, or put .*video_frames/<video id>",
    ),
    "a store that is a file": (
        spoilt(("store", b"")),
        command("encode", "@clips", "--text", "hash", "--store", "@store"),
        r"cannot write .*store: File exists.*Give a folder that can be written",
    ),
    "a picture of an unknown video": (
        spoilt(("clips/video_frames/v99/0.jpg", b"x")),
        command("inspect", "@clips"),
        r"video_frames: unknown id 'v99'.*add the video to videos\.csv",
    ),
    # --- runs and checkpoints
    "a checkpoint cut off": (
        spoilt(("state.pt", half)),
        lambda f: load_checkpoint(f / "state.pt"),
        r"state\.pt is not a readable checkpoint.*delete it",
    ),
    "a checkpoint of another program": (
        lambda f: torch.save({"a": 1}, f / "state.pt"),
        lambda f: load_checkpoint(f / "state.pt"),
        r"state\.pt is not a readable checkpoint",
    ),
    "a folder for a checkpoint": (
        a_folder("state.pt"),
        lambda f: load_checkpoint(f / "state.pt"),
        r"state\.pt cannot be read",
    ),
    "a run without its result": (
        gone("runs/knn/0/result.json"),
        command("table", "@runs/knn/0"),
        r"no finished run in .*runs/knn/0: give runs",
    ),
    "a result with a bit flipped": (
        spoilt(("runs/knn/0/result.json", flipped)),
        command("compare", "@runs/knn", "@runs/other"),
        r"result\.json.*bring back a copy, or make it again",
    ),
    "a result that is a list": (
        spoilt(("runs/knn/0/result.json", b"[1, 2]")),
        lambda f: Result.load(f / "runs/knn/0"),
        r"result\.json.*bring back a copy, or make it again",
    ),
    "an empty result": (
        spoilt(("runs/knn/0/result.json", b"")),
        command("report", "@runs/knn/0"),
        r"result\.json.*bring back a copy, or make it again",
    ),
    "weights with a bit flipped": (
        spoilt(("runs/knn/0/weights.safetensors", flipped)),
        command("recommend", "@runs/knn/0", "--user", "1"),
        r"weights\.safetensors is not what was written.*bring back a copy",
    ),
    "weights that are gone": (
        gone("runs/knn/0/weights.safetensors"),
        lambda f: mmgraph.load(f / "runs/knn/0"),
        r"weights\.safetensors cannot be read.*bring back a copy",
    ),
    "a model of a later version": (
        spoilt(("runs/knn/0/model.json", b'{"format": 999}')),
        command("export", "@runs/knn/0", "--out", "@made"),
        r"model\.json is of format 999; this version reads 1; .*make it again",
    ),
    # --- bundles and logs
    "no bundle": (lambda f: None, command("serve", "@clips", "--log", "@new.db"), r"clips is no bundle.*export"),
    "a bundle cut off": (
        lambda f: [p.write_bytes(half(p.read_bytes())) for p in (f / "bundle").glob("*.safetensors")],
        lambda f: bundle.load(f / "bundle"),
        r"bundle/.*bytes.*were written: export the bundle again",
    ),
    "a manifest that is none": (
        spoilt(("bundle/manifest.json", b"{")),
        command("serve", "@bundle", "--log", "@new.db"),
        r"manifest\.json cannot be read",
    ),
    "a stranger in a bundle": (
        spoilt(("bundle/notes.txt", b"mine")),
        lambda f: bundle.load(f / "bundle"),
        r"notes\.txt does not belong to the bundle",
    ),
    "text for a log": (
        spoilt(("events.db", b"not a database, but long enough to look like a file of something " * 20)),
        command("replay", "@events.db", "--bundle", "@bundle"),
        r"events\.db is no event log",
    ),
    "a log cut off": (
        spoilt(("events.db", half)),
        command("replay", "@events.db", "--bundle", "@bundle"),
        r"the log .*events\.db is damaged.*bring back a copy",
    ),
    "another program's database": (
        lambda f: _database(f / "mine.db"),
        lambda f: SqliteLog(f / "mine.db"),
        r"mine\.db is another program's database.*name a new file",
    ),
    "events that are no JSON": (
        spoilt(("events.ndjson", b"user,video\n")),
        command("ingest", "@events.ndjson", "--log", "@events.db"),
        r"events\.ndjson, line 1.*no JSON.*every event was rejected",
    ),
    "events that are a folder": (
        lambda f: (f / "events.ndjson").mkdir(),
        command("ingest", "@events.ndjson", "--log", "@events.db"),
        r"events\.ndjson is a folder: give a file",
    ),
    "a folder for a log": (
        a_folder("log.db"),
        command("ingest", "@log.csv", "--log", "@log.db"),
        r"log\.db is a folder: name a file",
    ),
}


def _gzip(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content)


def _database(path: Path) -> None:
    import sqlite3

    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE events(mine INTEGER)")


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_file_is_named_with_what_to_do(whole: Path, tmp_path: Path, name: str) -> None:
    spoil, read, says = CASES[name]
    folder = tmp_path / "files"
    shutil.copytree(whole, folder)
    spoil(folder)
    with pytest.raises((ValueError, OSError, Told)) as raised:
        read(folder)
    said = " ".join(str(raised.value).split())
    assert re.search(says, said), said
    foreign = ("Traceback", "polars.exceptions", "pydantic", "object has no attribute", "a fault in mmgraph")
    assert not any(word in said for word in foreign), said
