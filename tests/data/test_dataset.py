"""Dataset: from frames, filters, hashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data import (
    DataError,
    Dataset,
    Encoding,
    Entities,
    Features,
    Origin,
    Vocabulary,
    leave_last_one_out,
    published_split,
    random_split,
)
from mmgraph.data.aligning import media_rows
from mmgraph.data.checks import (
    check_columns,
    finite_matrix,
    has_duplicates,
    numbers,
    pair_keys,
    resolve_duplicates,
    to_polars,
)
from mmgraph.data.errors import Source
from mmgraph.data.fingerprints import hash_ids, hash_pairs, hash_table
from mmgraph.data.times import times

FRAME = {"user_id": ["b", "a", "b"], "video_id": [30, 10, 10], "timestamp": [3, 2, 1], "like": [1, 0, 1]}
VIDEOS = {"video_id": [30, 20, 10], "title": ["x", "y", "z"]}


def test_rows_follow_the_tables_or_sorted_ids():
    plain = Dataset.from_frames(FRAME)
    assert plain.user_ids.ids.to_list() == ["a", "b"]
    assert plain.interactions["user"].to_list() == [1, 0, 1]
    assert plain.interactions["video"].to_list() == [1, 0, 0]
    dataset = Dataset.from_frames(FRAME, videos=VIDEOS, name="tiny")
    assert dataset.interactions["video"].to_list() == [0, 2, 2]
    assert dataset.interactions.schema == {
        "user": pl.Int64, "video": pl.Int64, "time": pl.Float64, "like": pl.Int64
    }  # fmt: skip
    assert (dataset.num_users, dataset.num_videos, dataset.num_interactions) == (2, 3, 3)
    assert dataset.videos["title"].to_list() == ["x", "y", "z"]
    assert dataset.users.columns == ["user_id"]
    assert repr(dataset) == "Dataset('tiny': 2 users, 3 videos, 3 interactions)"


def test_pandas_polars_lazy_and_mapping_give_the_same_dataset():
    frame = pd.DataFrame(FRAME)
    ways = [FRAME, frame, pl.DataFrame(FRAME), pl.LazyFrame(FRAME), frame.convert_dtypes()]
    assert len({Dataset.from_frames(way).fingerprint() for way in ways}) == 1
    for way in ways:
        assert to_polars(way).to_dict(as_series=False) == FRAME
    gaps = to_polars(pd.DataFrame({"a": ["x", None], "b": [1.5, None]}))
    assert gaps["a"].to_list() == ["x", None]
    with pytest.raises(DataError, match="not a table"):
        to_polars([1, 2])


def test_column_names_can_be_given():
    frame = {"who": [1, 2], "what": [5, 6], "when": [1000, 2000], "w": [0.5, 2.0]}
    dataset = Dataset.from_frames(frame, user="who", video="what", time="when", weight="w", time_unit="ms")
    assert dataset.interactions["time"].to_list() == [1.0, 2.0]
    assert dataset.interactions["weight"].dtype == pl.Float32


def test_a_column_whose_name_has_a_part_to_play_is_kept_under_another():
    frame = {"user_id": [1], "user": [3], "video": [2], "timestamp": [7], "time": ["noon"], "num_edges": [4]}
    frame |= {"time_column": [5], "position": ["top"]}
    dataset = Dataset.from_frames(frame, source="log.csv")
    expected = ["user", "video", "time", "user_column", "time_column_2", "num_edges_column"]
    assert dataset.interactions.columns == [*expected, "time_column", "position_column"]
    assert dataset.interactions.row(0) == (0, 0, 7.0, 3, "noon", 4, 5, "top")
    assert dataset.origin.notes[1] == "log.csv: column 'time' is kept as 'time_column_2': the name has a part to play"
    assert dataset.origin.files == (Path("log.csv"),)


def test_times_from_dates_and_text():
    source = Source()
    iso = times(pl.Series("t", ["1970-01-02T00:00:00+00:00", "1970-01-01T00:00:01+00:00"]), source)
    assert iso.seconds.to_list() == [86400.0, 1.0]
    dates = times(pl.Series("t", ["1970-01-02", "1970-01-03"]).str.to_date(), source)
    assert dates.seconds.to_list() == [86400.0, 172800.0]
    assert times(pl.Series("t", ["12.5", "3"]), source).seconds.to_list() == [12.5, 3.0]
    assert times(pl.Series("t", [3_000_000]), source, "us").seconds.to_list() == [3.0]


@pytest.mark.parametrize(
    ("policy", "videos", "kept", "weights"),
    [
        ("keep", [1, 0, 1, 1], [5.0, 1.0, 9.0, 5.0], [1.0, 1.0, 2.0, 4.0]),
        ("first", [1, 0], [5.0, 1.0], [1.0, 1.0]),  # of two rows at time 5 the first in the file
        ("last", [0, 1], [1.0, 9.0], [1.0, 2.0]),
        ("sum", [1, 0], [5.0, 1.0], [7.0, 1.0]),
    ],
)
def test_what_duplicates_mean(policy, videos, kept, weights):
    frame = {"user": [7] * 4, "video": [4, 3, 4, 4], "time": [5, 1, 9, 5], "weight": [1, 1, 2, 4]}
    table = Dataset.from_frames(frame, duplicates=policy).interactions
    assert table["video"].to_list() == videos
    assert table["time"].to_list() == kept
    assert table["weight"].to_list() == weights


def test_duplicates_are_refused_by_default_and_sum_counts_without_weights():
    frame = {"user": ["u", "u", "u"], "video": [3, 4, 3]}
    with pytest.raises(DataError, match=r"x\.csv, line 4.*user 'u' and video 3 are there already \(line 2\)"):
        Dataset.from_frames(frame, source=Source("x.csv", 2))
    assert Dataset.from_frames(frame, duplicates="sum").interactions["weight"].to_list() == [2.0, 1.0]
    with pytest.raises(ValueError, match="duplicates='both'"):
        Dataset.from_frames(frame, duplicates="both")  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30))
def test_resolve_duplicates_equals_a_dictionary(rows):
    frame = pl.DataFrame(rows, schema=["user", "video", "time"], orient="row")
    ids = Vocabulary(range(5))
    keys = pair_keys(frame, 5)
    assert has_duplicates(keys) == (len(set(keys.tolist())) < len(rows))
    first: dict = {}
    last: dict = {}
    for n, (u, v, t) in enumerate(rows):
        if (u, v) not in first or t < rows[first[u, v]][2]:
            first[u, v] = n
        if (u, v) not in last or t >= rows[last[u, v]][2]:
            last[u, v] = n
    for policy, expected in (("first", first), ("last", last)):
        got = resolve_duplicates(frame, ids, ids, policy, Source(), "user, video")  # type: ignore[arg-type]
        assert got.rows() == [rows[n] for n in sorted(expected.values())]


def test_features_by_row_or_by_id():
    matrix = np.arange(6, dtype=np.float16).reshape(3, 2)
    dataset = Dataset.from_frames(FRAME, videos=VIDEOS, features={"visual": matrix, "audio": ([10, 30], matrix[:2])})
    assert dataset.features["visual"].values.dtype == torch.float32
    assert dataset.features["visual"].dim == 2
    audio = dataset.features["audio"]
    assert audio.present.tolist() == [True, False, True]
    assert audio.values.tolist() == [[2, 3], [0, 0], [0, 1]]
    assert audio.take([2, 1]).values.tolist() == [[0, 1], [0, 0]]
    more = dataset.with_features(text=np.ones((3, 1)), audio=None)
    assert list(more.features) == ["visual", "text"]
    assert list(dataset.features) == ["visual", "audio"], "the dataset itself does not change"
    with pytest.raises(DataError, match="no row order"):
        Dataset.from_frames(FRAME, features={"visual": matrix[:2]})
    with pytest.raises(DataError, match=r"column 'visual': 2 feature rows for 3 videos.*pair \(raw ids, matrix\)"):
        Dataset.from_frames(FRAME, videos=VIDEOS, features={"visual": matrix[:2]})
    dense = Dataset.from_frames({"user": [1, 2], "video": [1, 0]}, features={"visual": matrix[:2]})
    assert dense.features["visual"].values[1].tolist() == [2, 3]


def test_absent_rows_are_zero_and_may_have_been_nan():
    values = torch.tensor([[1.0, 2.0], [float("nan"), 5.0]])
    features = Features(values, torch.tensor([True, False]))
    assert features.values.tolist() == [[1, 2], [0, 0]]
    assert torch.isnan(values[1, 0]), "the caller's tensor is left alone"
    assert Features.of(np.ones((2, 3), dtype=np.float64), [True, False]).values.sum() == 3
    with pytest.raises(DataError, match=r"row 1, column '0'.*nan is not finite.*mark it absent"):
        Features(values)
    with pytest.raises(DataError, match=r"present is \[3\] beside values \[2, 2\]"):
        Features(values, torch.ones(3, dtype=torch.bool))


def test_features_aligned_checks_ids():
    videos = Vocabulary([5, 6, 7])
    assert Features.aligned(videos, [7], [[1.0]]).values.flatten().tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="unknown id 8"):
        Features.aligned(videos, [7, 8], np.ones((2, 1)))
    with pytest.raises(DataError, match="2 ids but 3 feature rows"):
        Features.aligned(videos, [7, 6], np.ones((3, 1)))
    with pytest.raises(DataError, match="second time"):
        Features.aligned(videos, [7, 7], np.ones((2, 1)))


def test_finite_matrix_and_numbers_and_columns_say_where():
    with pytest.raises(DataError, match=r"row 1, column '2'.*inf"):
        finite_matrix(np.array([[0, 0, 0], [0, 0, np.inf]]), "features")
    with pytest.raises(DataError, match=r"shape \(3,\)"):
        finite_matrix(np.ones(3), "features")
    with pytest.raises(DataError, match="not numbers"):
        finite_matrix(np.array([["a"]]), "features")
    with pytest.raises(DataError, match=r"row 1, column 'w'.*'x' is not a finite number"):
        numbers(pl.Series("w", ["1", "x"]), Source())
    with pytest.raises(DataError, match=r"column 'c'.*there are \['a'\]"):
        check_columns(pl.DataFrame({"a": [1]}), ["a", "c"], Source())


def test_media_entities_and_user_features(tmp_path: Path):
    dataset = Dataset.from_frames(
        FRAME,
        {"user_id": ["b", "a"], "age": [3, 4]},
        VIDEOS,
        media={"image": {10: [tmp_path / "b.jpg", tmp_path / "a.jpg"]}},
        entities={"tag": {"video": [30, 30, 10, 30], "tag": ["new", "old", "new", "new"]}},
        user_features=np.eye(2),
    )
    assert dataset.media["image"] == [[], [], [tmp_path / "a.jpg", tmp_path / "b.jpg"]]
    tags = dataset.entities["tag"]
    assert isinstance(tags, Entities)
    assert len(tags) == 2
    assert tags.ids.ids.to_list() == ["new", "old"]
    assert sorted(map(tuple, tags.edges.T.tolist())) == [(0, 0), (0, 1), (2, 0)]
    assert dataset.user_features is not None
    assert dataset.user_features.tolist() == [[1, 0], [0, 1]]
    with pytest.raises(DataError, match="unknown id 11"):
        media_rows(dataset.video_ids, {11: []})
    with pytest.raises(DataError, match="without a users table"):
        Dataset.from_frames(FRAME, user_features=np.eye(2))


def test_sizes_must_fit_together():
    dataset = Dataset.from_frames(FRAME, videos=VIDEOS)
    parts = vars(dataset)
    with pytest.raises(DataError, match="users table has 1 rows for 2 users"):
        Dataset(**{**parts, "users": dataset.users[:1]})
    with pytest.raises(DataError, match="image media of 1 rows for 3 videos"):
        Dataset(**{**parts, "media": {"image": [[]]}})
    with pytest.raises(DataError, match="1 user feature rows for 2 users"):
        Dataset(**{**parts, "user_features": torch.ones(1, 1)})


def test_where_keeps_the_vocabularies():
    dataset = Dataset.from_frames(FRAME)
    liked = dataset.where(pl.col("like") > 0)
    assert liked.num_interactions == 2
    assert liked.num_users == 2
    with pytest.raises(DataError, match="no interaction satisfies"):
        dataset.where(pl.col("like") > 5)


PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=60, unique=True)


@settings(max_examples=60)
@given(PAIRS, st.integers(1, 3))
def test_k_core_equals_dropping_one_by_one(pairs, k):
    left = list(pairs)
    while True:
        users = [u for u, _ in left]
        videos = [v for _, v in left]
        kept = [(u, v) for u, v in left if users.count(u) >= k and videos.count(v) >= k]
        if kept == left:
            break
        left = kept
    frame = pl.DataFrame(pairs, schema=["user", "video"], orient="row")
    values = np.arange(8.0)[:, None]
    dataset = Dataset.from_frames(frame, videos={"video_id": range(8)}, features={"f": values})
    if not left:
        with pytest.raises(DataError, match="is empty"):
            dataset.k_core(k)
        return
    core = dataset.k_core(k)
    table = core.interactions
    assert list(zip(core.user_ids.raw(table["user"]), core.video_ids.raw(table["video"]))) == left
    assert core.user_ids.ids.to_list() == sorted({u for u, _ in left})
    assert core.features["f"].values.flatten().tolist() == [float(v) for v in core.video_ids.ids]
    assert core.k_core(k).fingerprint() == core.fingerprint()


def test_k_core_takes_everything_along(tmp_path: Path):
    frame = {"user": [1, 1, 2, 2, 3], "video": [5, 6, 5, 6, 7]}
    dataset = Dataset.from_frames(
        frame,
        {"user_id": [3, 2, 1], "age": [30, 20, 10]},
        {"video_id": [7, 6, 5], "title": ["g", "f", "e"]},
        media={"image": {6: [tmp_path / "6.jpg"]}},
        entities={"tag": {"v": [7, 6, 5], "t": ["only7", "both", "both"]}},
        user_features=np.array([[3.0], [2.0], [1.0]]),
    )
    core = dataset.k_core(2)
    assert core.users["age"].to_list() == [20, 10]
    assert core.videos["title"].to_list() == ["f", "e"]
    assert core.media["image"] == [[tmp_path / "6.jpg"], []]
    assert core.entities["tag"].ids.ids.to_list() == ["both"]
    assert core.entities["tag"].edges.tolist() == [[0, 1], [0, 0]]
    assert core.user_features is not None
    assert core.user_features.flatten().tolist() == [2.0, 1.0]
    assert dataset.k_core(2, videos=0).num_videos == 3
    assert dataset.k_core(3, users=1, videos=1).num_interactions == 5


def test_fingerprint_sees_users_videos_pairs_and_features_but_not_row_order():
    base = Dataset.from_frames(FRAME, videos=VIDEOS, features={"f": np.eye(3)})
    shuffled = Dataset.from_frames(pl.DataFrame(FRAME).reverse(), videos=VIDEOS, features={"f": np.eye(3)})
    assert base.fingerprint() == shuffled.fingerprint()
    assert list(base.manifest()) == ["users", "videos", "pairs", "features/f"]
    frame = pl.DataFrame(FRAME)
    changed = {
        "users": Dataset.from_frames(frame.with_columns(user_id=pl.col("user_id") + "x"), videos=VIDEOS),
        "videos": Dataset.from_frames(FRAME, videos={**VIDEOS, "video_id": [30, 21, 10]}),
        "pairs": Dataset.from_frames(frame.with_columns(video_id=pl.Series([30, 10, 20])), videos=VIDEOS),
    }
    for what, other in changed.items():
        other = other.with_features(f=np.eye(3))
        differ = {key for key, value in other.manifest().items() if value != base.manifest()[key]}
        assert differ == {what}
    assert base.with_features(f=2 * np.eye(3)).fingerprint() != base.fingerprint()
    masked = base.with_features(f=Features.of(np.eye(3), [True, True, False]))
    zeroed = base.with_features(f=np.diag([1.0, 1.0, 0.0]))
    assert masked.fingerprint() != zeroed.fingerprint(), "absent is not the same as zero"


def test_hashes_tell_ids_apart():
    assert hash_ids(pl.Series([1, 2])) != hash_ids(pl.Series(["1", "2"]))
    assert hash_ids(pl.Series(["ab", "c"])) != hash_ids(pl.Series(["a", "bc"]))
    one, two = pl.DataFrame({"user": [0, 1], "video": [1, 0]}), pl.DataFrame({"user": [1, 0], "video": [0, 1]})
    assert hash_pairs(one, 2) == hash_pairs(two, 2)
    assert hash_pairs(one, 2) != hash_pairs(one[:1], 2)


def exposures(**columns) -> pl.DataFrame:
    return pl.DataFrame({"user": [0, 1, 1], "video": [0, 1, 2], **columns})


def test_exposures_are_rows_of_the_dataset():
    dataset = Dataset.from_frames({"user": [0, 1], "video": [0, 1]}, videos={"video_id": [0, 1, 2]})
    shown = replace(dataset, exposures=exposures(propensity=pl.Series([0.5, 1.0, None], dtype=pl.Float32)))
    assert shown.exposures is not None
    assert len(shown.exposures) == 3
    for bad, message in (
        (exposures(video=[0, 1, 3]), r"exposures, row 2, column 'video': 3 is none of the 3 rows"),
        (exposures(user=[0, -1, 0]), r"row 1, column 'user': -1 is none of the 2 rows"),
        (exposures(click=[1, 0, 1]), "column 'click': the column is Int64. Fix: cast it to Int8"),
        (exposures(propensity=pl.Series([0.5, 0.0, 1.5], dtype=pl.Float32)), r"0\.0 is no chance; also in row 2"),
        (pl.DataFrame({"user": [0]}), "column 'video': the column is missing"),
    ):
        with pytest.raises(DataError, match=message):
            replace(dataset, exposures=bad)


def test_a_dataset_says_where_it_came_from():
    made = Dataset.from_frames(FRAME)
    assert made.origin == Origin("", (), ())
    told = replace(made, origin=Origin("CSV", (Path("a.csv"),), ("a.csv: separated by tabs",)))
    assert told.where(pl.col("like") > 0).origin == told.origin
    assert told.fingerprint() == made.fingerprint(), "what it is, not where it lay"


def test_the_fingerprint_follows_exposures_but_not_their_order():
    plain = Dataset.from_frames({"user": [0, 1], "video": [0, 1]}, videos={"video_id": [0, 1, 2]})
    one = replace(plain, exposures=exposures(place=["a", None, "b"]))
    turned = replace(plain, exposures=exposures(place=["a", None, "b"])[::-1].select("place", "video", "user"))
    other = replace(plain, exposures=exposures(place=["a", "", "b"]))
    assert one.fingerprint() == turned.fingerprint()
    assert len({d.fingerprint() for d in (plain, one, other)}) == 3
    assert one.manifest()["exposures"] == hash_table(exposures(place=["a", None, "b"]))


def test_the_core_keeps_the_exposures_that_are_left():
    log = {"user": [0, 0, 1, 1, 2], "video": [0, 1, 0, 1, 2]}
    data = Dataset.from_frames(log)
    data = replace(data, exposures=pl.DataFrame({"user": [0, 2, 1, 1], "video": [1, 0, 2, 0]}))
    left = data.k_core(2)
    assert left.exposures is not None
    assert left.exposures.rows() == [(0, 1), (1, 0)]


def test_encoded_features_are_identified_by_encoder_and_media_and_not_by_their_last_bits():
    media = torch.arange(3, dtype=torch.uint8).unsqueeze(1).expand(3, 16)
    present = torch.tensor([True, True, False])
    values = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) + 1
    one = Features.encoded(values, present, Encoding("key", media))
    two = Features.encoded(values * (1 + 3e-6), present, Encoding("key", media))
    base = Dataset.from_frames(FRAME, videos=VIDEOS)
    assert base.with_features(f=one).fingerprint() == base.with_features(f=two).fingerprint()
    assert one.take(torch.tensor([2, 0])).fingerprint() == two.take(torch.tensor([2, 0])).fingerprint()
    assert one.spread(torch.tensor([4, 1, 0]), 5).fingerprint() == two.spread(torch.tensor([4, 1, 0]), 5).fingerprint()
    others = [
        Features.encoded(values, present, Encoding("other", media)),
        Features.encoded(values, present, Encoding("key", media + 1)),
        Features.encoded(values, ~present, Encoding("key", media)),
        one.take(torch.tensor([1, 0, 2])),
        Features(values, present),
        replace(one, values=2 * values),  # changed by hand: only its bits say what it is
    ]
    assert len({one.fingerprint(), *(other.fingerprint() for other in others)}) == 1 + len(others)
    with pytest.raises(DataError, match="3 feature rows, 2 media hashes"):
        Features.encoded(values, present, Encoding("key", media[:2]))
    with pytest.raises(DataError, match="16 bytes a row"):
        Encoding("key", media.long())


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda d: d.k_core(-1), ValueError, "k=-1: give a number from 0 on"),
        (lambda d: d.k_core(2, users=1.5), TypeError, "users=1.5: give a whole number"),
        (lambda d: d.k_core(True), TypeError, "k=True"),
        (lambda d: d.where("like"), TypeError, "keep='like': give a polars expression"),
        (lambda d: d.where(pl.col("lke") > 0), DataError, "the filter .* does not fit.*use the columns"),
        (lambda d: Dataset.from_frames(FRAME, user=3), TypeError, "column 3: give the name of a column"),
        (lambda d: Dataset.from_frames(FRAME, features=[1]), TypeError, "features of type list"),
        (lambda d: Features.of(np.ones((2, 2)), [2, 0]), DataError, "present holds other values than 0 and 1"),
        (
            lambda d: Features.of(np.ones((2, 2)), [float("nan"), 0]),
            DataError,
            "present is torch.float64",
        ),
        (lambda d: Features.of(np.ones((2, 2))).take(np.array([-1])), IndexError, "row -1 is outside the 2 rows"),
        (lambda d: Features.of(np.ones((2, 2))).take(np.array([0.5])), TypeError, "give whole numbers"),
        (lambda d: random_split("folder"), TypeError, "a str in place of a Dataset: read it first"),
        (lambda d: leave_last_one_out(FRAME), TypeError, "a dict in place of a Dataset"),
        (lambda d: published_split(None), TypeError, "a NoneType in place of a Dataset"),
    ],
)
def test_wrong_calls_name_the_argument(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(Dataset.from_frames(FRAME))
