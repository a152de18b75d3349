"""The same numbers wherever the model is; skipped without a GPU."""

from __future__ import annotations

import pytest
import torch

from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import Calibration, EvalConfig, ExposureShare, Novelty, SampledCandidates, evaluate, tail_videos
from mmgraph.graph import build_graph
from mmgraph.models import BPRMF, EASE
from mmgraph.recommend import (
    Calibrated,
    Constraint,
    Quota,
    Released,
    Reranker,
    Share,
    Varied,
    audience,
    deletion_fidelity,
    explain,
    explain_by_model,
    genre_profiles,
    genres_of,
    predict,
    recommend,
    similar,
)

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def world():
    pairs = [(u, (u * 7 + i * i) % 60) for u in range(40) for i in range(9)]
    frame = {"user_id": [u for u, _ in pairs], "video_id": [v for _, v in pairs]}
    videos = {"video_id": list(range(70))}
    dataset = Dataset.from_frames(
        frame, videos=videos, features={"visual": torch.eye(70)[:, :8] + 0.1}, duplicates="first"
    )
    split = random_split(dataset, seed=0)
    return split, build_graph(split)


def everything(device: str) -> dict[str, object]:
    """What each function says, its tensors on the CPU."""
    split, graph = world()
    torch.manual_seed(0)
    model = BPRMF(graph, embedding_dim=8).to(device)
    ease = EASE(graph)
    ease.solve(graph)
    graph, ease = graph.to(device), ease.to(device)
    genres = torch.eye(3)[torch.arange(70) % 3]
    even = torch.arange(70) % 2 == 0
    metrics = (Novelty(), ExposureShare("tail", tail_videos), Calibration(genres))
    limits = Constraint(70, rules=(Released(torch.arange(70.0, dtype=torch.float64), 50.0),)).block([3])
    rows = torch.arange(10, device=device)
    out = {
        "full": evaluate(model, graph, split.valid, EvalConfig(k=(5, 10), metrics=metrics)).metrics,
        "fast": evaluate(model, graph, split.valid, EvalConfig(k=(5,), groups=("all",), auc=False)).metrics,
        "sampled": evaluate(model, graph, split.valid, EvalConfig(k=(5,), candidates=SampledCandidates(9))).metrics,
        "limited": evaluate(model, graph, split.valid, EvalConfig(k=(5,)), constraint=limits).metrics,
        "predict": predict(model, graph, [1, 2], [3, 4]),
    }
    for name, constraint in (("open", None), ("rules", limits), ("quota", Constraint(70, quotas=(Quota(even, 1, 2),)))):
        out[name] = recommend(model, graph, rows, 6, constraint=constraint, exclude=rows[:2]).video
        out[f"{name} linear"] = recommend(ease, graph, rows, 6, constraint=constraint).video
    out["audience"] = audience(model, graph, rows, 4, constraint=limits).user
    out["similar"], out["alike"] = (
        similar(model, graph, rows, 4).video,
        similar(None, graph, rows, 4, modality="visual").video,
    )
    wide, mixture = recommend(model, graph, rows, 30), genres_of(None, genres)
    profiles = genre_profiles(graph.seen, mixture.to(device))
    for name, aim in (
        ("share", Share(even, 0.5)),
        ("mix", Calibrated(mixture, profiles)),
        ("varied", Varied(torch.rand(70, 3, generator=torch.Generator().manual_seed(0)))),
    ):
        out[name] = Reranker(aim, 0.5)(wide, rows, 5).video
    out["why"] = [r.video for r in explain(graph, 0, 9, constraint=limits).reasons]
    out["model"] = [r.video for r in explain_by_model(ease, graph, 0, 9, by="fold_in").reasons]
    out["fidelity"] = deletion_fidelity(ease, graph, [0, 1], [9, 9], draws=3).explained
    return {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in out.items()}


@cuda
def test_a_gpu_says_what_the_cpu_says():
    here, there = everything("cpu"), everything("cuda")
    for name, value in here.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            assert torch.allclose(value, there[name], atol=1e-4, equal_nan=True), name
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, there[name]), name
        elif isinstance(value, dict):
            for group, numbers in value.items():
                assert there[name][group] == pytest.approx(numbers, abs=1e-4, nan_ok=True), (name, group)
        else:
            assert value == there[name], name


def test_everything_runs_on_the_cpu():
    found = everything("cpu")
    assert all(len(value) for value in found.values() if not isinstance(value, list))
    assert 3 not in found["rules"]
    assert found["rules"].max() <= 50
