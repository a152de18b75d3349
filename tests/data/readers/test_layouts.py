"""Every layout, from a 20-row sample on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from mmgraph.data import (
    DataError,
    Dataset,
    OGBLink,
    from_frame,
    leave_last_one_out,
    published_split,
    read_csv,
    read_lightgcn,
    read_media_folder,
    read_mmrec,
    read_movielens,
    read_ogb_link,
    read_parquet,
    read_sequences,
)
from mmgraph.data.readers.feature_folder import read_features
from mmgraph.data.readers.media_folder import column_entities
from mmgraph.data.readers.ogb import load_arrays, offline_ogb
from mmgraph.data.readers.packed import not_utf8
from mmgraph.data.readers.tables import existing, files_by_id, read_json, read_lists, read_npy
from tests.data import layouts


def raw_pairs(dataset: Dataset) -> set:
    table = dataset.interactions
    return set(zip(dataset.user_ids.raw(table["user"]), dataset.video_ids.raw(table["video"])))


def test_media_folder(tmp_path: Path):
    folder = layouts.media_folder(tmp_path / "clips")
    before = sorted(tmp_path.rglob("*"))
    dataset = read_media_folder(folder, entities=["creator"])
    assert dataset.name == "clips"
    assert raw_pairs(dataset) == {(f"00{u}", f"v{v}") for u, v in layouts.PAIRS}
    assert dataset.video_ids.ids.to_list() == [f"v{v}" for v in range(7, -1, -1)], "the order of videos.csv"
    assert dataset.interactions["time"].to_list() == layouts.TIMES
    assert dataset.interactions.columns == ["user", "video", "time", "click", "finish", "like"]
    assert dataset.videos["title"][0] == "title, 7"
    assert dataset.users.columns == ["user_id", "age", "gender"]
    v1, v2 = dataset.video_ids.rows(["v1", "v2"])
    assert [p.name for p in dataset.media["image"][v1]] == ["a.jpg", "b.jpg"]
    assert [p.name for p in dataset.media["audio"][v1]] == ["v1.wav"]
    assert [p.name for p in dataset.media["audio"][v2]] == ["x.wav"]
    assert dataset.media["image"][dataset.video_ids.rows(["v5"])[0]] == []
    assert "video" not in dataset.media
    assert dataset.features["visual"].values.tolist() == layouts.FEATURES.tolist()
    assert dataset.features["audio"].present.tolist() == [n != 2 for n in range(8)]
    assert dataset.entities["creator"].ids.ids.to_list() == ["c0", "c1", "c2"]
    assert sorted(tmp_path.rglob("*")) == before, "reading leaves nothing behind"


def test_media_folder_signal_keeps_what_was_clicked(tmp_path: Path):
    folder = layouts.media_folder(tmp_path)
    lines = (folder / "interactions.csv").read_text().splitlines()
    # shown again without a click: not a second interaction
    (folder / "interactions.csv").write_text("\n".join([*lines, "000,v2,1700000001,0,0,0"]) + "\n")
    dataset = read_media_folder(folder, signal="click")
    assert dataset.num_interactions == 15
    assert dataset.num_videos == 8
    with pytest.raises(DataError, match=r"line 22.*already \(line 3\)"):
        read_media_folder(folder)
    with pytest.raises(DataError, match="column 'like': no value is above zero"):
        read_media_folder(folder, signal="like")
    with pytest.raises(DataError, match="column 'share': the column is missing"):
        read_media_folder(folder, signal="share")
    lines[3] = lines[2]
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"interactions\.csv, line 4"):
        read_media_folder(folder, signal="click")


def test_media_folder_without_tables(tmp_path: Path):
    folder = layouts.media_folder(tmp_path)
    (folder / "users.csv").unlink()
    assert read_media_folder(folder).users.columns == ["user_id"]
    (folder / "videos.csv").unlink()
    with pytest.raises(DataError, match=r"features without videos\.csv"):
        read_media_folder(folder)
    assert read_media_folder(folder, features=False).num_videos == 8


def test_column_entities_splits_cells(tmp_path: Path):
    dataset = Dataset.from_frames({"user": [0, 0], "video": [1, 2]}, videos={"video_id": [1, 2], "g": ["a | b", None]})
    entities = column_entities(dataset, "g")
    assert entities.ids.ids.to_list() == ["a", "b"]
    assert entities.edges.tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("cell", ["[27, 9]", "['27', '9']", '["27", "9"]', "[27,9,]", "[ '27' , 9 ]", "[27, 9"])
def test_a_list_in_a_cell_is_several_entities(cell: str):
    videos = {"video_id": [1, 2], "tag": [cell, "[9]" if cell.endswith("]") else None]}
    entities = column_entities(Dataset.from_frames({"user": [0, 0], "video": [1, 2]}, videos=videos), "tag")
    if cell.endswith("]"):
        assert entities.ids.ids.to_list() == ["27", "9"]
        assert entities.edges.tolist() == [[0, 0, 1], [0, 1, 1]]
    else:
        assert entities.ids.ids.to_list() == [cell], "not all cells are lists: words"


def test_columns_of_lists_are_entities():
    videos = {"video_id": [1, 2], "tag": [["b", "a"], []]}
    entities = column_entities(Dataset.from_frames({"user": [0, 0], "video": [1, 2]}, videos=videos), "tag")
    assert (entities.ids.ids.to_list(), entities.edges.tolist()) == (["a", "b"], [[0, 0], [0, 1]])


def test_mmrec(tmp_path: Path):
    dataset = read_mmrec(layouts.mmrec(tmp_path))
    assert raw_pairs(dataset) == set(layouts.PAIRS)
    assert dataset.name == "tiny"
    assert dataset.features["visual"].values.dtype == torch.float32
    assert torch.allclose(dataset.features["visual"].values, torch.from_numpy(layouts.FEATURES), atol=1e-3)
    assert dataset.features["audio"].dim == 2
    split = published_split(dataset, "x_label")
    assert (len(split.train), len(split.valid), split.num_test) == (10, 5, 5)
    chosen = read_mmrec(tmp_path, features={"look": "image_feat.npy"})
    assert list(chosen.features) == ["look"]


def test_mmrec_catalogue_beyond_the_last_id(tmp_path: Path):
    layouts.mmrec(tmp_path)
    for file in ("image_feat.npy", "audio_feat.npy"):
        np.save(tmp_path / file, np.ones((10, 2)))
    with pytest.raises(DataError, match=r"shape \(10, 2\) for 8 videos"):
        read_mmrec(tmp_path)
    assert read_mmrec(tmp_path, num_videos=10).num_videos == 10
    with pytest.raises(DataError, match="item 7 is outside num_videos=4"):
        read_mmrec(tmp_path, num_videos=4)
    layouts.write(tmp_path / "second.inter", ["userID\titemID", "0\t0"])
    with pytest.raises(DataError, match=r"2 \.inter files"):
        read_mmrec(tmp_path)
    layouts.write(tmp_path / "third.inter", ["userID\titemID", "0\t-3"])
    with pytest.raises(DataError, match=r"line 2, column 'itemID': id -3 is negative"):
        read_mmrec(tmp_path, "third.inter")
    layouts.write(tmp_path / "third.inter", ["userID\titemID", "0\tx"])
    with pytest.raises(DataError, match=r"line 2, column 'itemID': 'x' is not a row number"):
        read_mmrec(tmp_path, "third.inter")


def test_lightgcn(tmp_path: Path):
    dataset = read_lightgcn(layouts.lightgcn(tmp_path))
    assert raw_pairs(dataset) == set(layouts.PAIRS)
    split = published_split(dataset, "split", seen_at_test="train+valid")
    assert (len(split.train), len(split.valid), split.num_test) == (10, 5, 5)
    assert split.valid["video"].to_list() == [(u + 3) % 8 for u in range(5)]
    two = read_lightgcn(tmp_path / "train.txt", tmp_path / "test.txt", name="two")
    assert two.num_interactions == 15
    with pytest.raises(DataError, match="the test file is missing"):
        read_lightgcn(tmp_path / "train.txt")


def test_lightgcn_maps_give_the_original_ids(tmp_path: Path):
    layouts.lightgcn(tmp_path)
    users = layouts.write(tmp_path / "users.map", [f"{100 + u} {u}" for u in reversed(range(5))])
    videos = layouts.write(tmp_path / "videos.map", [f"{9000 - v} {v}" for v in range(9)])
    dataset = read_lightgcn(tmp_path, user_map=users, video_map=videos)
    assert raw_pairs(dataset) == {(100 + u, 9000 - v) for u, v in layouts.PAIRS}
    assert dataset.num_videos == 9, "a mapped video without interactions is in the catalogue"
    layouts.write(videos, ["9000 0"])
    with pytest.raises(DataError, match="item 7 is not in the map of 1 rows"):
        read_lightgcn(tmp_path, video_map=videos)
    layouts.write(videos, ["9000 0", "9001 0"])
    with pytest.raises(DataError, match="each once"):
        read_lightgcn(tmp_path, video_map=videos)


def test_sequences(tmp_path: Path):
    layouts.sequences(tmp_path)
    dataset = read_sequences(tmp_path / "Tiny.txt", attributes=tmp_path / "Tiny_item2attributes.json")
    assert raw_pairs(dataset) == {(u + 1, v + 1) for u, v in layouts.PAIRS}
    assert dataset.interactions["position"].to_list() == [0, 1, 2, 3] * 5
    attributes = dataset.entities["attribute"]
    assert attributes.ids.ids.to_list() == [7, 9]
    assert attributes.edges.T.tolist() == [[0, 0], [0, 1], [2, 1]]
    split = leave_last_one_out(dataset)
    assert split.valid["position"].to_list() == [2] * 5
    assert split.open_test("x")["video"].to_list() == [(u + 5) % 8 for u in range(5)]


def test_sequences_with_one_pair_a_line(tmp_path: Path):
    lines = ["1 5", "2 9", "1 7", "1 5", "2 3", "3 9"]
    dataset = read_sequences(layouts.write(tmp_path / "ml.txt", lines))
    log = dataset.interactions
    got = [*zip(dataset.user_ids.raw(log["user"]), dataset.video_ids.raw(log["video"]), log["position"])]
    assert got == [(1, 5, 0), (2, 9, 0), (1, 7, 1), (1, 5, 2), (2, 3, 1), (3, 9, 0)]
    assert dataset.origin.notes == ("ml.txt: a line is one pair, and the order of lines that of watching",)
    with pytest.raises(DataError, match=r"line 3: user 1 has a line already; also in lines 4, 5"):
        read_sequences(tmp_path / "ml.txt", lines="list")
    with pytest.raises(DataError, match=r"line 2: 3 ids in a line of a pair"):
        read_sequences(layouts.write(tmp_path / "a.txt", ["1 5", "2 9 4"]), lines="pair")
    with pytest.raises(ValueError, match=r"lines='pairs'.*did you mean 'pair'"):
        read_sequences(tmp_path / "ml.txt", lines="pairs")  # type: ignore[arg-type]
    single = read_sequences(layouts.write(tmp_path / "b.txt", ["1 5", "2 9"]))
    assert single.interactions["position"].to_list() == [0, 0], "either way"


def test_sequences_keep_names_as_they_are_spelled(tmp_path: Path):
    lists = layouts.write(tmp_path / "a.txt", ["ann 007 7 0208775015", "bob 7"])
    titles = layouts.write(tmp_path / "titles.csv", ["item,title", "007,agent", "7,seven", "8,nobody's"])
    facts = tmp_path / "facts.json"
    facts.write_text('{"007": [1, 2], "7": ["x"], "99": [3]}')
    dataset = read_sequences(lists, titles=titles, attributes=facts)
    assert dict(dataset.videos.iter_rows()) == {"007": "agent", "0208775015": None, "7": "seven"}
    assert dataset.interactions["video"].to_list() == [0, 2, 1, 2]
    assert dataset.entities["attribute"].ids.ids.to_list() == ["1", "2", "x"]
    assert dataset.origin.files == (lists, titles, facts)
    facts.write_text("[1]")
    with pytest.raises(DataError, match=r"facts\.json: not JSON of item -> list"):
        read_sequences(lists, attributes=facts)
    with pytest.raises(DataError, match="field 3 looks like a time: a table without a header"):
        read_sequences(layouts.write(tmp_path / "t.txt", ["1 2 881250949", "3 4 881250950"]))
    forced = read_sequences(tmp_path / "t.txt", lines="list")
    assert forced.num_interactions == 4


def test_sequences_of_microlens(tmp_path: Path):
    layouts.microlens(tmp_path)
    dataset = read_sequences(tmp_path / "Tiny_pairs.tsv", titles=tmp_path / "Tiny_titles.csv")
    assert raw_pairs(dataset) == {(u + 1, v + 1) for u, v in layouts.PAIRS}
    titles = dict(dataset.videos.iter_rows())
    assert titles == {v: None if v == 8 else f"clip {v}, part 1" for v in range(1, 9)}


def test_movielens(tmp_path: Path):
    folder = layouts.movielens(tmp_path / "ml")
    dataset = read_movielens(folder)
    assert raw_pairs(dataset) == {(u + 1, 10 * v + 10) for u, v in layouts.PAIRS}
    assert dataset.num_videos == 8, "film 990 was never rated"
    assert dataset.videos.row(0, named=True) == {
        "video_id": 10,
        "title": "Film, 0",
        "genres": "Comedy|Drama",
        "year": 1990,
        "tags": "Funny, funny",
        "imdbId": "000",
        "tmdbId": 0,
    }
    assert dataset.videos["genres"][2] == ""
    assert dataset.entities["genre"].ids.ids.to_list() == ["Comedy", "Drama"]
    assert dataset.entities["tag"].ids.ids.to_list() == ["1984", "funny"]
    assert [len(f) for f in dataset.media["image"]] == [1, 0, 1, 0, 0, 0, 0, 0]
    assert dataset.interactions["rating"].dtype == pl.Float64
    liked = read_movielens(folder, min_rating=4.0)
    assert liked.interactions["rating"].min() == 4.0
    assert liked.num_videos == 8
    assert read_movielens(folder, unrated=True).num_videos == 9
    assert "image" not in read_movielens(folder, posters=folder.parent).media
    early = read_movielens(folder, tags_before=1_700_000_001)
    assert early.videos["tags"].to_list() == ["Funny", *[None] * 7]
    assert early.entities["tag"].ids.ids.to_list() == ["funny"]
    for file in ("tags.csv", "links.csv"):
        (folder / file).unlink()
    assert list(read_movielens(folder).entities) == ["genre"]
    layouts.write(folder / "ratings.csv", ["userId,movieId,rating,timestamp", "1,77,4,5"])
    with pytest.raises(DataError, match=r"ratings\.csv, line 2, column 'movieId': unknown id 77"):
        read_movielens(folder)
    layouts.write(folder / "movies.csv", ["movieId,title,genres", "10,A,Drama", "10,B,Drama"])
    with pytest.raises(DataError, match=r"movies\.csv, line 3, column 'movieId': id 10 appears a second time"):
        read_movielens(folder)


def test_movielens_with_double_colons_in_latin_1(tmp_path: Path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    rows = [f"{u + 1}::{v + 1}::{1 + n % 5}::{t}" for n, ((u, v), t) in enumerate(zip(layouts.PAIRS, layouts.TIMES))]
    layouts.write(folder / "ratings.dat", rows)
    films = [f"{v + 1}::Mis\u00e9rables, {v} ({1990 + v})::Drama|Children's" for v in range(9)]
    (folder / "movies.dat").write_bytes("\n".join(films).encode("latin-1"))
    layouts.write(folder / "users.dat", [f"{u + 1}::F::{20 + u}::10::0{u}067" for u in range(7)])
    dataset = read_movielens(folder)
    assert raw_pairs(dataset) == {(u + 1, v + 1) for u, v in layouts.PAIRS}
    assert dataset.videos.row(2) == (3, "Mis\u00e9rables, 2", "Drama|Children's", 1992)
    assert dataset.users.row(1) == (2, "F", 21, 10, "01067")
    assert dataset.interactions["time"].to_list() == layouts.TIMES
    assert dataset.entities["genre"].ids.ids.to_list() == ["Children's", "Drama"]
    assert [f.name for f in dataset.origin.files] == ["ratings.dat", "movies.dat", "users.dat"]
    layouts.write(folder / "ratings.dat", [*rows, "1::77::5"])
    with pytest.raises(DataError, match=r"ratings\.dat, line 21: 3 fields under 4 columns"):
        read_movielens(folder)


def test_the_first_movielens(tmp_path: Path):
    folder = tmp_path / "ml-100k"
    rows = [f"{u + 1}\t{v + 1}\t{1 + n % 5}\t{t}" for n, ((u, v), t) in enumerate(zip(layouts.PAIRS, layouts.TIMES))]
    layouts.write(folder / "u.data", rows)
    flags = ["0"] * 19
    flags[5] = flags[18] = "1"
    films = [f"{v + 1}|Am\u00e9lie {v} (1995)|01-Jan-1995||http://x|{'|'.join(flags)}" for v in range(8)]
    (folder / "u.item").write_bytes("\n".join(films).encode("latin-1"))
    layouts.write(folder / "u.user", [f"{u + 1}|24|M|technician|8571{u}" for u in range(5)])
    dataset = read_movielens(folder)
    assert (dataset.num_users, dataset.num_videos, dataset.num_interactions) == (5, 8, 20)
    assert dataset.videos.row(0) == (1, "Am\u00e9lie 0", "Comedy|Western", 1995)
    assert dataset.entities["genre"].ids.ids.to_list() == ["Comedy", "Western"]
    assert dataset.users.row(4, named=True)["zip_code"] == "85714"
    assert dataset.interactions["rating"].to_list()[:3] == [1, 2, 3]


def test_parquet_csv_and_frames_agree(tmp_path: Path):
    frame = pl.DataFrame(layouts.PAIRS, schema=["user_id", "video_id"], orient="row").with_columns(
        timestamp=pl.Series(layouts.TIMES), like=1
    )
    videos = pl.DataFrame({"video_id": range(8), "title": [f"t{v}" for v in range(8)]})
    frame.write_parquet(tmp_path / "log.parquet")
    videos.write_parquet(tmp_path / "videos.parquet")
    frame.write_csv(tmp_path / "log.tsv", separator="\t")
    one = read_parquet(tmp_path / "log.parquet", videos=tmp_path / "videos.parquet")
    assert one.name == "log"
    assert one.videos["title"][3] == "t3"
    two = read_csv(tmp_path / "log.tsv", separator="\t")
    three = from_frame(pd.DataFrame(frame.to_dict(as_series=False)))
    assert one.fingerprint() == two.fingerprint() == three.fingerprint()
    assert one.interactions.equals(two.interactions)
    assert one.interactions.equals(three.interactions)
    narrow = read_parquet(tmp_path / "log.parquet", columns=["user_id", "video_id"])
    assert narrow.interactions.columns == ["user", "video"]
    (tmp_path / "parts").mkdir()
    frame[:12].write_parquet(tmp_path / "parts/0.parquet")
    frame[12:].write_parquet(tmp_path / "parts/1.parquet")
    assert read_parquet(tmp_path / "parts").fingerprint() == one.fingerprint()
    text = read_csv(tmp_path / "log.tsv", separator="\t", text_ids=["user_id"])
    assert text.user_ids.ids.to_list() == [str(u) for u in range(5)]


def test_read_csv_looks_further_when_a_late_row_is_of_another_type(tmp_path: Path):
    lines = [f"{n},{n},1" for n in range(10_500)] + ["x,1,0.5"]
    dataset = read_csv(layouts.write(tmp_path / "a.csv", ["user,video,score", *lines]))
    assert "x" in dataset.user_ids
    assert dataset.interactions["score"][-1] == 0.5


def ogb_folder(folder: Path) -> dict:
    """A processed set as OGB leaves it on disk: 6 nodes, 8 links."""
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 0]], dtype=np.int64)
    graph = {
        "edge_index": np.concatenate([edges, edges[:, ::-1]]).T,
        "edge_feat": None,
        "node_feat": np.arange(12, dtype=np.float32).reshape(6, 2),
        "num_nodes": 6,
    }
    (folder / "processed").mkdir(parents=True)
    (folder / "split" / "time").mkdir(parents=True)
    torch.save(graph, folder / "processed" / "data_processed", pickle_protocol=4)
    parts = {
        "train": {"edge": edges, "weight": np.ones(6, dtype=np.int64), "year": np.arange(2010, 2016)},
        "valid": {"edge": np.array([[0, 2]]), "edge_neg": np.array([[0, 3], [1, 4]])},
        "test": {"edge": np.array([[1, 3]]), "edge_neg": np.array([[1, 5], [2, 5], [0, 4]])},
    }
    for part, value in parts.items():
        torch.save(value, folder / "split" / "time" / f"{part}.pt", pickle_protocol=4)
    (folder / "RELEASE_v1.txt").touch()
    return {
        "dir_path": str(folder),
        "download_name": "tiny",
        "version": 1,
        "task type": "link prediction",
        "eval metric": "hits@50",
        "is hetero": "False",
        "binary": "False",
        "add_inverse_edge": "True",
        "split": "time",
        "url": "",
        "additional node files": "None",
        "additional edge files": "None",
    }


def test_ogb_link(tmp_path: Path):
    link = read_ogb_link("ogbl-collab", meta=ogb_folder(tmp_path / "tiny"))
    assert isinstance(link, OGBLink)
    dataset = link.dataset
    assert (dataset.num_users, dataset.num_videos, dataset.num_interactions) == (6, 6, 8)
    assert dataset.interactions["split"].to_list() == [0] * 6 + [1, 2]
    assert dataset.interactions["year"].to_list()[:2] == [2010, 2011]
    assert dataset.features["node"].values[5].tolist() == [10, 11]
    assert link.negatives["test"].tolist() == [[1, 2, 0], [5, 5, 4]]
    assert link.metric == "hits@50"
    split = published_split(dataset, "split")
    assert (len(split.train), len(split.valid), split.num_test) == (6, 1, 1)


def test_load_arrays_runs_no_code(tmp_path: Path):
    for protocol in (2, 4):
        path = tmp_path / f"{protocol}.pt"
        torch.save({"a": np.arange(3), "b": torch.ones(2), "n": np.float32(2)}, path, pickle_protocol=protocol)
        got = load_arrays(path)
        assert got["a"].tolist() == [0, 1, 2]
        assert got["b"].tolist() == [1, 1]
    torch.save({"a": Path}, path)
    with pytest.raises(DataError, match=r"4\.pt: cannot be read: .*Path is not an array"):
        load_arrays(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(path)


def test_ogb_link_scores_with_ogbs_evaluator():
    link = OGBLink("ogbl-collab", None, {}, "hits@50")  # type: ignore[arg-type]
    negative = torch.arange(100.0)
    # the 50th best negative scores 50: two of four positives are above it
    assert link.evaluate(torch.tensor([50.5, 99.5, 49.0, 50.0]), negative) == {"hits@50": 0.5}
    ranks = OGBLink("ogbl-citation2", None, {}, "mrr")  # type: ignore[arg-type]
    got = ranks.evaluate(torch.tensor([3.0, 1.0]), torch.tensor([[1.0, 2.0], [2.0, 3.0]]))
    assert got["mrr"] == pytest.approx((1 + 1 / 3) / 2)


def test_ogb_is_not_downloaded_unasked(tmp_path: Path):
    with pytest.raises(DataError, match=r"ogbl-collab is not here.*download=True"):
        read_ogb_link("ogbl-collab", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_ogb_does_not_phone_home():
    code = """
import socket, sys, threading
def refuse(*a, **k): raise SystemExit("asked the network")
socket.getaddrinfo = refuse
from mmgraph.data.readers.ogb import load_arrays, offline_ogb
assert not any(m == "ogb" or m.startswith("ogb.") for m in sys.modules), "ogb is lazy"
with offline_ogb():
    import ogb
assert ogb.version.check_outdated is None
assert sys.modules.get("outdated", 1) is not None, "the block ends"
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with offline_ogb():
        assert sys.modules["outdated"] is None


def test_tables_read_lists(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"3 1 2\r\n\n1\t9\n2\n")
    users, numbers, lengths, items = read_lists(path)
    assert (users.tolist(), numbers.tolist(), lengths.tolist(), items.tolist()) == (
        [3, 1, 2], [1, 3, 4], [2, 1, 0], [1, 2, 9]
    )  # fmt: skip
    for text, message in (
        ("1 2\n2 x 3\n", r"line 2, column 'field 2': 'x' is not a whole number"),
        ("1 2\n\n2 3 -4\n", r"line 3: id -4 is negative"),
        ("1 2\n2 3\n1 4\n", r"line 3: user 1 has a line already"),
        ("1 99999999999999999999\n", "'99999999999999999999' is not a whole number .*of 64 bits"),
        ("1 007\n", "line 1, column 'field 2': '007' is not a whole number as Python writes it"),
        ("\n\n", "the file is empty"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_lists(path)


def test_tables_files_by_id(tmp_path: Path):
    for name in ("1.jpg", "2/b.jpg", "2/a.JPG", "2/c.txt", "3/x.txt", ".x.jpg", "4.txt"):
        layouts.write(tmp_path / name, ["x"])
    found = files_by_id(tmp_path, (".jpg",))
    assert {k: [p.name for p in v] for k, v in found.items()} == {"1": ["1.jpg"], "2": ["a.JPG", "b.jpg"]}
    assert files_by_id(tmp_path / "none", (".jpg",)) == {}


def test_tables_existing_npy_json_and_utf8(tmp_path: Path):
    with pytest.raises(DataError, match="the folder does not exist"):
        existing(tmp_path / "no", "folder")
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert read_npy(tmp_path / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="pickled objects"):
        read_npy(tmp_path / "o.npy")
    layouts.write(tmp_path / "b.npy", ["text"])
    with pytest.raises(DataError, match=r"not an \.npy file"):
        read_npy(tmp_path / "b.npy")
    layouts.write(tmp_path / "a.json", ["{", '"a": }'])
    with pytest.raises(DataError, match=r"a\.json, line 2: not JSON"):
        read_json(tmp_path / "a.json")
    assert not_utf8(tmp_path / "a.json") is None
    np.save(tmp_path / "f.npy", np.ones((2, 2)))
    assert read_features(tmp_path / "f.npy", 2).dim == 2
