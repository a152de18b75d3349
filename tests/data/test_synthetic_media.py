"""Rendered media: the same bytes every time, and what each shows can be told from the files alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from mmgraph.data.synthetic import MODALITIES, World, WorldConfig, generate, picture, render, sound_track
from mmgraph.data.synthetic.pictures import SIZE, draw_frame
from mmgraph.data.synthetic.sounds import RATE, play
from mmgraph.data.synthetic.words import SOUNDS, STYLES, TOPICS

pytest.importorskip("PIL")
CONFIG = WorldConfig(users=4, videos=24, days=2, seed=5, coverage={"visual": 0.7, "audio": 0.7})


@pytest.fixture(scope="module")
def world() -> World:
    return generate(CONFIG)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _accuracy(values: np.ndarray, labels: np.ndarray) -> float:
    """Leave-one-out nearest neighbour after standardising columns."""
    values = (values - values.mean(0)) / (values.std(0) + 1e-9)
    distance = ((values[:, None] - values[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    return float((labels[distance.argmin(1)] == labels).mean())


def test_the_same_bytes_in_another_process_and_in_any_order(world: World, tmp_path: Path) -> None:
    pytest.importorskip("av")
    rows = [3, 11, 17]
    render(world, tmp_path / "here", kinds=("image", "audio", "video"), videos=rows)
    code = (
        "import sys\nfrom mmgraph.data.synthetic import WorldConfig, generate, render\n"
        "world = generate(WorldConfig.model_validate_json(sys.argv[1]))\n"
        "render(world, sys.argv[2], kinds=('video', 'audio', 'image'), videos=[17, 3, 11])"
    )
    subprocess.run([sys.executable, "-c", code, CONFIG.model_dump_json(), str(tmp_path / "there")], check=True)
    assert _hashes(tmp_path / "here") == _hashes(tmp_path / "there")
    assert len(_hashes(tmp_path / "here")) >= 5


def test_files_follow_the_layout_and_a_missing_modality_is_a_missing_file(world: World, tmp_path: Path) -> None:
    from PIL import Image

    called = []
    render(world, tmp_path, frames=2, advance=lambda: called.append(1))
    assert len(called) == CONFIG.videos
    assert 0 < world.present["visual"].sum() < CONFIG.videos > world.present["audio"].sum() > 0
    for row, raw in enumerate(world.videos["video_id"]):
        frames = sorted((tmp_path / "video_frames").glob(f"{raw}/*.jpg"))
        assert [frame.name for frame in frames] == (["0.jpg", "1.jpg"] if world.present["visual"][row] else [])
        sound = tmp_path / "video_audio" / f"{raw}.wav"
        assert sound.exists() == world.present["audio"][row]
        if frames:
            with Image.open(frames[0]) as first, Image.open(frames[1]) as second:
                assert first.size == SIZE
                assert np.abs(np.asarray(first, float) - np.asarray(second, float)).mean() > 0.2, "it moves"
        if sound.exists():
            with wave.open(str(sound)) as file:
                assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 1, 2 * RATE)


def test_mp4_has_both_streams_or_pictures_alone(world: World, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    seen = world.present["visual"]
    rows = [int(np.flatnonzero(seen & heard)[0]) for heard in (world.present["audio"], ~world.present["audio"])]
    rows.append(int(np.flatnonzero(~seen)[0]))
    render(world, tmp_path, kinds=("video",), videos=rows)
    ids = world.videos["video_id"]
    for row, streams in zip(rows, (2, 1)):
        with av.open(str(tmp_path / "videos" / f"{ids[row]}.mp4")) as file:
            assert len(file.streams) == streams
            assert sum(1 for _ in file.decode(video=0)) == 16
    assert not (tmp_path / "videos" / f"{ids[rows[2]]}.mp4").exists()


def test_a_person_could_tell_topic_and_style_from_a_frame() -> None:
    thumbnails, topics, styles = [], [], []
    for topic in range(len(TOPICS)):
        for style in range(len(STYLES)):
            for k in range(3):
                frame = draw_frame(topic, style, np.random.SeedSequence([topic, style, k]), k / 3)
                thumbnails.append(np.asarray(frame.resize((12, 16)), float).ravel())
                topics.append(topic)
                styles.append(style)
    assert _accuracy(np.array(thumbnails), np.array(topics)) > 0.9
    assert _accuracy(np.array(thumbnails), np.array(styles)) > 0.9


def test_sounds_can_be_told_apart_and_vary() -> None:
    spectra, labels = [], []
    for sound in range(len(SOUNDS)):
        for k in range(8):
            track = play(sound, np.random.SeedSequence([sound, k])).astype(float)
            assert len(track) == 2 * RATE
            assert 0.6 * 32_767 < np.abs(track).max() <= 0.71 * 32_767
            power = np.abs(np.fft.rfft(track.reshape(-1, 800) * np.hanning(800))) ** 2
            bands = np.log(np.add.reduceat(power, np.geomspace(1, 380, 16).astype(int), axis=1) + 1)
            spectra.append(np.concatenate([bands.mean(0), bands.std(0)]))
            labels.append(sound)
    assert _accuracy(np.array(spectra), np.array(labels)) > 0.85
    assert (play(0, np.random.SeedSequence(1)) != play(0, np.random.SeedSequence(2))).any()


def test_an_uninformative_modality_renders_something_else() -> None:
    mute = generate(CONFIG.model_copy(update={"informative": dict.fromkeys(MODALITIES, 0.0)}))
    other = (mute.shown["visual"].topic != mute.factors.topic).mean()
    assert other > 0.7
    row = int(np.flatnonzero(mute.shown["visual"].style != mute.factors.style)[0])
    true = draw_frame(
        int(mute.factors.topic[row]), int(mute.factors.style[row]), np.random.SeedSequence([5, 1, row]), 0.0
    )
    assert np.abs(np.asarray(picture(mute, row, 0.0), float) - np.asarray(true, float)).mean() > 5
    assert sound_track(mute, row).dtype == np.int16


def test_render_refuses_what_it_does_not_know(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kinds"):
        render(world, tmp_path, kinds=("smell",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frames must be at least 1"):
        render(world, tmp_path, frames=0)
