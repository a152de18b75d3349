"""Openings of a test are on disk before it is read, counted by protocol and place, and never lost."""

from __future__ import annotations

import copy
import errno

import pytest

from mmgraph.data import files as files_module
from mmgraph.data import random_split
from mmgraph.data.files import WriteFailed, append_line, read_lines
from mmgraph.data.split import Split
from mmgraph.experiment import Result, openings, run
from mmgraph.experiment.journal import JOURNAL, recorded_opening, unused_name
from tests.experiment.toys import toy, toy_split, world


def test_an_opening_is_on_disk_before_the_test_is_read_and_closed_after(tmp_path, monkeypatch):
    seen = []
    read = Split.open_test

    def watched(self, experiment):
        seen.append(read_lines(tmp_path / JOURNAL))
        return read(self, experiment)

    monkeypatch.setattr(Split, "open_test", watched)
    result = run(toy(), 0, tmp_path)
    (before,) = seen
    assert [(line["event"], line["experiment"], line["seed"]) for line in before] == [("open", "dots", 0)]
    assert (before[0]["identity"], before[0]["protocol_id"]) == (result.identity, result.protocol)
    lines = read_lines(tmp_path / JOURNAL)
    assert [line["event"] for line in lines] == ["open", "close"]
    assert lines[1]["key"] == lines[0]["key"]
    assert lines[1]["outcome"] == "read"


def test_a_test_that_cannot_be_recorded_stays_closed(tmp_path, monkeypatch):
    split = toy_split()

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files_module.os, "fsync", full)
    with pytest.raises(WriteFailed, match=r"openings\.jsonl: No space"), recorded_opening(tmp_path, split, "x", 0, ""):
        split.open_test("x")
    assert split.openings == ()


def test_an_evaluation_that_fails_has_still_opened_the_test(tmp_path, monkeypatch):
    monkeypatch.setattr("mmgraph.experiment.stages._data", lambda split: 1 / 0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            run(toy(), 0, tmp_path, resume=True)
    monkeypatch.undo()
    assert run(toy(), 0, tmp_path, resume=True).opened == 4
    with pytest.raises(KeyError), recorded_opening(tmp_path, toy_split(), "x", 0, "id"):
        raise KeyError
    assert read_lines(tmp_path / JOURNAL)[-1]["outcome"] == "failed"


def test_another_name_another_split_object_and_more_parameters_are_the_same_test(tmp_path):
    split = toy_split()
    splits = [split, toy_split(), copy.deepcopy(split), split.with_parameters(more=True)]
    splits.append(random_split(world(), seed=0, name="renamed"))
    names = []
    for seed, other in enumerate(splits):
        with recorded_opening(tmp_path, other, "dots", seed % 2, "id") as name:
            other.open_test(name)
            names.append(name)
    assert names == ["dots/0", "dots/1", "dots/0, look 2", "dots/1, look 2", "dots/0, look 3"]
    assert split.openings == tuple(names)
    assert unused_name(split, "dots/0") == "dots/0, look 4"
    (found,) = openings(tmp_path, split)
    assert (found["experiment"], found["times"], found["seeds"]) == ("dots", 5, [0, 1])
    assert found["protocols"] == [split.protocol_id, splits[3].protocol_id, splits[4].protocol_id]
    assert openings(tmp_path, random_split(world(), seed=1)) == []
    assert openings(tmp_path / "elsewhere", split.test_id) == []


def test_every_result_says_how_often_its_test_was_opened_here(tmp_path):
    run(toy(), 0, tmp_path)
    run(toy(name="other"), 1, tmp_path)
    result = run(toy(), 1, tmp_path)
    assert [(o["experiment"], o["times"]) for o in result.openings] == [("dots", 2), ("other", 1)]
    assert Result.load(tmp_path / "dots/1").opened == 3
    assert run(toy(), 0, tmp_path / "another place").opened == 1


def test_a_half_line_counts_as_an_opening_nobody_knows_and_blocks_nothing(tmp_path):
    run(toy(), 0, tmp_path)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"event": "open", "key": "12')
    append_line(tmp_path / JOURNAL, {"event": "something of a later version"})
    result = run(toy(), 1, tmp_path)
    assert [(o["experiment"], o["times"]) for o in result.openings] == [("dots", 2), (None, 1)]
    assert result.opened == 3
