"""Generation metadata: how an AIGC video was made (generator, prompt, seed, guidance, steps, latent), as numbers.

Records are ragged: generators report different fields, and latent vectors of different lengths. A
``GenerationSchema`` says what the fields are; ``GenerationEncoder`` turns a record into one fixed vector.
Missing is not zero: guidance 0 and guidance unknown differ everywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from mmgraph.encoders.base import Encoder, digest
from mmgraph.encoders.hashing import HashEncoder, stable_projection
from mmgraph.features.encoded import MediaError, Reads

GENERATION_FIELDS = (
    "generator",
    "generate_method",
    "model",
    "sampler",
    "prompt",
    "negative_prompt",
    "seed",
    "guidance",
    "steps",
    "latent",
    "noise",
)
_TEXTS = frozenset({"prompt", "negative_prompt"})
_IDENTITIES = frozenset({"seed"})
MISSING, UNKNOWN = 0, 1
_IDENTITY_DIM = 8


class GenerationSchema(BaseModel):
    """Which fields records have, and how each is read.

    Attributes:
        categorical: field -> its known values. Others are "unknown", which is not "missing".
        numeric: field -> (mean, standard deviation) by which it is standardised.
        identities: numbers that only name something (a seed): equal or not, never near.
        texts: fields in words.
        vectors: fields that hold number lists, of any length.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    categorical: dict[str, tuple[str, ...]] = {}
    numeric: dict[str, tuple[float, float]] = {}
    identities: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()

    @classmethod
    def infer(cls, records: Iterable[Mapping[str, Any] | None], max_values: int = 256) -> GenerationSchema:
        """Read the fields off records (those of the training videos).

        Words are categorical, except prompts, which are texts; numbers are numeric, except seeds, which are
        identities; lists are vectors. Of a categorical field the ``max_values`` most frequent values are kept.

        Raises:
            ValueError: a field is a number in one record and something else in another.
        """
        values: dict[str, list[Any]] = {}
        for record in records:
            for name, value in plain_record(record).items():
                values.setdefault(name, []).append(value)
        categorical, numeric = {}, {}
        identities, texts, vectors = [], [], []
        for name, found in sorted(values.items()):
            kinds = {_kind(value) for value in found}
            if len(kinds) > 1:
                raise ValueError(f"generation field {name!r} mixes {' and '.join(sorted(kinds))}")
            kind = kinds.pop()
            if name in _IDENTITIES and kind in ("number", "word"):
                identities.append(name)
            elif kind == "number":
                spread = float(np.std(found))
                numeric[name] = (float(np.mean(found)), spread if spread > 0 else 1.0)
            elif kind == "list":
                vectors.append(name)
            elif name in _TEXTS:
                texts.append(name)
            else:
                counts = Counter(str(value) for value in found)
                kept = sorted(counts, key=lambda value: (-counts[value], value))[:max_values]
                categorical[name] = tuple(sorted(kept))
        return cls(
            categorical=categorical,
            numeric=numeric,
            identities=tuple(identities),
            texts=tuple(texts),
            vectors=tuple(vectors),
        )


@dataclass(frozen=True, eq=False)
class GenerationEncoder(Encoder):
    """One fixed vector for one record of generation metadata.

    The parts, side by side: one-hot of each category with a place for unknown values; each number standardised,
    and a flag that it was there; each identity as 8 signs of its hash, and a flag; each vector through a random
    projection of its length (seeded by field and length, so it is the same in every process), and a flag; each
    text through ``text``, and a flag. A missing part is zeros with flag 0.

    Args:
        schema: what the fields are; ``GenerationEncoder.fit(records)`` infers it.
        text: encoder of prompts.
        vector_dim: width of a projected vector.
        batch_size: records at once.
    """

    reads: ClassVar[Reads] = "generation"
    schema: GenerationSchema
    text: Encoder = field(default_factory=HashEncoder)
    vector_dim: int = 16
    batch_size: int = 256

    @classmethod
    def fit(
        cls, records: Iterable[Mapping[str, Any] | None], text: Encoder | None = None, vector_dim: int = 16
    ) -> GenerationEncoder:
        """An encoder for records like these."""
        return cls(GenerationSchema.infer(records), text or HashEncoder(), vector_dim)

    @property
    def name(self) -> str:
        """ "generation"."""
        return "generation"

    @property
    def shape(self) -> tuple[int, ...]:
        """(D,): the sum of the parts' widths."""
        schema = self.schema
        width = sum(len(known) + 1 for known in schema.categorical.values()) + 2 * len(schema.numeric)
        width += (_IDENTITY_DIM + 1) * len(schema.identities) + (self.vector_dim + 1) * len(schema.vectors)
        return (width + (self.text.dim + 1 if schema.texts else 0) * len(schema.texts),)

    def settings(self) -> dict[str, Any]:
        """Schema, widths, and all of the text encoder's description."""
        return {
            "schema": self.schema.model_dump(mode="json"),
            "vector_dim": self.vector_dim,
            "text": self.text.describe() if self.schema.texts else None,
        }

    def weights_hash(self) -> str:
        """The text encoder's, or "none"."""
        return self.text.weights_hash() if self.schema.texts else "none"

    def absent(self, media: Any) -> bool:
        """True where no field has a value."""
        try:
            return not plain_record(media)
        except MediaError:  # something is there: decoding says what is wrong with it
            return False

    def fingerprint(self, media: Any) -> str | None:
        """Hash of the record's known fields."""
        return None if self.absent(media) else "record:" + digest(plain_record(media))

    @cached_property
    def _slots(self) -> dict[str, dict[str, int]]:
        return {name: {value: i for i, value in enumerate(known)} for name, known in self.schema.categorical.items()}

    def decode(self, media: Any) -> tuple[np.ndarray, list[str | None]]:
        """The numbers of all parts but the texts, and the texts."""
        record = plain_record(media)
        schema, parts = self.schema, []
        if not record.keys() & {
            *schema.categorical,
            *schema.numeric,
            *schema.identities,
            *schema.texts,
            *schema.vectors,
        }:
            raise MediaError(f"generation metadata has no known field, only {sorted(record)}")
        for name, slots in self._slots.items():
            code = _code(record, name, slots)
            one_hot = np.zeros(len(slots) + 1)
            if code != MISSING:
                one_hot[code - UNKNOWN] = 1.0
            parts.append(one_hot)
        for name in schema.numeric:
            number = _number(record, name, schema)
            parts.append(np.zeros(2) if math.isnan(number) else np.array([number, 1.0]))
        for name in schema.identities:
            hashed = _identity(record, name)
            signs = 2.0 * ((hashed >> np.arange(_IDENTITY_DIM)) & 1) - 1.0
            parts.append(np.zeros(_IDENTITY_DIM + 1) if hashed < 0 else np.append(signs, 1.0))
        for name in schema.vectors:
            vector = _vector(record, name)
            if vector is None:
                parts.append(np.zeros(self.vector_dim + 1))
            else:
                projection = stable_projection(len(vector), self.vector_dim, name)
                parts.append(np.append(np.asarray(vector) @ projection, 1.0))
        texts = [str(record[name]).strip() or None if name in record else None for name in schema.texts]
        return np.concatenate(parts) if parts else np.zeros(0), texts

    def encode(self, items: Sequence[tuple[np.ndarray, list[str | None]]]) -> Tensor:
        """[B, D]."""
        columns = [torch.from_numpy(np.stack([numbers for numbers, _ in items])).float()]
        for position in range(len(self.schema.texts)):
            rows = [row for row, (_, texts) in enumerate(items) if texts[position] is not None]
            block = torch.zeros(len(items), self.text.dim + 1)
            if rows:
                decoded = [self.text.decode(items[row][1][position]) for row in rows]
                values = self.text.encode(decoded)
                block[rows, :-1] = torch.stack(list(values)).float().cpu()
                block[rows, -1] = 1.0
            columns.append(block)
        return torch.cat(columns, dim=1)


def plain_record(media: Any) -> dict[str, Any]:
    """A record's known fields as plain JSON values: null and NaN dropped, arrays as lists. JSON text is read.

    Raises:
        MediaError: it is not a record.
    """
    if media is None:
        return {}
    if isinstance(media, str):
        try:
            media = json.loads(media)
        except ValueError as error:
            raise MediaError(f"generation metadata is not JSON: {error}") from error
    if not isinstance(media, Mapping):
        raise MediaError(f"generation metadata is a {type(media).__name__}, not a record")
    record = {str(name): _plain(value) for name, value in media.items()}
    return {name: value for name, value in record.items() if value is not None and value != ""}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy, torch
        value = value.tolist()
    elif hasattr(value, "to_list"):  # polars
        value = value.to_list()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _kind(value: Any) -> str:
    if isinstance(value, (bool, str)):
        return "word"
    if isinstance(value, (int, float)):
        return "number"
    return "list" if isinstance(value, list) else type(value).__name__


def _code(record: Mapping[str, Any], name: str, slots: Mapping[str, int]) -> int:
    if name not in record:
        return MISSING
    slot = slots.get(str(record[name]))
    return UNKNOWN if slot is None else UNKNOWN + 1 + slot


def _number(record: Mapping[str, Any], name: str, schema: GenerationSchema) -> float:
    if name not in record:
        return math.nan
    try:
        value = float(record[name])
    except (TypeError, ValueError) as error:
        raise MediaError(f"generation field {name!r} is {record[name]!r}, not a number") from error
    if not math.isfinite(value):
        raise MediaError(f"generation field {name!r} is {value}, not a finite number")
    mean, spread = schema.numeric[name]
    return (value - mean) / spread


def _identity(record: Mapping[str, Any], name: str) -> int:
    if name not in record:
        return -1
    value = record[name]
    if isinstance(value, float) and value.is_integer():  # a null elsewhere makes a column of seeds float
        value = int(value)
    return int.from_bytes(hashlib.sha256(f"{name}={value}".encode()).digest()[:8], "little") >> 1


def _vector(record: Mapping[str, Any], name: str) -> list[float] | None:
    if name not in record:
        return None
    try:
        value = np.asarray(record[name], dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise MediaError(f"generation field {name!r} is not a list of numbers") from error
    if not np.isfinite(value).all():
        raise MediaError(f"generation field {name!r} holds values that are not finite")
    return value.tolist() if len(value) else None
