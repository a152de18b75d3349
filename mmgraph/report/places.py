"""The map of a report: where a model puts the videos, drawn in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from mmgraph.data import Dataset, Entities
from mmgraph.features import Standardiser
from mmgraph.recommend import ranking_factors
from mmgraph.report.charts import COLOURS, sprite_uri
from mmgraph.report.content import Map, Point
from mmgraph.report.media import Clips

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import Recommender

_TILE, _COLUMNS = (48, 64), 40
_LEAST = 8  # fewer videos make no map


@torch.no_grad()
def video_map(
    model: Recommender,
    graph: MultimodalGraph,
    dataset: Dataset,
    clips: Clips,
    *,
    groups: Sequence[str] | None = None,
    groups_about: str = "",
    most: int = 1500,
    seed: int = 0,
) -> Map | None:
    """t-SNE of the model's video rows, or None where the model has none (its scores are no dot product).

    Args:
        model, graph, dataset: as trained.
        clips: titles and frames.
        groups: a name for each video row, shown as colour; by default the first entity that colours can tell apart
            (categories, tags), else known and new.
        groups_about: what the groups are, for the note.
        most: larger catalogues are drawn from that many videos.
        seed: of the sample and the drawing.
    """
    video, what = _places(model, graph), "Where the model puts each video (t-SNE of its rows)"
    if video is None and graph.modalities:  # scores that are no dot product have no rows
        video, what = _content(graph), "Videos alike in what they are made of lie near (t-SNE of their features)"
    if video is None or len(video) < _LEAST:
        return None
    rows = torch.arange(len(video))
    if len(rows) > most:
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    new = graph.seen.transpose().degree().cpu() == 0
    if groups is None:
        groups, groups_about = _groups(graph, dataset, new.tolist())
    drawn = _two_dimensions(torch.nn.functional.normalize(video[rows], dim=1), seed)
    names = sorted(set(groups), key=lambda name: (-list(groups).count(name), name))[: len(COLOURS)]
    index = {name: at for at, name in enumerate(names)}
    kept = [at for at, row in enumerate(rows.tolist()) if groups[row] in index]
    points = [
        Point(*drawn[at], index[groups[row]], bool(new[row]), clips.titles[row])
        for at in kept
        for row in (int(rows[at]),)
    ]
    frames = [clips.frame(int(rows[at])) for at in kept] if clips.pictures else []
    note = f"{what}{groups_about}."
    if bool(new.any()):
        note += " A ring marks a new video, which nobody in training clicked."
    if len(points) < len(video):
        note += f" {len(points):,} of {len(video):,} videos are drawn."
    return Map(
        points=points,
        groups=names,
        sprite=sprite_uri(frames, _COLUMNS, _TILE) if any(frame is not None for frame in frames) else None,
        columns=_COLUMNS,
        tile=_TILE,
        note=note,
    )


def _places(model: Recommender, graph: MultimodalGraph) -> torch.Tensor | None:
    model.eval()
    factors = ranking_factors(model, model.encode(graph))
    return None if factors is None else factors.video.float().cpu()


def _content(graph: MultimodalGraph) -> torch.Tensor:
    """Features side by side, each modality standardised to rows of norm 1; 0 where it is missing."""
    known = [graph.features(name) for name in graph.modalities]
    scaled = [Standardiser.fit(f.values, f.present)(f.values, f.present, unit=True) for f in known]
    return torch.cat(scaled, 1).float().cpu()


def _groups(graph: MultimodalGraph, dataset: Dataset, new: Sequence[bool]) -> tuple[list[str], str]:
    for name, entities in dataset.entities.items():
        labels = _labels(entities, dataset.num_videos)
        if 1 < len(set(labels) - {""}) <= 4 * len(COLOURS):
            return [label or f"no {name}" for label in labels], f", coloured by {name}"
    return ["new" if fresh else "known" for fresh in new], ""


def _labels(entities: Entities, count: int) -> list[str]:
    """The first entity of each video row, by name; "" where it has none."""
    labels = [""] * count
    names = [str(each) for each in entities.ids.ids]
    for video, entity in entities.edges.T.tolist():
        labels[video] = labels[video] or names[entity]
    return labels


def _two_dimensions(rows: torch.Tensor, seed: int) -> list[tuple[float, float]]:
    from sklearn.manifold import TSNE  # librosa brings scikit-learn

    perplexity = min(30.0, (len(rows) - 1) / 3)
    flat = bool((rows - rows[:1]).abs().max() < 1e-6)  # all alike: nothing to draw apart
    if flat:
        return [(float(x), float(y)) for x, y in rows[:, :2].tolist()]
    drawn = TSNE(2, init="pca", perplexity=perplexity, random_state=seed).fit_transform(rows.numpy())
    return [(float(x), float(y)) for x, y in drawn]
