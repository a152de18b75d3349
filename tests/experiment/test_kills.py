"""The benchmark that kills: it sees what is lost, doubled or left running, and what failed by itself."""

from __future__ import annotations

import shutil

from benchmarks import kills
from benchmarks.kills import Kind, Work
from mmgraph.experiment import run_suite, tune
from mmgraph.experiment.study import Study
from tests.experiment.test_tuning import tunable
from tests.experiment.toys import toy_split


def test_a_slot_that_is_lost_or_left_running_is_told(tmp_path):
    study = Study(tunable(), toy_split(), 0, tmp_path)
    assert not isinstance(study.claim(2, None), str)  # and then its process is gone
    assert kills._study_faults(study, 2) == ["slot 0: done 0 times", "slot 1: done 0 times", "slot 0: left running"]
    tune(tunable(), 2, out=tmp_path, split=toy_split())
    assert kills._study_faults(study, 2) == []
    assert kills._study_faults(study, 3) == ["slot 2: done 0 times"]


def test_a_run_that_is_lost_or_changed_is_told(tmp_path, monkeypatch):
    small = kills.suite().model_copy(update={"experiments": kills.suite().experiments[:2], "trials": 0})
    monkeypatch.setattr(kills, "suite", lambda: small)
    run_suite(small, tmp_path)
    whole = kills.KINDS["bench"].found(tmp_path)
    assert len(whole) == 2
    assert kills.KINDS["bench"].faults(tmp_path) == []
    shutil.copytree(tmp_path / "quick-itemknn" / "0", tmp_path / "quick-itemknn" / "1")
    assert any("quick-itemknn" in fault and "2 times" in fault for fault in kills.KINDS["bench"].faults(tmp_path))
    shutil.rmtree(tmp_path / "quick-itemknn")
    assert "quick-itemknn 0: waiting" in kills.KINDS["bench"].faults(tmp_path)
    assert kills.KINDS["bench"].found(tmp_path) == [row for row in whole if row[0] != "quick-itemknn"]


def test_work_that_fails_by_itself_is_told_and_work_that_is_killed_is_not(tmp_path):
    work = Work(Kind(("no-such-command",), lambda out: None, lambda out: []), tmp_path / "a")
    work.start()
    assert work.over(600)
    assert ["no-such-command" in said for said in work.ended] == [True, True]
    work = Work(Kind(("tune", "benchmarks.kills:recipe"), lambda out: None, lambda out: []), tmp_path / "b")
    work.start()
    assert len(work.processes) == 2
    assert work.kill([0]) == 1
    assert len(work.processes) == 1
    assert work.kill([0]) == 1
    assert work.over(1)
    assert work.ended == []
