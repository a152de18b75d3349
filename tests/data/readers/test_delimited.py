"""Delimited text as people have it: ids as they are spelled, formats by content and said, errors with true lines."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import unicodedata
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data import DataError, Dataset, UnknownIdError, Vocabulary, read_csv, read_media_folder, read_parquet
from mmgraph.data.readers import delimited
from mmgraph.data.readers.delimited import explain, read_table
from mmgraph.data.readers.dialect import Dialect, find_dialect, records
from mmgraph.data.readers.packed import unpacked
from mmgraph.data.vocabulary import one_spelling, plain_integers, text_ids
from tests.data import layouts


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


# ids


def test_leading_zeros_are_part_of_a_name(tmp_path: Path):
    log = write(
        tmp_path / "log.csv",
        "user_id,video_id,timestamp\nada,0208775015,1700000000\nada,007,1700000060\nben,0208775044,1700000120\n"
        "ben,7,1700000180\ncyd,007,1700000240\ncyd,0208775015,1700000300\n",
    )
    alone = read_csv(log)
    assert set(alone.video_ids.ids) == {"0208775015", "0208775044", "007", "7"}
    titles = "video_id,title\n0208775015,strap top\n0208775044,white\n007,agent\n7,seven\nB00K7,kettle\n"
    both = read_csv(log, videos=write(tmp_path / "videos.csv", titles))
    rows = both.interactions["video"].to_list()
    assert both.video_ids.raw(rows) == ["0208775015", "007", "0208775044", "7", "007", "0208775015"]
    assert rows == [0, 2, 1, 3, 2, 0]
    # a log of plain integers beside a table of names
    mixed = read_csv(write(tmp_path / "plain.csv", "user_id,video_id\n1,7\n"), videos=tmp_path / "videos.csv")
    assert mixed.interactions["video"].to_list() == [3]
    write(tmp_path / "plain.csv", "user_id,video_id\n1,07\n")
    with pytest.raises(UnknownIdError, match=r"unknown id '07' .*'007' among them: the same but for leading zeros"):
        read_csv(tmp_path / "plain.csv", videos=tmp_path / "videos.csv")


def test_integers_do_not_answer_to_another_spelling():
    numbers = Vocabulary([7, 12])
    assert numbers.find(["007", "7", "+7", " 7", "7.0", "12", "1_2"]).tolist() == [-1, 0, -1, -1, -1, 1, -1]
    assert "007" not in numbers
    assert None not in numbers


def test_ids_beyond_63_bits_come_back(tmp_path: Path):
    ids = [17205319648811204961, 17205319648811204962, 9223372036854775807]
    text = "\n".join(f"{i},{v},{t}" for i, v, t in zip(ids, (9, 9, 12), (1_700_000_000, 1_700_000_060, 1_700_000_120)))
    made = read_csv(write(tmp_path / "hashed.csv", f"user_id,video_id,timestamp\n{text}\n"))
    assert set(made.user_ids.ids) == set(map(str, ids))
    frame = pl.DataFrame({"user_id": pl.Series(ids, dtype=pl.UInt64), "video_id": [9, 9, 12]})
    assert set(Dataset.from_frames(frame).user_ids.ids) == set(map(str, ids))
    assert set(Vocabulary([2**200, 5]).ids) == {str(2**200), "5"}
    assert Vocabulary(np.array(ids, dtype=np.uint64)).find(ids).tolist() == [0, 1, 2]
    for value, why in ((2.0**60, "is not an id: a float keeps 15 digits of it"), (float("inf"), "inf is not an id")):
        with pytest.raises(DataError, match=why):
            Vocabulary([value, 1.0])


def test_numbers_that_are_names_keep_their_spelling(tmp_path: Path):
    path = write(
        tmp_path / "a.csv", "user_id,video_id,creator_id,rating,code\n1E+12,5.0,1E+5,4.50,01\n2E+12,6.0,7,3,2\n"
    )
    frame = read_csv(path)
    assert frame.user_ids.ids.to_list() == ["1E+12", "2E+12"]
    assert frame.video_ids.ids.to_list() == ["5.0", "6.0"]
    assert frame.interactions["creator_id"].to_list() == ["1E+5", "7"]
    assert frame.interactions["rating"].to_list() == [4.5, 3.0]
    assert frame.interactions["code"].to_list() == ["01", "2"], "a name, whatever its column is called"


def test_two_unicode_spellings_of_a_name_are_never_merged_or_split_silently(tmp_path: Path):
    one, two = "Zo\u00eb", unicodedata.normalize("NFD", "Zo\u00eb")
    log = write(tmp_path / "log.csv", f"user_id,video_id\nann,{one}\nbob,{two}\n")
    with pytest.raises(DataError, match=r"video_id.*spelled in two Unicode forms \(U\+005A.*unicode='NFC'"):
        read_csv(log)
    assert read_csv(log, unicode="keep").num_videos == 2
    assert read_csv(log, unicode="NFC").interactions["video"].to_list() == [0, 0]
    videos = write(tmp_path / "videos.csv", f"video_id,title\n{two},x\n")
    single = write(tmp_path / "single.csv", f"user_id,video_id\nann,{one}\n")
    with pytest.raises(UnknownIdError, match="among them: the same in another Unicode form"):
        read_csv(single, videos=videos)
    assert read_csv(single, videos=videos, unicode="NFC").video_ids.ids.to_list() == [one]
    with pytest.raises(DataError, match=r"videos\.csv, line 2, column 'video_id'.*two Unicode forms.*line 3"):
        read_csv(single, videos=write(tmp_path / "both.videos.csv", f"video_id\n{one}\n{two}\n"))
    with pytest.raises(ValueError, match="unicode='nfc': use one of 'error', 'keep', 'NFC'; did you mean 'NFC'"):
        read_csv(log, unicode="nfc")
    one_spelling(pl.Series([one, "a"]), source=None)  # type: ignore[arg-type]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x00", exclude_categories=["Cs"]), min_size=1, max_size=6
)
SPELLED = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(0, 999).map(lambda n: f"{n:05d}"),
    st.sampled_from(["1E+12", "-0", "+7", "7.0", "nan", "NA", "null", "None", "true", "inf", "0x1F", " 7", "7 "]),
    NAMES.map(lambda text: unicodedata.normalize("NFC", text)),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(SPELLED, SPELLED), min_size=1, max_size=12, unique=True), st.sampled_from([",", "\t", ";", "|"])
)
def test_every_id_comes_back_as_it_was_written(tmp_path_factory, pairs, separator):
    path = tmp_path_factory.mktemp("ids") / "log.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n").writerows([("user_id", "video_id"), *pairs])
    made = read_csv(path, separator=separator)
    table = made.interactions
    got = zip(made.user_ids.raw(table["user"]), made.video_ids.raw(table["video"]))
    assert [(str(u), str(v)) for u, v in got] == pairs
    for place, vocabulary in enumerate((made.user_ids, made.video_ids)):
        written = [pair[place] for pair in pairs]
        assert vocabulary.rows(written).tolist() == table[("user", "video")[place]].to_list()


@given(st.lists(SPELLED, min_size=1, max_size=12))
def test_ids_are_integers_only_when_all_write_back_the_same(values):
    made = text_ids(pl.Series(values, dtype=pl.String))
    plain = all(v.lstrip("-").isascii() and v.lstrip("-").isdigit() and str(int(v)) == v for v in values)
    plain = plain and all(-(2**63) <= int(v) < 2**63 for v in values)
    assert made.dtype == (pl.Int64 if plain else pl.String)
    assert [str(v) for v in made] == values
    assert plain_integers(pl.Series(values)).null_count() == 0 if plain else True


# what the content says


def test_a_log_without_a_header(tmp_path: Path):
    ratings = write(
        tmp_path / "ratings.tsv",
        "196\t242\t3\t881250949\n186\t302\t3\t891717742\n22\t377\t1\t878887116\n244\t51\t2\t880606923\n",
    )
    with pytest.raises(DataError, match="line 1: the first line is no header: '196' is a value") as error:
        read_csv(ratings)
    names = ("user_id", "video_id", "rating", "timestamp")
    assert f"columns={names}" in error.value.fix
    made = read_csv(ratings, columns=names)
    assert (made.num_interactions, made.num_users, made.num_videos) == (4, 4, 4)
    assert made.interactions["time"].to_list() == [881250949, 891717742, 878887116, 880606923]
    assert made.origin.notes == ("ratings.tsv: fields are separated by tabs",)
    with pytest.raises(DataError, match=r"4 fields in the first line, 2 names in columns="):
        read_csv(ratings, columns=("user_id", "video_id"))
    with pytest.raises(DataError, match="there is no header"):
        read_csv(write(tmp_path / "names.csv", "ann,v1\nbob,v2\n"), header=False)
    titled = write(tmp_path / "titled.csv", "who,what,2019\nann,v1,3\n")
    assert read_csv(titled, user="who", video="what", header=True).interactions.columns == ["user", "video", "2019"]
    renamed = read_csv(write(tmp_path / "t.csv", "a,b,c\nann,v1,3\n"), columns=("user", "video", "n"))
    assert renamed.num_interactions == 1
    assert "t.csv: the first line (a, b, c) is a header: columns= takes its place" in renamed.origin.notes


def test_quotes_that_are_letters(tmp_path: Path):
    plays = write(
        tmp_path / "plays.tsv",
        'u_01\t2009-05-04T23:08:57Z\ta1\t"Odd Al" Yardley\tt1\tEat Bread\n'
        'u_01\t2009-05-04T13:54:10Z\ta2\tBest of "Live\tt2\tOne\n'
        'u_01\t2009-05-03T13:54:10Z\t\t"Unfinished\tt9\tTwo\n'
        'u_02\t2009-05-02T02:04:00Z\ta1\t"Odd Al" Yardley\tt1\tEat Bread\n'
        'u_02\t2009-05-02T02:09:00Z\ta2\tBest of "Live\tt3\t12" remix\n'
        'u_03\t2009-05-01T01:00:00Z\ta3\tPlain\tt4\t"Hello"\n',
    )
    names = ("user_id", "timestamp", "artist_id", "artist", "video_id", "title")
    for quote in ("auto", None):
        made = read_csv(plays, columns=names, quote=quote)
        assert (made.num_interactions, made.num_users) == (6, 3)
        assert made.video_ids.ids.to_list() == ["t1", "t2", "t3", "t4", "t9"]
        assert made.interactions["artist"][0] == '"Odd Al" Yardley'
        assert made.interactions["title"].to_list()[4:] == ['12" remix', '"Hello"']
        assert made.interactions["artist_id"][2] is None
        told = "plays.tsv: quotes are letters: as quotes they would not fit"
        assert (told in made.origin.notes) == (quote == "auto")
    with pytest.raises(DataError, match=r"plays\.tsv, line 1: the quotes do not fit"):
        read_csv(plays, columns=names, quote='"')
    # quotes that fit stay quotes
    proper = write(tmp_path / "proper.csv", 'user_id,video_id,title\n1,2,"a, ""b"""\n3,4,"c\nd"\n')
    assert read_csv(proper).interactions["title"].to_list() == ['a, "b"', "c\nd"]
    assert list(records(proper, Dialect(",", "utf-8", '"')))[2:] == [(3, ["3", "4", "c\nd"])]


@pytest.mark.parametrize("separator", ["\t", ";", "::", "|", ",", " "])
def test_separators_are_found_by_what_all_lines_agree_on(separator: str, tmp_path: Path):
    rows = [("user_id", "video_id", "title"), ("1", "10", "A,B;C"), ("2", "20", "Comedy|Drama"), ("3", "30", "x::y\tz")]
    text = "\n".join(separator.join(f.replace(separator, "_").replace(" ", "_") for f in row) for row in rows)
    made = read_csv(write(tmp_path / "a.csv", text))
    assert made.interactions["title"].to_list() == [f.replace(separator, "_") for _, _, f in rows[1:]]
    assert bool(made.origin.notes) == (separator != ","), "what is not usual is said"
    assert find_dialect(tmp_path / "a.csv").separator == separator
    with pytest.raises(ValueError, match="separator=''"):
        read_csv(tmp_path / "a.csv", separator="")


def test_encodings(tmp_path: Path):
    text = "user_id,video_id,title\n1,2,Amélie\n3,4,x\n"
    latin = write(tmp_path / "latin.csv", text, "latin-1")
    with pytest.raises(DataError, match=r"line 2: byte 0xe9 at position 7 is not UTF-8.*encoding='latin-1'"):
        read_csv(latin)
    for path, options in (
        (latin, {"encoding": "latin-1"}),
        (write(tmp_path / "16.csv", text, "utf-16"), {}),
        (write(tmp_path / "bom.csv", text, "utf-8-sig"), {}),
        (write(tmp_path / "gb.csv", text, "gb18030"), {"encoding": "gb18030"}),
    ):
        assert read_csv(path, **options).interactions["title"].to_list() == ["Amélie", "x"]
    with pytest.raises(DataError, match=r"gb\.csv, line 2: byte 0x.* is not ascii"):
        read_csv(tmp_path / "gb.csv", encoding="ascii")
    with pytest.raises(ValueError, match="encoding='latin-99' is unknown"):
        read_csv(latin, encoding="latin-99")


@pytest.mark.parametrize(("packer", "ending"), [(gzip, "gz"), (bz2, "bz2"), (lzma, "xz")])
def test_compressed_files_and_their_faults(packer, ending: str, tmp_path: Path):
    text = "user_id,video_id\n" + "".join(f"{n},{n}\n" for n in range(50)) + "1,2,3\n"
    path = tmp_path / f"log.csv.{ending}"
    path.write_bytes(packer.compress(text.encode()))
    with pytest.raises(DataError, match="line 52: 3 fields under a header of 2"):
        read_csv(path)
    path.write_bytes(packer.compress(text[:-6].encode()))
    assert read_csv(path).num_interactions == 50
    assert unpacked(path).decode() == text[:-6]
    if packer is gzip:
        assert read_csv(path).name == "log"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged: it cannot be unpacked"):
        read_csv(path)


# errors


def test_lines_are_true_after_a_cell_of_two_lines(tmp_path: Path):
    text = 'user_id,video_id,title\n1,2,"a\nb"\n\n3,4,"c\n\nd"\n5,,x\n'
    with pytest.raises(DataError, match=r"a\.csv, line 8, column 'video_id': the id is missing"):
        read_csv(write(tmp_path / "a.csv", text))
    users = write(tmp_path / "b.csv", 'user_id,bio\n3,"x\n\n\ny"\n3,z\n')
    log = write(tmp_path / "c.csv", "user_id,video_id\n3,1\n")
    with pytest.raises(DataError, match=r"b\.csv, line 6, column 'user_id': id 3 appears a second time"):
        read_csv(log, users)


def test_empty_lines_are_no_rows(tmp_path: Path):
    path = write(tmp_path / "a.csv", "\n\nuser_id,video_id,when\n\n1,2,x\n\n\n3,4,\n\n")
    assert read_csv(path).interactions["when"].to_list() == ["x", None]
    write(path, "\nuser_id,video_id,timestamp\n\n1,2,5\n\n3,4,soon\n")
    with pytest.raises(DataError, match=r"line 6, column 'timestamp': time 'soon'"):
        read_csv(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"user_id,video_id\n1,2,3\n", "line 2: 2? ?3 fields under a header of 2"),
        (b"user_id,video_id,x\n1,2,3\n4,5\n", "line 3: 2 fields under a header of 3.*complete the line"),
        (b"user_id,user_id\n1,2\n", "line 1, column 'user_id': the name is used for two columns"),
        (b'user_id,title\n1,"2"\n3,"4\n5,"6"\n', "the quotes do not fit.*quote=None"),
        (b"user_id,video_id\n1,\xff\n", "line 2: byte 0xff at position 3 is not UTF-8"),
        (b"PAR1....", "this is Parquet, not text. Fix: use read_parquet"),
        (b"PK\x03\x04....", "this is an archive or a spreadsheet"),
        (b"\n\n", "the file is empty"),
        (b"", "the file is empty"),
        (b"user_id\n1\n", r"column 'video_id': the column is missing; there are \['user_id'\]"),
        (b"User_ID,video_id\n1,2\n", "there are .*; did you mean 'User_ID'"),
    ],
)
def test_damaged_tables_say_what_and_where(content: bytes, problem: str, tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s)log\.csv.*{problem}"):
        read_csv(path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_no_bytes_bring_another_librarys_error(tmp_path_factory, noise, start, stop):
    folder = tmp_path_factory.mktemp("noise")
    good = b"user_id,video_id,timestamp,like\n1,2,1700000000,1\n3,4,1700000001,0\n"
    (folder / "a.csv").write_bytes(good[:start] + noise + good[stop:])
    pl.DataFrame({"user_id": [1, 2], "video_id": [3, 4]}).write_parquet(folder / "a.parquet")
    packed = bytearray((folder / "a.parquet").read_bytes())
    for place, byte in enumerate(noise):
        packed[(start * 31 + place * 7) % len(packed)] ^= byte
    (folder / "a.parquet").write_bytes(packed)
    escaped = []
    for reader, name in ((read_csv, "a.csv"), (read_parquet, "a.parquet")):
        try:
            reader(folder / name)
        except DataError:
            continue
        except BaseException as error:
            escaped.append(repr(error))
    assert not escaped


def test_options_that_do_not_exist_are_refused_with_the_one_meant(tmp_path: Path):
    path = write(tmp_path / "a.csv", "user_id,video_id\n1,2\n")
    with pytest.raises(TypeError, match="read_csv has no argument 'seperator'; did you mean 'separator'"):
        read_csv(path, seperator=";")
    with pytest.raises(TypeError, match="read_parquet has no argument 'duplicate'; did you mean 'duplicates'"):
        read_parquet(path, duplicate="first")
    with pytest.raises(ValueError, match=r"duplicates='frist'.*did you mean 'first'"):
        read_csv(path, duplicates="frist")


def test_explain_and_read_table_by_themselves(tmp_path: Path):
    path = write(tmp_path / "a.csv", "user_id,video_id,seen\n1,2,True\n3,4,false\n")
    frame, source = read_table(path, required=["seen"])
    assert frame["seen"].to_list() == [True, False]
    assert source.place(1) == {"file": path, "line": 3}
    assert "not a table: odd" in str(explain(path, find_dialect(path), RuntimeError("odd")))
    with pytest.raises(DataError, match="this is a folder"):
        read_table(tmp_path)


def test_spark_folders_are_read_with_their_partitions(tmp_path: Path):
    frame = pl.DataFrame(layouts.PAIRS, schema=["user_id", "video_id"], orient="row")
    for day, part in (("2024-05-14", frame[:12]), ("2024-05-15", frame[12:])):
        folder = tmp_path / f"log/day={day}"
        folder.mkdir(parents=True)
        part.write_parquet(folder / "part-0.parquet")
        (folder / "_SUCCESS").touch()
    made = read_parquet(tmp_path / "log")
    assert made.num_interactions == 20
    assert made.interactions["day"].cast(pl.String).to_list() == ["2024-05-14"] * 12 + ["2024-05-15"] * 8
    by_day = read_parquet(tmp_path / "log", time="day")
    assert sorted(set(by_day.interactions["time"])) == [1715644800, 1715731200]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.parquet file is in this folder"):
        read_parquet(tmp_path / "empty")


def test_a_media_folder_from_a_mac_is_matched_when_asked(tmp_path: Path):
    folder = tmp_path / "clips"
    write(folder / "videos.csv", "video_id\ncaf\u00e9\n")
    write(folder / "interactions.csv", "user_id,video_id\nann,caf\u00e9\n")
    write(folder / "video_frames" / unicodedata.normalize("NFD", "caf\u00e9") / "0.jpg", "x")
    with pytest.raises(UnknownIdError, match="the same in another Unicode form"):
        read_media_folder(folder)
    assert len(read_media_folder(folder, unicode="NFC").media["image"][0]) == 1


PLAIN = "7,11,0.5\n-8,,3.5\n9,1300,20\n"


@pytest.mark.parametrize(
    ("change", "fast"),
    [
        (lambda t: t, True),
        (lambda t: t[:-1], True),  # no line break at the end
        (lambda t: t.replace("\n9,", "\n09,"), False),
        (lambda t: t.replace("\n9,", "\n+9,"), False),
        (lambda t: t.replace("\n9,", '\n"9",'), False),
        (lambda t: t.replace("\n9,", "\n 9,"), False),
        (lambda t: t.replace("\n9,", "\n-0,"), False),
        (lambda t: t.replace("\n9,", "\nnine,"), False),
        (lambda t: t.replace("\n9,", "\n9.0,"), False),
        (lambda t: t.replace("\n9,", "\n99999999999999999999,"), False),
        (lambda t: t.replace("\n", "\r\n"), False),
        (lambda t: t.replace("\n9", "\n\n9"), False),
        (lambda t: t.replace("0.5", "0.5,"), False),
        (lambda t: t.replace(",20\n", "\n").replace("\n9,", "\n0009,"), False),  # bytes fewer, bytes more
    ],
)
def test_whole_numbers_are_read_at_once_only_where_nothing_is_lost(tmp_path, change, fast, monkeypatch) -> None:
    path = tmp_path / "clicks.csv"
    path.write_bytes(change("user,video,score\n" + "5,6,1.5\n" * 120 + PLAIN).encode())
    try:
        found = delimited._plainly(path, find_dialect(path), ())
    except DataError:
        found = None
    assert (found is not None) == fast
    if found is not None:
        assert [found[c].dtype for c in found.columns] == [pl.Int64, pl.Int64, pl.String]

    def read():
        try:
            return read_table(path, ids=("user", "video"))[0]
        except DataError as error:
            return str(error)

    at_once = read()
    monkeypatch.setattr(delimited, "_plainly", lambda *_: None)
    as_text = read()
    assert at_once == as_text if isinstance(as_text, str) else at_once.equals(as_text, null_equal=True)
    if not isinstance(as_text, str):
        assert at_once.schema == as_text.schema
