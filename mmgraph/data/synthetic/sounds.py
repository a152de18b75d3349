"""Sound tracks of a world's videos: eight timbres and rhythms that one can tell apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmgraph.data.synthetic.words import SOUNDS

RATE = 16_000
Wave = NDArray[np.float64]

_SCALE = np.array([0, 2, 4, 7, 9, 12, 14, 16])  # a major pentatonic scale: any notes sound well together


def _decay(count: int, seconds: float) -> Wave:
    return np.exp(-np.arange(count) / (RATE * seconds))


def _tone(hertz: float, count: int, partials: tuple[float, ...]) -> Wave:
    phase = 2 * np.pi * hertz * np.arange(count) / RATE
    return np.sum([weight * np.sin((k + 1) * phase) for k, weight in enumerate(partials)], axis=0)


def _band(noise: Wave, low: float, high: float) -> Wave:
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    spectrum[(hertz < low) | (hertz > high)] = 0
    return np.fft.irfft(spectrum, len(noise))


def _place(track: Wave, sound: Wave, second: float) -> None:
    start = int(second * RATE)
    if start < len(track):
        track[start : start + len(sound)] += sound[: len(track) - start]


def _notes(rng: np.random.Generator, root: float, count: int) -> Wave:
    return root * 2.0 ** (rng.choice(_SCALE, size=count) / 12)


def _piano(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    for k, hertz in enumerate(_notes(rng, root, 16)):
        length = int(0.6 * RATE)
        _place(track, _tone(hertz, length, (1.0, 0.4, 0.25, 0.12)) * _decay(length, 0.18), k * beat)


def _techno(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    length = int(0.22 * RATE)
    sweep = 45 + 130 * _decay(length, 0.03)
    kick = np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * _decay(length, 0.08)
    hat = _band(rng.standard_normal(length // 3), 5_000, 8_000) * _decay(length // 3, 0.015)
    for k in range(24):
        _place(track, 1.6 * kick, k * 2 * beat)
        _place(track, 0.5 * hat, (2 * k + 1) * beat)
        bass = int(0.1 * RATE)
        _place(track, 0.3 * np.sign(_tone(root / 4, bass, (1.0,))) * _decay(bass, 0.06), (k + 0.5) * beat)


def _ambient(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    seconds = np.arange(len(track)) / RATE
    for hertz in (root / 2, root * 0.75, root, root * 1.26):
        slow = 0.6 + 0.4 * np.sin(2 * np.pi * (rng.uniform(0.2, 0.5) * seconds + rng.random()))
        track += slow * np.sin(2 * np.pi * hertz * seconds + 1.5 * np.sin(2 * np.pi * 0.4 * seconds))


def _chiptune(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    notes = _notes(rng, 2 * root, 8)
    for k in range(48):
        length = int(0.9 * beat / 2 * RATE)
        phase = (notes[k % 8] * (1 if k % 4 else 2) * np.arange(length) / RATE) % 1.0
        _place(track, np.where(phase < 0.25, 1.0, -1.0), k * beat / 2)


def _rain(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    track += 0.5 * _band(rng.standard_normal(len(track)), 800, 6_000)
    for second in rng.uniform(0, len(track) / RATE, size=25):
        length = int(0.02 * RATE)
        _place(track, 1.2 * _tone(rng.uniform(900, 2_400), length, (1.0,)) * _decay(length, 0.004), second)


def _bells(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    for k, hertz in enumerate(_notes(rng, 3 * root, 6)):
        length = int(1.4 * RATE)
        seconds = np.arange(length) / RATE
        ring = sum(
            weight * np.sin(2 * np.pi * hertz * ratio * seconds) * np.exp(-seconds * fade)
            for ratio, weight, fade in ((0.5, 0.5, 2), (1.0, 1.0, 3), (1.19, 0.5, 4), (2.74, 0.4, 7))
        )
        _place(track, np.asarray(ring), 2 * k * beat)


def _funk(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    notes = _notes(rng, root / 3, 16)
    snare = _band(rng.standard_normal(RATE // 8), 1_000, 4_500) * _decay(RATE // 8, 0.04)
    for k in range(32):
        length = int(0.8 * beat * RATE)
        if rng.random() < 0.75:
            phase = (notes[k % 16] * np.arange(length) / RATE) % 1.0
            _place(track, (2 * phase - 1) * _decay(length, 0.09), k * beat)
        if k % 4 == 2:
            _place(track, 0.9 * snare, k * beat)


def _birds(track: Wave, beat: float, root: float, rng: np.random.Generator) -> None:
    track += 0.01 * rng.standard_normal(len(track))
    for second in np.sort(rng.uniform(0, len(track) / RATE - 0.1, size=9)):
        length = int(rng.uniform(0.08, 0.18) * RATE)
        seconds = np.arange(length) / RATE
        centre = rng.uniform(2_600, 4_200)
        hertz = centre + 700 * np.sin(2 * np.pi * rng.uniform(12, 30) * seconds)
        _place(track, np.sin(2 * np.pi * np.cumsum(hertz) / RATE) * np.hanning(length), second)


_PLAYERS = (_piano, _techno, _ambient, _chiptune, _rain, _bells, _funk, _birds)
assert len(_PLAYERS) == len(SOUNDS)


def play(sound: int, seed: np.random.SeedSequence, seconds: float = 2.0) -> NDArray[np.int16]:
    """The sound track of a video: [seconds * 16000] int16, mono at 16 kHz.

    `sound` is the level (see `words.SOUNDS`); `seed` sets melody, key (within a fifth) and tempo (±15%).
    """
    rng = np.random.default_rng(seed)
    track = np.zeros(round(seconds * RATE))
    root = 220.0 * 2.0 ** (rng.uniform(-3.5, 3.5) / 12)
    _PLAYERS[sound](track, 0.13 * rng.uniform(0.87, 1.15), root, rng)
    fade = min(len(track), RATE // 50)
    track[len(track) - fade :] *= np.linspace(1, 0, fade)
    track *= 0.7 / max(1e-9, np.abs(track).max())
    return np.round(track * 32_767).astype(np.int16)
