"""Structured captions to text, and tags, categories or creators to entity nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import torch

from mmgraph.data.dataset import Entities
from mmgraph.data.vocabulary import Vocabulary

CAPTION_FIELDS = ("subject", "background", "camera", "style")


def caption_text(caption: Mapping[str, Any] | str | None) -> str:
    """A structured caption as text for a text encoder.

    ``{"subject": …, "background": …, "camera": …, "style": …, "shots": [{…}, …]}``: the known fields come first,
    in this order, then others by name, then the shots in their order, each of which is such a caption again.
    Missing fields leave no trace. A plain string stays as it is.
    """
    if caption is None:
        return ""
    if isinstance(caption, str):
        return caption.strip()
    shots = caption.get("shots") or []
    names = [name for name in CAPTION_FIELDS if name in caption]
    names += sorted(name for name in caption if name not in CAPTION_FIELDS and name != "shots")
    parts = [f"{name}: {text}" for name in names if (text := _words(caption[name]))]
    for number, shot in enumerate(shots, start=1):
        if text := caption_text(shot):
            parts.append(f"shot {number}: {text}")
    return ". ".join(parts)


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return caption_text(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(text for item in value if (text := _words(item)))
    return str(value).strip()


def tag_entities(values: Sequence[Sequence[str] | str | None]) -> Entities:
    """Tags of ``V`` videos as entity nodes and edges (video row, entity row).

    Args:
        values: per video its tags, or a text of tags separated by "|" or ",", or None. Blanks around a tag and
            a second mention are dropped; case is kept.
    """
    rows: list[int] = []
    names: list[str] = []
    for row, tags in enumerate(values):
        if tags is None:
            continue
        parts = tags.replace("|", ",").split(",") if isinstance(tags, str) else tags
        for name in dict.fromkeys(str(part).strip() for part in parts if part is not None):
            if name:
                rows.append(row)
                names.append(name)
    vocabulary, entity = Vocabulary.factorise(pl.Series("id", names, dtype=pl.String))
    return Entities(vocabulary, torch.stack([torch.tensor(rows, dtype=torch.long), torch.tensor(entity)]))
