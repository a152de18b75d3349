"""MovieLens-1M with four modalities, 39% of the films lacking one: protocol ``ml1m-colakg``; a mask against zeros.

Words are the descriptions that ship with the data (MiniLM), pictures the posters of ``mlsmall`` (EfficientNet-lite0),
both made once into the folder ``MMGRAPH_STORE``; sound is VGGish of trailers, ``scene`` seven statistics of their
shots. A tenth of each user's training films is valid. ``masked(name)`` trains a model as it is: a film that lacks a
modality leaves what is computed from it. ``filled(name)`` trains the same model on a graph in which the film has it, as
zeros: what code without a mask does.

``python -m mmgraph.recipes.ml1m [NAME …] [--out DIR] [--epochs N]`` trains the pairs, judged on valid, and prints the
paired tests.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mmgraph.data import Dataset, Split, published_split
from mmgraph.data.readers import read_lightgcn
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, train
from mmgraph.experiment.paired import paired_test
from mmgraph.graph import (
    EdgeDrop,
    FilledFeatures,
    JoinKNN,
    ModalityKNN,
    RandomWalkNeighbours,
    ScaleFeatures,
    UserCoInteraction,
    VideoCoInteraction,
)
from mmgraph.models import (
    BM3,
    COHESION,
    DAMRS,
    DRAGON,
    FREEDOM,
    GRCN,
    GUME,
    LATTICE,
    MENTOR,
    MGCN,
    MICRO,
    MMGCN,
    MMSSL,
    MVGAE,
    PGL,
    SMORE,
    VBPR,
    DiffMM,
    DualGNN,
    HeteroMMGCN,
    LGMRec,
    Recommender,
    SLMRec,
)
from mmgraph.recipes.source import data_root, feature_store
from mmgraph.train import FitConfig

MODALITIES = ("text", "visual", "audio", "scene")


def ml1m_dataset() -> Dataset:
    """6,040 users, 3,260 films, 998,539 likes; raw ids are MovieLens'. ``audio`` and ``scene`` as they ship."""
    folder = data_root() / "ml1m"
    users, films = folder / "user_map.txt", folder / "item_map.txt"
    dataset = read_lightgcn(folder / "train.txt", folder / "test.txt", user_map=users, video_map=films, name="ml1m")
    words: dict[str, str] = json.loads((folder / "llm_response_item.json").read_text(encoding="utf-8"))
    raw = dataset.video_ids.ids.to_list()
    videos = dataset.videos.with_columns(description=pl.Series([words.get(str(each)) for each in raw]))
    posters = data_root() / "mlsmall" / "posters"
    files = [[path] if (path := posters / f"{each}.jpg").exists() else [] for each in raw]
    with np.load(folder / "audio_vggish.npz") as sound:
        name = next(key for key in sound.files if key != "movie_id")
        audio = _known(dataset, sound["movie_id"].astype(np.int64), sound[name].astype(np.float32))
    table = pl.read_csv(folder / "video_mise_en_scene.csv")
    scene = _known(dataset, table["movie_id"].to_numpy(), table.drop("movie_id").to_numpy().astype(np.float32))
    with_media = replace(dataset, videos=videos, media={"image": files})
    return with_media.with_features(audio=audio, scene=scene)


def _known(dataset: Dataset, ids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of films that somebody liked."""
    known = np.isin(ids, dataset.video_ids.ids.to_numpy())
    return ids[known], values[known]


@functools.cache
def ml1m() -> Split:
    """721,000 likes to train on, 80,000 valid, 197,321 test; text, visual, audio and scene features."""
    from mmgraph.encoders import EfficientNetLite0, extract, minilm

    encoders = {"text": minilm(), "visual": EfficientNetLite0()}
    dataset = extract(ml1m_dataset(), encoders, feature_store(), text_columns=("description",), progress=True)
    ordered = {name: dataset.features[name] for name in MODALITIES}
    return published_split(replace(dataset, features=ordered), "split", valid_ratio=0.1, name="ml1m-colakg")


def _alike(k: int = 10) -> tuple[Any, ...]:
    return tuple(ModalityKNN(m, k, "binary", loops=True, share=1 / len(MODALITIES)) for m in MODALITIES)


# what a model's graph needs beside the likes
PREPARED: Mapping[str, Callable[[], tuple[Any, ...]]] = {
    "similar_": _alike,
    "similar_fused": lambda: (JoinKNN("max"),),
    "similar_agree": lambda: (JoinKNN("agree", "agree"),),
    "co_watched": lambda: (UserCoInteraction(10),),
    "watched_with": lambda: (VideoCoInteraction(10),),
    "walked": lambda: (RandomWalkNeighbours(5, 20),),
}


def masked(model: type[Recommender], needs: Sequence[str] = (), **fields: Any) -> Experiment:
    """A model on the films' features where they have them, scaled alike.

    Args:
        model: its class.
        needs: keys of ``PREPARED``: the edges that it reads.
        fields: of the experiment.
    """
    transforms = (ScaleFeatures(), *(step for need in needs for step in PREPARED[need]()))
    args = {"l2": 1e-4} if "l2" in model.arguments() else {}
    base: dict[str, Any] = {
        "name": f"ml1m-{model.__name__.lower()}",
        "split": ml1m,
        "model": model,
        "model_args": args,
        "transforms": transforms,
        "fit": FitConfig(learning_rate=2e-3, batch_size=4096, epochs=40, eval_every=2, patience=2),
        "evaluate": EvalConfig(k=(10, 20), groups=("all",), auc=False),
        "seeds": (0,),
    }
    return Experiment(**base | fields)


def filled(experiment: Experiment) -> Experiment:
    """The same, every film given what it lacks as zeros after scaling, so that nothing is masked."""
    scale, *rest = experiment.transforms
    return experiment.variant(name=f"{experiment.name}-filled", transforms=(scale, FilledFeatures(), *rest))


def mmgcn() -> Experiment:
    """MMGCN: a graph a modality."""
    return masked(MMGCN, fit=LARGE_STEPS, seeds=(0, 1, 2))


def freedom() -> Experiment:
    """FREEDOM: a frozen graph of alike films, half of the likes kept at each epoch."""
    drop = (EdgeDrop(0.5, degree_sensitive=True),)
    args = {"content": 1e-3}
    return masked(FREEDOM, ("similar_",), fit=LONG, seeds=(0, 1, 2), model_args=args, epoch_transforms=drop)


def mgcn() -> Experiment:
    """MGCN: gates, and a graph of alike films a modality."""
    return masked(MGCN, ("similar_",), fit=LONG, seeds=(0, 1, 2))


# where a step costs much however few pairs it has
LARGE_STEPS = FitConfig(learning_rate=5e-3, batch_size=16384, epochs=40, eval_every=2, patience=2)
# where valid still rises after forty epochs: a quarter of an hour to two hours of a core, minutes of a GPU
LONG = LARGE_STEPS.model_copy(update={"epochs": 300, "patience": 5})

# every multimodal model, and what its graph needs
EVERY: Mapping[type[Recommender], tuple[str, ...]] = {
    VBPR: (),
    MMGCN: (),
    HeteroMMGCN: (),
    GRCN: (),
    DualGNN: ("co_watched",),
    LATTICE: ("similar_",),
    MICRO: ("similar_",),
    SLMRec: (),
    BM3: (),
    FREEDOM: ("similar_",),
    MGCN: ("similar_",),
    DRAGON: ("similar_", "co_watched"),
    MVGAE: (),
    LGMRec: (),
    SMORE: ("similar_", "similar_fused"),
    PGL: ("similar_",),
    MENTOR: ("similar_", "co_watched"),
    COHESION: ("similar_", "co_watched"),
    GUME: ("similar_", "similar_agree"),
    MMSSL: (),
    DiffMM: (),
    DAMRS: ("similar_", "watched_with"),
}


def short(model: type[Recommender]) -> Experiment:
    """Two epochs of a model: that it runs where modalities are missing, not how good it is."""
    large = 262144 if model is MMSSL else 32768  # each step of its critic reads whole rows of users and films
    fit = FitConfig(learning_rate=2e-3, batch_size=large, epochs=2)
    return masked(model, EVERY[model], fit=fit, name=f"ml1m-short-{model.__name__.lower()}")


def dualgnn() -> Experiment:
    """DualGNN: a graph a modality, weighed by each user, and by like-minded ones."""
    return masked(DualGNN, EVERY[DualGNN], fit=LARGE_STEPS, seeds=(0, 1, 2))


# not VBPR: to it a modality that is missing and zeros are the same by construction; nor BM3 and SMORE, which stay below
# popularity here at settings that nobody tuned
PAIRS: Mapping[str, Callable[[], Experiment]] = {
    "mmgcn": mmgcn,
    "freedom": freedom,
    "mgcn": mgcn,
    "dualgnn": dualgnn,
}


def against_zeros(experiment: Experiment, out: Path, metric: str = "recall@20", seed: int = 0) -> dict[str, float]:
    """Trains both of a pair and tests them on valid, over users; the sealed test stays closed."""
    members = (experiment, filled(experiment))
    folders = [out / member.name / str(seed) for member in members]
    for member in members:
        train(member, seed, out, progress=True)
    frames = [pl.read_parquet(folder / "valid.parquet").filter(pl.col("group") == "all") for folder in folders]
    values = [frame.sort("user")[metric].to_numpy() for frame in frames]
    difference = values[0] - values[1]
    test = paired_test(difference[None])
    return {
        "masked": float(values[0].mean()),
        "filled": float(values[1].mean()),
        "difference": float(difference.mean()),
        "margin": float(test.margin),
        "p": float(test.p),
        "users": float(len(difference)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the pairs and print what the paired test says of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(PAIRS), choices=list(PAIRS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--epochs", type=int, default=None)
    given = parser.parse_args(arguments)
    for name in given.names:
        experiment = PAIRS[name]()
        if given.epochs is not None:
            experiment = experiment.variant({"fit.epochs": given.epochs}, name=f"{experiment.name}-{given.epochs}")
        found = against_zeros(experiment, given.out)
        told = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
        print(f"{name}: {told}", flush=True)


if __name__ == "__main__":
    main()
