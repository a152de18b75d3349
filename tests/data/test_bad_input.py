"""Each bad input gives an error that names file, line or row, column and the fix, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmgraph.data import (
    DataError,
    UnknownIdError,
    read_csv,
    read_lightgcn,
    read_media_folder,
    read_mmrec,
    read_movielens,
    read_sequences,
)
from mmgraph.data.errors import Findings, Source
from tests.data import layouts


def edit(path: Path, line: int, text: str) -> None:
    """Replace one line (counted from 1)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text + "\n", encoding="utf-8")


def not_utf8(folder: Path) -> None:
    path = folder / "videos.csv"
    lines = path.read_bytes().splitlines()
    lines[4] = "v3,电影,5,c1".encode("gb18030")
    path.write_bytes(b"\n".join(lines))


def bad_feature(value: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        values = layouts.FEATURES.copy()
        values[4, 1] = value
        np.save(folder / "features/visual.npy", values)

    return spoil


def truncate(folder: Path) -> None:
    path = folder / "features/visual.npy"
    path.write_bytes(path.read_bytes()[:-10])


def header(folder: Path) -> None:
    path = folder / "features/visual.npy"
    path.write_bytes(path.read_bytes()[:20])


CASES: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    # what: (how it is spoiled, file, the place and problem, the fix)
    "missing column": (
        lambda f: edit(f / "interactions.csv", 1, "user_id,item,timestamp,click,finish,like"),
        "interactions.csv",
        r"column 'video_id': the column is missing; there are \['user_id', 'item'",
        "add it",
    ),
    "missing column of a table": (
        lambda f: edit(f / "users.csv", 1, "id,age,gender"),
        "users.csv",
        "column 'user_id': the column is missing",
        "add it",
    ),
    "unknown user": (
        lambda f: edit(f / "interactions.csv", 5, "0077,v1,1700000000,1,0,0"),
        "interactions.csv",
        r"line 5, column 'user_id': unknown id '0077' \(1 of 20 values",
        "add it to the table that lists the ids",
    ),
    "unknown video": (
        lambda f: edit(f / "interactions.csv", 21, "001,nope,1700000000,1,0,0"),
        "interactions.csv",
        "line 21, column 'video_id': unknown id 'nope'",
        "drop the row",
    ),
    "media of an unknown video": (
        lambda f: layouts.write(f / "video_frames/v99/0.jpg", ["x"]),
        "video_frames",
        "unknown id 'v99'",
        "add the video to videos.csv",
    ),
    "missing id": (
        lambda f: edit(f / "interactions.csv", 3, ",v1,1700000000,1,0,0"),
        "interactions.csv",
        "line 3, column 'user_id': the id is missing",
        "drop the row",
    ),
    "NaN feature": (bad_feature(np.nan), "visual.npy", "row 4, column '1'.*nan is not finite", "mark it absent"),
    "infinite feature": (bad_feature(-np.inf), "visual.npy", "row 4, column '1'.*-inf is not finite", "mark it absent"),
    "negative time": (
        lambda f: edit(f / "interactions.csv", 8, "001,v3,-5,1,0,0"),
        "interactions.csv",
        "line 8, column 'timestamp': time -5 is negative",
        "UTC seconds",
    ),
    "milliseconds": (
        lambda f: edit(f / "interactions.csv", 8, "001,v3,1700000000123,1,0,0"),
        "interactions.csv",
        "line 8, column 'timestamp': time 1700000000123 .*looks like milliseconds",
        "time_unit='ms'",
    ),
    "time that is no time": (
        lambda f: edit(f / "interactions.csv", 8, "001,v3,yesterday,1,0,0"),
        "interactions.csv",
        "line 8, column 'timestamp': time 'yesterday' is not a time",
        "time_format=",
    ),
    "missing time": (
        lambda f: edit(f / "interactions.csv", 8, "001,v3,,1,0,0"),
        "interactions.csv",
        "line 8, column 'timestamp': the time is missing",
        "fill it in",
    ),
    "duplicate rows": (
        lambda f: append(f / "interactions.csv", "000,v0,1700009999,1,1,1"),
        "interactions.csv",
        r"line 22, column 'user_id, video_id': user '000' and video 'v0' are there already \(line 2\)",
        "duplicates='first'",
    ),
    "duplicate video": (
        lambda f: append(f / "videos.csv", "v3,again,5,c0"),
        "videos.csv",
        "line 10, column 'video_id': id 'v3' appears a second time",
        "keep one row",
    ),
    "feature rows that do not match": (
        lambda f: np.save(f / "features/visual.npy", layouts.FEATURES[:5]),
        "visual.npy",
        r"shape \(5, 3\) for 8 videos",
        "one row for each video",
    ),
    "a mask that does not match": (
        lambda f: np.save(f / "features/audio_present.npy", np.ones(3, dtype=bool)),
        "audio_present.npy",
        r"shape \(3,\) for 8 videos",
        "one bool for each video",
    ),
    "not UTF-8": (not_utf8, "videos.csv", "line 5: byte 0x.. at position 4 is not UTF-8", "save the file as UTF-8"),
    "truncated npy": (truncate, "visual.npy", r"truncated: 214 bytes, but the header promises 224", "download"),
    "npy cut in its header": (header, "visual.npy", r"not an \.npy file", "numpy.save"),
    "too many fields": (
        lambda f: edit(f / "interactions.csv", 6, "001,v1,1700000000,1,0,0,7,8"),
        "interactions.csv",
        "line 6: 8 fields under a header of 6",
        "quote the field",
    ),
    "empty file": (lambda f: (f / "interactions.csv").write_text(""), "interactions.csv", "the file is empty", "write"),
    "header only": (
        lambda f: (f / "interactions.csv").write_text("user_id,video_id\n"),
        "interactions.csv",
        "there are no interactions",
        "check the file",
    ),
    "no interactions file": (
        lambda f: (f / "interactions.csv").unlink(),
        "interactions.csv",
        "does not exist",
        "check the path",
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_bad_media_folder(what: str, tmp_path: Path):
    spoil, file, problem, fix = CASES[what]
    folder = layouts.media_folder(tmp_path)
    spoil(folder)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    with pytest.raises(DataError, match=f"(?s){file}.*{problem}") as error:
        read_media_folder(folder)
    assert fix in str(error.value).split("Fix: ")[1]
    assert Path(str(error.value.file)).name == file
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def problems(error: DataError) -> list[str]:
    return [str(e).replace(f"{Path(str(e.file)).parent}/", "") for e in (error, *error.others)]


def test_all_faults_of_a_media_folder_are_told_at_once(tmp_path: Path):
    folder = layouts.media_folder(tmp_path)
    log = folder / "interactions.csv"
    edit(log, 4, "000,v3,yesterday,1,0,0")
    edit(log, 5, "000,v5,-7,1,0,0")
    edit(log, 8, "001,v4,soon,1,0,0")
    edit(log, 9, "001,v77,1700000000,1,0,0")
    edit(log, 12, "002,v78,1700000000,1,0,0")
    append(folder / "users.csv", "003,1,f")
    append(folder / "videos.csv", "v3,again,5,c0")
    np.save(folder / "features/visual.npy", layouts.FEATURES[:5])
    np.save(folder / "features/audio_present.npy", np.ones(3, dtype=bool))
    layouts.write(folder / "video_frames/v99/0.jpg", ["x"])
    with pytest.raises(DataError) as error:
        read_media_folder(folder)
    told = problems(error.value)
    for text, part in zip(
        told,
        [
            "users.csv, line 7, column 'user_id': id '003' appears a second time. Fix: keep one",
            "videos.csv, line 10, column 'video_id': id 'v3' appears a second time. Fix: keep one",
            "interactions.csv, line 9, column 'video_id': unknown id 'v77' (2 of 20 values; 8 ids are known); "
            "also in line 12. Fix: add it",
            "interactions.csv, line 4, column 'timestamp': time 'yesterday' is not a time; also in line 8. "
            "Fix: correct it, or say how times are written",
            "interactions.csv, line 5, column 'timestamp': time '-7' is negative. Fix: give UTC seconds",
            "audio_present.npy: shape (3,) for 8 videos. Fix: save one bool",
            "visual.npy: shape (5, 3) for 8 videos. Fix: save one row",
            "video_frames: unknown id 'v99' (1 of 3 values; 8 ids are known). Fix: add the video",
        ],
        strict=True,
    ):
        assert text.startswith(part)
    assert all(not other.others for other in error.value.others)


def test_a_broken_table_does_not_blame_what_leans_on_it(tmp_path: Path):
    folder = layouts.media_folder(tmp_path)
    layouts.write(folder / "video_audio/v8.wav", ["nobody watched it: is it in the table?"])
    edit(folder / "videos.csv", 1, "id,title,duration,creator")
    with pytest.raises(DataError, match=r"videos\.csv, column 'video_id': the column is missing") as error:
        read_media_folder(folder)
    assert error.value.others == ()
    edit(folder / "interactions.csv", 3, "000,v7,never,1,0,0")
    with pytest.raises(DataError) as error:
        read_media_folder(folder)
    assert [e.column for e in (error.value, *error.value.others)] == ["video_id", "timestamp"]
    (folder / "interactions.csv").write_text("")
    append(folder / "users.csv", "003,1,f")
    with pytest.raises(DataError) as error:
        read_media_folder(folder)
    files = [Path(str(e.file)).name for e in (error.value, *error.value.others)]
    assert files == ["interactions.csv", "videos.csv", "users.csv"]


def test_all_faults_of_other_layouts_are_told_at_once(tmp_path: Path):
    folder = layouts.mmrec(tmp_path)
    edit(folder / "tiny.inter", 1, "userID\titemID\ttimestamp")
    edit(folder / "tiny.inter", 3, "0\t2\t-1")
    np.save(folder / "image_feat.npy", layouts.FEATURES[:7])
    np.save(folder / "audio_feat.npy", layouts.FEATURES[:6])
    with pytest.raises(DataError) as error:
        read_mmrec(folder)
    assert [text.split(":")[0] for text in problems(error.value)] == [
        "tiny.inter, line 3, column 'timestamp'",
        "image_feat.npy",
        "audio_feat.npy",
    ]
    folder = layouts.movielens(tmp_path / "ml")
    edit(folder / "ratings.csv", 1, "userId,film,stars,timestamp")
    append(folder / "movies.csv", (folder / "movies.csv").read_text(encoding="utf-8").splitlines()[1])
    with pytest.raises(DataError) as error:
        read_movielens(folder)
    assert [e.column for e in (error.value, *error.value.others)] == ["movieId", "rating", "movieId"]
    folder = layouts.lightgcn(tmp_path / "lists")
    layouts.write(folder / "train.txt", ["0 1", "1 x", "2 y", "3 1"])
    layouts.write(folder / "test.txt", ["0 1", "0 2", "1 -4"])
    with pytest.raises(DataError) as error:
        read_lightgcn(folder)
    assert problems(error.value) == [
        "train.txt, line 2, column 'field 2': 'x' is not a whole number; also in line 3. "
        "Fix: write integer ids: user item item …",
        "test.txt, line 3: id -4 is negative. Fix: ids start at 0",
    ]
    log = layouts.write(tmp_path / "log.csv", ["user_id,video_id,weight", "a,v,x", "b,,1"])
    people = layouts.write(tmp_path / "people.csv", ["user_id", "a", "a", "b"])
    with pytest.raises(DataError) as error:
        read_csv(log, people)
    assert [text.split(":")[0] for text in problems(error.value)] == [
        "people.csv, line 3, column 'user_id'",
        "log.csv, line 3, column 'video_id'",
        "log.csv, line 2, column 'weight'",
    ]


def test_bad_mmrec(tmp_path: Path):
    folder = layouts.mmrec(tmp_path)
    np.save(folder / "image_feat.npy", layouts.FEATURES[:7])
    with pytest.raises(DataError, match=r"image_feat\.npy: shape \(7, 3\) for 8 videos"):
        read_mmrec(folder)
    layouts.mmrec(tmp_path)
    append(folder / "tiny.inter", "0\t0\t2")
    with pytest.raises(DataError, match=r"tiny\.inter, line 22.*user 0 and video 0 are there already \(line 2\)"):
        read_mmrec(folder)
    edit(folder / "tiny.inter", 1, "user\titemID\tx_label")
    with pytest.raises(DataError, match="column 'userID': the column is missing"):
        read_mmrec(folder)


def test_bad_lists(tmp_path: Path):
    folder = layouts.lightgcn(tmp_path)
    edit(folder / "test.txt", 1, "0 0")
    with pytest.raises(DataError, match=r"user 0 and video 0 are there already"):
        read_lightgcn(folder)
    (folder / "train.txt").write_bytes(b"0 1\n1 \xff\xfe\n")
    with pytest.raises(DataError, match=r"train\.txt, line 2: byte 0xff at position 3 is not UTF-8"):
        read_lightgcn(folder)
    layouts.microlens(tmp_path)
    edit(tmp_path / "Tiny_titles.csv", 3, '9,"twice"')
    with pytest.raises(DataError, match=r"Tiny_titles\.csv, line 3, column 'item': id 9 appears a second time"):
        read_sequences(tmp_path / "Tiny_pairs.tsv", titles=tmp_path / "Tiny_titles.csv")


def test_errors_carry_their_parts():
    error = DataError("too long", file="a.csv", line=3, column="c", fix="shorten it")
    assert str(error) == "a.csv, line 3, column 'c': too long. Fix: shorten it"
    assert (error.problem, error.file, error.line, error.column) == ("too long", "a.csv", 3, "c")
    assert isinstance(error, ValueError)
    assert str(DataError("bad")) == "bad"
    assert str(UnknownIdError("unknown id 3", row=2)) == "row 2: unknown id 3"
    assert Source("f", 2).place(5) == {"file": "f", "line": 7}
    assert Source("f", 2, rows=[4, 9]).place(1) == {"file": "f", "line": 11}
    assert Source("f").error("p", row=1).row == 1
    several = Source("f", 2, rows=[4, 9, 11, 12, 13, 14, 15, 16]).error("p", rows=range(8))
    assert (several.line, several.problem) == (6, "p; also in lines 11, 13, 14, 15, 16 and 2 more")
    assert Source().error("p", rows=[3, 5]).problem == "p; also in row 5"


def test_findings_keep_data_errors_only_and_flatten_them():
    found = Findings()
    assert not found
    assert found.attempt(int, "3") == 3
    with pytest.raises(ValueError, match="invalid literal"):
        found.attempt(int, "x")
    inner = Findings()
    inner.add(DataError("b"))
    inner.add(UnknownIdError("c"))
    found.add(DataError("a"))
    found.add(inner.error())
    first = found.error()
    assert (str(first), [str(e) for e in first.others]) == ("a", ["b", "c"])
    assert found
