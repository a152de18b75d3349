"""Public sets from samples made by hand, 20 interactions each, as their archives unpack."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from mmgraph.data import (
    DataError,
    Dataset,
    inspect,
    published_split,
    read_amazon,
    read_any,
    read_kuairand,
    read_kuairec,
    read_microlens,
    read_mind,
    read_recbole,
    read_yelp,
)
from mmgraph.data.readers.amazon import amazon_files, is_amazon
from mmgraph.data.readers.json_lines import json_objects, read_json_lines
from tests.data import layouts
from tests.data.layouts import PAIRS, TIMES, USERS, VIDEOS


def raw_pairs(dataset: Dataset) -> list:
    table = dataset.interactions
    return sorted(zip(dataset.user_ids.raw(table["user"]), dataset.video_ids.raw(table["video"])))


def pack(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def amazon_2018(folder: Path) -> Path:
    reviews = [
        {"overall": 1.0 + n % 5, "verified": n % 2 == 0, "reviewerID": f"A{u}", "asin": f"000{v}", "unixReviewTime": t}
        | ({"vote": "1,012"} if n == 0 else {})
        for n, ((u, v), t) in enumerate(zip(PAIRS, TIMES))
    ]
    pack(folder / "Toys_5.json.gz", reviews)
    meta = [
        {
            "asin": f"000{v}",
            "title": f"toy {v}",
            "brand": f"b{v % 2}",
            "category": ["Toys", f"C|{v % 3}"],
            "description": ["one", "two"],
            "price": "$1,012.50" if v == 0 else "from 3 to 4",
            "imageURLHighRes": [f"https://x/{v}.jpg"] if v else [],
        }
        for v in (*range(VIDEOS - 1), 0, 99)
    ]
    pack(folder / "meta_Toys.json.gz", meta)
    return folder


def amazon_2023(folder: Path) -> Path:
    rows = [
        {"rating": 5.0, "user_id": f"AE{u}", "asin": "x", "parent_asin": f"B0{v}", "timestamp": t * 1000, "images": []}
        | {"helpful_vote": n, "verified_purchase": True}
        for n, ((u, v), t) in enumerate(zip(PAIRS, TIMES))
    ]
    pack(folder / "Toys.jsonl.gz", rows)
    images = [{"thumb": "t.jpg", "large": "l.jpg", "hi_res": None}]
    meta = [{"parent_asin": "B03", "main_category": "Toys", "title": "x", "store": "S", "images": images, "price": 4.5}]
    pack(folder / "meta_Toys.jsonl.gz", meta)
    return folder


def yelp(folder: Path) -> Path:
    date, many = "2016-03-09 20:56:38", "Food, Coffee & Tea"
    stem = folder / "yelp_academic_dataset"
    layouts.write(
        stem.with_name("yelp_academic_dataset_review.json"),
        [
            json.dumps({"user_id": f"u{u}", "business_id": f"-b{v}", "stars": 1.0 + n % 5} | {"date": date})
            for n, (u, v) in enumerate(PAIRS)
        ],
    )
    layouts.write(
        stem.with_name("yelp_academic_dataset_business.json"),
        [
            json.dumps({"business_id": f"-b{v}", "name": f"café {v}", "city": "Ulm", "categories": many})
            for v in (*range(7), 99)
        ]
        + [json.dumps({"business_id": "-b7", "name": "bar", "city": "Köln", "categories": None})],
    )
    users = [
        {"user_id": f"u{u}", "review_count": 3, "friends": "a, b" if u else "None", "elite": "2015"} for u in range(6)
    ]
    layouts.write(stem.with_name("yelp_academic_dataset_user.json"), [json.dumps(user) for user in users])
    return folder


def mind(folder: Path) -> Path:
    """Each user clicks its four videos in two impressions of train, and one more in dev; the test keeps its secret."""
    news = [f'N{v}\tsports\tsoccer{v % 2}\tTitle "{v}\tWords\thttps://x\t[]\t[]' for v in range(VIDEOS)]
    rows = {"train": [], "dev": [], "test": []}
    for u in range(USERS):
        mine = [v for w, v in PAIRS if w == u]
        other = next(v for v in range(VIDEOS) if v not in mine)
        for n in (0, 1):
            shown = f"N{mine[2 * n]}-1 N{other}-0 N{mine[2 * n + 1]}-1"
            rows["train"].append(f"{2 * u + n}\tU{u}\t11/{14 + n}/2019 8:36:57 AM\tN{other} N{mine[0]}\t{shown}")
        rows["dev"].append(f"{u}\tU{u}\t11/20/2019 12:05:00 PM\t\tN{other}-1 N{mine[0]}-0")
        rows["test"].append(f"{u}\tU{u}\t11/21/2019 12:05:00 PM\t\tN{other} N{mine[1]}")
    for part, lines in rows.items():
        layouts.write(folder / f"MINDsmall_{part}/behaviors.tsv", lines)
        layouts.write(folder / f"MINDsmall_{part}/news.tsv", news)
    return folder


def kuairec(folder: Path) -> Path:
    rows = [
        f"{u},{v},{100 * n},1000,2020-07-05 00:08:23.438,20200705,{t}.25,{0.5 + n / 20}"
        for n, ((u, v), t) in enumerate(zip(PAIRS, TIMES))
    ]
    head = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio"
    layouts.write(folder / "data/big_matrix.csv", [head, *rows])
    small = [head, *rows[:10], "0,7,5,10,,,,1.5"]
    layouts.write(folder / "data/small_matrix.csv", small)
    layouts.write(
        folder / "data/item_categories.csv", ["video_id,feat", *(f'{v},"[{v % 3}, 9]"' for v in range(VIDEOS))]
    )
    users = [f"{u},full_active,{u}" for u in range(USERS + 2)]
    layouts.write(folder / "data/user_features.csv", ["user_id,user_active_degree,onehot_feat0", *users])
    captions = [f'{v},"a ""caption"", {v}",Pets' for v in range(4)]
    layouts.write(
        folder / "data/kuairec_caption_category.csv", ["video_id,caption,first_level_category_name", *captions]
    )
    layouts.write(folder / "data/social_network.csv", ["user_id,friend_list", '3,"[2]"'])
    return folder


def kuairand(folder: Path) -> Path:
    head = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,long_view,play_time_ms,is_rand,tab"
    rows = [f"{u},{v},20220408,1200,{t}000,1,0,{n % 2},10,0,1" for n, ((u, v), t) in enumerate(zip(PAIRS, TIMES))]
    layouts.write(folder / "data/log_standard_4_08_to_4_21_1k.csv", [head, *rows[:12]])
    more = [*rows[12:], "0,1,20220501,1200,1700090000000,0,0,0,0,0,1"]
    layouts.write(folder / "data/log_standard_4_22_to_5_08_1k.csv", [head, *more])
    random = ["0,6,20220501,1200,1700080000000,1,0,0,9,1,1"]
    layouts.write(folder / "data/log_random_4_22_to_5_08_1k.csv", [head, *random])
    layouts.write(
        folder / "data/user_features_1k.csv", ["user_id,is_lowactive_period", *(f"{u},0" for u in range(USERS))]
    )
    videos = [f'{v},{v % 2},NORMAL,"{v % 3},65"' for v in range(VIDEOS)]
    layouts.write(folder / "data/video_features_basic_1k.csv", ["video_id,author_id,video_type,tag", *videos])
    return folder


def microlens(folder: Path) -> Path:
    rows = [f"{u + 1},{v + 1},{t}123" for (u, v), t in zip(PAIRS, TIMES)]
    layouts.write(folder / "MicroLens-100k_pairs.csv", ["user,item,timestamp", *rows])
    layouts.write(folder / "MicroLens-100k_title_en.csv", [f'{v + 1},"clip, {v}"' for v in range(7)])
    layouts.write(folder / "MicroLens-100k_likes_and_views.txt", [f"{v + 1}\t{v}\t{10 * v}" for v in range(VIDEOS)])
    for name in ("MicroLens-100k_covers/1.jpg", "MicroLens-100k_covers/999.jpg", "MicroLens-100k_audios/2.mp3"):
        layouts.write(folder / name, ["?"])
    return folder


def recbole(folder: Path) -> Path:
    rows = [f"00{u}\t{v}\t{1 + n % 5}\t{t}" for n, ((u, v), t) in enumerate(zip(PAIRS, TIMES))]
    layouts.write(folder / "ml.inter", ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *rows])
    items = [f'{v}\tThe "best" {v}\tComedy Drama' if v % 2 else f"{v}\tOdd\t" for v in (*range(7), 50)]
    layouts.write(folder / "ml.item", ["item_id:token\ttitle:token\tclass:token_seq", *items])
    layouts.write(folder / "ml.user", ["user_id:token\tage:float", *(f"00{u}\t{20 + u}" for u in range(USERS))])
    return folder


@pytest.mark.parametrize(
    ("make", "layout", "shown"),
    [
        (amazon_2018, "Amazon 2014/2018", 0),
        (amazon_2023, "Amazon 2023", 0),
        (yelp, "Yelp", 0),
        (mind, "MIND", 50),
        (kuairec, "KuaiRec", 20),
        (kuairand, "KuaiRand", 21),
        (microlens, "MicroLens", 0),
        (recbole, "RecBole", 0),
    ],
)
def test_each_is_recognised_and_says_what_it_left(make, layout: str, shown: int, tmp_path: Path):
    folder = make(tmp_path / "set")
    before = sorted(folder.rglob("*"))
    report = inspect(folder)
    assert report.layout == layout
    clicks = {"MIND": 25, "KuaiRec": 10}.get(layout, 20)
    assert (report.users, report.videos, report.interactions, report.exposures) == (5, 8, clicks, shown)
    left = {
        "KuaiRec": ["data/small_matrix.csv", "data/social_network.csv"],
        "KuaiRand": ["data/log_random_4_22_to_5_08_1k.csv"],
        "MicroLens": ["MicroLens-100k_covers/999.jpg"],
    }
    assert report.unread == left.get(layout, [])
    assert sorted(folder.rglob("*")) == before


def test_amazon_of_2018(tmp_path: Path):
    folder = amazon_2018(tmp_path)
    assert [[f.name for f in files] for files in amazon_files(folder)] == [["Toys_5.json.gz"], ["meta_Toys.json.gz"]]
    dataset = read_amazon(folder)
    assert raw_pairs(dataset) == sorted((f"A{u}", f"000{v}") for u, v in PAIRS)
    assert dataset.interactions.columns == ["user", "video", "time", "rating", "helpful", "verified"]
    assert dataset.interactions["helpful"].to_list()[:2] == [1012, 0]
    assert dataset.videos.row(0) == ("0000", "toy 0", "b0", "one\ntwo", 1012.5, None, ["Toys", "C|0"])
    assert dataset.videos.row(1)[4:6] == (None, "https://x/1.jpg")
    assert dataset.videos.row(7)[1:] == (None,) * 6, "no metadata"
    assert dataset.entities["category"].ids.ids.to_list() == ["C|0", "C|1", "C|2", "Toys"]
    assert dataset.entities["brand"].ids.ids.to_list() == ["b0", "b1"]
    assert dataset.origin.notes == ("meta_Toys.json.gz: 1 lines repeat a product; the first counts",)
    liked = read_amazon(folder, min_rating=4)
    assert (liked.interactions["rating"].min(), liked.num_videos) == (4, 8)
    with pytest.raises(DataError, match=r"no review has 9 stars"):
        read_amazon(folder, min_rating=9)


def test_amazon_of_2014_and_2023(tmp_path: Path):
    review = {"reviewerID": "A1", "asin": "07", "helpful": [2, 3], "overall": 5.0, "unixReviewTime": 1393545600}
    layouts.write(tmp_path / "reviews_Baby.json", [json.dumps(review)])
    layouts.write(
        tmp_path / "meta_Baby.json",
        ["{'asin': '07', 'title': \"Mom's\", 'imUrl': 'http://x.jpg', 'categories': [['Baby', 'Care'], ['Baby']]}"],
    )
    old = read_amazon(tmp_path)
    assert old.videos.row(0) == ("07", "Mom's", None, None, None, "http://x.jpg", ["Baby", "Care"])
    assert old.interactions.row(0) == (0, 0, 1393545600.0, 5.0, 2.0)
    recent = read_amazon(amazon_2023(tmp_path / "23"))
    assert recent.interactions["time"].to_list() == TIMES
    assert recent.videos.row(3) == ("B03", "x", "S", None, 4.5, "l.jpg", ["Toys"])
    layouts.write(tmp_path / "reviews_Toys.json", [json.dumps(review)])
    with pytest.raises(DataError, match=r"not one file of reviews: \['reviews_Baby.json', 'reviews_Toys.json'"):
        read_amazon(tmp_path)
    assert read_amazon(tmp_path / "reviews_Toys.json", meta=tmp_path / "meta_Baby.json").num_videos == 1


def test_json_beside_other_data_is_no_review(tmp_path: Path):
    layouts.sequences(tmp_path)
    assert [is_amazon(f) for f in amazon_files(tmp_path)[0]] == [False]
    assert inspect(tmp_path).unread == ["Tiny_item2attributes.json"]
    assert is_amazon(amazon_2023(tmp_path / "a") / "Toys.jsonl.gz")


def test_json_lines_say_line_and_column(tmp_path: Path):
    path = tmp_path / "reviews.json"
    good = {"reviewerID": "A1", "asin": "07", "overall": 5.0, "unixReviewTime": 1393545600}
    for bad, problem in (
        ("{'a': __import__('os')}", "line 3: not a JSON object"),
        ("[1]", "line 3: a list in place of a JSON object"),
        ('{"asin": "1"}', r"line 3: the object has no 'reviewerID'; it has \['asin'\]"),
        (json.dumps(good | {"overall": "five"}), "line 3, column 'rating': 'five' is no Float64"),
        (json.dumps(good | {"vote": "many"}), "line 3: a value of another type"),
        (json.dumps(good | {"asin": 7}), "line 3, column 'video_id': 7 is no String"),
    ):
        layouts.write(path, [json.dumps(good), "", bad])
        with pytest.raises(DataError, match=rf"reviews\.json, {problem}"):
            read_amazon(path)
    path.write_bytes(json.dumps(good).encode() + b'\n{"a": "\xff"}\n')
    with pytest.raises(DataError, match="line 2: the line is not UTF-8"):
        read_amazon(path)
    packed = pack(tmp_path / "reviews.json.gz", [good] * 9)
    packed.write_bytes(packed.read_bytes()[:40])
    with pytest.raises(DataError, match="damaged: it cannot be unpacked"):
        list(json_objects(packed))
    layouts.write(path, ['{"x": 1}'])
    with pytest.raises(DataError, match="no review of Amazon"):
        read_amazon(path)
    table, source = read_json_lines(path, {"x": pl.Int64}, lambda record: record if record["x"] else None)
    assert (table.rows(), source.place(0)["line"]) == ([(1,)], 1)


def test_yelp(tmp_path: Path):
    dataset = read_yelp(yelp(tmp_path / "yelp"), min_rating=2)
    assert dataset.interactions["rating"].min() == 2
    assert (dataset.num_videos, dataset.num_users, dataset.name) == (8, 5, "yelp")
    assert dataset.interactions["time"][0] == 1457557 * 1000 - 2  # 2016-03-09 20:56:38
    assert dataset.videos["title"][0] == "café 0"
    assert dataset.entities["category"].ids.ids.to_list() == ["Coffee & Tea", "Food"]
    assert dataset.entities["city"].ids.ids.to_list() == ["Köln", "Ulm"]
    assert dataset.users["friends"].to_list() == [0, 2, 2, 2, 2]
    assert read_yelp(tmp_path / "yelp", users=False).users.columns == ["user_id"]
    path = tmp_path / "yelp/yelp_academic_dataset_business.json"
    layouts.write(path, [json.dumps({"business_id": "-b1"})] * 2)
    with pytest.raises(DataError, match=r"business\.json, line 2, column 'video_id': id '-b1' appears a second time"):
        read_yelp(tmp_path / "yelp")


def test_mind_impressions_are_exposures_and_clicks_interactions(tmp_path: Path):
    dataset = read_mind(mind(tmp_path), duplicates="keep")
    assert dataset.interactions["split"].to_list() == [0] * 20 + [1] * 5
    assert dataset.videos.row(1) == ("N1", 'Title "1', "Words", "sports", "soccer1", "https://x")
    shown = dataset.exposures
    assert shown is not None
    assert shown["request"].n_unique() == 20
    first = shown.filter(pl.col("request") == 0)
    assert dataset.video_ids.raw(first["video"]) == ["N0", "N1", "N2"]
    assert (first["click"].to_list(), first["position"].to_list()) == ([1, 0, 1], [0, 1, 2])
    assert first["time"][0] == 1573720617
    assert shown.filter("held_out")["click"].to_list() == [None] * 10
    only = read_mind(tmp_path / "MINDsmall_train")
    assert (only.num_interactions, raw_pairs(only)) == (20, sorted((f"U{u}", f"N{v}") for u, v in PAIRS))
    before = read_mind(tmp_path, history=True, duplicates="first")
    assert "time" not in before.interactions.columns
    assert before.interactions.filter(pl.col("user") == 0)["position"].to_list()[:2] == [0, 1]
    ann = before.interactions.filter(pl.col("user") == 0).sort("position")
    assert before.video_ids.raw(ann["video"])[:2] == ["N1", "N0"], "the history comes first"
    lines = (tmp_path / "MINDsmall_dev/behaviors.tsv").read_text().splitlines()
    layouts.write(tmp_path / "MINDsmall_dev/behaviors.tsv", [*lines, "9\tU0\t11/20/2019 1:05:00 PM\t\tN77-1"])
    with pytest.raises(DataError, match=r"dev/behaviors\.tsv, line 6, column 'impressions': unknown id 'N77'"):
        read_mind(tmp_path)
    layouts.write(tmp_path / "MINDsmall_dev/behaviors.tsv", ["9\tU0\t11/20/2019 1:05:00 PM\t\tN7-1 N1"])
    with pytest.raises(DataError, match="line 1, column 'impressions': clicks are told of some videos only"):
        read_mind(tmp_path)
    with pytest.raises(DataError, match=r"there is no behaviors\.tsv"):
        read_mind(tmp_path / "MINDsmall_train/news.tsv")


def test_kuairec_keeps_what_was_shown_and_not_watched(tmp_path: Path):
    dataset = read_kuairec(kuairec(tmp_path))
    assert raw_pairs(dataset) == sorted(PAIRS[10:])
    assert dataset.interactions.columns == ["user", "video", "time", "play_duration", "video_duration", "watch_ratio"]
    shown = dataset.exposures
    assert shown is not None
    assert shown["click"].to_list() == [0] * 10 + [1] * 10
    assert shown["time"].to_list() == [t + 0.25 for t in TIMES]
    assert dataset.entities["tag"].ids.ids.to_list() == ["0", "1", "2", "9"]
    assert dataset.entities["category"].ids.ids.to_list() == ["Pets"]
    assert dataset.videos["title"].to_list() == [*(f'a "caption", {v}' for v in range(4)), *[None] * 4]
    assert dataset.users["user_active_degree"].to_list() == ["full_active"] * 5
    small = read_kuairec(tmp_path / "data", matrix="small", min_watch_ratio=0.5)
    assert "time" not in small.interactions.columns
    assert small.origin.notes[-1] == "small_matrix.csv: 1 rows have no time: there is no column time"
    assert small.num_interactions == 11
    with pytest.raises(DataError, match=r"no row has watch_ratio of 7"):
        read_kuairec(tmp_path, min_watch_ratio=7)
    with pytest.raises(ValueError, match=r"matrix='bigg'.*did you mean 'big'"):
        read_kuairec(tmp_path, matrix="bigg")  # type: ignore[arg-type]


def test_kuairand_tells_random_showings_apart(tmp_path: Path):
    dataset = read_kuairand(kuairand(tmp_path / "KuaiRand-1K"), logs="both")
    assert raw_pairs(dataset) == sorted([*PAIRS, (0, 6)])
    assert dataset.name == "kuairand-1k"
    shown = dataset.exposures
    assert shown is not None
    assert shown["is_rand"].to_list() == [0] * 21 + [1]
    assert shown["click"].to_list() == [1] * 20 + [0, 1]
    assert shown["time"][0] == TIMES[0]
    assert dataset.entities["tag"].ids.ids.to_list() == ["0", "1", "2", "65"]
    assert dataset.entities["creator"].ids.ids.to_list() == ["0", "1"]
    assert read_kuairand(tmp_path / "KuaiRand-1K", signal="long_view").num_interactions == 10
    with pytest.raises(DataError, match=r"column 'is_clik': the column is missing.*did you mean 'is_click'"):
        read_kuairand(tmp_path / "KuaiRand-1K", signal="is_clik")
    with pytest.raises(DataError, match=r"no log_standard_"):
        read_kuairand(tmp_path)


def test_microlens_with_times_titles_and_media(tmp_path: Path):
    dataset = read_microlens(microlens(tmp_path))
    assert raw_pairs(dataset) == sorted((u + 1, v + 1) for u, v in PAIRS)
    assert dataset.interactions["time"][0] == pytest.approx(TIMES[0] + 0.123, abs=1e-5)
    assert dataset.videos.row(1) == (2, "clip, 1", 1, 10)
    assert dataset.videos.row(7) == (8, None, 7, 70)
    assert [len(f) for f in dataset.media["image"]] == [1, *[0] * 7]
    assert [len(f) for f in dataset.media["audio"]] == [0, 1, *[0] * 6]
    assert read_microlens(tmp_path, media=False).media == {}
    lists = read_microlens(layouts.microlens(tmp_path / "50k"))
    assert lists.videos["title"][0] == "clip 1, part 1"
    layouts.write(tmp_path / "more_pairs.csv", ["user,item,timestamp", "1,2,3"])
    with pytest.raises(DataError, match="not one file of pairs"):
        read_microlens(tmp_path)


def test_recbole_types_come_from_the_header(tmp_path: Path):
    dataset = read_recbole(recbole(tmp_path))
    assert raw_pairs(dataset) == sorted((f"00{u}", v) for u, v in PAIRS)
    assert dataset.interactions["rating"].dtype == pl.Float64
    assert dataset.videos.row(1) == (1, 'The "best" 1', ["Comedy", "Drama"])
    assert dataset.videos.row(7) == (7, None, None), "in no .item"
    assert dataset.entities["class"].ids.ids.to_list() == ["Comedy", "Drama"]
    assert dataset.users["age"].to_list() == [20, 21, 22, 23, 24]
    lines = (tmp_path / "ml.inter").read_text().splitlines()
    for part, rows in (("train", lines[1:16]), ("valid", lines[16:18]), ("test", lines[18:])):
        layouts.write(tmp_path / f"bench/ml.{part}.inter", [lines[0], *rows])
    split = published_split(read_recbole(tmp_path / "bench"), "split")
    assert (len(split.train), len(split.valid), split.num_test) == (15, 2, 3)
    layouts.write(tmp_path / "ml.inter", [lines[0].replace("rating:float", "rating"), *lines[1:]])
    with pytest.raises(DataError, match=r"ml\.inter, line 1: the header gives 'rating' no type"):
        read_recbole(tmp_path)
    layouts.write(tmp_path / "ml.inter", [lines[0], lines[1], lines[2].replace("\t2\t", "\ttwo\t", 1)])
    assert read_recbole(tmp_path).video_ids.ids.to_list()[-1] == "two", "tokens are names"
    layouts.write(tmp_path / "ml.inter", [lines[0], lines[1], lines[2].replace("\t17", "\tx17")])
    with pytest.raises(DataError, match=r"ml\.inter, line 3, column 'timestamp': 'x17\d+' is no number"):
        read_recbole(tmp_path)
    assert read_any(tmp_path / "bench/ml.train.inter").origin.layout == "RecBole"
