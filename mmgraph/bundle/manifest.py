"""The manifest: what a bundle is and the hash of each of its files."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileFacts(_Part):
    """A file: BLAKE2b of its bytes, 32 hex digits, and how many they are."""

    blake2b: str
    bytes: int


class Modality(_Part):
    """Features that a new video may bring: their width, and the passport of those the model was trained on."""

    dim: int
    passport: dict[str, Any] | None = None


class TowerFacts(_Part):
    """A network of the bundle, as ``towers/<name>.pt2`` and, where asked for, ``.onnx``.

    Attributes:
        kind: ``own``: the model's; ``distilled``: fitted to its rows; ``ridge``: in closed form over its rows.
        inputs: name and shape of each, ``B`` and ``T`` free, with the type.
        output: shape.
        about: in words, with how well it was found to agree where it was fitted.
    """

    kind: Literal["own", "distilled", "ridge"]
    inputs: tuple[str, ...]
    output: str
    about: str = ""


class FoldIn(_Part):
    """How a user's row follows new clicks: ridge regression on the video rows around the row that was trained.

    u = argmin Σ_{j∈new clicks} (1 − uᵀv_j)² + (u − u₀)ᵀ (b VᵀV + λI) (u − u₀), u₀ = 0 for a new user, for whom it is
    ``Recommender.fold_in``; ``method`` ``tower`` runs the user tower over the whole history instead, ``clicks``
    sums the rows of the item matrix. ``steps``: the most recent events that a tower reads. ``around``: the tower is an
    approximation, so a row moves by what it says of the difference: u = u₀ + g(all events) − g(those of the bundle).
    """

    method: Literal["ridge", "tower", "clicks"]
    reg: float = 1.0
    background: float = 0.1
    steps: int = 50
    around: bool = False


class Rescore(_Part):
    """``towers/pair`` re-scores the ``candidates`` best by the rows, for users and videos that were trained on."""

    tower: TowerFacts
    candidates: int = 200


class Training(_Part):
    """How the model that lies in ``model/`` was trained, to go on with; see :func:`mmgraph.serve.refresh`."""

    learning_rate: float
    batch_size: int
    weight_decay: float = 0.0


class LogPlace(_Part):
    """The event log that the bundle has taken in, and up to where; seq 0 for none."""

    identity: str | None = None
    seq: int = 0


class Manifest(_Part):
    """``manifest.json`` of a bundle.

    Attributes:
        format: of the folder.
        mmgraph: the version that wrote it.
        created: UTC seconds.
        name: of the model, for people.
        model: its class.
        kind: ``factors``: scores are dot products of rows; ``linear``: a user's clicks times an item matrix.
        users, videos, dim: U, V, D.
        modalities: what new videos may bring, in the order of the cold tower's inputs.
        cold, user: the towers; None where there is none, and ``notes`` says why.
        fold_in: how a row follows new clicks.
        rescore: where the model's score is no product of rows: what re-scores the lists that the rows give.
        training: how the model in ``model/`` goes on; None where the bundle holds none.
        half_life: of the popularity, in seconds.
        popularity_at: UTC seconds at which its weights are 1.
        log: what of the event log is in it.
        protocol: of the data it was trained on, where known.
        metrics: measured before it was exported.
        notes: what it cannot do, and why.
        files: name -> hash and size.
        digest: of everything else in here, written when the bundle is sealed.
    """

    format: int = FORMAT
    mmgraph: str
    created: float
    name: str
    model: str
    kind: Literal["factors", "linear"]
    users: int
    videos: int
    dim: int
    modalities: dict[str, Modality] = Field(default_factory=dict)
    cold: TowerFacts | None = None
    user: TowerFacts | None = None
    fold_in: FoldIn
    rescore: Rescore | None = None
    training: Training | None = None
    half_life: float
    popularity_at: float
    log: LogPlace = LogPlace()
    protocol: dict[str, Any] | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: dict[str, FileFacts] = Field(default_factory=dict)
    digest: str = ""

    def digested(self) -> str:
        """What ``digest`` should be: SHA-256 of all other fields, 64 hex digits."""
        return hashlib.sha256(self.model_dump_json(exclude={"digest"}).encode()).hexdigest()

    @property
    def id(self) -> str:
        """Names the bundle by its contents: 16 hex digits."""
        return self.digested()[:16]
