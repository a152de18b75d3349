"""What `mmgraph encode` does."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmgraph.data.readers import read_media_folder, read_movielens
from mmgraph.encoders import (
    EfficientNetLite0,
    EncodeSummary,
    HashEncoder,
    HuggingFaceAudio,
    HuggingFaceImage,
    HuggingFaceText,
    MFCCStatistics,
    UniversalSentenceEncoder,
    audio_encoder,
    encode_folder,
    extract,
    image_encoder,
    text_encoder,
)
from mmgraph.features import StoreWriteError
from tests.data import layouts
from tests.encoders.making import jpeg, mp4, tone, wav


@pytest.fixture
def folder(tmp_path):
    """Three videos, not in the order of their ids; c has no picture, a has a broken sound."""
    (tmp_path / "videos.csv").write_text("video_id,title,generator,steps\nc,a cat,luma,20\na,,sora,\nb,一只狗,,\n")
    (tmp_path / "interactions.csv").write_text("user_id,video_id,timestamp,click\nu,a,1,1\nu,a,2,0\nv,b,3,1\n")
    for name in "ab":
        (tmp_path / "video_frames" / name).mkdir(parents=True)
        jpeg(tmp_path / "video_frames" / name / "0.jpg", ord(name))
    (tmp_path / "video_audio").mkdir()
    (tmp_path / "video_audio" / "a.wav").write_bytes(b"RIFF")
    wav(tmp_path / "video_audio" / "c.wav", tone(440, 1))
    return tmp_path


def test_features_are_written_in_the_order_of_the_videos_and_read_back(folder, tiny_vit) -> None:
    summary = encode_folder(folder, text="hash", image=str(tiny_vit), audio="mfcc", generation=True, progress=False)
    assert isinstance(summary, EncodeSummary)
    dataset = read_media_folder(folder, duplicates="keep")
    assert dataset.video_ids.ids.to_list() == ["c", "a", "b"]
    present = {name: features.present.tolist() for name, features in dataset.features.items()}
    assert present == {
        "text": [True, False, True],
        "visual": [False, True, True],
        "audio": [True, False, False],
        "generation": [True, True, False],
    }
    expected = HuggingFaceImage(tiny_vit)([folder / "video_frames" / "b" / "0.jpg"]).values[0]
    assert np.allclose(dataset.features["visual"].values[2], expected, atol=1e-5)
    passports = json.loads((folder / "features" / "passports.json").read_text())["passports"]
    assert passports["audio"]["present"] == 1
    assert "not readable as sound" in summary.text()
    again = encode_folder(folder, text="hash", image=str(tiny_vit), audio="mfcc", generation=True, progress=False)
    assert [report.encoded for report in again.reports.values()] == [0, 0, 0, 0]


def test_without_pictures_the_frames_of_videos_are_seen(folder, tiny_vit) -> None:
    import shutil

    shutil.rmtree(folder / "video_frames")
    (folder / "videos").mkdir()
    mp4(folder / "videos" / "b.mp4")
    summary = encode_folder(folder, image=str(tiny_vit), num_frames=2, progress=False)
    assert summary.reports["visual"].encoder["name"].startswith("frames:")
    assert np.load(folder / "features" / "visual_present.npy").tolist() == [False, False, True]


def test_names_give_encoders() -> None:
    assert isinstance(text_encoder("use"), UniversalSentenceEncoder)
    assert isinstance(text_encoder("hash"), HashEncoder)
    assert isinstance(text_encoder("some/model"), HuggingFaceText)
    assert text_encoder("minilm").name == "all-MiniLM-L6-v2"
    assert isinstance(image_encoder("efficientnet-lite0"), EfficientNetLite0)
    assert isinstance(image_encoder("some/model"), HuggingFaceImage)
    assert image_encoder("hash").reads == "image"
    assert isinstance(audio_encoder("mfcc"), MFCCStatistics)
    assert isinstance(audio_encoder("some/model"), HuggingFaceAudio)
    assert audio_encoder("hash").reads == "audio"


def test_what_is_missing_is_said_before_anything_is_encoded(folder) -> None:
    with pytest.raises(ValueError, match="at least one encoder"):
        encode_folder(folder, progress=False)
    with pytest.raises(ValueError, match="lacks columns \\['plot'\\]"):
        encode_folder(folder, text="hash", text_columns=["plot"], progress=False)
    (folder / "videos.csv").unlink()
    with pytest.raises(ValueError, match=r"no videos\.csv"):
        encode_folder(folder, text="hash", progress=False)


def test_movielens_with_posters_is_encoded_without_touching_its_folder(tmp_path) -> None:
    data, made = layouts.movielens(tmp_path / "ml"), tmp_path / "made"
    for poster in (data / "posters").iterdir():
        jpeg(poster, len(poster.name))
    before = sorted(data.rglob("*"))
    settings = {"image": "hash", "text": "hash", "store": made / "store", "out": made / "out", "progress": False}
    summary = encode_folder(data, **settings)
    assert "texts are made of the columns title, tags, genres" in summary.text()
    dataset = read_movielens(data)
    lines = (made / "out" / "video_ids.csv").read_text().split()
    assert lines == ["video_id", *map(str, dataset.video_ids.ids)]
    present = [bool(files) for files in dataset.media["image"]]
    assert np.load(made / "out" / "visual_present.npy").tolist() == present
    titles = encode_folder(data, **{**settings, "image": None}, text_columns=["title"])
    assert titles.text_columns == ("title",)
    expected = HashEncoder(reads="text")(dataset.videos["title"].to_list()).values
    assert np.allclose(np.load(made / "out" / "text.npy"), expected)
    assert sorted(data.rglob("*")) == before
    with pytest.raises(ValueError, match="no media folder"):
        encode_folder(data, **settings, signal="click")


def test_a_folder_that_cannot_be_written_says_which_options_to_give(folder) -> None:
    (folder / ".features").write_text("a file in the way")
    with pytest.raises(StoreWriteError, match="--store and --out"):
        encode_folder(folder, text="hash", progress=False)
    (folder / "features").write_text("a file in the way")
    with pytest.raises(StoreWriteError, match=r"features: .*Nothing was encoded\. Give a folder"):
        encode_folder(folder, text="hash", store=folder / "elsewhere", progress=False)


def test_features_keep_their_identity_through_the_folder(folder, tmp_path) -> None:
    encode_folder(folder, text="hash", progress=False)
    back = read_media_folder(folder, duplicates="keep")
    bare = read_media_folder(folder, duplicates="keep", features=False)
    assert back.fingerprint() == extract(bare, {"text": HashEncoder()}, tmp_path / "s").fingerprint()
    passports = json.loads((folder / "features" / "passports.json").read_text())["passports"]
    assert passports["text"]["fingerprint"] == back.features["text"].fingerprint()


def test_features_of_other_videos_do_not_stay_beside_new_ones(folder) -> None:
    encode_folder(folder, text="hash", audio="mfcc", progress=False)
    (folder / "videos.csv").write_text("video_id,title\na,\nb,\u4e00\u53ea\u72d7\nc,a cat\n")
    assert read_media_folder(folder, duplicates="keep").features["text"].present.tolist() == [False, True, True]
    with pytest.raises(ValueError, match=r"rows of audio\.npy are of other videos"):
        encode_folder(folder, text="hash", progress=False)
    encode_folder(folder, text="hash", audio="mfcc", progress=False)
    assert read_media_folder(folder, duplicates="keep").features["audio"].present.tolist() == [False, False, True]


def test_every_long_step_is_shown_off_a_terminal_too(folder, monkeypatch, capsys) -> None:
    from mmgraph import progress as progress_module

    monkeypatch.setattr(progress_module, "FIRST", 0.0)  # as if every step took two seconds
    steps = []
    real = progress_module.Lines

    class Told(real):
        def close(self) -> None:
            steps.append(self.label)
            self.tick()

    monkeypatch.setattr(progress_module, "Lines", Told)
    encode_folder(folder, text="hash", progress=True)
    encode_folder(folder, text="hash", progress=True)
    ours = ["loading encoders", "hashing for hash", "hash", "passports"]
    assert [step for step in steps if step in ours] == ours * 2
    assert any(step.startswith("reading hash-") for step in steps)
    assert any(step.startswith("writing ") for step in steps)
    assert "hash: 2 of 2" in capsys.readouterr().err
