"""Audio encoders."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from mmgraph.encoders import AudioEncoder, HuggingFaceAudio, MFCCStatistics, read_sound
from tests.encoders.making import mp4, tone, wav

MFCC, DELTA, MEL = slice(0, 40), slice(80, 120), slice(160, 224)


@pytest.fixture(scope="module")
def encoder() -> MFCCStatistics:
    return MFCCStatistics()


def test_statistics_are_over_time_and_coefficient_zero_is_the_mean_band(encoder) -> None:
    rng = np.random.default_rng(0)
    row = encoder.prepare((0.1 * rng.standard_normal(32000)).astype(np.float32))
    assert row.shape == (290,)
    assert isinstance(encoder, AudioEncoder)
    assert row[MFCC][0] == pytest.approx(float(row[MEL].mean()), abs=1e-4)


def test_ten_times_louder_is_two_bel_more_in_every_band(encoder) -> None:
    rng = np.random.default_rng(0)
    quiet = (0.01 * rng.standard_normal(32000)).astype(np.float32)
    soft, loud = encoder.prepare(quiet), encoder.prepare(10 * quiet)
    assert torch.allclose(loud[MEL] - soft[MEL], torch.full((64,), 2.0), atol=1e-3)
    assert torch.allclose(loud[1:40], soft[1:40], atol=1e-3)


def test_deltas_follow_the_slope_over_time(encoder) -> None:
    rising = np.exp(np.linspace(np.log(1e-3), np.log(0.5), 64000)) * np.random.default_rng(0).standard_normal(64000)
    row = encoder.prepare(rising.astype(np.float32))
    backwards = encoder.prepare(rising[::-1].astype(np.float32).copy())
    frames = 64000 / 320
    assert row[DELTA][0] == pytest.approx(2 * np.log10(500) / frames, rel=0.1)
    assert backwards[DELTA][0] == pytest.approx(-float(row[DELTA][0]), rel=0.1)


def test_a_beat_of_120_is_tempo_zero(encoder) -> None:
    clicks = np.zeros(16000 * 8, dtype=np.float32)
    for beat in range(16):
        clicks[beat * 8000 : beat * 8000 + 400] = np.random.default_rng(beat).standard_normal(400) * 0.5
    assert encoder.prepare(clicks)[-2:].tolist() == pytest.approx([0.0, 1.0], abs=0.05)


def test_silence_is_a_sound_at_the_floor_without_a_tempo(encoder) -> None:
    row = encoder.prepare(np.zeros(64000, dtype=np.float32))
    assert torch.allclose(row[MEL], torch.full((64,), -10.0))
    assert row[-2:].tolist() == [0, 0]


@pytest.mark.parametrize("samples", [1, 10, 511, 513, 2000])
def test_clips_shorter_than_a_window_are_finite_and_heard(encoder, samples) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = encoder.prepare(tone(1000, 1)[:samples].astype(np.float32) + 0.1)
    assert row.isfinite().all()
    assert row[MEL].max() > -8


def test_sound_is_mono_at_16_khz_and_no_longer_than_asked(tmp_path) -> None:
    left = tone(440, 3, rate=44100)
    path = wav(tmp_path / "stereo.wav", np.stack([left, np.zeros_like(left)], axis=1), rate=44100)
    samples = read_sound(path, 16000, max_seconds=2)
    assert samples.shape == (32000,)
    assert samples.dtype == np.float32
    peak = np.abs(np.fft.rfft(samples)).argmax() / 2
    assert peak == pytest.approx(440, abs=2)
    assert len(read_sound(path, 16000, max_seconds=60)) == pytest.approx(48000, abs=50)


def test_the_sound_of_an_mp4_is_that_of_the_same_tone_in_a_wav(encoder, tmp_path) -> None:
    paths = [
        mp4(tmp_path / "a.mp4", frames=30),
        wav(tmp_path / "same.wav", tone(440, 3)),
        wav(tmp_path / "other.wav", tone(1800, 3)),
    ]
    film, same, other = encoder(paths).values[:, MEL]
    assert film.argmax() == same.argmax() != other.argmax()


def test_hugging_face_audio_hears_each_clip_by_itself(tmp_path) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    paths = [wav(tmp_path / "a.wav", tone(300, 1)), wav(tmp_path / "b.wav", tone(900, 0.01))]
    encoder = HuggingFaceAudio(tmp_path, label="tiny")
    together = encoder(paths)
    assert together.values.shape == (2, 16)
    assert torch.allclose(together.values[1], encoder(paths[1:]).values[0], atol=1e-6)
    assert not torch.allclose(together.values[0], together.values[1], atol=1e-2)
    assert encoder.settings()["processor"]["sampling_rate"] == 16000


def _spectrogram_model(kind: str) -> tuple[Any, Any]:
    import transformers as hf

    small: dict[str, Any] = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if kind == "ast":
        config = hf.ASTConfig(hidden_size=16, max_length=64, num_mel_bins=32, **small)
        return hf.ASTModel(config), hf.ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    if kind == "whisper":
        sizes: dict[str, Any] = {"vocab_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        for part in ("encoder", "decoder"):
            sizes |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 16}
        config = hf.WhisperConfig(d_model=16, max_source_positions=100, decoder_start_token_id=1, **sizes)
        return hf.WhisperModel(config), hf.WhisperFeatureExtractor(chunk_length=2)
    audio = {"patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1], "num_attention_heads": [1, 2]}
    config = hf.ClapConfig(
        text_config={"hidden_size": 16, "vocab_size": 8, **small},
        audio_config={**audio, "num_hidden_layers": 2, "projection_dim": 16},
        projection_dim=16,
    )
    return hf.ClapModel(config), hf.ClapFeatureExtractor(max_length_s=1, truncation="rand_trunc")


@pytest.mark.parametrize("kind", ["ast", "clap", "whisper"])
def test_hugging_face_audio_of_spectrograms(tmp_path, kind) -> None:
    torch.manual_seed(0)
    for part in _spectrogram_model(kind):
        part.save_pretrained(tmp_path)
    # longer than CLAP's one second: its extractor would draw a part of the sweep at random
    sweep = np.concatenate([tone(frequency, 1) for frequency in (200, 400, 800, 1600)])
    paths = [wav(tmp_path / "a.wav", sweep), wav(tmp_path / "b.wav", tone(900, 0.01))]
    encoder = HuggingFaceAudio(tmp_path, label="tiny")
    values = encoder(paths).values
    assert values.shape == (2, 16)
    assert torch.equal(values, encoder(paths).values)
    assert not torch.allclose(values[0], values[1], atol=1e-3)
    assert HuggingFaceAudio(tmp_path, label="tiny").key() == encoder.key()


def last_layer(encoder: HuggingFaceAudio, samples: np.ndarray) -> tuple[torch.Tensor, int]:
    """The whole last layer [T, D] of a clip, and how many frames its input has."""
    clip = encoder.prepare(samples)
    with torch.inference_mode():
        hidden = encoder._checkpoint.model(**clip.inputs).last_hidden_state[0]
    return hidden, clip.total


def test_whisper_is_averaged_over_the_sound_and_not_over_its_padding(tmp_path) -> None:
    torch.manual_seed(0)
    for part in _spectrogram_model("whisper"):
        part.save_pretrained(tmp_path)
    encoder = HuggingFaceAudio(tmp_path, label="tiny", max_seconds=2.0)
    short = wav(tmp_path / "a.wav", tone(440, 0.6))
    hidden, total = last_layer(encoder, read_sound(short))
    assert (hidden.shape[0], total) == (100, 200)  # two seconds of 10 ms, two frames a step
    values = encoder([short]).values[0]
    assert torch.allclose(values, hidden[:30].mean(0), atol=1e-5)
    assert not torch.allclose(values, hidden.mean(0), atol=1e-2)
    long = wav(tmp_path / "b.wav", tone(440, 2))
    assert torch.allclose(encoder([long]).values[0], last_layer(encoder, read_sound(long))[0].mean(0), atol=1e-5)


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 5), (0.3, 3), (0.17, 1)])
def test_patches_of_a_spectrogram_are_averaged_over_the_sound(tmp_path, seconds, steps) -> None:
    torch.manual_seed(0)
    for part in _spectrogram_model("ast"):
        part.save_pretrained(tmp_path)
    encoder = HuggingFaceAudio(tmp_path, label="tiny", min_seconds=0.1)
    path = wav(tmp_path / "a.wav", tone(440, seconds))
    hidden, total = last_layer(encoder, read_sound(path))
    # 64 frames of 10 ms; patches of 16 every 10: 5 in time by 2 in frequency, after two special tokens
    assert (hidden.shape[0], total) == (2 + 2 * 5, 64)
    heard = [0, 1, *(2 + row * 5 + step for row in range(2) for step in range(steps))]
    assert torch.allclose(encoder([path]).values[0], hidden[heard].mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", ["ast", "whisper"])
def test_a_class_token_is_taken_only_where_there_is_one(tmp_path, kind) -> None:
    for part in _spectrogram_model(kind):
        part.save_pretrained(tmp_path)
    encoder = HuggingFaceAudio(tmp_path, label="tiny", pooling="cls")
    path = wav(tmp_path / "a.wav", tone(440, 0.5))
    if kind == "whisper":
        with pytest.raises(ValueError, match="no class token"):
            encoder([path])
    else:
        assert torch.allclose(encoder([path]).values[0], last_layer(encoder, read_sound(path))[0][0], atol=1e-5)
