"""Amazon reviews of 2014, 2018 and 2023."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from mmgraph.data.checks import Duplicates
from mmgraph.data.dataset import Dataset
from mmgraph.data.errors import DataError
from mmgraph.data.readers.json_lines import json_objects, read_json_lines
from mmgraph.data.readers.media_folder import column_entities
from mmgraph.data.readers.tables import existing
from mmgraph.data.vocabulary import Vocabulary

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_REVIEW = {
    "user_id": pl.String,
    "video_id": pl.String,
    "timestamp": pl.Float64,
    "rating": pl.Float64,
    "helpful": pl.Float64,
    "verified": pl.Boolean,
}
_ITEM = {
    "video_id": pl.String,
    "title": pl.String,
    "brand": pl.String,
    "description": pl.String,
    "price": pl.Float64,
    "image_url": pl.String,
    "category": pl.List(pl.String),
}


def amazon_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The review and the metadata files of a folder, by their names."""
    files = sorted(f for f in folder.iterdir() if f.name.endswith(_ENDINGS) and not f.name.startswith("."))
    meta = [f for f in files if f.name.lower().startswith("meta")]
    return [f for f in files if f not in meta and "qa_" not in f.name.lower()], meta


def is_amazon(file: Path) -> bool:
    """Whether the first line of a file is a review as Amazon's are."""
    try:
        first = next(json_objects(file), (1, {}))[1]
    except DataError:
        return False
    return "reviewerID" in first or {"parent_asin", "user_id"} <= first.keys()


def read_amazon(
    path: str | Path,
    *,
    meta: str | Path | None = None,
    min_rating: float | None = None,
    duplicates: Duplicates = "error",
    name: str | None = None,
) -> Dataset:
    """Read Amazon reviews: JSON lines as they are published, packed or not, of 2014, 2018 or 2023.

    McAuley et al., "Image-based Recommendations on Styles and Substitutes", SIGIR 2015,
    https://doi.org/10.1145/2766462.2767755 (2014); Ni et al., "Justifying Recommendations using Distantly-Labeled
    Reviews and Fine-Grained Aspects", EMNLP 2019, https://aclanthology.org/D19-1018 (2018); Hou et al., "Bridging
    Language and Items for Retrieval and Recommendation", 2024, https://arxiv.org/abs/2403.03952 (2023).

    Signals ``rating``, ``helpful`` (votes) and, from 2018 on, ``verified``. A video is a product: its ``asin``, in 2023
    its ``parent_asin``, which the metadata go by. Columns ``title``, ``brand``, ``description``, ``price``,
    ``image_url`` (an address: nothing is fetched), ``category``; entities ``category`` and ``brand``. Products that
    metadata lack have none.

    Args:
        path: the reviews' file, or the folder that holds it and ``meta_….json(l)(.gz)``.
        meta: the metadata's file; by default the folder's.
        min_rating: keep only reviews of at least this many stars; products stay.
        duplicates: the same product reviewed twice is common: see :meth:`Dataset.from_frames`.

    Raises:
        DataError: a line that is no JSON object or lacks what its year has; and see :meth:`Dataset.from_frames`.
    """
    path = existing(path)
    if path.is_dir():
        reviews, metas = amazon_files(path)
        if len(reviews) != 1 or (meta is None and len(metas) > 1):
            names = [f.name for f in (*reviews, *metas)]
            raise DataError(f"not one file of reviews: {names}", file=path, fix="name it, and meta=")
        path, meta = reviews[0], meta or (metas[0] if metas else None)
    first = next(json_objects(path), (1, {}))[1]
    recent = "parent_asin" in first
    if not recent and "reviewerID" not in first:
        problem = f"no review of Amazon: an object has {sorted(first)[:12]}"
        raise DataError(problem, file=path, line=1, fix="give the file of reviews")
    log, source = read_json_lines(path, _REVIEW, _review_2023 if recent else _review)
    known = Vocabulary(log["video_id"].unique().sort())
    videos, files, notes = pl.DataFrame({"video_id": known.ids}), [path], ()
    if meta is not None:
        files.append(Path(meta))
        table, notes = _items(Path(meta), known)
        videos = videos.join(table, on="video_id", how="left", maintain_order="left")
    if log["verified"].null_count() == len(log):
        log = log.drop("verified")
    if min_rating is not None:
        rows = (log["rating"] >= min_rating).fill_null(False).arg_true()
        if not len(rows):
            raise source.error(f"no review has {min_rating} stars", column="rating", fix="use a lower min_rating")
        log, source = log[rows], source.of_rows(rows.to_numpy())
    dataset = Dataset.from_frames(
        log,
        None,
        videos,
        time_unit="ms" if recent else "s",
        duplicates=duplicates,
        name=name or path.name.split(".")[0],
        source=source,
    )
    entities = {c: column_entities(dataset, c, "\n") for c in ("category", "brand") if c in videos.columns}
    origin = replace(dataset.origin, layout=f"Amazon {'2023' if recent else '2014/2018'}", files=tuple(files))
    return replace(dataset, entities=entities, origin=replace(origin, notes=(*origin.notes, *notes)))


def _review(record: Mapping[str, Any]) -> dict[str, Any]:
    votes = record.get("vote")  # "1,234" in 2018; helpful: [of, all] in 2014
    helpful = record.get("helpful")
    if votes is None and isinstance(helpful, list) and helpful:
        votes = helpful[0]
    return {
        "user_id": record["reviewerID"],
        "video_id": record["asin"],
        "timestamp": record["unixReviewTime"],
        "rating": record["overall"],
        "helpful": 0.0 if votes is None else float(str(votes).replace(",", "")),
        "verified": record.get("verified"),
    }


def _review_2023(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "user_id": record["user_id"],
        "video_id": record["parent_asin"],
        "timestamp": record["timestamp"],
        "rating": record["rating"],
        "helpful": float(record.get("helpful_vote") or 0),
        "verified": record.get("verified_purchase"),
    }


def _items(path: Path, known: Vocabulary) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Metadata of the known products, the first line of each."""
    wanted, seen, again = set(known.ids), set(), 0

    def pick(record: Mapping[str, Any]) -> dict[str, Any] | None:
        nonlocal again
        item = record.get("parent_asin", record.get("asin"))
        if item is None:
            raise KeyError("asin")
        if item not in wanted:
            return None
        if item in seen:
            again += 1
            return None
        seen.add(item)
        return {
            "video_id": item,
            "title": record.get("title"),
            "brand": record.get("brand") or record.get("store"),
            "description": _text(record.get("description")),
            "price": _price(record.get("price")),
            "image_url": _image(record),
            "category": _categories(record),
        }

    table, _ = read_json_lines(path, _ITEM, pick)
    return table, (f"{path.name}: {again:,} lines repeat a product; the first counts",) if again else ()


def _text(value: Any) -> str | None:
    parts = [str(v) for v in value if v] if isinstance(value, list) else [str(value)] if value else []
    return "\n".join(parts) or None


def _price(value: Any) -> float | None:
    """A price in dollars where one is told: ``12.5``, ``"$1,012.50"``; ranges and words are none."""
    try:
        return None if value is None else float(str(value).replace("$", "").replace(",", "").strip())
    except ValueError:
        return None


def _image(record: Mapping[str, Any]) -> str | None:
    """The address of the first picture, large where there is a choice."""
    for images in (record.get("imageURLHighRes"), record.get("imageURL"), record.get("imUrl"), record.get("images")):
        first = images[0] if isinstance(images, list) and images else images
        if isinstance(first, dict):
            first = first.get("large") or first.get("hi_res") or first.get("thumb")
        if isinstance(first, str) and first:
            return first
    return None


def _categories(record: Mapping[str, Any]) -> list[str]:
    """All levels of all paths, each once; HTML that stands in place of one is left out."""
    value = record.get("categories") or record.get("category") or []
    flat = [c for part in value for c in (part if isinstance(part, list) else [part])]
    main = record.get("main_category")
    return list(dict.fromkeys(str(c) for c in [*([main] if main else []), *flat] if c and "<" not in str(c)))
