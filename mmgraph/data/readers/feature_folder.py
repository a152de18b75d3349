"""A folder of feature files: one matrix a modality, which video each row is, and what made it.

::

    <modality>.npy           [V, D] float32
    <modality>_present.npy   [V] bool: which rows have features (all where there is none)
    video_ids.csv            the raw video id of each row
    encodings.safetensors    of matrices that an encoder made: a hash of each row's media
    features.json            encoders' keys, and the hash of every file above: they are of one state

Matrices alone are read too: then row i belongs to video i, or to the i-th id of video_ids.csv.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import safetensors.torch
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.dataset import Encoding, Features
from mmgraph.data.errors import DataError, Findings, Source
from mmgraph.data.files import DamagedFile, altered, read_json, write_together
from mmgraph.data.fingerprints import hash_ids
from mmgraph.data.readers.delimited import read_table
from mmgraph.data.readers.tables import read_npy
from mmgraph.data.vocabulary import Vocabulary, as_tensor

MANIFEST, IDS, ENCODINGS = "features.json", "video_ids.csv", "encodings.safetensors"
_AGAIN = "run `mmgraph encode` again: what is encoded already is not encoded anew"


def write_feature_folder(
    folder: Path, videos: Vocabulary, features: Mapping[str, Features], others: Mapping[str, bytes] | None = None
) -> None:
    """Writes matrices, masks, ids and what made them as one: a reader meets the old state, the new one, or an error.

    Matrices of other modalities that lie there stay, if they are of the same videos in the same order.

    Args:
        folder: made where it does not exist.
        videos: which video each row is.
        features: modality -> V rows.
        others: more files of this state, name -> content.

    Raises:
        DataError: matrices of other videos lie there and would stay.
        WriteFailed: it cannot be written; the old state is whole.
    """
    kept = check_same_videos(folder, videos, features)
    encoders, encodings = dict(kept.get("encoders", {})), {}
    if encoders:
        encodings = dict(safetensors.torch.load((folder / ENCODINGS).read_bytes()))
    contents: dict = {IDS: pl.DataFrame({"video_id": videos.ids}).write_csv().encode()}
    for modality, feature in features.items():
        contents[f"{modality}.npy"] = _Array(feature.values)
        contents[f"{modality}_present.npy"] = _Array(feature.present)
        encoders.pop(modality, None)
        encodings.pop(modality, None)
        if feature.encoding is not None:
            encoders[modality], encodings[modality] = feature.encoding.encoder, feature.encoding.media.contiguous()
    contents[ENCODINGS] = safetensors.torch.save(encodings)
    values = {"videos": hash_ids(videos.ids), "encoders": encoders, "files": kept.get("files", {})}
    write_together(folder, {**contents, **(others or {})}, MANIFEST, values)


class _Array:
    """Writes a tensor as .npy."""

    def __init__(self, values: Tensor) -> None:
        self.values = values.numpy()

    def __call__(self, file: IO[bytes]) -> None:
        values = np.ascontiguousarray(self.values)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
        file.write(values.data)  # not numpy's own writer, which loses the system's error on a full disk


def check_same_videos(folder: Path, videos: Vocabulary, replaced: Mapping[str, object]) -> dict:
    """What ``features.json`` says, if what it vouches for may stay beside new files of these videos; else {}.

    Raises:
        DataError: matrices that are not among ``replaced`` are of other videos, or the file is damaged.
    """
    stay = [file.stem for file, _ in _feature_files(folder) if file.stem not in replaced]
    told = _manifest(folder) if (folder / MANIFEST).exists() else {}
    if told or (folder / IDS).exists():
        there = told.get("videos") or hash_ids(_ids(folder)[0].ids)
        # text and whole numbers of one spelling are one vocabulary
        same = there in (hash_ids(videos.ids), hash_ids(videos.ids.cast(pl.String)))
        if stay and not same:
            raise DataError(
                f"the rows of {', '.join(f'{name}.npy' for name in stay)} are of other videos than the new ones",
                file=folder,
                fix="encode all modalities in one run, move the old files away, or write to another folder (--out)",
            )
        if not same:
            return {}
    if not told:
        return {}
    bad = altered(folder, told["files"])
    if any(_of_modality(name) in stay for name in bad):
        raise _two_states(folder, bad)
    return {**told, "files": {n: h for n, h in told["files"].items() if n not in bad}}


def read_feature_folder(folder: Path, videos: Vocabulary, *, by_position: bool = True) -> dict[str, Features]:
    """The features in a folder, rows put to their videos by raw id where ``video_ids.csv`` tells them.

    Args:
        folder: as above; no folder, no features.
        videos: the videos of the dataset.
        by_position: without ``video_ids.csv``, take row i for video i.

    Raises:
        DataError: files of two states, an unknown video, a truncated file, rows that do not match the videos, NaN or
            infinity in a present row.
    """
    files = _feature_files(folder)
    if not files:
        return {}
    told = _manifest(folder) if (folder / MANIFEST).exists() else {"files": {}, "encoders": {}}
    bad = altered(folder, told["files"])
    if bad:
        raise _two_states(folder, bad)
    encodings = safetensors.torch.load((folder / ENCODINGS).read_bytes()) if told["encoders"] else {}
    rows = None
    if (folder / IDS).exists():
        given, source = _ids(folder)
        rows = videos.rows(given.ids, source=source, column="video_id")
    elif not by_position:
        raise DataError("features without videos.csv have no row order", file=folder, fix="add videos.csv")
    found, made = Findings(), {}
    for file, mask in files:
        count = len(videos) if rows is None else len(rows)
        features = found.attempt(read_features, file, count, present=mask)
        if features is None:
            continue
        if file.stem in told["encoders"]:
            encoding = Encoding(told["encoders"][file.stem], encodings[file.stem])
            features = Features.encoded(features.values, features.present, encoding)
        made[file.stem] = features if rows is None else features.spread(as_tensor(rows), len(videos))
    if found:
        raise found.error()
    return made


def read_features(file: Path, num_videos: int, present: Path | None = None) -> Features:
    """Features of all videos from an ``.npy`` file [V, D] (float16 is cast), with an optional mask file [V].

    Raises:
        DataError: a truncated file, rows that do not match the videos, NaN or infinity in a present row.
    """
    found = Findings()
    values = found.attempt(_matrix, file, num_videos)
    mask = None if present is None else found.attempt(_mask, present, num_videos)
    if found or values is None:
        raise found.error()
    try:
        return Features.of(values, mask)
    except DataError as error:
        raise DataError(error.problem, file=file, row=error.row, column=error.column, fix=error.fix) from error


def _matrix(file: Path, num_videos: int) -> NDArray:
    values = read_npy(file)
    if values.ndim != 2 or len(values) != num_videos:
        raise DataError(
            f"shape {values.shape} for {num_videos} videos",
            file=file,
            fix="save one row for each video, in the order of the videos",
        )
    return values


def _mask(file: Path, num_videos: int) -> NDArray:
    mask = read_npy(file)
    if mask.shape != (num_videos,):
        raise DataError(f"shape {mask.shape} for {num_videos} videos", file=file, fix="save one bool for each video")
    return mask


def _feature_files(folder: Path) -> list[tuple[Path, Path | None]]:
    """Each ``<modality>.npy``, and its mask where there is one."""
    files = [file for file in sorted(folder.glob("*.npy")) if not file.stem.endswith("_present")]
    masks = [file.with_name(f"{file.stem}_present.npy") for file in files]
    return [(file, mask if mask.exists() else None) for file, mask in zip(files, masks)]


def _manifest(folder: Path) -> dict:
    try:
        told = read_json(folder / MANIFEST, "list of feature files")
    except DamagedFile as error:
        raise DataError(str(error), fix=_AGAIN) from error
    if told.keys() != {"videos", "files", "encoders"}:
        raise DataError("no list of feature files that mmgraph wrote", file=folder / MANIFEST, fix=_AGAIN)
    for part in (told["files"], told["encoders"]):
        if not isinstance(part, dict) or not all(isinstance(text, str) for text in (*part, *part.values())):
            raise DataError("no list of feature files that mmgraph wrote", file=folder / MANIFEST, fix=_AGAIN)
    if any("/" in name or name.startswith(".") for name in told["files"]) or not isinstance(told.get("videos"), str):
        raise DataError("no list of feature files that mmgraph wrote", file=folder / MANIFEST, fix=_AGAIN)
    return told


def _ids(folder: Path) -> tuple[Vocabulary, Source]:
    table, source = read_table(folder / IDS, required=("video_id",), text=("video_id",))
    return Vocabulary(table["video_id"], source), source


def _of_modality(name: str) -> str:
    return name.removesuffix(".npy").removesuffix("_present")


def _two_states(folder: Path, bad: list[str]) -> DataError:
    return DataError(
        f"{', '.join(bad)}: not what features.json vouches for, so the files are of two states",
        file=folder,
        fix=_AGAIN,
    )
