"""Which networks a bundle gets: the model's own, distilled ones, or closed forms; written and described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmgraph.bundle.distil import STEPS, content_tower, history_tower
from mmgraph.bundle.listwise import teacher_lists
from mmgraph.bundle.manifest import FoldIn, Modality, TowerFacts
from mmgraph.bundle.scorer import Served
from mmgraph.bundle.towers import ContentTower, PairTower, RidgeTower, TowerError, on_cpu, write_tower

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models.base import Recommender

FEWEST = 50  # users and videos below which there is nothing to distil from


@dataclass
class Making:
    """What the towers of one bundle are made from.

    Attributes:
        model, graph, tables: the trained model, what it reads, and what it ranks by.
        place: the folder being written.
        distil: train students where the model has no tower of its own.
        onnx: write ``.onnx`` too.
        notes: what the bundle cannot do, in words; grows.
    """

    model: Recommender
    graph: MultimodalGraph
    tables: Served
    place: Path
    distil: bool
    onnx: bool
    notes: list[str] = field(default_factory=list)

    def write(self, name: str, tower: nn.Module, example: Any, free: Any, **more: Any) -> None:
        """Writes ``towers/<name>``."""
        write_tower(tower, example, free, self.place / "towers" / name, self.onnx, **more)


def cold_tower(
    making: Making, passports: Mapping[str, Mapping[str, Any]]
) -> tuple[TowerFacts | None, dict[str, Modality]]:
    """Writes towers/cold; what it is, and the modalities it reads."""
    graph, tables, notes = making.graph, making.tables, making.notes
    if tables.user is None:
        notes.append("new videos: an item matrix has no row for a video without clicks; they are shown as popular only")
        return None, {}
    found = _content(making)
    if found is None:
        why = "the graph has no modality" if not graph.modalities else "the model reads no content, and distil is off"
        notes.append(f"new videos: {why}; they are shown as popular only")
        return None, {}
    kind, tower, about, names = found
    dims = {m: graph.feature_dims[m] for m in names}
    example: list[Tensor] = []
    for width in dims.values():
        example += [torch.zeros(3, width), torch.ones(3, dtype=torch.bool)]
    try:
        making.write("cold", tower, example, [{0: "batch"}] * len(example))
    except TowerError as error:
        notes.append(f"new videos: {error}; they are shown as popular only")
        return None, {}
    inputs = [text for m, d in dims.items() for text in (f"{m} [B, {d}] float32", f"{m} present [B] bool")]
    facts = TowerFacts(kind=kind, inputs=tuple(inputs), output=f"[B, {tables.video.shape[1]}] float32", about=about)
    known = {m: dict(passports[m]) if m in passports else None for m in dims}
    return facts, {m: Modality(dim=d, passport=known[m]) for m, d in dims.items()}


def _content(making: Making) -> tuple[Any, nn.Module, str, list[str]] | None:
    """Kind, tower, words and modalities; None where there is no way from content to a row."""
    from mmgraph.nn.evaluating import evaluating

    model, graph, tables = making.model, making.graph, making.tables
    content: Any = getattr(model, "content", None)
    if hasattr(model, "embed") and content is not None and tables.history is None:
        names = list(content.modalities)
        return "own", ContentTower(evaluating(model), names), "the model's own", names
    names = list(graph.modalities)
    if not making.distil or not names:
        return None
    assert tables.user is not None
    place = graph.features(names[0]).values.device
    # a teacher that reads content ranks videos nobody watched too: what it makes of them is there to learn from
    learn = None if content is None else torch.ones(graph.num_videos, dtype=torch.bool, device=place)
    users = tables.user.to(place) if _enough(graph) else None
    tower, about = content_tower(graph, tables.video.to(place), names, user=users, learn_from=learn)
    return "distilled", tower, about, names


def _enough(graph: MultimodalGraph) -> bool:
    return min(graph.num_users, graph.num_videos) >= FEWEST


def user_tower(making: Making, reg: float, background: float) -> tuple[TowerFacts | None, FoldIn]:
    """Writes towers/user; what it is, and how the server follows new clicks."""
    tables, notes = making.tables, making.notes
    if tables.user is None:
        notes.append("user tower: a user is the clicks themselves, summed over the item matrix")
        return None, FoldIn(method="clicks")
    dim = tables.video.shape[1]
    make: Any = getattr(making.model, "history_tower", None)
    if make is not None and tables.history is None:
        steps = int(getattr(making.model, "max_len", 50))
        try:
            tower = on_cpu(make())
            _same_users(tower, making.graph, tables, steps)
            facts = _write_history(making, "own", tower, steps, "the model's own")
            return facts, FoldIn(method="tower", steps=steps)
        except TowerError as error:
            notes.append(f"user tower: {error}; rows follow new clicks by what was fitted, not as the model would")
    if tables.history is not None or (making.distil and _enough(making.graph)):
        tower, about = (tables.history, tables.about) if tables.history is not None else _distilled(making)
        facts = _write_history(making, "distilled", tower, STEPS, about)
        return facts, FoldIn(method="tower", steps=STEPS, around=True)
    gram = (tables.video.T @ tables.video).cpu()
    ridge, products = (RidgeTower(gram, reg, background, products) for products in (False, True))
    example = (torch.zeros(3, 3, dim), torch.ones(3, 3, dtype=torch.bool), torch.zeros(3, dim))
    free = [{0: "batch", 1: "steps"}] * 2
    making.write("user", ridge, example, [*free, {0: "batch"}], onnx_module=products)
    inputs = (f"videos [B, T, {dim}] float32", "mask [B, T] bool", f"prior [B, {dim}] float32")
    about = "ridge regression on the frozen video rows"
    return TowerFacts(kind="ridge", inputs=inputs, output=f"[B, {dim}] float32", about=about), FoldIn(
        method="ridge", reg=reg, background=background
    )


def _write_history(making: Making, kind: Any, tower: nn.Module, steps: int, about: str) -> TowerFacts:
    dim = making.tables.video.shape[1]
    times = torch.arange(3, dtype=torch.float64).expand(3, 3).contiguous()
    example = (torch.zeros(3, 3, dim), torch.ones(3, 3, dtype=torch.bool), times)
    making.write("user", tower, example, [{0: "batch", 1: "steps"}] * 3, max_steps=steps)
    inputs = (f"videos [B, T, {dim}] float32", "mask [B, T] bool", "time [B, T] float64")
    return TowerFacts(kind=kind, inputs=inputs, output=f"[B, {dim}] float32", about=about)


def _distilled(making: Making) -> tuple[nn.Module, str]:
    """A history tower fitted to the lists that the tables give."""
    graph, tables = making.graph, making.tables
    user, video = tables.user, tables.video
    assert user is not None
    lists = teacher_lists(lambda users: user[users] @ video.T, graph.seen)
    tower, _, about = history_tower(graph, video, user[lists.user], lists)
    return tower, about


def _same_users(tower: nn.Module, graph: MultimodalGraph, tables: Served, steps: int) -> None:
    """That the tower gives the users' rows from their histories.

    Raises:
        TowerError: it does not.
    """
    past = graph.histories(max_len=steps, users=torch.arange(min(32, graph.num_users)))
    some = past.length > 0
    assert tables.user is not None
    found = tower(tables.video[past.video[some].clamp_min(0)], past.mask[some], past.time[some])
    worst = float((found - tables.user[: len(some)][some]).abs().max()) if bool(some.any()) else 0.0
    if not worst <= 1e-4 * max(1.0, float(tables.user.abs().max())):
        raise TowerError(f"{type(tower).__name__} gives other rows than the model, by up to {worst:.3g}")


def pair_tower(making: Making) -> TowerFacts | None:
    """Writes towers/pair, the network that scores a user's row against videos' rows; None where none is needed."""
    pair = making.tables.pair
    if pair is None:
        return None
    head: Any = making.model.head
    widths = pair.user.shape[1], pair.video.shape[1]
    example = (torch.zeros(3, widths[0]), torch.zeros(3, 3, widths[1]))
    try:
        making.write("pair", PairTower(head), example, [{0: "batch"}, {0: "batch", 1: "steps"}])
    except TowerError as error:
        making.notes.append(f"re-scoring: {error}; lists are in the order of the distilled rows")
        return None
    inputs = (f"user [B, {widths[0]}] float32", f"videos [B, T, {widths[1]}] float32")
    return TowerFacts(kind="own", inputs=inputs, output="[B, T] float32", about=f"the model's {type(head).__name__}")
