"""A state kept between runs, so that a start folds only what came later; and its hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from mmgraph.bundle import Bundle
from mmgraph.data.files import write_atomically
from mmgraph.serve.index import MakeIndex, exact
from mmgraph.serve.profiles import Met
from mmgraph.serve.state import Rules, State

_DIGEST = 16


class StateError(ValueError):
    """A snapshot that does not belong to this bundle and log, or is damaged: fold the log anew."""


def state_hash(state: State) -> str:
    """32 hex digits over all that the log has done to the bundle. Equal for the same bundle and entries."""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in _parts(state):
        digest.update(json.dumps(part, sort_keys=True, separators=(",", ":")).encode())
    digest.update(np.ascontiguousarray(state.popularity.weight[: len(state.index)]).tobytes())
    return digest.hexdigest()


def _parts(state: State) -> list[Any]:
    known = len(state.bundle.users)
    return [
        state.bundle.id,
        state.seq,
        state.popularity.at,
        state.users.raw[known:],
        state.videos.raw[state.trained :],
        *(sorted(rows) for rows in (state.hidden, state.deleted, state.nameless, state.rowless)),
        [[row, state.columns.described[row]] for row in sorted(state.columns.described)],
        [[row, state.features[row]] for row in sorted(state.features)],
        [[user, state.profiles.met[user]] for user in sorted(state.profiles.met)],
    ]


def snapshot(state: State, log_identity: str) -> bytes:
    """Everything beyond the bundle, to go on from; see :func:`restore`."""
    added = state.index.rows[state.trained :].clone()
    size = len(state.index)
    tensors = {"rows": added.contiguous(), "popularity": torch.from_numpy(state.popularity.weight[:size].copy())}
    about = {"bundle": state.bundle.id, "log": log_identity, "parts": _parts(state)}
    body = save(tensors, {"state": json.dumps(about)})
    return hashlib.blake2b(body, digest_size=_DIGEST).digest() + body


def restore(
    bundle: Bundle, log_identity: str, path: str | Path, rules: Rules | None = None, make_index: MakeIndex = exact
) -> State:
    """The state that :func:`snapshot` wrote.

    Raises:
        StateError: of another bundle or log, or damaged.
        FileNotFoundError: there is none.
    """
    whole = Path(path).read_bytes()
    digest, body = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.blake2b(body, digest_size=_DIGEST).digest() != digest:
        raise StateError(f"{path} is not what was written")
    try:
        tensors = load(body)
        size = int.from_bytes(body[:8], "little")
        about = json.loads(json.loads(body[8 : 8 + size])["__metadata__"]["state"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise StateError(f"{path} is no snapshot: {error}") from error
    if (about["bundle"], about["log"]) != (bundle.id, log_identity):
        raise StateError(f"{path} belongs to bundle {about['bundle']} and log {about['log']}")
    out = State(bundle, rules, make_index)
    _, out.seq, at, users, videos, hidden, deleted, nameless, rowless, columns, features, met = about["parts"]
    for raw in users:
        out.users.add(raw)
    for raw in videos:
        out.videos.add(raw)
    out.index.append(tensors["rows"])
    out.popularity.weight, out.popularity.at = tensors["popularity"].numpy().copy(), at
    for mine, rows in zip((out.hidden, out.deleted, out.nameless, out.rowless), (hidden, deleted, nameless, rowless)):
        mine.clear()
        mine.update(rows)
    for row, values in columns:
        out.columns.describe(row, dict(values))
    out.features = {row: dict(values) for row, values in features}
    for user, events in met:
        for one in events:
            out.profiles.meet(user, Met(*one))
    out.interactions = sum(map(len, out.profiles.met.values()))
    out.pending = [row for row in out.features if row < out.trained]
    out.embed_pending()
    for row in {*torch.nonzero(bundle.gate).flatten().tolist(), *out.hidden, *out.deleted, *out.nameless, *out.rowless}:
        out.gate(row)
    return out


def write_snapshot(state: State, log_identity: str, path: str | Path) -> None:
    """Writes a snapshot, whole or not at all."""
    write_atomically(Path(path), snapshot(state, log_identity))
