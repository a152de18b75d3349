"""Protocols: what goes where, the sealed test part, the protocol id."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mmgraph.data import (
    DataError,
    Dataset,
    Protocol,
    SealedTestError,
    Split,
    cold_video_split,
    global_time_split,
    leave_last_one_out,
    published_split,
    random_split,
    user_time_split,
)

ROW = "row"


def world(users=30, videos=20, per_user=10, seed=0, name="w") -> Dataset:
    rng = np.random.default_rng(seed)
    pairs = [(u, int(v)) for u in range(users) for v in rng.choice(videos, per_user, replace=False)]
    frame = pl.DataFrame(pairs, schema=["user", "video"], orient="row")
    frame = frame.with_columns(time=pl.Series(rng.permutation(len(frame))), row=pl.int_range(pl.len()))
    return Dataset.from_frames(frame, name=name)


def parts(split: Split) -> list[pl.DataFrame]:
    return [split.train, split.valid, split.open_test(f"look {len(split.openings)}")]


def attempt(make: Callable[[], Split]) -> Split | None:
    """The split, or None when the few rows drawn leave a part empty."""
    try:
        return make()
    except DataError as error:
        if "part is empty" in str(error):
            return None
        raise


def all_splits(dataset: Dataset) -> list[Split]:
    labels = np.random.default_rng(1).integers(0, 3, dataset.num_interactions)
    labelled = Dataset(**{**vars(dataset), "interactions": dataset.interactions.with_columns(x=pl.Series(labels))})
    return [
        random_split(dataset),
        leave_last_one_out(dataset),
        user_time_split(dataset),
        global_time_split(dataset),
        cold_video_split(dataset),
        published_split(labelled, "x"),
    ]


@st.composite
def datasets(draw):
    rows = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=20, max_size=60, unique=True))
    frame = pl.DataFrame(rows, schema=["user", "video"], orient="row")
    times = draw(st.lists(st.integers(0, 30), min_size=len(rows), max_size=len(rows)))  # ties
    return Dataset.from_frames(frame.with_columns(time=pl.Series(times, dtype=pl.Int64), row=pl.int_range(pl.len())))


@settings(max_examples=60)
@given(datasets(), st.integers(0, 5))
def test_parts_are_disjoint_and_cover_everything(dataset, seed):
    for make in (
        lambda: random_split(dataset, seed=seed),
        lambda: leave_last_one_out(dataset),
        lambda: user_time_split(dataset, (6, 2, 2)),
        lambda: global_time_split(dataset),
        lambda: cold_video_split(dataset, seed=seed),
    ):
        split = attempt(make)
        if split is None:
            continue
        rows = [set(p[ROW].to_list()) for p in parts(split)]
        assert sum(map(len, rows)) == dataset.num_interactions
        assert set.union(*rows) == set(range(dataset.num_interactions))
        for part in (split.train, split.valid):
            expected = dataset.interactions.filter(pl.col(ROW).is_in(part[ROW].implode()))
            assert part.equals(expected), "rows of the dataset, unchanged and in its order"


@settings(max_examples=60)
@given(datasets())
def test_time_order(dataset):
    split = attempt(lambda: global_time_split(dataset))
    if split is not None:
        train, valid, test = (p["time"] for p in parts(split))
        assert train.max() < valid.min()
        assert valid.max() < test.min()
    for make in (leave_last_one_out, user_time_split):
        split = attempt(partial(make, dataset))
        if split is None:
            continue
        labelled = pl.concat([p.with_columns(part=pl.lit(n)) for n, p in enumerate(parts(split))])
        for _, events in labelled.sort("time", ROW).group_by("user", maintain_order=True):
            assert events["part"].is_sorted(), "each user's parts follow time, then the row order"


@given(datasets(), st.integers(0, 5))
def test_cold_videos_are_in_one_part(dataset, seed):
    split = attempt(lambda: cold_video_split(dataset, seed=seed))
    if split is None:
        return
    train, valid, test = (set(p["video"].to_list()) for p in parts(split))
    assert not train & valid
    assert not train & test
    assert not valid & test
    watched = dataset.interactions["video"].n_unique()
    assert len(train) == round(0.8 * watched)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, (1, 0, 0)),
        (2, (2, 0, 0)),
        (3, (1, 1, 1)),
        (5, (3, 1, 1)),
        (10, (8, 1, 1)),
        (15, (12, 2, 1)),
        (40, (32, 4, 4)),
    ],
)
@pytest.mark.parametrize("make", [random_split, user_time_split])
def test_how_many_of_a_user_go_where(make, count, expected):
    frame = {"user": [0] * count + [1] * 20, "video": [*range(count), *range(20)], "time": range(count + 20)}
    split = make(Dataset.from_frames(frame))
    assert tuple(int((p["user"] == 0).sum()) for p in parts(split)) == expected


def test_leave_last_one_out_by_hand():
    frame = {
        "user": ["a", "a", "a", "a", "b", "b", "c", "c", "c"],
        "video": [1, 2, 3, 4, 1, 2, 5, 6, 7],
        "time": [4, 1, 3, 2, 1, 2, 9, 9, 9],  # a: 2 4 3 1; c: ties keep the row order
    }
    split = leave_last_one_out(Dataset.from_frames(frame))
    raw = [[split.dataset.video_ids.raw([v])[0] for v in p["video"]] for p in parts(split)]
    assert raw == [[2, 4, 1, 2, 5], [3, 6], [1, 7]]


def test_position_orders_when_there_is_no_time_and_a_column_can_be_named():
    frame = {"user": [0, 0, 0], "video": [1, 2, 3], "position": [2, 0, 1], "rank": [0, 1, 2]}
    dataset = Dataset.from_frames(frame)
    split = leave_last_one_out(dataset)
    assert split.train["position"].to_list() == [0]
    assert split.protocol.parameters["order_by"] == "position"
    assert leave_last_one_out(dataset, order_by="rank").train["rank"].to_list() == [0]
    with pytest.raises(DataError, match=r"nothing to order by: no column time;.*'position'"):
        global_time_split(dataset)
    with pytest.raises(DataError, match="nothing to order by: no column time or position"):
        user_time_split(Dataset.from_frames({"user": [0], "video": [1]}))


def test_splits_do_not_depend_on_the_row_order_of_the_file():
    dataset = world()
    shuffled = Dataset(
        **{**vars(dataset), "interactions": dataset.interactions.sample(fraction=1.0, shuffle=True, seed=5)}
    )
    for one, two in zip(all_splits(dataset)[:5], all_splits(shuffled)[:5]):
        assert one.protocol_id == two.protocol_id
        assert set(one.train[ROW]) == set(two.train[ROW])


def test_repeated_pairs_stay_together_or_are_refused():
    rng = np.random.default_rng(0)
    pairs = [(u, v) for u in range(10) for v in range(6)]
    pairs += [pairs[i] for i in rng.integers(0, len(pairs), 30)]
    frame = pl.DataFrame(pairs, schema=["user", "video"], orient="row").with_columns(time=pl.int_range(pl.len()))
    dataset = Dataset.from_frames(frame, duplicates="keep")
    for make in (random_split, partial(cold_video_split, ratios=(0.6, 0.2, 0.2))):
        train, valid, test = (set(zip(p["user"], p["video"])) for p in parts(make(dataset)))
        assert len(train) + len(valid) + len(test) == 60
    for make in (leave_last_one_out, user_time_split, global_time_split):
        with pytest.raises(DataError, match=r"user \d has video \d in two parts .*duplicates='first'"):
            make(dataset)
        assert make(dataset, repeats="keep").num_test > 0
    with pytest.raises(ValueError, match="repeats='maybe'"):
        leave_last_one_out(dataset, repeats="maybe")  # type: ignore[arg-type]


def test_the_test_part_is_sealed():
    split = random_split(world())
    with pytest.raises(SealedTestError, match="evaluate_test"):
        _ = split.test
    first = split.open_test("lightgcn")
    assert len(first) == split.num_test
    with pytest.raises(SealedTestError, match="'lightgcn' has opened the test part"):
        split.open_test("lightgcn")
    assert split.open_test("mmgcn").equals(first)
    assert split.openings == ("lightgcn", "mmgcn")
    with pytest.raises(SealedTestError, match="needs the experiment's name"):
        split.open_test("")


def test_no_other_way_to_the_same_test_is_without_a_trace():
    split = random_split(world())
    split.open_test("mine")
    named = random_split(world(), name="another")
    others = [random_split(world()), named, copy.deepcopy(split), split.with_parameters(transductive_exposure=True)]
    assert named.protocol_id != split.protocol_id
    for other in others:
        assert other.test_id == split.test_id
        assert other.openings == ("mine",)
        with pytest.raises(SealedTestError, match="'mine' has opened the test part"):
            other.open_test("mine")
    others[-1].open_test("also mine")
    assert split.openings == ("mine", "also mine")
    assert random_split(world(), seed=1).openings == ()


def test_nothing_reachable_from_a_split_holds_the_test_rows():
    for split in all_splits(world()):
        seen = {*split.train[ROW], *split.valid[ROW]}
        assert set(split.dataset.interactions[ROW]) == seen
        assert set(split.seen("valid")[ROW]) == set(split.train[ROW])
        assert not seen & set(split.open_test(f"look {len(split.openings)}")[ROW])


def test_what_is_seen_at_test_belongs_to_the_protocol():
    dataset = world()
    kinds = [s.protocol.seen_at_test for s in all_splits(dataset)]
    assert kinds == ["train", "train+valid", "train+valid", "train", "train", "train"]
    one = random_split(dataset)
    two = random_split(dataset, seen_at_test="train+valid")
    assert len(one.seen("test")) == len(one.train)
    assert len(two.seen("test")) == len(two.train) + len(two.valid)
    assert one.protocol_id != two.protocol_id
    with pytest.raises(ValueError, match="stage='train'"):
        one.seen("train")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seen_at_test='all'"):
        random_split(dataset, seen_at_test="all")  # type: ignore[arg-type]


def test_the_protocol_id_follows_everything_that_matters():
    dataset = world()
    base = random_split(dataset, name="mine")
    assert base.protocol_id.startswith("mine-")
    assert len(base.protocol_id) == len("mine-") + 8
    assert base.protocol_id == random_split(world(), name="mine").protocol_id
    other_name = Dataset(**{**vars(dataset), "name": "renamed"})
    assert random_split(other_name, name="mine").protocol_id == base.protocol_id
    others = [
        random_split(dataset, name="mine", seed=1),
        random_split(dataset, (0.6, 0.2, 0.2), name="mine"),
        random_split(world(seed=3), name="mine"),
        random_split(dataset.with_features(text=np.ones((20, 2))), name="mine"),
        cold_video_split(dataset, name="mine"),
    ]
    assert len({base.protocol_id, *(s.protocol_id for s in others)}) == 6
    assert {"users", "videos", "pairs", "train", "valid", "test"} <= base.protocol.manifest.keys()
    again = Protocol.model_validate_json(base.protocol.model_dump_json())
    assert again.id == base.protocol_id
    with pytest.raises(ValidationError):
        Protocol.model_validate({**base.protocol.model_dump(), "extra": 1})
    assert repr(base).startswith(f"Split('{base.protocol_id}': 240 train")


def test_random_split_is_random_in_the_seed_only():
    dataset = world()
    one, two, other = random_split(dataset), random_split(dataset), random_split(dataset, seed=1)
    assert one.train.equals(two.train)
    assert not one.train.equals(other.train)
    # every place in the file is as likely to be held out
    held = np.zeros(300)
    for seed in range(40):
        held[random_split(dataset, seed=seed).open_test("x")[ROW].to_numpy()] += 1
    assert held.min() > 0 or (held == 0).mean() < 0.05
    assert held.mean() == pytest.approx(4.0)


@pytest.mark.parametrize("ratios", [(0.9, 0.1), (1, 0, 0), (0.8, -0.1, 0.3), (float("nan"), 1, 1)])
def test_ratios_that_leave_a_part_empty_are_refused(ratios):
    with pytest.raises(DataError, match="a part would be empty"):
        random_split(world(), ratios)


def test_an_empty_part_is_refused():
    two_each = Dataset.from_frames({"user": [0, 0, 1, 1], "video": [0, 1, 0, 1], "time": [1, 1, 1, 1]})
    for make in (random_split, leave_last_one_out, user_time_split):
        with pytest.raises(DataError, match=r"the valid part is empty.*fewer than 3"):
            make(two_each)
    with pytest.raises(DataError, match="the train part is empty"):
        global_time_split(two_each)
    with pytest.raises(DataError, match="the valid part is empty"):
        cold_video_split(two_each)


def test_published_split_reads_a_column():
    dataset = Dataset.from_frames({"user": [0, 0, 1], "video": [0, 1, 1], "part": ["a", "b", "c"]})
    split = published_split(dataset, "part", "b", "a", "c", name="shipped")
    assert split.train["video"].to_list() == [1]
    assert split.valid["video"].to_list() == [0]
    with pytest.raises(DataError, match=r"row 2, column 'part': 'c' is neither"):
        published_split(dataset, "part", "a", "b", "z")
    with pytest.raises(DataError, match=r"column 'x_label': the column is missing"):
        published_split(dataset)


def test_published_split_can_carve_valid_out_of_train():
    base = world()
    label = pl.Series("part", [2 if r % 10 == 0 else 0 for r in range(300)])
    dataset = Dataset(**{**vars(base), "interactions": base.interactions.with_columns(label)})
    with pytest.raises(DataError, match="the valid part is empty"):
        published_split(dataset, "part")
    split = published_split(dataset, "part", valid_ratio=0.2, seed=3)
    train, valid, test = parts(split)
    assert set(test[ROW]) == set(range(0, 300, 10))
    assert len(train) + len(valid) == 270
    assert valid["user"].value_counts()["count"].to_list() == [2] * 30  # round(0.2 · 9)
    assert split.protocol.seed == 3
    assert split.protocol_id != published_split(dataset, "part", valid_ratio=0.2, seed=4).protocol_id
    with pytest.raises(DataError, match="ships a valid part"):
        published_split(all_splits(base)[5].dataset, "x", valid_ratio=0.2)
    with pytest.raises(ValueError, match="valid_ratio=1"):
        published_split(dataset, "part", valid_ratio=1)


@pytest.mark.parametrize(
    "make", [random_split, cold_video_split, partial(published_split, column="x", valid_ratio=0.1)]
)
@pytest.mark.parametrize(("seed", "error"), [(None, TypeError), (1.0, TypeError), (True, TypeError), (-1, ValueError)])
def test_a_draw_that_nobody_can_repeat_is_refused(make, seed, error):
    dataset = world()
    dataset = replace(dataset, interactions=dataset.interactions.with_columns(x=pl.int_range(pl.len()) % 2 * 2))
    with pytest.raises(error, match="seed="):
        make(dataset, seed=seed)


def plays() -> Dataset:
    frame = {"user": [0] * 5 + [1] * 4, "video": [7, 8, 7, 7, 7, 7, 8, 7, 7], "time": [1, 2, 3, 4, 5, 1, 2, 3, 4]}
    return Dataset.from_frames(frame, duplicates="keep")


def test_what_is_had_again_is_not_masked():
    kept = leave_last_one_out(plays(), repeats="keep")
    assert (len(kept.seen("valid")), len(kept.seen("test"))) == (5, 7)
    assert kept.masked("test").is_empty()
    assert kept.masked("valid").columns == kept.train.columns
    once = leave_last_one_out(Dataset.from_frames({"user": [0] * 4, "video": [1, 2, 3, 4], "time": [1, 2, 3, 4]}))
    assert once.masked("test").equals(once.seen("test"))
    assert once.masked("valid").equals(once.train)


def shown(dataset: Dataset, rows: list[tuple[int, int, float]]) -> Dataset:
    table = pl.DataFrame(rows, schema={"user": pl.Int64, "video": pl.Int64, "time": pl.Float64}, orient="row")
    return replace(dataset, exposures=table)


def test_exposures_do_not_tell_of_what_is_held_out():
    log = {"user": [0] * 4 + [1] * 4, "video": [0, 1, 2, 3] * 2, "time": [10, 20, 30, 40, 15, 25, 35, 45]}
    # user 0 was shown 4 before and after its valid moment, and 3, its test, early; user 1 was shown 2, its valid
    data = Dataset.from_frames(log, videos={"video_id": range(5)})
    data = shown(data, [(0, 4, 25.0), (0, 4, 31.0), (0, 3, 5.0), (0, 4, 41.0), (1, 2, 1.0), (1, 0, 44.0), (1, 4, 50.0)])
    split = leave_last_one_out(data)
    assert split.exposures("valid").rows() == [(0, 4, 25.0)]
    assert split.exposures("test").rows() == [(0, 4, 25.0), (0, 4, 31.0), (1, 2, 1.0), (1, 0, 44.0)]
    assert split.dataset.exposures.equals(split.exposures("test")), "nothing reachable tells more"
    whole = global_time_split(data, (0.5, 0.25, 0.25))  # valid from 30, test from 40
    assert whole.exposures("test").rows() == [(0, 4, 25.0)], "valid is hidden too under seen_at_test=train"
    published = replace(data, interactions=data.interactions.with_columns(x=pl.Series([0, 0, 1, 2, 0, 0, 1, 2])))
    by_label = published_split(published, "x", seen_at_test="train+valid")
    assert len(by_label.exposures("test")) == 6, "no order: only the held-out pairs"
    assert len(by_label.exposures("valid")) == 5
    assert leave_last_one_out(replace(data, exposures=None)).exposures("valid") is None
    marked = replace(data, exposures=data.exposures.with_columns(held_out=pl.Series([False, True] + [False] * 5)))
    assert len(leave_last_one_out(marked).exposures("test")) == 3
