"""What the content of a table does not say is said by the caller, from the API and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmgraph.cli.app import app
from mmgraph.data import DataError, inspect, read_any
from tests.data import layouts

ROWS = [("ana", "élan", "03/04/2024"), ("bo", "cat", "05/06/2024"), ("ana", "cat", "07/08/2024")]
NAMES = ("user_id", "video_id", "timestamp")
DAY = 86_400.0
APRIL_3 = 1_712_102_400.0


def table(path: Path, between: str = ";", encoding: str = "latin-1") -> Path:
    path.write_text("".join(between.join(row) + "\n" for row in ROWS), encoding=encoding)
    return path


def told(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", *options])
    return result.exit_code, result.output


def test_a_table_is_read_as_the_caller_says(tmp_path: Path) -> None:
    file = table(tmp_path / "log.csv")
    read = read_any(file, columns=NAMES, encoding="latin-1", separator=";", header=False, time_format="%d/%m/%Y")
    assert read.video_ids.ids.to_list() == ["cat", "élan"]
    assert read.interactions["time"][0] == APRIL_3, "the third of April, not the fourth of March"
    us = read_any(file, columns=NAMES, encoding="latin-1", time_format="%m/%d/%Y")
    assert us.interactions["time"][0] == APRIL_3 - 30 * DAY
    report = inspect(file, columns=NAMES, encoding="latin-1", time_format="%d/%m/%Y")
    assert report.time is not None
    assert report.time["first"] == "2024-04-03T00:00:00+00:00"


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    file = table(tmp_path / "log.csv", between="::")
    asked = ["--columns", "user_id, video_id, timestamp", "--encoding", "latin-1", "--time-format", "%d/%m/%Y"]
    code, said = told(str(file), *asked, "--separator", "::", "--no-header", "--json")
    assert code == 0
    found = json.loads(said)
    assert found["time"]["first"] == "2024-04-03T00:00:00+00:00"
    assert (found["users"], found["videos"], found["interactions"]) == (2, 2, 3)
    code, said = told(str(table(tmp_path / "tabs.tsv", between="\t")), *asked, "--separator", "\\t")
    assert code == 0, said
    code, said = told(str(file), "--columns", "user_id,video_id", "--encoding", "latin-1")
    assert code == 1
    assert "3 fields in the first line, 2 names" in " ".join(said.split())


def test_a_media_folder_takes_them_too(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("who|what|when\nana|élan|03/04/2024\nbo|cat|05/06/2024\n", "latin-1")
    (tmp_path / "videos.csv").write_text("video_id|title\nélan|Élan\ncat|Chat\n", "latin-1")
    with pytest.raises(DataError, match="say what it is: encoding='latin-1'"):
        read_any(tmp_path)
    read = read_any(tmp_path, columns=NAMES, encoding="latin-1", separator="|", time_format="%d/%m/%Y")
    assert read.videos["title"].to_list() == ["Élan", "Chat"]
    assert read.interactions["time"][0] == APRIL_3
    code, said = told(str(tmp_path), "--columns", ",".join(NAMES), "--encoding", "latin-1", "--header")
    assert code == 1
    assert "(month first) or time_format=" in said, "the order of dates is still not guessed"


def test_a_fixed_layout_and_a_dataset_refuse_them(tmp_path: Path) -> None:
    folder = layouts.mmrec(tmp_path)
    with pytest.raises(DataError, match="separator= given, but what is here has a fixed form"):
        read_any(folder, separator=";")
    code, said = told(str(folder), "--encoding", "latin-1")
    assert code == 1
    assert "encoding= given" in said
    with pytest.raises(TypeError, match="a Dataset is read already"):
        inspect(read_any(folder), header=True)
