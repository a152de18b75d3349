"""MovieLens latest-small, likes (4 stars and more): what time brings, and what posters and words bring.

Time:     mmgraph run mmgraph.recipes.movielens:time                 (or user_time)
Content:  mmgraph run mmgraph.recipes.movielens:content_user_time    (or content_time, content_cold)
All:      python -m mmgraph.recipes.movielens [PART …] [--out DIR]   with the paired tests

Content is made of the raw media, once, into the folder ``MMGRAPH_STORE``: posters by EfficientNet-lite0, words by
MiniLM. It needs ``mmgraph[media]``. Settings were chosen on valid; the tables are in docs/movielens.md and
docs/temporal.md.

Few people watch over long here: of the 59 users with valid likes under ``mlsmall-time`` 19 have training likes, the
others are ranked by what the model says of a user it knows nothing about.
"""

from __future__ import annotations

import argparse
import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmgraph.data import Dataset, Split, cold_video_split, global_time_split, user_time_split
from mmgraph.data.readers import read_movielens
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, Result, compare, run_all, table
from mmgraph.graph import EdgeDrop, ModalityKNN, MultimodalGraph, TimeDecay
from mmgraph.models import (
    EASE,
    FREEDOM,
    ContentMean,
    ContentVAE,
    DropoutNet,
    ItemKNN,
    LightGCN,
    Popularity,
    TemporalGraph,
)
from mmgraph.nn import TimeAttention, TimeDecayProfile
from mmgraph.objectives import SampledSoftmax
from mmgraph.recipes.source import data_root, feature_store
from mmgraph.train import FitConfig

YEAR = 365.25
MEDIA = ("text", "visual")


# ---- protocols


def likes(tags_before: float | None = None) -> Dataset:
    """610 users, 9,724 films, 48,580 likes."""
    return read_movielens(data_root() / "mlsmall", min_rating=4.0, tags_before=tags_before, name="mlsmall")


def mlsmall_time() -> Split:
    """The newest tenth is test, the tenth before it valid."""
    return global_time_split(likes(), seen_at_test="train+valid", name="mlsmall-time")


def with_media(dataset: Dataset, columns: Sequence[str] = ("title", "year", "genres")) -> Dataset:
    """With modalities ``text`` [V, 384] of these columns and ``visual`` [V, 1280] of the posters, from the store."""
    from mmgraph.encoders import EfficientNetLite0, extract, minilm

    encoders = {"text": minilm(), "visual": EfficientNetLite0()}
    return extract(dataset, encoders, feature_store(), text_columns=columns)


@functools.cache
def mlsmall_media_time() -> Split:
    """``mlsmall-time`` with content; of the users' tags those given before the first moment, so none of the future."""
    moment = mlsmall_time().protocol.parameters["cuts"][0]
    dataset = with_media(likes(tags_before=moment), ("title", "year", "genres", "tags"))
    return global_time_split(dataset, seen_at_test="train+valid", name="mlsmall-media-time")


@functools.cache
def mlsmall_media_user_time() -> Split:
    """Each user's newest tenth is test, the tenth before valid. No tags: people gave them at other moments."""
    return user_time_split(with_media(likes()), name="mlsmall-media-user-time")


@functools.cache
def mlsmall_media_cold() -> Split:
    """A tenth of the liked films is test, a tenth valid, with all their likes. No tags: nobody has seen these films."""
    return cold_video_split(with_media(likes()), name="mlsmall-media-cold")


# ---- time


def mlsmall_user_time() -> Split:
    """Each user's newest tenth is test, the tenth before valid: everybody has a history; the parts overlap in time."""
    return user_time_split(likes(), name="mlsmall-user-time")


def _name(split: Callable[[], Split], row: str) -> str:
    return f"{split.__name__.replace('_', '-')}-{row}"


def _lightgcn(split: Callable[[], Split]) -> Experiment:
    ranking = EvalConfig(k=(10, 20), groups=("all", "warm"), auc=False)
    counts = Experiment(name=_name(split, "popularity"), split=split, model=Popularity, evaluate=ranking)
    return Experiment(
        name=_name(split, "lightgcn"),
        split=split,
        model=LightGCN,
        model_args={"num_layers": 3, "l2": 1e-3},
        fit=FitConfig(epochs=30, batch_size=2048, learning_rate=5e-3, patience=4),
        evaluate=ranking,
        baselines=(counts,),
    )


def lightgcn_time() -> Experiment:
    """LightGCN, every like weighing the same: time off."""
    return _lightgcn(mlsmall_time)


def _decayed(experiment: Experiment, half_life: float) -> Experiment:
    name = experiment.name.replace("lightgcn", f"decay-{half_life / YEAR:g}y")
    return experiment.variant(name=name, transforms=(TimeDecay(half_life),), baselines=())


def decay(half_life: float = 2 * YEAR) -> Experiment:
    """LightGCN on edges that lose half their weight in ``half_life`` days."""
    return _decayed(lightgcn_time(), half_life)


def time_attention(use_time: bool = True) -> Experiment:
    """LightGCN with attention over the user's likes as its user side; ``use_time=False`` hides their times from it."""
    layer = partial(TimeAttention, query=True, use_time=use_time)
    return lightgcn_time().variant(
        name="mlsmall-time-attention" if use_time else "mlsmall-time-attention-off",
        model=TemporalGraph,
        model_args={"propagation": partial(LightGCN, num_layers=2), "temporal": layer},
        objective=SampledSoftmax(negatives=512, shared=True, log_q=True),
        fit=FitConfig(epochs=8, batch_size=2048, learning_rate=2e-3, patience=3),
        baselines=(),
    )


def _profile(dim: int, half_life: float) -> TimeDecayProfile:
    return TimeDecayProfile(half_life)


def decay_profile(half_life: float = 2 * YEAR) -> Experiment:
    """LightGCN with the half-life weighted mean of the user's likes as its user side."""
    return time_attention().variant(
        {"model_args.temporal": partial(_profile, half_life=half_life)}, name=f"mlsmall-time-profile-{half_life:g}"
    )


def time() -> Experiment:
    """Time on and off under ``mlsmall-time``: decay at the half-life that valid chose, and attention."""
    base = lightgcn_time()
    return base.variant(baselines=(*base.baselines, decay(), time_attention(), time_attention(use_time=False)))


def user_time() -> Experiment:
    """Decay on and off under ``mlsmall-user-time``, at the half-life that valid chose there."""
    base = _lightgcn(mlsmall_user_time).variant({"fit.epochs": 80, "fit.eval_every": 2, "fit.patience": 8})
    return base.variant(baselines=(*base.baselines, _decayed(base, 8 * YEAR)))


# ---- content


def _row(split: Callable[[], Split], name: str, model: type, fit: FitConfig | None = None, **args: Any) -> Experiment:
    """A row of the tables of content; warm and cold targets are told apart."""
    evaluation = EvalConfig(k=(10, 20), groups=("warm", "cold"), auc=False)
    return Experiment(
        name=_name(split, name), split=split, model=model, model_args=args, fit=fit or FitConfig(), evaluate=evaluation
    )


@dataclass(frozen=True)
class Dealt:
    """Deals the films' places in the ``similar_`` graphs at random: they keep their shape and mean nothing any more."""

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        """The graph with other films at the ends of those edges."""
        out, order = copy.copy(graph), torch.randperm(graph.num_videos, generator=generator)
        for modality in MEDIA:
            edges = out["video", f"similar_{modality}", "video"]
            edges.edge_index = order[edges.edge_index]
        return out


def _graphs(split: Callable[[], Split], monitor: str = "recall@20", epochs: int = 30) -> list[Experiment]:
    """LightGCN, which reads no content; FREEDOM, which also propagates over alike words and posters; and in between
    FREEDOM with likeness dealt at random, which tells content from all else that the two differ in."""
    fit = FitConfig(epochs=epochs, batch_size=2048, learning_rate=5e-3, eval_every=2, patience=8, monitor=monitor)
    alike = tuple(ModalityKNN(m, 10, "binary", share=s) for m, s in (("text", 0.9), ("visual", 0.1)))
    freedom = _row(split, "freedom", FREEDOM, fit, num_layers=2, content=0.0).variant(
        transforms=alike, epoch_transforms=(EdgeDrop(0.5, degree_sensitive=True),)
    )
    dealt = freedom.variant(name=f"{freedom.name}-dealt", transforms=(*alike, Dealt()))
    return [_row(split, "lightgcn", LightGCN, fit, num_layers=3, l2=1e-3), dealt, freedom]


def _known(
    split: Callable[[], Split], epochs: int, knn: tuple[int, float], ease: Mapping[str, tuple[float, float]]
) -> Experiment:
    """FREEDOM, beside what knows films by their likes alone, and EASE without and with content.

    ``knn`` gives k and shrinkage; ``ease`` λ and the features' weight of each row.
    """
    *others, freedom = _graphs(split, epochs=epochs)
    chosen = {"ease": (), "ease-text": ("text",), "ease-visual": ("visual",), "ease-media": MEDIA}
    rows = [_row(split, "popularity", Popularity), _row(split, "itemknn", ItemKNN, k=knn[0], shrink=knn[1])]
    for name, modalities in chosen.items():
        reg, weight = ease[name]
        rows.append(_row(split, name, EASE, reg=reg, features=modalities, feature_weight=weight))
    return freedom.variant(baselines=(*rows, *others))


def content_time() -> Experiment:
    """Under ``mlsmall-media-time``."""
    ease = {"ease": (300.0, 1.0), "ease-text": (30.0, 10.0), "ease-visual": (30.0, 5.0), "ease-media": (100.0, 2.0)}
    return _known(mlsmall_media_time, 30, (50, 0.0), ease)


def content_user_time() -> Experiment:
    """Under ``mlsmall-media-user-time``."""
    ease = {"ease": (300.0, 1.0), "ease-text": (300.0, 10.0), "ease-visual": (300.0, 5.0), "ease-media": (100.0, 5.0)}
    return _known(mlsmall_media_user_time, 80, (200, 10.0), ease)


def content_cold() -> Experiment:
    """ContentVAE on films that nobody in training has seen, beside other models of content and LightGCN without any.

    LightGCN's rows of these films are as they were drawn, or pushed away as negatives: it ranks them by chance.
    """
    split, monitor = mlsmall_media_cold, "cold/recall@20"
    vae = FitConfig(learning_rate=1e-3, batch_size=1024, epochs=4, patience=2, monitor=monitor)
    dropout = FitConfig(learning_rate=1e-3, batch_size=2048, epochs=6, patience=2, monitor=monitor)
    reading = {"weights": {"visual": 0.5}, "power": 0.5}
    rows = (
        *_graphs(split, monitor),
        _row(split, "ease-text", EASE, features=("text",), reg=1000.0, feature_weight=2.0),
        _row(split, "ease-media", EASE, features=MEDIA, reg=1000.0, feature_weight=5.0),
        _row(split, "mean-text", ContentMean, modalities=["text"], whiten=["text"]),
        _row(split, "mean-visual", ContentMean, modalities=["visual"], power=1.0),
        _row(split, "mean-media", ContentMean, weights={"visual": 0.15}, whiten=["text"]),
        _row(split, "dropoutnet", DropoutNet, dropout),
        _row(split, "vae-text", ContentVAE, vae, modalities=["text"], power=0.5),
    )
    return _row(split, "vae-media", ContentVAE, vae, **reading).variant(baselines=rows)


# ---- everything

# (with, without), by the ends of their names: what the paired tests compare
_PAIRS = (
    ("decay-2y", "lightgcn"),
    ("decay-8y", "lightgcn"),
    ("attention", "attention-off"),
    ("ease-media", "ease"),
    ("ease-text", "ease"),
    ("ease-visual", "ease"),
    ("freedom", "lightgcn"),
    ("freedom", "freedom-dealt"),
    ("ease-media", "ease-text"),
    ("mean-text", "lightgcn"),
    ("mean-visual", "lightgcn"),
    ("mean-media", "lightgcn"),
    ("mean-media", "mean-text"),
    ("dropoutnet", "lightgcn"),
    ("vae-media", "lightgcn"),
    ("vae-media", "vae-text"),
    ("vae-media", "mean-media"),
)


def _tests(results: Sequence[Result], pairs: Sequence[tuple[str, str]], groups: Sequence[str]) -> None:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.experiment, []).append(result)
    for one, other in pairs:
        for group in groups:
            if one in found and other in found and all(group in r.test for r in found[one] + found[other]):
                print(f"{one} against {other}: {compare(found[one], found[other], group=group)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print a table a protocol and group, then the paired tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ("time", "user_time", "content_time", "content_user_time", "content_cold")
    parser.add_argument("parts", nargs="*", default=known, choices=known, metavar="PART", help=", ".join(known))
    parser.add_argument("--out", type=Path, default=Path("runs"))
    given = parser.parse_args(arguments)
    for part in given.parts:
        experiment = globals()[part]()
        results = run_all(experiment, given.out, resume=True, source=f"mmgraph.recipes.movielens:{part}")
        groups = [g for g in ("all", "warm", "cold") if all(g in r.test for r in results)]
        for group in groups:
            print(f"\n{part}, {group}\n{table(results, ('recall@20', 'ndcg@20'), group=group).markdown()}")
        _tests(results, [(_name(experiment.split, a), _name(experiment.split, b)) for a, b in _PAIRS], groups)


if __name__ == "__main__":
    main()
