"""The cascade in closed form: what a request gains less what it costs, by how much is known of the user."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmgraph.bundle import Bundle, export, load
from mmgraph.cli.app import app
from mmgraph.data import Dataset
from mmgraph.models import NeuMF
from mmgraph.recommend import recommend
from mmgraph.serve.cascade import TIERS, CascadeRouter, fit_router, measure_tiers
from mmgraph.serve.engine import Engine
from mmgraph.serve.log import Event, SqliteLog
from mmgraph.serve.question import Question
from mmgraph.serve.server import ServeConfig, make_app
from tests.worlds import checkerboard

ROUTER = CascadeRouter(
    tiers=("popular", "index", "rescored"),
    edges=(3, 10),
    gain=((0.30, 0.20, 0.25), (0.30, 0.40, 0.42), (0.10, 0.50, 0.80)),
    cost=(0.0, 1.0, 5.0),
)


def test_price_0_takes_the_best_an_infinite_one_the_cheapest_and_between_the_margin_decides():
    assert [ROUTER.route(met, 0) for met in (0, 3, 4, 10, 11, 999)] == ["popular"] * 2 + ["rescored"] * 4
    assert {ROUTER.route(met, math.inf) for met in (0, 5, 50)} == {"popular"}
    # of the middle bin: rescored over index brings .02 for 4 ms more, index over popular .10 for 1 ms
    assert ROUTER.route(5, 0.0049) == "rescored"
    assert ROUTER.route(5, 0.0051) == "index"
    assert ROUTER.route(5, 0.099) == "index"
    assert ROUTER.route(5, 0.101) == "popular"
    assert ROUTER.expected([0, 5, 50], 0.05) == pytest.approx(((0.3 + 0.4 + 0.8) / 3, (0 + 1 + 5) / 3))
    even = ROUTER.model_copy(update={"gain": ((0.3,) * 3,) * 3})
    assert even.route(5, 0) == "popular", "no gain, no cost"
    with pytest.raises(ValueError, match="price is a number from 0"):
        ROUTER.route(1, -1)


@given(st.lists(st.floats(0, 1), min_size=9, max_size=9), st.lists(st.floats(0, 1e3), min_size=2, max_size=9))
def test_a_higher_price_never_costs_more_and_never_gains_more(gains: list[float], prices: list[float]):
    router = ROUTER.model_copy(update={"gain": tuple(tuple(gains[3 * b : 3 * b + 3]) for b in range(3))})
    found = [router.expected([0, 5, 50], price) for price in (0.0, *sorted(prices), math.inf)]
    for (gain, cost), (later_gain, later_cost) in pairwise(found):
        assert later_cost <= cost
        assert later_gain <= gain + 1e-12
    assert found[0][0] == pytest.approx(np.mean([max(row) for row in router.gain]))


def test_gains_are_means_of_bins_drawn_to_the_mean_of_all():
    met = [1, 1, 2, 8, 9, 30]
    gains = {"popular": [0.6, 0.4, 0.5, 0.1, 0.1, 0.1], "index": [0.0, 0.2, 0.1, 0.5, 0.7, 0.3]}
    router = fit_router(met, gains, {"popular": 0.1, "index": 1.0}, bins=2, shrink=0)
    assert router.edges == (2,)
    assert router.requests == (3, 3)
    assert np.allclose(router.gain, [[0.5, 0.1], [0.1, 0.5]])
    assert [router.route(m, 0) for m in (2, 3)] == ["popular", "index"]
    # at price 0 it gains at least what any one tier does, on what it was fitted on
    assert router.expected(met, 0)[0] >= max(np.mean(values) for values in gains.values())
    drawn = fit_router(met, gains, {"popular": 0.1, "index": 1.0}, bins=2, shrink=3)
    assert np.allclose(drawn.gain, [[(1.5 + 3 * 0.3) / 6, (0.3 + 3 * 0.3) / 6], [(0.3 + 0.9) / 6, (1.5 + 0.9) / 6]])
    one = fit_router([4, 4], {"index": [1.0, 0.0]}, {"index": 1.0})
    assert (one.edges, one.requests) == ((), (2,)), "equal numbers make one bin"
    for wrong in (
        lambda: fit_router([], {"index": []}, {"index": 1.0}),
        lambda: fit_router([1], {"index": [1.0, 2.0]}, {"index": 1.0}),
        lambda: fit_router([1], {"index": [1.0]}, {}),
        lambda: fit_router([1], {"magic": [1.0]}, {"magic": 1.0}),
    ):
        with pytest.raises(ValueError, match=r"requests|tiers"):
            wrong()


def test_it_is_kept_as_json_and_what_is_none_is_refused(tmp_path: Path):
    ROUTER.save(tmp_path / "r.json")
    assert CascadeRouter.load(tmp_path / "r.json") == ROUTER
    text = (tmp_path / "r.json").read_text()
    for old, new, message in (
        ('"popular"', '"magic"', "no tier 'magic'"),
        ("[\n  3,", "[\n  30,", "edges"),
        ("{", "[", "no router"),
    ):
        (tmp_path / "w.json").write_text(text.replace(old, new, 1))
        with pytest.raises(ValueError, match=message):
            CascadeRouter.load(tmp_path / "w.json")


def test_tiers_are_measured_on_held_out_clicks(bundle: Bundle):
    # everybody's one unseen video of their kind is their own number: content finds it, popularity cannot
    ticks = count()
    targets = {str(u): [str(u)] for u in range(24)} | {"stranger": ["1"], "3": ["no such video"]}
    met, gains, cost = measure_tiers(bundle, targets, k=3, clock=lambda: float(next(ticks)))
    assert met == [11] * 23
    assert set(gains) == {"popular", "index"} <= set(TIERS)
    assert np.allclose(gains["index"], 1.0)
    assert gains["popular"].mean() < 0.5
    assert cost == {"popular": 1000.0, "index": 1000.0}
    with pytest.raises(ValueError, match="no held-out click"):
        measure_tiers(bundle, {"stranger": ["1"]})


@pytest.fixture(scope="module")
def scored_by_a_network(tmp_path_factory: pytest.TempPathFactory):
    """A model whose head is a perceptron, and its bundle: every video is a candidate for re-scoring."""
    graph = checkerboard(24)
    torch.manual_seed(0)
    model = NeuMF(graph).eval()
    user, video = graph.interactions()
    ids = list(range(24))
    dataset = Dataset.from_frames(
        {"user": user.numpy(), "video": video.numpy()}, users={"user_id": ids}, videos={"video_id": ids}
    )
    return model, graph, export(model, graph, dataset, tmp_path_factory.mktemp("ncf") / "b")


def test_the_server_answers_by_the_tier_that_the_router_says(scored_by_a_network, tmp_path: Path):
    model, graph, bundle = scored_by_a_network
    exact = recommend(model, graph, [3], k=4).video[0].tolist()
    lists = {}
    with SqliteLog(tmp_path / "log") as log:
        for tier in (None, *TIERS):
            route = None if tier is None else lambda met, tier=tier: tier
            with contextlib.closing(Engine(bundle.folder, log, route=route).start()) as engine:
                answer = engine.ask(Question("3", k=4)).result(20)
                lists[tier] = [int(item["video"]) for item in answer.items]
                assert answer.meta["fallback"] == ("cascade" if tier == "popular" else None)
                chosen = engine.ask(Question("3", k=4, candidates=["3", "5"])).result(20)
                assert chosen.meta["fallback"] is None, "given candidates are scored, whatever the tier"
        assert lists[None] == lists["rescored"] == exact, "the model's own order"
        assert lists["index"] == bundle.rank(["3"], 4, rescore=False).video[0].tolist()
        # a row that moved is no longer the one that the network knows: the list is the rows'
        log.append([Event("e", "click", 2e9, {"user": "3", "video": str(exact[0])})])
        with contextlib.closing(Engine(bundle.folder, log).start()) as engine:
            moved = engine.ask(Question("3", k=4)).result(20)
            assert moved.meta["profile"] == "events"
            assert str(exact[0]) not in [item["video"] for item in moved.items]
            scores = [item["score"] for item in moved.items]
            assert scores == sorted(scores, reverse=True)


def test_the_server_takes_the_router_as_an_option(bundle_folder: Path, tmp_path: Path):
    ROUTER.save(tmp_path / "r.json")
    given = {"bundle": bundle_folder, "log": tmp_path / "log", "router": tmp_path / "r.json"}
    route = ServeConfig(**given, price=math.inf).route()
    assert route is not None
    assert route(50) == "popular"
    assert make_app(ServeConfig(**given)).engine.route(50) == "rescored"
    assert ServeConfig(bundle_folder, tmp_path / "log").route() is None
    with pytest.raises(ValueError, match="price"):
        ServeConfig(**given, price=-1)
    with pytest.raises(FileNotFoundError):
        ServeConfig(**given | {"router": tmp_path / "none.json"})


def test_a_router_in_the_bundle_is_asked_and_follows_the_next_bundle(bundle: Bundle, tmp_path: Path):
    folder = tmp_path / "b"
    shutil.copytree(bundle.folder, folder)
    made = ROUTER.keep_in(load(folder))
    assert made.id != bundle.id
    assert CascadeRouter.of(made) == ROUTER
    assert CascadeRouter.of(bundle) is None
    assert torch.equal(made.video, bundle.video), "the rest is as it was"
    with (
        SqliteLog(tmp_path / "log") as log,
        contextlib.closing(Engine(folder, log, price=math.inf).start()) as engine,
    ):
        assert engine.ask(Question("3", k=4)).result(20).meta["fallback"] == "cascade"
        with contextlib.closing(Engine(folder, log, price=math.inf, route=lambda met: "index").start()) as other:
            assert other.ask(Question("3", k=4)).result(20).meta["fallback"] is None, "what was named comes first"
        ROUTER.model_copy(update={"cost": (9.0, 1.0, 5.0)}).keep_in(made)
        engine.reload()
        assert engine.ask(Question("3", k=4)).result(20).meta["fallback"] is None


def test_the_command_fits_it_on_clicks_that_the_bundle_was_not_made_with(bundle: Bundle, tmp_path: Path):
    folder = tmp_path / "b"
    shutil.copytree(bundle.folder, folder)
    table = tmp_path / "later.csv"
    table.write_text("user_id,video_id\n" + "".join(f"{u},{u}\n" for u in range(24)))

    def command(*words: object) -> Any:
        return CliRunner().invoke(app, ["router", *map(str, words)])

    done = command(folder, "--clicks", table, "-k", 3, "--bins", 1, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["tiers"], told["requests"]) == (["popular", "index"], [24])
    assert told["gain"][0][1] == pytest.approx(1.0), "content finds everybody's one video"
    kept = CascadeRouter.of(load(folder))
    assert kept is not None
    assert (load(folder).id, list(kept.gain[0])) == (told["bundle"], told["gain"][0])
    with SqliteLog(tmp_path / "log") as log:
        log.append([Event(str(u), "click", 2e9, {"user": str(u), "video": str(u)}) for u in range(24)])
        log.append([Event("s", "skip", 2e9, {"user": "1", "video": "3"})])
    again = json.loads(command(folder, "--log", tmp_path / "log", "-k", 3, "--bins", 1, "--json").output)
    assert (again["gain"], again["requests"]) == (told["gain"], [24])
    assert "index" in command(folder, "--clicks", table).output
    old = tmp_path / "old.csv"
    old.write_text("user_id,video_id\n" + "".join(f"3,{v}\n" for v in bundle.history.videos(3)))
    for words in (["--clicks", old], [], ["--clicks", table, "--log", tmp_path / "log"], ["--log", tmp_path / "none"]):
        refused = command(folder, *words)
        assert refused.exit_code != 0
        assert "Traceback" not in refused.output


def test_the_command_takes_valid_of_the_runs_experiment(bundle: Bundle, tmp_path: Path, monkeypatch):
    folder = tmp_path / "b"
    shutil.copytree(bundle.folder, folder)
    (tmp_path / "recipe_of_mine.py").write_text(
        "from mmgraph.data import Dataset\n"
        "from mmgraph.data.split import leave_last_one_out\n"
        "from mmgraph.experiment import Experiment\n"
        "from mmgraph.models import BPRMF\n"
        "def split():\n"
        "    rows = [(u, v) for u in range(24) for v in ((u + 2) % 24, u, (u + 4) % 24)]\n"
        "    users, videos = zip(*rows)\n"
        "    data = Dataset.from_frames({'user': users, 'video': videos, 'time': list(range(len(rows)))})\n"
        "    return leave_last_one_out(data)\n"
        "def experiment():\n"
        "    return Experiment(name='mine', split=split, model=BPRMF)\n"
    )
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["router", str(folder), "--source", "recipe_of_mine.py:experiment", "--json"])
    assert done.exit_code == 0, done.output
    assert sum(json.loads(done.output)["requests"]) == 24, "the click before everybody's last"
