"""What the world promises to recommenders: content finds new videos, noise does not, nothing beats the ceiling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmgraph.data.split import Split
from mmgraph.data.synthetic import MODALITIES, WorldConfig, generate
from mmgraph.evaluate import EvalConfig, evaluate
from mmgraph.experiment import Experiment, prepare
from mmgraph.graph import build_graph
from mmgraph.models import EASE, HeteroMMGCN, Popularity, Recommender
from mmgraph.models.cold.base import ContentModel
from mmgraph.recipes import aigc
from mmgraph.train import fit

SMALL = WorldConfig(users=500, videos=600, days=20, sessions_per_week=8, seed=2)


@pytest.fixture(scope="module")
def split() -> Split:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aigc, "CONFIG", SMALL)
        aigc.world.cache_clear()
        yield aigc.split()
    aigc.world.cache_clear()


@pytest.fixture(scope="module")
def cold(split: Split) -> dict[str, float]:
    """Recall@5 of new videos on valid, by model."""
    graph = build_graph(split)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aigc, "CONFIG", SMALL)
        models: dict[str, Recommender] = {"ceiling": aigc.Ceiling(graph), "popularity": Popularity(graph)}
    for name, modalities in (
        ("content", list(MODALITIES)),
        ("no audio", [m for m in MODALITIES if m != "audio"]),
        ("mute audio", ["text", "visual", "audio_mute", "generation"]),
        ("all mute", [f"{m}_mute" for m in MODALITIES]),
    ):
        models[name] = EASE(graph, reg=200.0, features=modalities, feature_weight=10.0)
    config = EvalConfig(k=(5,), groups=("cold",), auc=False)
    for model in models.values():
        model.solve(graph)
    return {name: evaluate(model, graph, split.valid, config)["cold"]["recall@5"] for name, model in models.items()}


def test_content_finds_new_videos_and_stays_below_the_ceiling(cold: dict[str, float]) -> None:
    assert cold["content"] > 3 * cold["popularity"]
    assert cold["content"] < 0.9 * cold["ceiling"]


def test_without_information_the_effect_is_gone(cold: dict[str, float]) -> None:
    assert cold["all mute"] < 0.5 * cold["content"]
    assert cold["mute audio"] < cold["content"]
    # A modality that tells nothing is worth no more than none.
    assert cold["mute audio"] < cold["no audio"] * 1.1


def test_the_mute_twin_lies_in_the_same_protocol(split: Split) -> None:
    features = split.dataset.features
    assert set(features) == {*MODALITIES, *(f"{m}_mute" for m in MODALITIES)}
    for modality in MODALITIES:
        told, untold = features[modality], features[f"{modality}_mute"]
        assert torch.equal(told.present, untold.present)
        assert told.dim == untold.dim
        assert not torch.equal(told.values, untold.values)


def test_recipes_name_what_they_leave_out() -> None:
    whole = aigc.mmgcn()
    assert whole.model is HeteroMMGCN
    assert {b.name for b in whole.baselines} >= {"aigc-ceiling", "aigc-popularity", "aigc-itemknn"}
    assert aigc.without_alignment().model_args["align"] == 0.0
    assert aigc.scarce().model_args["align"] > aigc.scarce_without_alignment().model_args["align"] == 0.0
    assert whole.model_args["align"] > 0.0
    assert aigc.without("audio").model_args["modalities"] == ["text", "visual", "generation"]
    assert aigc.only("text").model_args["modalities"] == ["text"]
    assert aigc.muted("audio").model_args["modalities"] == ["text", "visual", "audio_mute", "generation"]
    names = [experiment.name for experiment in aigc.variants()]
    assert len(set(names)) == len(names) == 18
    assert aigc.all_muted().name in names


@pytest.mark.parametrize(
    ("whole", "ablated", "other"),
    [
        (aigc.clcrec, aigc.clcrec_without_alignment, "mix"),
        (aigc.content_vae, aigc.content_vae_without_alignment, "cold"),
    ],
)
def test_without_alignment_clicks_still_train_the_content_path(
    split: Split, whole: Callable[[], Experiment], ablated: Callable[[], Experiment], other: str
) -> None:
    with_it, without_it = whole(), ablated()
    assert with_it.model_args["align"] > without_it.model_args["align"] == 0.0
    same = {"learning_rate"}
    assert with_it.fit.model_dump(exclude=same) == without_it.fit.model_dump(exclude=same)
    assert set(with_it.model_args) == set(without_it.model_args) == {"modalities", "align", other}
    assert {with_it.name, without_it.name} <= {experiment.name for experiment in aigc.variants()}

    ready = prepare(without_it, 0, split=split)
    assert isinstance(ready.model, ContentModel)
    new = {m: ready.graph.features(m).take(torch.arange(5)) for m in MODALITIES}
    before = ready.model.embed(new).detach()
    fit(ready.model, ready.graph, config=without_it.fit.model_copy(update={"epochs": 1}))
    assert not torch.allclose(before, ready.model.embed(new), atol=1e-3)


def test_the_scarce_world_lacks_half_of_each_modality_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    # of whichever world the recipes have now: that of the fixture above, where it is in use
    monkeypatch.setattr(aigc, "SCARCE", aigc.CONFIG.model_copy(update={"coverage": aigc.SCARCE.coverage}))
    whole, scarce = aigc.world(), generate(aigc.SCARCE)
    assert scarce.interactions.equals(whole.interactions)
    for modality in MODALITIES:
        assert 0.4 < scarce.present[modality].mean() < 0.6
    split = aigc.scarce_split()
    assert split.train.equals(aigc.split().train)
    assert split.protocol_id != aigc.split().protocol_id
