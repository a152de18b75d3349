"""What a comparison says, against scipy and against data whose truth is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mmgraph.experiment import Result, compare, compare_family, holm
from mmgraph.experiment.differences import CannotPair, paired_differences
from mmgraph.experiment.paired import PairedTest, paired_test, variances


def stored(folder, name: str, seed: int, values, *, users=None, protocol: str = "p-1", opened: int = 0) -> Result:
    """A result with these per-user values of recall@5."""
    place = folder / name / str(seed)
    place.mkdir(parents=True)
    users = np.arange(len(values)) if users is None else users
    frame = pl.DataFrame({"stage": "test", "group": "all", "user": users, "recall@5": np.asarray(values, float)})
    frame.write_parquet(place / "per_user.parquet")
    openings = [{"experiment": name, "times": opened}] if opened else []
    test = {"all": {"recall@5": float(np.mean(values)), "ndcg@5": 0.5, "coverage@5": 0.5}}
    about = {"config": {}, "environment": {}, "data": {}, "openings": openings}
    return Result(experiment=name, protocol=protocol, seed=seed, valid={}, test=test, **about).save(place)


def lists(random: np.random.Generator, users: int) -> np.ndarray:
    """Recall as it looks: most users 0, the others a few steps."""
    return random.choice([0.0, 0.25, 0.5, 1.0], users, p=[0.6, 0.2, 0.15, 0.05])


def test_with_one_seed_everything_is_the_paired_t_test_of_scipy(tmp_path):
    random = np.random.default_rng(0)
    a, b = random.random(300) + 0.02, random.random(300)
    found = compare([stored(tmp_path, "a", 0, a)], [stored(tmp_path, "b", 0, b)], "recall@5")
    want = stats.ttest_rel(a, b)
    low, high = want.confidence_interval(0.95)
    assert (found.t_users, found.p_users) == pytest.approx((want.statistic, want.pvalue))
    assert found.p == found.p_adjusted == pytest.approx(want.pvalue)
    assert found.interval == pytest.approx((low, high))
    d = a - b
    assert found.dz == pytest.approx(d.mean() / d.std(ddof=1))
    assert found.detectable == pytest.approx(2.8 * d.std(ddof=1) / 300**0.5, rel=0.01)


def test_the_smallest_detectable_difference_is_found_four_times_in_five():
    random = np.random.default_rng(1)
    d = random.normal(0, 0.3, (2000, 1, 400))
    shift = paired_test(d).detectable.mean()
    assert (paired_test(d + shift).p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_identical_models_are_a_tie_whatever_the_order_of_the_seeds(tmp_path):
    random = np.random.default_rng(2)
    values = [random.random(50) for _ in range(3)]
    a = [stored(tmp_path, "a", s, values[s]) for s in range(3)]
    b = [stored(tmp_path, "b", s, values[s]) for s in (2, 0, 1)]
    found = compare(a, b, "recall@5")
    assert found.verdict == "tie"
    assert (found.difference, found.p, found.dz, found.interval, found.detectable) == (0, 1, 0, (0, 0), 0)


def test_a_planted_percent_is_found_where_it_can_be_and_is_a_tie_where_it_cannot(tmp_path):
    verdicts = {}
    for users in (400, 20_000):
        random = np.random.default_rng(3)
        base = 0.2 + 0.1 * random.random(users)
        noise = random.normal(0, 0.05, users)
        better = base * 1.01 + noise - noise.mean()
        here = tmp_path / str(users)
        a, b = [stored(here, "a", 0, better)], [stored(here, "b", 0, base)]
        found = compare(a, b, "recall@5", resamples=100)
        assert (found.detectable < 0.01 * base.mean()) == (users == 20_000)
        verdicts[users] = (found.verdict, compare(b, a, "recall@5", resamples=100).verdict)
        assert found.verdict in str(found)
    assert verdicts == {400: ("tie", "tie"), 20_000: ("better", "worse")}


def test_two_models_that_do_not_differ_are_told_apart_once_in_twenty():
    random = np.random.default_rng(4)
    d = lists(random, 2000 * 400).reshape(2000, 1, 400) - lists(random, 2000 * 400).reshape(2000, 1, 400)
    found = paired_test(d)
    assert isinstance(found, PairedTest)
    assert (found.p < 0.05).mean() == pytest.approx(0.05, abs=0.01)
    assert ((np.abs(d.mean((1, 2))) > found.margin) == (found.p < 0.05)).all()


def simulated(seeds: int, effect: float, rest: float = 0.3, pairs: int = 2000, users: int = 100) -> np.ndarray:
    """Models that do not differ: user + seed + rest; ``effect`` is the seeds' standard error in the users'."""
    random = np.random.default_rng([seeds, int(10 * effect), int(10 * rest)])
    d = random.normal(0, 0.3, (pairs, 1, users)) + random.normal(0, rest, (pairs, seeds, users))
    error = ((0.09 + rest**2 / seeds) / users) ** 0.5
    return d + effect * error * seeds**0.5 * random.standard_normal((pairs, seeds, 1))


@pytest.mark.parametrize("rest", [0.1, 0.3])
@pytest.mark.parametrize(
    ("seeds", "effect"), [(1, 0.0), (2, 1.0), (2, 2.0), (3, 0.0), (3, 1.0), (3, 2.0), (5, 0.0), (5, 1.0), (5, 2.0)]
)
def test_the_level_is_held_with_few_seeds_whatever_they_do(seeds, effect, rest):
    d = simulated(seeds, effect, rest)
    found = paired_test(d)
    assert 0.025 < (found.p < 0.05).mean() < 0.06
    assert ((np.abs(d.mean((1, 2))) > found.margin) == (found.p < 0.05)).all()
    if effect > 1:  # the test over users alone takes lucky seeds for a better model
        assert (paired_test(d.mean(1, keepdims=True)).p < 0.05).mean() > 0.2


def test_two_seeds_without_an_effect_are_judged_too_carefully_never_too_boldly():
    rates = [(paired_test(simulated(2, effect, 0.3)).p < 0.05).mean() for effect in (0.0, 0.3, 0.6, 4.0, 30.0)]
    assert max(rates) < 0.06
    assert rates[0] < 0.03
    assert rates[-1] == pytest.approx(0.05, abs=0.01)


def test_the_interval_is_the_users_at_least_and_the_seeds_where_these_decide():
    random = np.random.default_rng(7)
    d = simulated(5, 0.0, pairs=50)
    of_users, of_seeds, rest = variances(d)
    assert rest == pytest.approx((0.09 / 500) * np.ones(50), rel=0.3)
    assert (paired_test(d).margin >= stats.t.ppf(0.975, 99) * np.sqrt(of_users) - 1e-12).all()
    lucky = d[:1] + 10 * random.standard_normal((1, 5, 1))
    over_seeds = stats.ttest_1samp(lucky[0].mean(1), 0)
    assert paired_test(lucky).p[0] == pytest.approx(over_seeds.pvalue, rel=0.01)
    same = np.broadcast_to(d[:1, :1], (1, 4, 100))  # seeds that all did the same add nothing
    assert paired_test(same).p[0] == pytest.approx(stats.ttest_1samp(d[0, 0], 0).pvalue)
    assert of_seeds.min() > 0


@pytest.mark.filterwarnings("error")
def test_users_who_all_agree_leave_no_doubt_and_one_user_leaves_nothing_else(tmp_path):
    for users in (2, 4, 50):
        for seeds in (1, 3):
            found = paired_test(np.full((seeds, users), 0.5))
            assert (found.p, found.margin, found.detectable) == (0, 0, 0)
    a, b = [stored(tmp_path, "a", 0, [0.5])], [stored(tmp_path, "b", 0, [0.25])]
    alone = compare(a, b, "recall@5")
    assert np.isnan([alone.low, *alone.interval, alone.p, alone.detectable]).all()
    assert alone.verdict == "tie"
    assert str(alone).endswith("+0.2500 for one user, who says nothing of others: no interval, tie")


def test_a_family_is_corrected_after_holm_and_the_verdict_follows(tmp_path):
    random = np.random.default_rng(6)
    base, noise = random.random(400), random.normal(0, 0.1, 400)
    noise -= noise.mean()
    error = noise.std(ddof=1) / 20
    a = [stored(tmp_path, "a", 0, base)]
    # 2.1 standard errors: p is .036 alone, and twice that as the second of three
    shifts = {"far": 20 * error, "near": 0.0, "edge": 2.1 * error}
    others = {name: [stored(tmp_path, name, 0, base - shift + noise)] for name, shift in shifts.items()}
    found = compare_family(a, others, "recall@5", resamples=100)
    alone = {name: compare(a, b, "recall@5", resamples=100) for name, b in others.items()}
    assert [c.p_adjusted for c in found.values()] == holm([c.p for c in alone.values()])
    assert found["far"].verdict == "better"
    assert (alone["edge"].verdict, found["edge"].verdict) == ("better", "tie")


def test_requests_of_one_user_count_as_one_and_nothing_in_common_is_refused(tmp_path):
    a = [stored(tmp_path, "a", 0, [1.0, 0.0, 0.5, 0.2], users=[0, 0, 1, 2])]
    b = [stored(tmp_path, "b", 0, [0.0, 0.0, 0.0, 0.0], users=[0, 0, 1, 2])]
    users, d = paired_differences(a, b, "recall@5", "all", "test")
    assert users == 3
    assert d.tolist() == [[0.5, 0.5, 0.2]]
    with pytest.raises(CannotPair, match="no user of group 'all'"):
        compare(a, [stored(tmp_path, "c", 0, [np.nan] * 4, users=[0, 0, 1, 2])], "recall@5")
