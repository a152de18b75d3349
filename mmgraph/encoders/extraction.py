"""A dataset's media through encoders, into the dataset's features."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mmgraph.data.dataset import Dataset, Encoding, Features
from mmgraph.data.files import write_atomically
from mmgraph.encoders.base import Encoder
from mmgraph.encoders.captions import caption_text
from mmgraph.encoders.generation import GENERATION_FIELDS
from mmgraph.features.encoded import Encoded, Problem
from mmgraph.features.store import EncodeReport, FeatureStore

TEXT_COLUMNS = ("title", "description", "caption", "tags", "genres")
FrameMode = Literal["mean", "flat"]

_PLACES = {  # of a media folder
    "image": "video_frames/<video id>/*.jpg",
    "audio": "video_audio/<video id>.wav",
    "video": "videos/<video id>.mp4",
}


class Extraction(NamedTuple):
    """The dataset with its new features, and a report for each modality."""

    dataset: Dataset
    reports: dict[str, EncodeReport]


def extract(
    dataset: Dataset,
    encoders: Mapping[str, Encoder],
    store: FeatureStore | str | Path,
    *,
    text_columns: Sequence[str] | None = None,
    frames: FrameMode = "mean",
    workers: int = 2,
    progress: bool = False,
) -> Dataset:
    """The dataset with one feature matrix for each encoder: ``extract_with_report`` without the reports."""
    return extract_with_report(
        dataset,
        encoders,
        store,
        text_columns=text_columns,
        frames=frames,
        workers=workers,
        progress=progress,
    ).dataset


def extract_with_report(
    dataset: Dataset,
    encoders: Mapping[str, Encoder],
    store: FeatureStore | str | Path,
    *,
    text_columns: Sequence[str] | None = None,
    frames: FrameMode = "mean",
    workers: int = 2,
    progress: bool = False,
) -> Extraction:
    """Encode what each encoder reads, once, and add it as features.

    A text encoder reads the text columns of ``dataset.videos``; an image, audio or video encoder the files of
    ``dataset.media`` of that kind (audio: where a video has no sound file, the sound of its video file); a
    generation encoder the generation columns. A video with several files gets the mean of those that could be
    read. Corrupt media are in the reports, and absent in the features. The reports are also written to the
    store's folder ``reports``.

    Args:
        dataset: with media, and a ``videos`` table.
        encoders: modality -> encoder, such as ``{"text": minilm(), "visual": EfficientNetLite0()}``.
        store: where features are kept, or its folder.
        text_columns: columns that make up the text; by default title, description, caption, tags and genres, of
            which those that exist are taken.
        frames: what becomes of frame vectors [T, D]: "mean" over time, [V, D]; or "flat", [V, T * D], for a
            model that reads them in their order (:class:`mmgraph.nn.TemporalConv`).
        workers: threads that hash and decode.
        progress: show how far each step is, on a terminal or off it.

    Raises:
        ValueError: the dataset has nothing that an encoder reads; or "flat" with ragged frames or several files.
        StoreWriteError: the store cannot be written.
    """
    if not isinstance(store, FeatureStore):
        store = FeatureStore(store)
    features: dict[str, Features] = {}
    reports: dict[str, EncodeReport] = {}
    for modality, encoder in encoders.items():
        media = media_of(dataset, encoder, text_columns)
        owners = [row for row, items in enumerate(media) for _ in items]
        flat = [item for items in media for item in items]
        encoded, report, contents = store.encode(encoder, flat, workers=workers, progress=progress)
        problems = tuple(Problem(owners[row], source, reason) for row, source, reason in encoded.problems)
        values, present = _by_video(modality, encoder, encoded, owners, dataset.num_videos, frames)
        encoding = _encoding(encoder, encoded, contents, owners, dataset.num_videos, frames)
        features[modality] = Features.encoded(values, present, encoding)
        reports[modality] = report.model_copy(
            update={
                "rows": dataset.num_videos,
                "present": int(present.sum()),
                "absent": sum(not items for items in media),
                "problems": problems,
            }
        )
        folder = store.directory / "reports"
        folder.mkdir(exist_ok=True)
        name = re.sub(r"[^\w.-]+", "-", f"{dataset.name}-{modality}")
        write_atomically(folder / f"{name}.json", reports[modality].model_dump_json(indent=1).encode())
    return Extraction(dataset.with_features(**features), reports)


def media_of(dataset: Dataset, encoder: Encoder, text_columns: Sequence[str] | None = None) -> list[list[Any]]:
    """What an encoder reads of each video: a list for each row, empty where there is nothing.

    Raises:
        ValueError: the dataset has nothing of that kind at all.
    """
    if encoder.reads == "text":
        return [[text] if text else [] for text in texts_of(dataset, text_columns)]
    if encoder.reads == "generation":
        return [[] if encoder.absent(record) else [record] for record in generation_records(dataset)]
    kinds = ("audio", "video") if encoder.reads == "audio" else (encoder.reads,)
    sources = [dataset.media[kind] for kind in kinds if kind in dataset.media]
    if not any(files for source in sources for files in source):
        hint = f"leave the encoder out, or put the files where they belong: {_PLACES[encoder.reads]}"
        if encoder.reads == "image" and "video" in dataset.media:
            hint = "for frames of its videos use VideoFrames(image_encoder)"
        raise ValueError(
            f"{dataset.name}: {encoder.name} reads {encoder.reads} files, and the dataset's media are "
            f"{sorted(dataset.media) or 'none'}; {hint}"
        )
    return [next((list(files) for files in row if files), []) for row in zip(*sources, strict=True)]


def texts_of(dataset: Dataset, columns: Sequence[str] | None = None) -> list[str]:
    """One text for each video: its text columns joined by ". ", structured captions and lists spelled out.

    In ``tags`` and ``genres``, ``a|b`` is two of them.

    Raises:
        ValueError: a named column does not exist, or none of the usual ones does.
    """
    chosen = text_columns_of(dataset, columns)
    lists = [name in ("tags", "genres") for name in chosen]
    rows = dataset.videos.select(chosen).rows()
    return [
        ". ".join(part for value, several in zip(row, lists, strict=True) if (part := _text(value, several)))
        for row in rows
    ]


def text_columns_of(dataset: Dataset, columns: Sequence[str] | None = None) -> list[str]:
    """The columns that ``texts_of`` reads: the named ones, or those of ``TEXT_COLUMNS`` that exist.

    Raises:
        ValueError: a named column does not exist, or none of the usual ones does.
    """
    have = dataset.videos.columns
    chosen = [name for name in TEXT_COLUMNS if name in have] if columns is None else list(columns)
    unknown = [name for name in chosen if name not in have]
    if unknown or not chosen:
        wanted = f"columns {unknown}" if unknown else f"any of the columns {list(TEXT_COLUMNS)}"
        raise ValueError(f"{dataset.name}: the videos table lacks {wanted}; it has {have}")
    return chosen


def _text(value: Any, several: bool = False) -> str:
    if several and isinstance(value, str):
        value = value.split("|")
    if isinstance(value, (list, tuple)):
        return ", ".join(part for item in value if (part := _text(item)))
    if value is None or isinstance(value, (str, dict)):
        return caption_text(value)
    return str(value)


def generation_records(dataset: Dataset) -> list[Any]:
    """One record of generation metadata for each video, None where nothing is known.

    Read from a column ``generation`` (a struct, or JSON text), or from the columns named in
    ``GENERATION_FIELDS``.

    Raises:
        ValueError: the videos table has none of them.
    """
    have = dataset.videos.columns
    if "generation" in have:
        records: list[Any] = dataset.videos["generation"].to_list()
    else:
        names = [name for name in GENERATION_FIELDS if name in have]
        if not names:
            raise ValueError(f"{dataset.name}: the videos table has no column of generation metadata; it has {have}")
        records = dataset.videos.select(names).to_dicts()
    return [None if _nothing(record) else record for record in records]


def _nothing(record: Any) -> bool:
    """No record, or one without a known field. Text that is no JSON is something: the encoder reports it."""
    return not record or (isinstance(record, dict) and all(value is None for value in record.values()))


def _encoding(
    encoder: Encoder,
    encoded: Encoded,
    contents: Sequence[str | None],
    owners: list[int],
    count: int,
    frames: FrameMode,
) -> Encoding:
    """What identifies the features of videos: the encoder, how rows are pooled, and each video's readable media."""
    media = [hashlib.blake2b(digest_size=16) for _ in range(count)]
    known = torch.zeros(count, dtype=torch.bool)
    for owner, content, present in zip(owners, contents, encoded.present.tolist(), strict=True):
        if present:
            media[owner].update(f"{content}\n".encode())
            known[owner] = True
    rows = torch.frombuffer(bytearray(b"".join(m.digest() for m in media)), dtype=torch.uint8).reshape(count, 16)
    pooled = f" frames={frames}" if len(encoder.shape) == 2 else ""
    return Encoding(encoder.key() + pooled, rows * known.unsqueeze(1))


def _by_video(
    modality: str, encoder: Encoder, encoded: Encoded, owners: list[int], count: int, frames: FrameMode
) -> tuple[Tensor, Tensor]:
    """Rows of media -> rows of videos: the mean of each video's readable media."""
    owner = torch.tensor(owners, dtype=torch.long)[encoded.present]
    values = encoded.values[encoded.present]
    number = torch.zeros(count).index_add_(0, owner, torch.ones(len(owner)))
    if encoded.lengths is not None:
        lengths = encoded.lengths[encoded.present]
        if frames == "flat":
            if bool((lengths != encoder.shape[0]).any()):
                raise ValueError(f"{modality}: frames='flat' needs {encoder.shape[0]} frames of every video: use "
                                 "sampling='uniform'")  # fmt: skip
            if bool((number > 1).any()):
                raise ValueError(f"{modality}: frames='flat' needs one file for each video")
            values = values.flatten(1)
        else:
            values = values.sum(1) / lengths.unsqueeze(1)  # padding is zero
    total = torch.zeros(count, values.shape[1]).index_add_(0, owner, values)
    return total / number.clamp(min=1).unsqueeze(1), number > 0
