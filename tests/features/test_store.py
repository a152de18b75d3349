"""The feature store: once through the encoder, whatever happens."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import safetensors.torch
import torch

from mmgraph.data import DataError
from mmgraph.encoders import HashEncoder
from mmgraph.features import EncodeReport, FeatureStore, MediaError, Stored, StoreWriteError
from mmgraph.features import chunks as chunks_module
from mmgraph.features import store as store_module
from mmgraph.features.encoded import Partly
from tests.encoders.making import Counting, jpeg


def files(folder: Path, count: int) -> list[Path]:
    paths = []
    for index in range(count):
        path = folder / f"{index:03d}.bin"
        path.write_bytes(f"content of {index} ".encode() * 20)
        paths.append(path)
    return paths


def test_the_second_pass_calls_the_encoder_zero_times(tmp_path) -> None:
    media = files(tmp_path, 7)
    first, second = Counting(reads="image"), Counting(reads="image")
    before = FeatureStore(tmp_path / "store", chunk_rows=3).encode(first, media)
    after = FeatureStore(tmp_path / "store").encode(second, media)
    assert isinstance(before, Stored)
    assert (first.count, second.count) == (7, 0)
    assert torch.equal(before.encoded.values, after.encoded.values)
    assert torch.equal(after.encoded.values, HashEncoder(reads="image")(media).values)
    assert (after.report.encoded, after.report.reused) == (0, 7)


def test_only_the_changed_file_is_encoded_again(tmp_path) -> None:
    media = files(tmp_path, 5)
    store = FeatureStore(tmp_path / "store")
    old = store.encode(Counting(reads="image"), media).encoded.values
    stamp = media[2].stat()
    media[2].write_bytes(media[2].read_bytes().swapcase())  # same length
    os.utime(media[2], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # same time
    counting = Counting(reads="image")
    new = store.encode(counting, media).encoded.values
    assert counting.count == 1
    assert (old != new).any(1).tolist() == [False, False, True, False, False]


def test_renamed_and_repeated_files_are_known_by_content(tmp_path) -> None:
    media = files(tmp_path, 2)
    store = FeatureStore(tmp_path / "store")
    store.encode(Counting(reads="image"), media)
    moved = media[0].rename(tmp_path / "moved.bin")
    counting = Counting(reads="image")
    values = store.encode(counting, [media[1], moved, moved]).encoded.values
    assert counting.count == 0
    assert torch.equal(values[1], values[2])
    fresh = Counting(reads="image")
    FeatureStore(tmp_path / "other").encode(fresh, [moved, moved, moved])
    assert fresh.count == 1


def test_other_settings_version_or_encoder_never_meet(tmp_path) -> None:
    class Newer(Counting):
        version = "2"

    store = FeatureStore(tmp_path)
    folders = set()
    for encoder in (Counting(), Counting(seed=1), Newer(), Counting(dim=32)):
        values = store.encode(encoder, ["one", "two"]).encoded.values
        assert encoder.count == 2
        assert torch.equal(values, HashEncoder(dim=encoder.dim, seed=encoder.seed)(["one", "two"]).values)
        folders.add(store.folder(encoder))
    assert len(folders) == 4


class Corrupt(Counting):
    """Cannot decode a medium that says so; counts attempts."""

    attempts: ClassVar[list[str]] = []

    def decode(self, media: Any) -> Any:
        self.attempts.append(media)
        if media == "corrupt":
            raise MediaError("it says so")
        return super().decode(media)


def test_corrupt_media_are_reported_each_time_and_tried_once(tmp_path) -> None:
    store = FeatureStore(tmp_path)
    for turn in range(2):
        Corrupt.attempts.clear()
        encoded, report, _ = store.encode(Corrupt(), ["fine", "corrupt", None, "corrupt"])
        assert isinstance(report, EncodeReport)
        assert [(p.row, p.source, p.reason) for p in report.problems] == [
            (1, "corrupt", "it says so"),
            (3, "corrupt", "it says so"),
        ]
        assert encoded.present.tolist() == [True, False, False, False]
        assert (report.present, report.absent) == (1, 1)
        assert Corrupt.attempts.count("corrupt") == (1 if turn == 0 else 0)
        assert "row 1: corrupt: it says so" in report.text()
    store.encode(Corrupt(), ["corrupt"], retry=True)
    assert Corrupt.attempts == ["corrupt"]


_KILLED = """
import sys, time
from pathlib import Path
from mmgraph.data import DataError
from mmgraph.encoders import HashEncoder
from mmgraph.features import FeatureStore

class Slow(HashEncoder):
    def encode(self, items):
        time.sleep(0.02)
        return super().encode(items)

folder = Path(sys.argv[1])
media = sorted(folder.glob("*.bin"))
FeatureStore(folder / "store", chunk_rows=4).encode(Slow(reads="image", batch_size=2), media)
"""


def test_a_killed_run_is_gone_on_from(tmp_path) -> None:
    media = files(tmp_path, 400)
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)])
    try:
        until = time.monotonic() + 60
        while len(list(tmp_path.glob("store/*/*.safetensors"))) < 5:
            assert time.monotonic() < until
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    chunks = len(list(tmp_path.glob("store/*/*.safetensors")))
    counting = Counting(reads="image")
    encoded, report, _ = FeatureStore(tmp_path / "store").encode(counting, media)
    assert counting.count == report.encoded == 400 - 4 * chunks
    assert report.damaged == 0
    assert torch.equal(encoded.values, HashEncoder(reads="image")(media).values)


def test_a_run_stopped_by_an_error_keeps_what_it_had(tmp_path) -> None:
    class Breaks(Counting):
        def encode(self, items: Sequence[Any]) -> torch.Tensor:
            if self.count == 6:
                raise KeyboardInterrupt
            return super().encode(items)

    texts = [f"text {n}" for n in range(10)]
    store = FeatureStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.encode(Breaks(batch_size=2), texts)
    counting = Counting()
    store.encode(counting, texts)
    assert counting.count == 4


def test_a_full_disk_leaves_whole_chunks_and_says_so(tmp_path) -> None:
    media = files(tmp_path, 12)
    store = FeatureStore(tmp_path / "store", chunk_rows=4)
    small = Counting(reads="image", batch_size=4, dim=64)
    store.encode(small, media[:4])
    size = next(store.folder(small).glob("*.safetensors")).stat().st_size
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))  # the kernel stops the write half-way
    try:
        with pytest.raises(StoreWriteError, match="0 of 8 new media are stored, 4 encoded since are not"):
            store.encode(small, media)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.suffix for path in store.folder(small).iterdir()) == [".json", ".safetensors"]
    counting = Counting(reads="image", batch_size=4)
    encoded, report, _ = store.encode(counting, media)
    assert (report.reused, counting.count) == (4, 8)
    assert encoded.present.all()


def test_a_disk_that_fills_up_between_chunks_keeps_the_earlier_ones(tmp_path, monkeypatch) -> None:
    real, writes = os.fsync, []

    def full(handle: int) -> None:
        writes.append(handle)
        if len(writes) > 5:  # description and its folder, two chunks… and then no more room
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    texts = [f"text {n}" for n in range(12)]
    store = FeatureStore(tmp_path, chunk_rows=2)
    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(StoreWriteError, match="No space left on device") as caught:
        store.encode(Counting(batch_size=2), texts)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    kept = 2 * len(list(store.folder(Counting()).glob("*.safetensors")))
    assert not list(store.folder(Counting()).glob(".*"))
    counting = Counting()
    store.encode(counting, texts)
    assert kept > 0
    assert counting.count == 12 - kept


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "header"])
def test_a_damaged_chunk_is_noticed_and_encoded_again(tmp_path, damage) -> None:
    store = FeatureStore(tmp_path, chunk_rows=2)
    texts = ["one", "two", "three", "four"]
    good = store.encode(Counting(batch_size=2), texts).encoded.values
    chunk = sorted(store.folder(Counting()).glob("*.safetensors"))[0]
    data = bytearray(chunk.read_bytes())
    if damage == "cut":
        data = data[:-10]
    elif damage == "flip":
        data[-5] ^= 1
    elif damage == "header":
        data[9] ^= 255
    chunk.write_bytes(b"" if damage == "empty" else bytes(data))
    counting = Counting()
    with pytest.warns(UserWarning, match="damaged chunk"):
        encoded, report, _ = store.encode(counting, texts)
    assert (counting.count, report.damaged) == (2, 1)
    assert torch.equal(encoded.values, good)


def test_half_written_files_are_not_read_and_old_ones_are_cleared(tmp_path) -> None:
    store = FeatureStore(tmp_path)
    store.encode(Counting(), ["one"])
    folder = store.folder(Counting())
    young, old = folder / ".a.safetensors.1.part", folder / ".b.safetensors.2.part"
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    report = store.encode(Counting(), ["one"]).report
    assert report.damaged == 0
    assert young.exists()  # another run may be writing it
    assert not old.exists()


def test_a_file_that_changes_while_it_is_encoded_is_not_stored(tmp_path) -> None:
    media = files(tmp_path, 2)

    class Meddles(Counting):
        def decode(self, media: Any) -> Any:
            item = super().decode(media)
            if media.name == "001.bin":
                media.write_bytes(b"something else")
            return item

    store = FeatureStore(tmp_path / "store")
    encoded, report, _ = store.encode(Meddles(reads="image"), media)
    assert encoded.present.tolist() == [True, False]
    assert [problem.reason for problem in report.problems] == ["changed while it was being read"]
    counting = Counting(reads="image")
    assert store.encode(counting, media).encoded.present.all()
    assert counting.count == 1


def test_compacting_joins_chunks_and_loses_nothing(tmp_path) -> None:
    store = FeatureStore(tmp_path, chunk_rows=4)
    texts = [f"text {n}" for n in range(10)]
    for text in texts:
        store.encode(Counting(), [text])
    store.encode(Corrupt(), ["corrupt"])
    folder = store.folder(Counting())
    assert len(list(folder.glob("*.safetensors"))) == 11
    assert store.compact(Counting()) == 3
    assert len(list(folder.glob("*.safetensors"))) == 3
    counting = Counting()
    encoded = store.encode(counting, [*texts, "corrupt"]).encoded
    assert counting.count == 0
    assert encoded.present.tolist() == [True] * 10 + [False]
    assert store.compact(Counting()) == 3


class Ragged(Counting):
    """A vector for each of the first four words of a text."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (4, self.dim)

    def decode(self, media: Any) -> Any:
        return [HashEncoder.decode(self, word) for word in media.split()[:4]]

    def encode(self, items: Sequence[Any]) -> Any:
        self.seen.append(len(items))
        return [HashEncoder.encode(self, words) for words in items]


def test_frame_vectors_keep_their_lengths(tmp_path) -> None:
    store, texts = FeatureStore(tmp_path), ["one two three", "one"]
    first, again = (store.encode(Ragged(), texts).encoded for _ in range(2))
    assert first.lengths is not None
    assert again.lengths is not None
    assert again.lengths.tolist() == first.lengths.tolist() == [3, 1]
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.values[0, 0], first.values[1, 0])
    assert first.values[1, 1:].eq(0).all()


def test_sizes_are_checked(tmp_path) -> None:
    with pytest.raises(ValueError, match="chunk_rows"):
        FeatureStore(tmp_path, chunk_rows=0)


def test_files_of_one_content_but_two_kinds_do_not_mix(tmp_path) -> None:
    picture = jpeg(tmp_path / "a.jpg")
    store = FeatureStore(tmp_path / "store")
    store.encode(Counting(reads="image"), [picture])
    counting = Counting(reads="audio")
    store.encode(counting, [picture])
    assert counting.count == 1


def told(chunk: Path) -> dict[str, Any]:
    """What the header of a chunk says."""
    data = chunk.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["store"])


WHOLE = {"keys": ["a", "b"], "problems": {}, "partial": {}}
TAMPERED = [
    *(json.dumps(WHOLE | {"keys": keys}) for keys in (7, {"a": 1}, [[1], [2]], ["a"], None)),
    *(json.dumps(WHOLE | {"problems": problems}) for problems in ([1], {"a": 7}, None)),
    *(json.dumps(WHOLE | {"partial": partial}) for partial in (None, "none", {"a": None})),
    *("[" * 100_000, "{}", "[]", "7", "{"),
]


@pytest.mark.parametrize("header", TAMPERED, ids=range(len(TAMPERED)))
@pytest.mark.parametrize("renamed", [False, True])
def test_a_tampered_header_is_a_damaged_chunk_whatever_it_says(tmp_path, header, renamed) -> None:
    store = FeatureStore(tmp_path)
    good = store.encode(Counting(), ["one", "two"]).encoded.values
    chunk = next(store.folder(Counting()).glob("*.safetensors"))
    data = safetensors.torch.save(safetensors.torch.load_file(chunk), {"store": header})
    chunk.unlink()
    name = hashlib.sha256(data).hexdigest()[:32] if renamed else chunk.stem  # renamed: its hash is right
    path = chunk.with_name(f"{name}.safetensors")
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}.safetensors: damaged chunk"):
        chunks_module.read_chunk(path, {"a": 0}, (64,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert store.encode(Counting(), ["one", "two"]).encoded.values.equal(good)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"values": torch.zeros(2, 3)},
        {"values": torch.zeros(3, 64)},
        {"values": torch.zeros(2, 64), "lengths": torch.ones(2, dtype=torch.long)},
    ],
    ids=range(4),
)
def test_tensors_of_another_shape_are_a_damaged_chunk(tmp_path, tensors) -> None:
    data = safetensors.torch.save(tensors, {"store": json.dumps(WHOLE)})
    path = tmp_path / f"{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged chunk"):
        chunks_module.read_chunk(path, None, (64,))


@pytest.mark.parametrize("lengths", [[0, 1], [5, 1], [1]])
def test_impossible_lengths_are_a_damaged_chunk(tmp_path, lengths) -> None:
    tensors = {"values": torch.zeros(2, 4, 8), "lengths": torch.tensor(lengths)}
    data = safetensors.torch.save(tensors, {"store": json.dumps(WHOLE)})
    path = tmp_path / f"{hashlib.sha256(data).hexdigest()[:32]}.safetensors"
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged chunk"):
        chunks_module.read_chunk(path, None, (4, 8))


def test_a_damaged_chunk_is_told_once_and_its_rows_are_whole_again(tmp_path) -> None:
    store = FeatureStore(tmp_path, chunk_rows=2)
    texts = ["one", "two", "three", "four"]
    store.encode(Counting(batch_size=2), texts)
    chunk = sorted(store.folder(Counting()).glob("*.safetensors"))[0]
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=rf"{chunk.name}: damaged chunk, moved to {chunk.stem}\.damaged"):
        store.encode(Counting(), texts[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = store.encode(Counting(), texts).report
    assert (report.damaged, report.reused) == (0, 4)


def test_compacting_beside_a_pass_raises_no_alarm_and_costs_no_work(tmp_path, monkeypatch) -> None:
    store = FeatureStore(tmp_path)
    texts = [f"text {n}" for n in range(6)]
    for text in texts:
        store.encode(Counting(), [text])
    real, raced = store_module.read_chunk, []

    def read(path: Path, *rest: Any) -> Any:
        if not raced:
            raced.append(path)
            with monkeypatch.context() as patch:
                patch.setattr(store_module, "read_chunk", real)
                store.compact(Counting())  # another process, just after we looked which chunks there are
        return real(path, *rest)

    monkeypatch.setattr(store_module, "read_chunk", read)
    counting = Counting()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, report, _ = store.encode(counting, texts)
    assert (counting.count, report.damaged, report.reused) == (0, 0, 6)


def test_compacting_keeps_a_chunk_that_it_would_write_again_and_one_that_came_meanwhile(tmp_path, monkeypatch) -> None:
    store = FeatureStore(tmp_path, chunk_rows=4)
    texts = [f"text {n}" for n in range(5)]
    store.encode(Counting(batch_size=4), texts[:4])  # a full chunk: joined with nothing it is itself
    full = next(store.folder(Counting()).glob("*.safetensors"))
    assert store.compact(Counting()) == 1
    assert [path.name for path in store.folder(Counting()).glob("*.safetensors")] == [full.name]
    real, raced = store_module.write_chunk, []

    def write(*rest: Any) -> Any:
        if not raced:
            raced.append(True)
            store.encode(Counting(), texts[4:])  # another process, while the joined chunks are being written
        return real(*rest)

    monkeypatch.setattr(store_module, "write_chunk", write)
    store.compact(Counting())
    counting = Counting()
    assert store.encode(counting, texts).encoded.present.all()
    assert counting.count == 0


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_compacting_that_is_stopped_between_two_chunks_loses_nothing(tmp_path, monkeypatch, stop) -> None:
    store = FeatureStore(tmp_path, chunk_rows=2)
    texts = [f"text {n}" for n in range(6)]
    for text in texts:
        store.encode(Corrupt(), [text])
    store.encode(Corrupt(), ["corrupt"])
    real, written = store_module.write_chunk, []

    def write(*rest: Any) -> Any:
        if len(written) == 2:
            raise stop
        written.append(real(*rest))
        return written[-1]

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_chunk", write)
        with pytest.raises((KeyboardInterrupt, StoreWriteError)):
            store.compact(Corrupt())
    Corrupt.attempts.clear()
    encoded, report, _ = store.encode(Corrupt(), [*texts, "corrupt"])
    assert Corrupt.attempts == []
    assert report.reused == 6
    assert encoded.present.tolist() == [True] * 6 + [False]


def test_compacting_keeps_reasons_and_losses_once_and_nothing_that_is_not_there(tmp_path) -> None:
    class Lossy(Corrupt):
        def decode(self, media: Any) -> Any:
            item = super().decode(media)
            return Partly(item, "the end is missing") if media.startswith("half") else item

    store = FeatureStore(tmp_path, chunk_rows=2)
    media = ["one", "half two", "three", "four", "half five", "corrupt"]
    for item in media:
        store.encode(Lossy(), [item])
    before = store.encode(Lossy(), media).report
    assert [(part.row, part.reason) for part in before.partial] == [
        (1, "the end is missing"),
        (4, "the end is missing"),
    ]
    assert "row 1: half two: in part: the end is missing" in before.text()
    assert store.compact(Lossy()) == 3
    chunks = [told(path) for path in store.folder(Lossy()).glob("*.safetensors")]
    for part, sizes in (("keys", [1, 2, 2]), ("problems", [0, 0, 1]), ("partial", [0, 0, 2])):
        assert sorted(len(chunk[part]) for chunk in chunks) == sizes
    after = store.encode(Lossy(), media).report
    assert (after.problems, after.partial, after.encoded) == (before.problems, before.partial, 0)
    assert FeatureStore(tmp_path / "new").compact(Lossy()) == 0


def test_compacting_keeps_reasons_without_rows_and_forgets_those_that_rows_have_overtaken(tmp_path) -> None:
    store = FeatureStore(tmp_path)
    store.encode(Corrupt(), ["corrupt"])
    assert store.compact(Corrupt()) == 1
    Corrupt.attempts.clear()
    assert store.encode(Corrupt(), ["corrupt"]).report.problems
    assert Corrupt.attempts == []
    store.encode(Counting(), ["corrupt"], retry=True)  # the same encoder, which now can read it
    store.compact(Corrupt())
    assert [told(path)["problems"] for path in store.folder(Corrupt()).glob("*.safetensors")] == [{}]


def test_what_was_decoded_before_a_stop_is_kept(tmp_path) -> None:
    """One batch of 120 that Ctrl-C meets at its hundredth medium: what was decoded is encoded and stored."""

    class Stops(Counting):
        def decode(self, media: Any) -> Any:
            if media == "text 100":
                raise KeyboardInterrupt
            return super().decode(media)

    texts = [f"text {n}" for n in range(120)]
    store = FeatureStore(tmp_path)
    with pytest.raises(KeyboardInterrupt) as caught:
        store.encode(Stops(batch_size=256), texts, workers=1)
    assert caught.value.__notes__ == [f"100 of 120 new media are stored in {store.folder(Stops())}"]
    counting = Counting()
    store.encode(counting, texts)
    assert counting.count == 20
