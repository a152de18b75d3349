"""Raw media of new videos: kept beside the log, encoded by a process of their own, and then features in the log.

What was accepted is a file on disk and an event ``media`` in the log, so that nothing is lost when a process dies. The
encoding process is a consumer of the log: it reads on from the place that it committed, appends an event ``features``
for each medium, named after the one it answers, and commits. Killed in between it does the last one again, which the
log then holds already.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmgraph.data.files import write_atomically
from mmgraph.serve.features import pack
from mmgraph.serve.log import Event, EventLog, LogFullError, SqliteLog

if TYPE_CHECKING:
    from mmgraph.bundle import Manifest
    from mmgraph.encoders import Encoder

CONSUMER = "mmgraph-encoder"
MEDIA_BYTES = 16 << 20
TYPES = {
    "text/plain": "text",
    **dict.fromkeys(("image/jpeg", "image/png", "image/webp"), "image"),
    **dict.fromkeys(("audio/wav", "audio/mpeg", "audio/ogg", "audio/flac"), "audio"),
}
"""Content type -> the kind of media that an encoder reads."""
_AT_ONCE = 64
_PAUSE = 0.2  # seconds between two looks at the log
_OURS = {"use-multilingual-v3": ("text", "use"), "efficientnet-lite0": ("image", "efficientnet-lite0")} | {
    "mfcc": ("audio", "mfcc")
}


class NoEncoderError(ValueError):
    """The features of a modality cannot be made here; the message says why."""


def kind_of(described: Mapping[str, Any] | None) -> str | None:
    """What an encoder, as a passport describes it, reads: ``text``, ``image``, ``audio``; None where it has no name
    of ours."""
    if described is None:
        return None
    if described.get("name") == "hash":
        return str(dict(described.get("settings") or {}).get("reads", "text"))
    return _OURS.get(str(described.get("name")), (None, ""))[0]


def bundle_encoder(manifest: Manifest, modality: str) -> Encoder:
    """The encoder that made the features of a modality, by the passport in the bundle.

    Raises:
        NoEncoderError: no passport, no encoder of ours, or one whose version, weights or settings are others here.
    """
    from mmgraph import encoders

    passport = manifest.modalities[modality].passport or {}
    described = passport.get("encoder")
    if described is None or kind_of(described) is None:
        raise NoEncoderError(f"the bundle names no encoder of {modality!r}: send features")
    if described["name"] == "hash":
        made: Encoder = encoders.HashEncoder(**described["settings"])
    else:
        kind, name = _OURS[described["name"]]
        makers = {"text": encoders.text_encoder, "image": encoders.image_encoder, "audio": encoders.audio_encoder}
        made = makers[kind](name)
    if made.describe() != described:
        raise NoEncoderError(f"{modality!r} was encoded by another version, weights or settings of {made.name}")
    return made


class MediaStore:
    """Media that wait, each a file of its own, durable when :meth:`put` returns.

    Args:
        folder: made with the first of them.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def put(self, body: bytes) -> str:
        """The name under which these bytes lie.

        Raises:
            LogFullError: no room.
        """
        name = uuid.uuid4().hex
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path(name), body)
        except OSError as error:
            raise LogFullError(f"no room for media in {self.folder}: {error}") from error
        return name

    def path(self, name: str) -> Path:
        """Where they lie."""
        return self.folder / name

    def drop(self, name: str) -> None:
        """Forgets them."""
        self.path(name).unlink(missing_ok=True)


class MediaEncoder:
    """Answers each event ``media`` of a log by one of ``features``, or of ``media-failed`` with the reason.

    Args:
        manifest: of the bundle.
        log: read from the place committed.
        store: where the media are.
    """

    def __init__(self, manifest: Manifest, log: EventLog, store: MediaStore) -> None:
        self.manifest, self.log, self.store = manifest, log, store
        self._encoders: dict[str, Encoder] = {}

    def work(self) -> int:
        """Does what waits now; how many media that was."""
        done = 0
        place = self.log.committed(CONSUMER)
        while entries := self.log.read(place, _AT_ONCE):
            media = [entry for entry in entries if entry.event.kind == "media"]
            answers = [self._answer(entry.seq, entry.event.data) for entry in media]
            if answers:
                self.log.append(answers)
            for entry in media:  # before the commit: whoever dies in between leaves no file that nobody asks for again,
                self.store.drop(str(entry.event.data.get("file")))  # and the answer to a file that is gone is there
            place = entries[-1].seq
            self.log.commit(CONSUMER, place)
            done += len(media)
        return done

    def _answer(self, seq: int, data: Mapping[str, Any]) -> Event:
        about = {name: str(data.get(name)) for name in ("video", "modality")}
        try:
            features = {about["modality"]: pack(self._encoded(data))}
            return Event(f"encoded:{seq}", "features", time.time(), {"video": about["video"], "features": features})
        except Exception as error:  # one medium that cannot be read holds up no other
            return Event(f"encoded:{seq}", "media-failed", time.time(), {**about, "why": str(error)[:500]})

    def _encoded(self, data: Mapping[str, Any]) -> Any:
        modality, path = str(data["modality"]), self.store.path(str(data["file"]))
        encoder = self._encoders.get(modality)
        if encoder is None:
            encoder = self._encoders[modality] = bundle_encoder(self.manifest, modality)
        medium = path.read_text() if encoder.reads == "text" else path
        found = encoder([medium])
        if found.problems:
            raise ValueError(found.problems[0].reason)
        if not bool(found.present[0]):
            raise ValueError("there is nothing in it")
        return found.values[0].flatten().float().numpy()


def encode_media(bundle: Path, log: Path, durability: str, parent: int) -> None:
    """A process's whole work: encodes what comes, until its parent has gone."""
    import torch

    from mmgraph.bundle.folder import read_manifest

    torch.set_num_threads(1)
    with SqliteLog(log, durability="normal" if durability == "normal" else "full") as there:
        store = MediaStore(media_folder(log))
        encoder = MediaEncoder(read_manifest(bundle), there, store)
        while os.getppid() == parent:
            if there.last() > there.committed(CONSUMER):
                manifest = read_manifest(bundle)
                if manifest.id != encoder.manifest.id:  # another bundle may name other encoders
                    encoder = MediaEncoder(manifest, there, store)
                encoder.work()
            time.sleep(_PAUSE)


def media_folder(log: Path) -> Path:
    """Where the media of a log lie."""
    return log.with_name(log.name + ".media")
