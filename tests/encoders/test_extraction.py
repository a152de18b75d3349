"""A dataset's media to its features."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch

from mmgraph.data import Dataset
from mmgraph.encoders import (
    Extraction,
    GenerationEncoder,
    HashEncoder,
    HuggingFaceImage,
    MFCCStatistics,
    VideoFrames,
    extract,
    extract_with_report,
    generation_records,
    media_of,
    texts_of,
)
from mmgraph.features import FeatureStore
from tests.encoders.making import Counting, jpeg, mp4, tone, wav


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    pictures = [jpeg(tmp_path / f"{n}.jpg", n) for n in range(3)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    videos = pl.DataFrame(
        {
            "video": ["a", "b", "c", "d"],
            "title": ["a cat", None, "一只狗", "  "],
            "tags": [["x", "y"], [], None, None],
            "likes": [1, 2, 3, 4],
            "generator": ["luma", None, "sora", None],
            "guidance": [None, None, 2.0, None],
        }
    )
    return Dataset.from_frames(
        pl.DataFrame({"user": ["u", "u", "v"], "video": ["a", "b", "c"]}),
        videos=videos,
        media={
            "image": {"a": pictures[:2], "b": [broken], "c": [broken, pictures[2]]},
            "audio": {"a": [wav(tmp_path / "a.wav", tone(300, 1))]},
            "video": {"a": [mp4(tmp_path / "a.mp4")], "b": [mp4(tmp_path / "b.mp4", sound=False)]},
        },
        name="four",
    )


def rows(dataset: Dataset, *ids: str) -> list[int]:
    return dataset.video_ids.rows(list(ids)).tolist()


def test_genres_in_one_cell_are_several_words_and_a_title_stays_as_it_is() -> None:
    videos = pl.DataFrame({"video": ["a"], "title": ["this|that"], "genres": ["Drama| Film-Noir|"]})
    dataset = Dataset.from_frames(pl.DataFrame({"user": ["u"], "video": ["a"]}), videos=videos)
    assert texts_of(dataset) == ["this|that. Drama, Film-Noir"]


def test_a_video_is_the_mean_of_its_readable_files(dataset, tmp_path) -> None:
    encoder = HashEncoder(reads="image")
    a, b, c, d = rows(dataset, "a", "b", "c", "d")

    class Picky(HashEncoder):
        def decode(self, media):
            from mmgraph.features import MediaError

            if media.name == "broken.jpg":
                raise MediaError("broken")
            return super().decode(media)

    result = extract_with_report(dataset, {"visual": Picky(reads="image")}, tmp_path / "store")
    assert isinstance(result, Extraction)
    features = result.dataset.features["visual"]
    files = dataset.media["image"]
    assert torch.allclose(features.values[a], encoder(files[a]).values.mean(0))
    assert torch.allclose(features.values[c], encoder(files[c][:1]).values[0])
    assert features.present[[a, b, c, d]].tolist() == [True, False, True, False]
    report = result.reports["visual"]
    assert sorted(problem.row for problem in report.problems) == sorted([b, c])
    assert (report.rows, report.present, report.absent) == (4, 2, 1)
    written = json.loads((tmp_path / "store" / "reports" / "four-visual.json").read_text())
    assert written["present"] == 2


def test_texts_join_the_usual_columns_and_only_them(dataset) -> None:
    assert [texts_of(dataset)[row] for row in rows(dataset, "a", "b", "c", "d")] == [
        "a cat. x, y",
        "",
        "一只狗",
        "",
    ]
    assert texts_of(dataset, ["likes"])[rows(dataset, "c")[0]] == "3"
    with pytest.raises(ValueError, match="lacks columns \\['plot'\\]"):
        texts_of(dataset, ["plot"])


def test_sound_comes_from_the_video_where_there_is_no_sound_file(dataset, tmp_path) -> None:
    encoder = MFCCStatistics()
    media = media_of(dataset, encoder)
    a, b, c = rows(dataset, "a", "b", "c")
    assert [path.name for path in media[a]] == ["a.wav"]
    assert [path.name for path in media[b]] == ["b.mp4"]
    assert media[c] == []
    features = extract(dataset, {"audio": encoder}, tmp_path / "store").features["audio"]
    assert features.present[[a, b, c]].tolist() == [True, False, False]


def test_frames_are_averaged_over_time_or_kept_flat(dataset, tiny_vit, tmp_path) -> None:
    encoder = VideoFrames(HuggingFaceImage(tiny_vit), num_frames=3)
    a, c = rows(dataset, "a", "c")
    frames = encoder(dataset.media["video"][a]).values[0]
    store = FeatureStore(tmp_path / "store")
    mean = extract(dataset, {"visual": encoder}, store).features["visual"]
    flat = extract(dataset, {"visual": encoder}, store, frames="flat").features["visual"]
    assert torch.allclose(mean.values[a], frames.mean(0), atol=1e-5)
    assert torch.allclose(flat.values.unflatten(1, encoder.shape)[a], frames, atol=1e-5)
    assert not mean.present[c]
    ragged = VideoFrames(HuggingFaceImage(tiny_vit), num_frames=3, sampling="keyframes")
    with pytest.raises(ValueError, match="sampling='uniform'"):
        extract(dataset, {"visual": ragged}, store, frames="flat")


def test_generation_columns_make_records(dataset, tmp_path) -> None:
    records = generation_records(dataset)
    a, b, c = rows(dataset, "a", "b", "c")
    assert records[a] == {"generator": "luma", "guidance": None}
    assert records[b] is None
    features = extract(dataset, {"generation": GenerationEncoder.fit(records)}, tmp_path).features["generation"]
    assert features.present[[a, b, c]].tolist() == [True, False, True]


def test_a_generation_column_of_json_may_be_broken(dataset, tmp_path) -> None:
    text = {"a": '{"generator": "luma"}', "b": "{", "c": None, "d": "{}"}
    column = pl.Series("generation", [text[raw] for raw in dataset.video_ids.ids])
    changed = Dataset.from_frames(
        pl.DataFrame({"user": ["u"], "video": ["a"]}),
        videos=pl.DataFrame({"video": dataset.video_ids.ids, "generation": column}),
    )
    encoder = GenerationEncoder.fit([{"generator": "luma"}])
    result = extract_with_report(changed, {"generation": encoder}, tmp_path)
    assert result.dataset.features["generation"].present.sum() == 1
    assert [p.row for p in result.reports["generation"].problems] == changed.video_ids.rows(["b"]).tolist()


def test_the_second_extraction_encodes_nothing(dataset, tmp_path) -> None:
    counting = Counting(reads="image")
    first = extract(dataset, {"visual": counting}, tmp_path / "store")
    before = counting.count
    second = extract(dataset, {"visual": counting}, tmp_path / "store")
    assert before == 4  # four distinct files
    assert counting.count == 4
    assert torch.equal(first.features["visual"].values, second.features["visual"].values)


def test_what_is_not_there_is_named(dataset, tmp_path) -> None:
    bare = Dataset.from_frames(pl.DataFrame({"user": ["u"], "video": ["a"]}))
    with pytest.raises(ValueError, match=r"the dataset's media are none; .*video_frames/<video id>"):
        extract(bare, {"visual": HashEncoder(reads="image")}, tmp_path)
    with pytest.raises(ValueError, match="no column of generation metadata"):
        generation_records(bare)
    with pytest.raises(ValueError, match="lacks any of the columns"):
        texts_of(bare)


def test_features_are_known_by_encoder_and_media_whatever_the_last_bits(dataset, tmp_path) -> None:
    class Shaky(HashEncoder):
        """The same encoder on a machine that adds up in another order."""

        def encode(self, items):
            return super().encode(items) * (1 + 3e-6)

    plain, shaky = HashEncoder(reads="image"), Shaky(reads="image")
    assert plain.key() == shaky.key()
    one = extract(dataset, {"visual": plain}, tmp_path / "one")
    two = extract(dataset, {"visual": shaky}, tmp_path / "two")
    assert not torch.equal(one.features["visual"].values, two.features["visual"].values)
    assert one.fingerprint() == two.fingerprint()
    jpeg(dataset.media["image"][rows(dataset, "a")[0]][1], 99)
    assert extract(dataset, {"visual": plain}, tmp_path / "one").fingerprint() != one.fingerprint()
    other = extract(dataset, {"visual": HashEncoder(reads="image", seed=1)}, tmp_path / "one")
    assert other.features["visual"].fingerprint() != one.features["visual"].fingerprint()


def test_how_frames_were_pooled_is_part_of_what_features_are(dataset, tiny_vit, tmp_path) -> None:
    encoder = VideoFrames(HuggingFaceImage(tiny_vit), num_frames=1)
    mean, flat = (extract(dataset, {"v": encoder}, tmp_path, frames=how).features["v"] for how in ("mean", "flat"))
    assert mean.fingerprint() != flat.fingerprint()
