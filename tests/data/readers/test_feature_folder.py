"""A folder of feature files: of one state, put to their videos by id."""

from __future__ import annotations

import contextlib
import json
import pathlib

import numpy as np
import polars as pl
import pytest
import torch

from mmgraph.data import DataError, Encoding, Features, UnknownIdError, Vocabulary
from mmgraph.data.files import WriteFailed
from mmgraph.data.readers import read_feature_folder, read_media_folder, write_feature_folder
from mmgraph.data.readers.feature_folder import check_same_videos


def videos(*ids: str) -> Vocabulary:
    return Vocabulary(list(ids))


def made(*rows: float, present: list[bool] | None = None) -> Features:
    """Features whose row i is [rows[i], 1], made by encoder "key" out of media rows[i]."""
    values = torch.tensor([[row, 1.0] for row in rows])
    media = torch.tensor([[int(row)] * 16 for row in rows], dtype=torch.uint8)
    mask = torch.ones(len(rows), dtype=torch.bool) if present is None else torch.tensor(present)
    return Features.encoded(values, mask, Encoding("key", media))


def test_what_was_written_is_read_with_its_encoder_and_media(tmp_path) -> None:
    features = made(1, 2, 3, present=[True, False, True])
    write_feature_folder(tmp_path, videos("a", "b", "c"), {"text": features, "x": Features(torch.ones(3, 4))})
    back = read_feature_folder(tmp_path, videos("a", "b", "c"))
    assert back["text"].values.equal(features.values)
    assert back["text"].present.tolist() == [True, False, True]
    assert back["text"].fingerprint() == features.fingerprint()
    assert back["x"].encoding is None
    assert not list(tmp_path.glob(".*"))


def test_rows_find_their_videos_by_id_whatever_the_order(tmp_path) -> None:
    write_feature_folder(tmp_path, videos("a", "b", "c"), {"text": made(1, 2, 3)})
    back = read_feature_folder(tmp_path, videos("c", "new", "a", "b"))["text"]
    assert back.values[:, 0].tolist() == [3, 0, 1, 2]
    assert back.present.tolist() == [True, False, True, True]
    assert back.encoding is not None
    assert back.encoding.media[:, 0].tolist() == [3, 0, 1, 2]
    with pytest.raises(UnknownIdError, match=r"video_ids\.csv.*unknown id 'b'"):
        read_feature_folder(tmp_path, videos("a", "c"))


def test_a_media_folder_whose_videos_were_reordered_keeps_its_features(tmp_path) -> None:
    (tmp_path / "videos.csv").write_text("video_id,title\n02,b\n01,a\n")
    (tmp_path / "interactions.csv").write_text("user_id,video_id\nu,01\nu,02\n")
    write_feature_folder(tmp_path / "features", videos("01", "02"), {"text": made(1, 2)})
    assert read_media_folder(tmp_path).features["text"].values[:, 0].tolist() == [2, 1]
    (tmp_path / "videos.csv").unlink()  # the ids beside the matrices are order enough
    assert read_media_folder(tmp_path).features["text"].values[:, 0].tolist() == [1, 2]


def test_files_of_two_states_are_refused(tmp_path) -> None:
    write_feature_folder(tmp_path, videos("a", "b"), {"text": made(1, 2)})
    old = (tmp_path / "video_ids.csv").read_bytes()
    write_feature_folder(tmp_path, videos("b", "a"), {"text": made(2, 1)})
    (tmp_path / "video_ids.csv").write_bytes(old)
    with pytest.raises(DataError, match=r"video_ids\.csv: not what features\.json vouches for.*encode` again"):
        read_feature_folder(tmp_path, videos("a", "b"))


def test_a_stop_at_any_move_leaves_the_old_state_the_new_one_or_an_error(tmp_path, monkeypatch) -> None:
    both = {"a": 1.0, "b": 2.0, "c": 3.0}
    outcomes = set()
    for stop_at in range(8):
        folder = tmp_path / str(stop_at)
        write_feature_folder(folder, videos("a", "b"), {"text": made(1, 2)})
        moves, real = [0], pathlib.Path.replace

        def replace(self, target, moves=moves, stop_at=stop_at, real=real):
            moves[0] += 1
            if moves[0] > stop_at:
                raise KeyboardInterrupt
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(pathlib.Path, "replace", replace)
            with contextlib.suppress(KeyboardInterrupt):
                write_feature_folder(folder, videos("c", "b", "a"), {"text": made(3, 2, 1)})
        assert not list(folder.glob(".*"))
        try:
            back = read_feature_folder(folder, videos("a", "b", "c"))["text"]
        except DataError:
            outcomes.add("refused")
            continue
        seen = {raw: float(row[0]) for raw, row, there in zip("abc", back.values, back.present) if there}
        assert all(both[raw] == value for raw, value in seen.items())
        outcomes.add(len(seen))
    assert outcomes == {2, "refused", 3}


def test_a_modality_of_other_videos_does_not_stay_beside_new_ids(tmp_path) -> None:
    write_feature_folder(tmp_path, videos("a", "b"), {"visual": made(1, 2)})
    with pytest.raises(DataError, match=r"rows of visual\.npy are of other videos.*--out"):
        write_feature_folder(tmp_path, videos("b", "a"), {"text": made(2, 1)})
    write_feature_folder(tmp_path, videos("a", "b"), {"text": made(5, 6)})
    assert set(read_feature_folder(tmp_path, videos("a", "b"))) == {"text", "visual"}
    assert read_feature_folder(tmp_path, videos("a", "b"))["visual"].encoding is not None
    write_feature_folder(tmp_path, videos("b", "a"), {"text": made(6, 5), "visual": made(2, 1)})
    assert read_feature_folder(tmp_path, videos("a", "b"))["visual"].values[:, 0].tolist() == [1, 2]


def test_whole_numbers_and_their_text_are_the_same_videos(tmp_path) -> None:
    numbers = Vocabulary(pl.Series([7, 5]))
    write_feature_folder(tmp_path, numbers, {"visual": made(1, 2)})
    (tmp_path / "features.json").unlink()
    check_same_videos(tmp_path, numbers, {"text": None})
    with pytest.raises(DataError, match="other videos"):
        check_same_videos(tmp_path, Vocabulary(pl.Series([5, 7])), {"text": None})
    assert read_feature_folder(tmp_path, Vocabulary(pl.Series([5, 7])))["visual"].values[:, 0].tolist() == [2, 1]


def test_a_matrix_alone_is_in_the_order_of_the_videos(tmp_path) -> None:
    np.save(tmp_path / "text.npy", np.array([[1.0], [2.0]]))
    assert read_feature_folder(tmp_path, videos("a", "b"))["text"].values.tolist() == [[1], [2]]
    with pytest.raises(DataError, match="no row order"):
        read_feature_folder(tmp_path, videos("a", "b"), by_position=False)
    assert read_feature_folder(tmp_path / "nowhere", videos("a")) == {}


@pytest.mark.parametrize(
    "told", ["[1]", "{", '{"files": [], "encoders": {}}', '{"files": {"../x": "0"}, "encoders": {}}']
)
def test_a_tampered_list_is_a_data_error(tmp_path, told) -> None:
    write_feature_folder(tmp_path, videos("a"), {"text": made(1)})
    (tmp_path / "features.json").write_text(told)
    with pytest.raises(DataError, match=r"features\.json"):
        read_feature_folder(tmp_path, videos("a"))


def test_every_flipped_byte_of_the_list_is_told(tmp_path) -> None:
    write_feature_folder(tmp_path, videos("a"), {"text": made(1)})
    path = tmp_path / "features.json"
    whole = path.read_bytes()
    assert json.loads(whole)["encoders"] == {"text": "key"}
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DataError):
            read_feature_folder(tmp_path, videos("a"))


def test_a_full_disk_names_the_file_and_leaves_the_old_state(tmp_path) -> None:
    resource = pytest.importorskip("resource")
    write_feature_folder(tmp_path, videos("a"), {"text": made(1)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(WriteFailed, match=r"cannot write .*text\.npy: .*Make room"):
            write_feature_folder(tmp_path, videos("a"), {"text": Features(torch.ones(1, 5000))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_feature_folder(tmp_path, videos("a"))["text"].values.tolist() == [[1, 1]]
    assert not list(tmp_path.glob(".*"))
