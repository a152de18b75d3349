"""The cascade in closed form: what a request gains less what it costs, by how much is known of the user."""

from __future__ import annotations

import math
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.bundle import Bundle
from mmgraph.serve.cascade import TIERS, CascadeRouter, fit_router, measure_tiers

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
