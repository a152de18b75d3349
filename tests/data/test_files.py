"""Files that are whole or absent, journals that never block, folders with one owner."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgraph.data import files
from mmgraph.data.files import (
    DamagedFile,
    FolderInUse,
    WriteFailed,
    append_line,
    hash_bytes,
    hash_file,
    make_folder,
    open_atomically,
    owned,
    read_json,
    read_lines,
    sync_folder,
    write_atomically,
    write_json,
)


def test_write_atomically_replaces_leaves_no_part_and_gives_the_hash(tmp_path):
    write_atomically(tmp_path / "a" / "f", b"1")
    found = write_atomically(tmp_path / "a" / "f", b"2")
    sync_folder(tmp_path / "nowhere")  # no such folder: nothing to sync, nothing raised
    assert (tmp_path / "a" / "f").read_bytes() == b"2"
    assert len(list((tmp_path / "a").iterdir())) == 1
    assert found == hash_bytes(b"2") == hash_file(tmp_path / "a" / "f")


def test_a_full_disk_names_the_file_keeps_the_old_one_and_leaves_no_part(tmp_path, monkeypatch):
    write_atomically(tmp_path / "f", b"old")

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteFailed, match=r"cannot write .*f: No space left on device") as caught:
        write_atomically(tmp_path / "f", b"new")
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(WriteFailed, match="cannot write a line"):
        append_line(tmp_path / "j", {"a": 1})


def test_every_flipped_byte_of_a_json_file_is_noticed(tmp_path):
    path = tmp_path / "f.json"
    values = {"recall": 0.0814, "names": ["ä", "b"], "nested": {"x": [1, 2, {"y": None}]}}
    write_json(path, values)
    assert read_json(path) == values
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        # the one way past the hash is another name for it, a key that every schema of ours refuses
        with contextlib.suppress(DamagedFile):
            assert set(read_json(path)) - set(values), place
    for size in range(len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFile, match=r"f\.json"):
            read_json(path)


def test_json_that_nobody_hashed_is_read_and_nonsense_is_named(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(DamagedFile, match=r"f\.json, line 2, column 7: this recipe is not JSON"):
        read_json(path, "recipe")
    path.write_text("[1]")
    with pytest.raises(DamagedFile, match="holds a list"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DamagedFile, match=r"f\.json"):
        read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")
    with pytest.raises(DamagedFile, match="cannot be read"):
        hash_file(tmp_path / "none")


def test_a_half_line_is_cut_counted_and_never_blocks(tmp_path):
    path = tmp_path / "deep" / "journal.jsonl"
    assert read_lines(path) == []
    append_line(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "tex')
    assert read_lines(path) == [{"n": 1}, {"torn": 13}]
    append_line(path, {"n": 3})
    append_line(path, {"n": 4})
    assert read_lines(path) == [{"n": 1}, {"torn": 13}, {"n": 3}, {"n": 4}]
    path.write_bytes(b"x" * 10_000)  # no newline at all, longer than a block
    append_line(path, {"n": 5})
    assert read_lines(path) == [{"torn": 10_000}, {"n": 5}]


def test_a_folder_has_one_owner_who_is_named_and_the_kernel_frees_it(tmp_path):
    code = (
        "import sys, os, pathlib\nfrom mmgraph.data.files import owned\n"
        "with owned(pathlib.Path(sys.argv[1]), 'study'):\n"
        "    print('in', flush=True)\n    sys.stdin.read()\n    os.kill(os.getpid(), 9)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "in\n"
    with pytest.raises(FolderInUse, match=rf"a study: process {child.pid} on ") as caught, owned(tmp_path):
        pass
    assert isinstance(caught.value, ValueError)
    child.stdin.close()
    assert child.wait() == -9
    with owned(tmp_path), pytest.raises(FolderInUse, match=f"process {os.getpid()} "), owned(tmp_path):
        pass
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


@pytest.fixture
def small_disk():
    """The kernel stops every file at 1,000 bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_writer_that_hides_the_systems_error_is_seen_through(tmp_path, small_disk) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(WriteFailed, match=r"cannot write .*model\.pt"), open_atomically(path) as file:
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
        with pytest.raises(WriteFailed, match=r"file.*Give a place that can be written"):
            attempt(tmp_path / "file")
    assert make_folder(tmp_path / "new" / "one").is_dir()
