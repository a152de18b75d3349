"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch

from mmgraph import files
from mmgraph.files import WriteError, make_folder, open_atomically, sha256, write_atomically


@pytest.fixture
def small_disk():
    """The kernel stops every file at 1,000 bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_is_written_with_its_folder_and_replaced_whole(tmp_path) -> None:
    path = tmp_path / "a" / "b.bin"
    write_atomically(path, b"one")
    write_atomically(path, memoryview(b"two"))
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b.bin"]
    assert sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_full_disk_names_the_file_leaves_the_old_one_and_nothing_else(tmp_path, small_disk) -> None:
    path = tmp_path / "b.bin"
    write_atomically(path, b"old")
    with pytest.raises(WriteError, match=r"cannot write .*b\.bin: .*Make room") as caught:
        write_atomically(path, bytes(5000))
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["b.bin"]


def test_a_writer_that_hides_the_systems_error_is_seen_through(tmp_path, small_disk) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(WriteError, match=r"cannot write .*model\.pt"), open_atomically(path) as file:
        torch.save({"weight": torch.zeros(10_000)}, file)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_block_passes_and_leaves_nothing(tmp_path) -> None:
    path = tmp_path / "b.bin"
    write_atomically(path, b"old")

    def stopped() -> None:
        with open_atomically(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_bytes_and_then_the_name_are_synced(tmp_path, monkeypatch) -> None:
    order = []
    real_replace = Path.replace

    def fsync(handle: int) -> None:
        order.append("folder" if os.path.samestat(os.fstat(handle), tmp_path.stat()) else "file")

    def replace(self: Path, target: Path) -> Path:
        order.append("name")
        return real_replace(self, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_atomically(tmp_path / "a", b"1")
    assert order == ["file", "name", "folder"]


def test_a_place_that_is_no_folder_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    for attempt in (lambda p: make_folder(p), lambda p: write_atomically(p / "x", b"")):
        with pytest.raises(WriteError, match=r"file.*Give a place that can be written"):
            attempt(tmp_path / "file")
    assert make_folder(tmp_path / "new" / "one").is_dir()
