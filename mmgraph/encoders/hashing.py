"""A hash encoder: a random projection of n-grams that is the same in every process. For tests and baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgraph.encoders.base import Encoder, hash_file, is_absent, regular_file
from mmgraph.features.encoded import MediaError, Reads

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, eq=False)
class HashEncoder(Encoder):
    """Signed feature hashing of n-grams of characters (text) or bytes (files).

    Feature Hashing for Large Scale Multitask Learning (Weinberger et al., ICML 2009,
    https://arxiv.org/abs/0902.2206): x_b = sum over n-grams g with h(g) = b of n s(g), s in {-1, +1}, then
    x / |x|; longer n-grams weigh more, as they say more. Inner products are those of the weighted counts in
    expectation, so texts that share n-grams are near. The hash is splitmix64 of a polynomial in the code points: no
    process seed enters it.

    Args:
        dim: width D.
        reads: "text", or the kind of file it stands in for.
        ngram: longest n-gram; all shorter ones count too.
        seed: another seed is another projection.
        max_bytes: files are read up to here.
    """

    dim: int = 64  # type: ignore[assignment]
    reads: Reads = "text"  # type: ignore[misc]
    ngram: int = 3
    seed: int = 0
    max_bytes: int = 1 << 22
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.dim < 1 or self.ngram < 1:
            raise ValueError(f"dim and ngram must be at least 1, got {self.dim} and {self.ngram}")

    @property
    def name(self) -> str:
        """ "hash"."""
        return "hash"

    @property
    def shape(self) -> tuple[int, ...]:
        """(D,)."""
        return (self.dim,)

    def settings(self) -> dict[str, Any]:
        """Width, kind, n-gram length, seed and read limit."""
        return {
            "dim": self.dim,
            "reads": self.reads,
            "ngram": self.ngram,
            "seed": self.seed,
            "max_bytes": self.max_bytes,
        }

    def weights_hash(self) -> str:
        """ "none": there are no weights."""
        return "none"

    def fingerprint(self, media: Any) -> str | None:
        """Hash of the text or of the file's bytes."""
        if is_absent(media):
            return None
        return text_fingerprint(media) if self.reads == "text" else f"file:{hash_file(media)}"

    def decode(self, media: Any) -> np.ndarray:
        """Code points of the text, or bytes of the file, as uint64."""
        if self.reads == "text":
            units = np.frombuffer(str(media).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        else:
            try:
                with regular_file(media).open("rb") as file:
                    units = np.frombuffer(file.read(self.max_bytes), dtype=np.uint8)
            except OSError as error:
                raise MediaError(f"cannot be read: {error.strerror or error}") from error
        if not len(units):
            raise MediaError("the file is empty")
        return units.astype(np.uint64)

    def encode(self, items: Sequence[np.ndarray]) -> Tensor:
        """[B, D], rows of unit norm."""
        return torch.from_numpy(np.stack([self._project(units) for units in items]))

    def _project(self, units: np.ndarray) -> np.ndarray:
        row = np.zeros(self.dim)
        rolling = np.full(len(units), splitmix64(np.array([self.seed], dtype=np.uint64))[0])
        for n in range(1, self.ngram + 1):
            if len(units) < n:
                break
            count = len(units) - n + 1
            rolling = rolling[:count] * np.uint64(0x9E3779B97F4A7C15) + units[n - 1 :] + np.uint64(n)
            hashed = splitmix64(rolling)
            sign = np.where(hashed >> np.uint64(63), float(n), -float(n))
            row += np.bincount((hashed % np.uint64(self.dim)).astype(np.int64), sign, minlength=self.dim)
        norm = np.linalg.norm(row)
        if norm == 0:  # every n-gram cancelled: possible in very few dimensions
            row[0] = norm = 1.0
        return (row / norm).astype(np.float32)


def splitmix64(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al., OOPSLA 2014) over uint64, modulo 2^64."""
    values = values ^ (values >> np.uint64(30))
    values = values * _MIX[0]
    values = values ^ (values >> np.uint64(27))
    values = values * _MIX[1]
    return values ^ (values >> np.uint64(31))


def text_fingerprint(media: Any) -> str:
    """Content hash of a text."""
    return "text:" + hashlib.sha256(str(media).encode("utf-8", "surrogatepass")).hexdigest()


def stable_projection(rows: int, columns: int, key: str) -> np.ndarray:
    """A [rows, columns] random projection fixed by ``key``: entries N(0, 1 / columns), float32.

    Johnson and Lindenstrauss: squared lengths are kept in expectation.
    """
    seed = int.from_bytes(hashlib.sha256(f"{rows}/{columns}/{key}".encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).standard_normal((rows, columns)) / np.sqrt(columns)
    return values.astype(np.float32)
