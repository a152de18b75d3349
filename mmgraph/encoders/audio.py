"""Audio encoders: statistics of MFCC, log-mel and tempo by librosa, and any Hugging Face audio model."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmgraph.encoders.base import FileEncoder
from mmgraph.encoders.huggingface import HuggingFaceEncoder, Pooling, Tower, load, plain_processor, pool_tokens
from mmgraph.encoders.sound import sound_and_losses
from mmgraph.features.encoded import Reads, partly


class AudioEncoder(FileEncoder):
    """Media are sound files, or videos whose sound is taken."""

    reads: ClassVar[Reads] = "audio"
    version: ClassVar[str] = "2"
    max_seconds: float
    sampling_rate: int

    @abstractmethod
    def prepare(self, samples: np.ndarray) -> Any:
        """Mono samples -> the network's input."""

    def decode(self, media: Any) -> Any:
        """Read and prepare one file."""
        samples, lost = sound_and_losses(media, self.sampling_rate, self.max_seconds)
        return partly(self.prepare(samples), lost)


@dataclass(frozen=True, eq=False)
class MFCCStatistics(AudioEncoder):
    """Mean and standard deviation over time of 40 MFCC, their deltas and 64 log-mel bands, and the tempo.

    Mel-frequency cepstral coefficients (Davis and Mermelstein, IEEE TASSP 1980) at 16 kHz: windows of 32 ms
    every 20 ms, 64 mel bands, log power in bel (dB / 10, floor -10), DCT-II scaled by 1 / sqrt(64) so that
    coefficient 0 is the mean band. Deltas are Savitzky-Golay slopes over 9 frames per frame. Tempo: log2(BPM /
    120) by tempogram, and a flag that there was a pulse to measure.

    A row is [mfcc mean 40, std 40, delta mean 40, std 40, log-mel mean 64, std 64, tempo, has tempo]: 290.
    Silence is a sound: bands at the floor, no tempo. Clips shorter than a window are padded with silence.

    Args:
        max_seconds: how much of the beginning is heard.
        batch_size: clips handed over at once.
    """

    max_seconds: float = 60.0
    batch_size: int = 32
    sampling_rate: ClassVar[int] = 16000  # type: ignore[misc]

    _window: ClassVar[int] = 512
    _hop: ClassVar[int] = 320
    _bands: ClassVar[int] = 64
    _coefficients: ClassVar[int] = 40

    @property
    def name(self) -> str:
        """ "mfcc"."""
        return "mfcc"

    @property
    def shape(self) -> tuple[int, ...]:
        """(290,)."""
        return (4 * self._coefficients + 2 * self._bands + 2,)

    def settings(self) -> dict[str, Any]:
        """How much is heard."""
        return {"max_seconds": self.max_seconds, "sampling_rate": self.sampling_rate}

    def weights_hash(self) -> str:
        """ "none": there are no weights."""
        return "none"

    def prepare(self, samples: np.ndarray) -> Tensor:
        """Samples [S] -> [290]."""
        import librosa

        samples = np.pad(samples, (0, max(0, self._window - len(samples))))
        power = librosa.feature.melspectrogram(
            y=samples,
            sr=self.sampling_rate,
            n_fft=self._window,
            hop_length=self._hop,
            n_mels=self._bands,
        )
        decibel = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
        bel = decibel / 10
        mfcc = librosa.feature.mfcc(S=bel, n_mfcc=self._coefficients) / np.sqrt(self._bands)
        delta = librosa.feature.delta(mfcc, mode="nearest")
        parts = [statistic(part, axis=1) for part in (mfcc, delta, bel) for statistic in (np.mean, np.std)]
        return torch.from_numpy(np.concatenate([*parts, self._tempo(decibel)]).astype(np.float32))

    def _tempo(self, decibel: np.ndarray) -> np.ndarray:
        """[log2(BPM / 120), 1], or [0, 0] where nothing beats: less than 2 s, or no onset."""
        import librosa

        if decibel.shape[1] * self._hop < 2 * self.sampling_rate:
            return np.zeros(2)
        onset = librosa.onset.onset_strength(S=decibel, sr=self.sampling_rate, hop_length=self._hop)
        if not onset.std() > 1e-6:
            return np.zeros(2)
        tempo = librosa.feature.tempo(onset_envelope=onset, sr=self.sampling_rate, hop_length=self._hop)
        return np.array([np.log2(float(tempo[0]) / 120), 1.0])

    def encode(self, items: Sequence[Tensor]) -> Tensor:
        """[B, 290]."""
        return torch.stack(list(items))


@dataclass(frozen=True, eq=False)
class HuggingFaceAudio(HuggingFaceEncoder, AudioEncoder):
    """Pooled last layer of any Hugging Face audio model, by name or folder.

    Models of waves (wav2vec 2.0, HuBERT, music2vec) and of spectrograms (AST, the audio tower of CLAP, the encoder of
    Whisper): whatever ``AutoModel`` and ``AutoFeatureExtractor`` load. Clips are encoded one at a time: models
    differ in how they treat padding, and a clip's features must not depend on its batch. Models that pad every clip to
    one length (Whisper, AST) are averaged over the part that is sound. CLAP's extractor takes ten seconds from a random
    place; here they are the first ten, so that features are the same every time.

    Args:
        name_or_folder: a model name of the hub, or a folder that holds one.
        max_seconds: how much of the beginning is heard.
        min_seconds: shorter clips are padded with silence up to here.
        pooling: "mean" over time, or "cls", the class token (networks without one refuse).
        batch_size: clips handed over at once.
        device: where the network runs.
        label: the name in stores and passports, by default ``name_or_folder``'s last part.
    """

    tower: ClassVar[Tower] = "audio"
    name_or_folder: str | Path
    max_seconds: float = 30.0
    min_seconds: float = 0.5
    pooling: Pooling = "mean"
    batch_size: int = 8
    device: str = "cpu"
    label: str | None = field(default=None, kw_only=True)

    def settings(self) -> dict[str, Any]:
        """Lengths, pooling, and the feature extractor's settings."""
        return {
            "max_seconds": self.max_seconds,
            "min_seconds": self.min_seconds,
            "pooling": self.pooling,
            "processor": plain_processor(self._extractor),
        }

    @cached_property
    def _extractor(self) -> Any:
        from transformers import AutoFeatureExtractor

        return load("an audio model", AutoFeatureExtractor, self.name_or_folder)

    @property
    def sampling_rate(self) -> int:  # type: ignore[override]
        """Samples a second that the model was trained on."""
        return int(self._extractor.sampling_rate)

    def prepare(self, samples: np.ndarray) -> Clip:
        """What the model takes, for one clip, and how much of it is sound."""
        extractor = self._extractor
        shortest = int(self.min_seconds * self.sampling_rate)
        samples = np.pad(samples, (0, max(0, shortest - len(samples))))
        longest = getattr(extractor, "nb_max_samples", None)  # CLAP's: beyond it a random part is taken
        samples = samples[:longest]
        inputs = dict(
            extractor(samples, sampling_rate=self.sampling_rate, return_tensors="pt", return_attention_mask=True)
        )
        mask = inputs.get("attention_mask")
        if mask is not None and not getattr(extractor, "return_attention_mask", False):
            inputs.pop("attention_mask")  # asked for by us, not by the model
        if mask is not None:
            return Clip(inputs, int(mask.sum()), mask.shape[-1])
        # AST's: 25 ms windows every 10 ms, then zeros up to one length
        length, values = getattr(extractor, "max_length", None), inputs.get("input_values")
        if isinstance(length, int) and values is not None and values.dim() == 3 and values.shape[1] == length:
            frames = 1 + int(max(0.0, len(samples) / self.sampling_rate - 0.025) / 0.010)
            return Clip(inputs, min(frames, length), length)
        return Clip(inputs, 1, 1)

    def encode(self, items: Sequence[Clip]) -> Tensor:
        """[B, D] pooled last layer."""
        rows = []
        for clip in items:
            inputs = {name: value.to(self.device) for name, value in clip.inputs.items()}
            hidden = self._checkpoint.model(**inputs).last_hidden_state
            if self.pooling == "mean" and hidden.dim() == 3:
                hidden = hidden[:, _heard(hidden.shape[1], clip, self._checkpoint.model.config)]
            rows.append(pool_tokens(hidden, self.pooling, self._checkpoint.has_class_token))
        return torch.cat(rows)


class Clip(NamedTuple):
    """A model's inputs for one clip; of its ``total`` frames the first ``real`` are sound, the others padding."""

    inputs: dict[str, Tensor]
    real: int
    total: int


def _heard(count: int, clip: Clip, config: Any) -> Tensor:
    """Which of ``count`` output tokens stand for sound [n]: by time, or for patches (AST) by the time of each patch."""
    strides = getattr(config, "time_stride", None), getattr(config, "frequency_stride", None)
    if strides[0] is None or strides[1] is None:
        return torch.arange(max(1, math.ceil(count * clip.real / clip.total)))
    down = (config.num_mel_bins - config.patch_size) // strides[1] + 1
    across = (config.max_length - config.patch_size) // strides[0] + 1
    special = count - down * across  # class and distillation tokens: they stand for all of it
    places = torch.arange(count) - special
    real = max(1, math.ceil((clip.real - config.patch_size) / strides[0]) + 1)
    return torch.arange(count)[(places < 0) | (places % across < real)]
