"""The pipeline every encoder shares."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from mmgraph.encoders import Encoder, FileEncoder, HashEncoder, MFCCStatistics
from mmgraph.encoders.base import hash_file, hash_weights
from mmgraph.features import Encoded, MediaError, Problem
from tests.encoders.making import Counting, jpeg


@dataclass(frozen=True, eq=False)
class Numbers(Encoder):
    """Encodes a number n as [n, 1]; "bad" cannot be decoded, "nan" cannot be encoded."""

    reads = "text"
    batch_size: int = 2
    decoded: list[Any] = field(default_factory=list)

    name = "numbers"
    shape = (2,)

    def settings(self) -> dict[str, Any]:
        return {}

    def weights_hash(self) -> str:
        return "none"

    def fingerprint(self, media: Any) -> str | None:
        return str(media)

    def decode(self, media: Any) -> float:
        self.decoded.append(media)
        if media == "bad":
            raise MediaError("it is bad")
        return float(media)

    def encode(self, items: Sequence[float]) -> torch.Tensor:
        return torch.tensor([[item, 1.0] for item in items])


def test_rows_stay_with_their_media_around_absent_and_bad_ones() -> None:
    encoded = Numbers()(["3", None, "bad", "5", "", "7", "nan"])
    assert isinstance(encoded, Encoded)
    assert encoded.values[:, 0].tolist() == [3, 0, 0, 5, 0, 7, 0]
    assert encoded.present.tolist() == [True, False, False, True, False, True, False]
    assert encoded.problems == (
        Problem(2, "bad", "it is bad"),
        Problem(6, "nan", "the encoder gave values that are not finite"),
    )
    assert encoded.lengths is None


def test_no_media_give_no_rows() -> None:
    assert Numbers()([]).values.shape == (0, 2)


def test_decoding_goes_on_while_a_batch_is_encoded() -> None:
    later = threading.Event()

    class Overlap(Numbers):
        def decode(self, media: Any) -> float:
            if media == "3":  # of the second batch
                started.wait(10)
                later.set()
            return float(media)

        def encode(self, items: Sequence[float]) -> torch.Tensor:
            started.set()
            assert later.wait(10), "the second batch is not decoded while the first is encoded"
            return super().encode(items)

    started = threading.Event()
    assert Overlap()(["1", "2", "3", "4"], workers=1).present.all()


def test_decoding_runs_ahead_by_a_bounded_number_of_media() -> None:
    ahead: list[int] = []

    class Slow(Numbers):
        def encode(self, items: Sequence[float]) -> torch.Tensor:
            if not ahead:
                time.sleep(0.2)  # time enough to decode all hundred
            ahead.append(len(self.decoded))
            return super().encode(items)

    Slow()([str(n) for n in range(100)], workers=2)
    assert ahead[0] <= 2 * 2 + 2


def test_an_encoder_that_loses_rows_is_an_error() -> None:
    class Loses(Numbers):
        def encode(self, items: Sequence[float]) -> torch.Tensor:
            return torch.zeros(1, 2)

    with pytest.raises(ValueError, match="gave 1 rows for 2 media"):
        Loses()(["1", "2"])


def test_encoders_are_frozen() -> None:
    for encoder in (HashEncoder(), MFCCStatistics()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            encoder.batch_size = 3  # type: ignore[misc]


def test_the_key_depends_on_settings_and_version_and_not_on_the_batch_size() -> None:
    class Newer(HashEncoder):
        version = "2"

    key = HashEncoder().key()
    assert HashEncoder(batch_size=7).key() == key
    assert HashEncoder(seed=1).key() != key
    assert Newer().key() != key


def test_a_files_fingerprint_is_its_content(tmp_path) -> None:
    first, second = jpeg(tmp_path / "a.jpg", 1), jpeg(tmp_path / "b.jpg", 1)
    encoder = MFCCStatistics()
    assert isinstance(encoder, FileEncoder)
    assert encoder.fingerprint(first) == encoder.fingerprint(second)
    jpeg(second, 2)
    assert encoder.fingerprint(first) != encoder.fingerprint(second)
    assert encoder.fingerprint(None) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_rather_than_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(MediaError, match="not a regular file"):
        hash_file(tmp_path / "pipe.jpg")


def test_weights_hash_sees_one_changed_bit_and_skips_what_is_named() -> None:
    state = {"a": torch.zeros(3), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.tensor(1)}
    other = {**state, "a": torch.tensor([0.0, 0.0, 1e-45])}
    assert hash_weights(state) != hash_weights(other)
    skip = frozenset({"a"})
    assert hash_weights(state, skip) == hash_weights(other, skip)


def test_progress_does_not_change_the_result(capsys) -> None:
    plain, shown = Counting()(["a", "b"]), Counting()(["a", "b"], progress=True)
    assert torch.equal(plain.values, shown.values)
