"""Plots: their numbers, and files that are what their ending says."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from mmgraph.cli import app
from mmgraph.experiment import Result
from mmgraph.report import (
    Dot,
    draw_dots,
    draw_lines,
    draw_ranks,
    missing_lines,
    quality_against,
    rank_intervals,
    save_figure,
)
from tests.test_report_audit import findings

pytest.importorskip("matplotlib")


def saved(place: Path, name: str, seed: int, values: np.ndarray, seconds: float = 1.0, protocol: str = "p-1") -> Result:
    """A result with a value a user."""
    folder = place / name / str(seed)
    folder.mkdir(parents=True)
    frame = pl.DataFrame({"stage": "test", "group": "all", "user": np.arange(len(values)), "recall@20": values})
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    (folder / "per_user.parquet").write_bytes(buffer.getvalue())
    result = Result(
        experiment=name, protocol=protocol, seed=seed, valid={}, config={}, environment={}, data={},
        test={"all": {"recall@20": float(values.mean()), "recall@10": 0.1, "ndcg@20": 0.1}},
        training={"seconds": seconds, "parameters": 10 * seed},
    )  # fmt: skip
    return result.save(folder)


@pytest.fixture
def results(tmp_path: Path) -> list[Result]:
    chance = np.random.default_rng(0)
    users = chance.random(400)
    return [
        saved(tmp_path, "low", 0, users, 2.0),
        saved(tmp_path, "low", 1, users + 0.02, 4.0),
        saved(tmp_path, "high", 0, users + 0.5, 300.0),
        saved(tmp_path, "same", 0, users + 0.01 + chance.normal(0, 0.5, 400), 3.0),
    ]


def test_quality_stands_at_the_mean_cost_with_the_seeds_as_ends(results):
    dots = quality_against(results, "seconds")
    low = [r.metric("recall@20") for r in results[:2]]
    assert dots["low"] == Dot(3.0, sum(low) / 2, min(low), max(low))
    assert (dots["high"].x, math.isnan(dots["high"].low)) == (300.0, True)
    assert quality_against(results, "parameters")["low"].x == 5.0
    with pytest.raises(ValueError, match="does not say its seconds"):
        quality_against([results[0].model_copy(update={"training": {}})], "seconds")
    with pytest.raises(ValueError, match="of one protocol"):
        quality_against([results[0], results[2].model_copy(update={"protocol": "p-2"})], "seconds")


def test_ranks_are_sure_where_the_users_are(results):
    ranks = rank_intervals(results, resamples=300)
    assert ranks["high"] == Dot(1.0, 1.0, 1.0, 1.0), "better for every user"
    assert {ranks["low"].y, ranks["same"].y} == {2.0, 3.0}
    assert (ranks["low"].low, ranks["low"].high) == (2.0, 3.0), "these two may turn"
    twice = [results[2], results[2].model_copy(update={"experiment": "twin"})]
    assert {dot.y for dot in rank_intervals(twice, resamples=20).values()} == {1.5}, "equals share a rank"
    with pytest.raises(ValueError, match="at least two"):
        rank_intervals(results[:2])
    with pytest.raises(KeyError, match="no 'mrr@3'"):
        rank_intervals(results, "mrr@3")


def test_lines_of_missing_modalities_begin_where_nothing_is_lost():
    lines = missing_lines({"mine": findings()})
    assert lines["mine"][0] == Dot(0.0, 0.5, math.nan, math.nan) or math.isnan(lines["mine"][0].low)
    last = lines["mine"][-1]
    assert (last.x, last.y) == (0.9, pytest.approx(0.275))
    assert last.low == pytest.approx(0.5 - (0.225 + 0.01))
    assert last.high == pytest.approx(0.5 - (0.225 - 0.01))
    with pytest.raises(ValueError, match="has no"):
        missing_lines({"mine": findings()}, how="value")
    with pytest.raises(ValueError, match="different things"):
        missing_lines({"a": findings(), "b": findings(metric="ndcg@5")})


def test_figures_are_files_of_their_ending_and_svgs_are_the_same_again(results, tmp_path):
    figure = draw_dots(quality_against(results, "seconds"), "seconds", "recall@20, 100 % of $5")
    assert figure.axes[0].get_xscale() == "log", "the costs span more than a factor of ten"
    assert save_figure(figure, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    first = save_figure(figure, tmp_path / "a.svg").read_bytes()
    assert b"<svg" in first
    again = draw_dots(quality_against(results, "seconds"), "seconds", "recall@20, 100 % of $5")
    assert save_figure(again, tmp_path / "b.svg").read_bytes() == first
    ranks = draw_ranks(rank_intervals(results, resamples=20), "rank")
    labels = [label.get_text() for label in ranks.axes[0].get_yticklabels()]
    assert labels[0] == "high"
    lines = draw_lines({"mine": [Dot(0, 1.0), Dot(1, 0.5, 0.4, 0.6)]}, "range", "recall", ("1 to 2", "3"))
    assert [t.get_text() for t in lines.axes[0].get_xticklabels()] == ["1 to 2", "3"]
    with pytest.raises(ValueError, match=r"end it with \.png"):
        save_figure(figure, tmp_path / "a.gif")


def test_pgf_is_written_where_there_is_a_tex_engine(results, tmp_path):
    import shutil

    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here")
    figure = draw_ranks(rank_intervals(results, resamples=20), "rank")
    assert r"\begin{pgfpicture}" in save_figure(figure, tmp_path / "a.pgf").read_text()


def test_the_command_draws_and_prints_its_numbers(results, tmp_path):
    place = str(tmp_path)
    done = CliRunner().invoke(app, ["plot", place, "--what", "ranks", "--out", f"{place}/r.svg", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["models"]["high"][0]["y"] == 1.0
    assert (tmp_path / "r.svg").exists()
    for what in ("seconds", "parameters"):
        done = CliRunner().invoke(app, ["plot", place, "--what", what, "--out", f"{place}/{what}.png"])
        assert done.exit_code == 0, done.output
    for more, said in (
        (["--what", "colour"], "--what is one of"),
        (["--what", "missing"], "none of these runs was audited"),
        (["--what", "popularity"], "which functions made the runs"),
        (["--out", f"{place}/a.gif"], "end it with"),
    ):
        done = CliRunner().invoke(app, ["plot", place, *more])
        assert done.exit_code == 1
        assert said in done.output
