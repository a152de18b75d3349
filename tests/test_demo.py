"""The demo, small: from a world to recommendations and a page that opens."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgraph.bundle import load
from mmgraph.data import Features
from mmgraph.data.files import FolderInUse, owned
from mmgraph.data.readers import read_media_folder
from mmgraph.data.synthetic import WorldConfig, generate, write
from mmgraph.demo import (
    DemoResult,
    TruePreference,
    WorldPreference,
    demo_experiment,
    export_demo,
    late_preference,
    run_demo,
    serve_demo,
    split_of,
)
from mmgraph.experiment import Experiment
from mmgraph.graph import build_graph
from mmgraph.models import Rows
from mmgraph.recipes.aigc import standardised
from mmgraph.serve.server import ServeConfig
from tests.test_report import open_in_chromium

WORLD = WorldConfig(users=150, videos=120, days=20, topics=4, styles=3, sounds=3, sessions_per_week=5, seed=1)


def brief(folder: Path) -> Experiment:
    return demo_experiment(folder).variant({"fit.epochs": 3})


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    pytest.importorskip("PIL")
    said: list[str] = []
    out = tmp_path_factory.mktemp("demo")
    result = run_demo(out, config=WORLD, media=False, experiment=brief, echo=said.append)
    (out / "said.txt").write_text("\n".join(said))
    return result


def test_demo_says_how_to_serve_it_and_its_bundle_ranks(small: DemoResult, monkeypatch: pytest.MonkeyPatch) -> None:
    out = small.report.parent
    said = (out / "said.txt").read_text()
    assert f"mmgraph export {out / 'runs/hybrid/0'} --out {out / 'bundle'}" in said
    assert f"mmgraph serve {out / 'bundle'} --log {out / 'events.db'}" in said
    asked: list[ServeConfig] = []
    monkeypatch.setattr("mmgraph.demo.serving.serve", lambda config, announce: asked.append(config))
    serve_demo(out, port=0, echo=lambda line: None)
    assert asked == [ServeConfig(bundle=out / "bundle", log=out / "events.db", port=0)]
    bundle = load(out / "bundle")
    assert export_demo(out).manifest.name == bundle.manifest.name == "hybrid"
    assert "title" in bundle.columns.columns
    # distilled lists are near the model's own
    near = [
        len(set(mine) & set(bundle.recommend([user], k=6)[user])) / 6 for user, mine in small.recommendations.items()
    ]
    assert sum(near) / len(near) >= 0.5


def test_demo_gives_metrics_and_recommendations(small: DemoResult) -> None:
    main = demo_experiment(small.data)
    assert set(small.metrics) == {e.name for e in (main, *main.baselines)}
    assert next(iter(small.metrics)) == main.name
    ceiling = small.metrics["true-preference"]
    for known in small.metrics.values():
        assert set(known) == {"all", "known", "new", "share of new", "new shown", "new among new"}
        assert known["all"] <= ceiling["all"]
    ours, popular = small.metrics[main.name], small.metrics["popularity"]
    assert ours["all"] > popular["all"], "a content model beats popularity where a fifth of the catalogue is new"
    assert ours["share of new"] > 0 == popular["share of new"]
    dataset = read_media_folder(small.data, signal="click")
    assert len(small.recommendations) == 3
    for user, videos in small.recommendations.items():
        assert len(set(videos)) == 6
        dataset.user_ids.rows([user])
        dataset.video_ids.rows(videos)
    said = (small.report.parent / "said.txt").read_text()
    assert "Recall@20 in one list, test" in said
    assert str(small.report) in said
    assert (small.runs / main.name / "0" / "result.json").is_file(), "runs like anyone's"


def test_recommendations_leave_out_what_was_seen_in_training(small: DemoResult) -> None:
    dataset = read_media_folder(small.data, signal="click")
    time = np.sort(dataset.interactions["time"].to_numpy())
    early = dataset.interactions.filter(dataset.interactions["time"] < time[int(0.8 * len(time))])
    pairs = set(zip(early["user"].to_list(), early["video"].to_list()))
    for user, videos in small.recommendations.items():
        row = int(dataset.user_ids.rows([user])[0])
        assert not {(row, int(video)) for video in dataset.video_ids.rows(videos)} & pairs


def test_report_of_the_demo_shows_all_of_it_and_opens_without_errors(small: DemoResult, tmp_path: Path) -> None:
    text = small.report.read_text(encoding="utf-8")
    assert text.count('<article class="card viewer">') == 3
    assert text.count('<div class="pick">') == 18
    assert text.count('<div class="card modality">') == 4
    assert len(re.findall(r'<circle cx="[\d.]+" cy="[\d.]+" r="\.62"', text)) == WORLD.videos
    assert "Shared" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    for words in ("of the known ceiling", "of the lists is new", "of the new videos", "of the ideal lists"):
        assert words in text
    dom, log = open_in_chromium(small.report, tmp_path / "profile", window="390,800")
    assert "CONSOLE" not in log
    assert 'data-ready="yes"' in dom


def test_demo_shows_the_users_that_are_asked_for_and_knows_no_others(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    tiny = WORLD.model_copy(update={"videos": 60, "users": 60})

    def demo(user: str) -> DemoResult:
        return run_demo(tmp_path, config=tiny, media=False, experiment=brief, users=[user], echo=lambda line: None)

    assert list(demo("u07").recommendations) == ["u07"]
    assert list(demo("u08").recommendations) == ["u08"], "a second demo replaces the first"
    with pytest.raises(KeyError, match="u99"):
        demo("u99")


def test_two_demos_in_one_folder_do_not_mix(tmp_path: Path) -> None:
    with owned(tmp_path, "demo"), pytest.raises(FolderInUse, match="in use"):
        run_demo(tmp_path, config=WORLD, media=False, echo=lambda line: None)


def test_true_preference_ranks_as_the_world_says() -> None:
    class Graph:
        num_users, num_videos = 2, 3

    scores = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]])
    model = TruePreference(Graph(), scores=scores)  # type: ignore[arg-type]
    model.solve(Graph())  # type: ignore[arg-type]
    emb = model.encode(Graph())  # type: ignore[arg-type]
    assert torch.equal(model.score(emb, torch.tensor([1, 0])), scores[[1, 0]])
    assert torch.equal(model.score(emb, torch.tensor([1]), torch.tensor([[2, 0]])), torch.tensor([[5.0, 0.0]]))
    some = model.encode(Graph(), Rows(torch.tensor([1]), torch.tensor([2, 1])))  # type: ignore[arg-type]
    assert torch.equal(model.score(some, torch.tensor([0])), torch.tensor([[5.0, -1.0]]))
    with pytest.raises(ValueError, match="2 x 3"):
        TruePreference(Graph(), scores=scores[:1])  # type: ignore[arg-type]


def test_standardised_reads_only_the_rows_it_is_given() -> None:
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0], [100.0, 6.0], [9.0, 9.0]])
    present = torch.tensor([True, True, True, False])
    scaled = standardised(Features(values, present), torch.tensor([0, 1, 3]))
    assert scaled.values[:2, 0].mean() == 0, "centred on the known rows, without the absent one"
    assert scaled.values[:2, 0].tolist() == pytest.approx([-1.0, 1.0])
    assert scaled.values[2, 0] == 5.0, "far out is held"
    assert torch.isfinite(scaled.values).all(), "a constant column"
    assert (scaled.values[3] == 0).all()


def test_the_worlds_preference_has_the_rows_of_the_data(tmp_path: Path) -> None:
    world = generate(WORLD)
    split = split_of(str(write(world, tmp_path)))
    model = WorldPreference(build_graph(split), world=str(tmp_path))
    assert torch.equal(model.scores, late_preference(world).float())
    users, videos = split.dataset.user_ids, split.dataset.video_ids
    assert users.ids.to_list() == world.users["user_id"].to_list()
    assert videos.ids.to_list() == world.videos["video_id"].to_list()


def test_a_written_world_reads_back_with_its_features_and_gaps(tmp_path: Path) -> None:
    world = generate(WORLD)
    dataset = read_media_folder(write(world, tmp_path), signal="click")
    assert list(dataset.video_ids.ids) == world.videos["video_id"].to_list()
    assert dataset.num_interactions == int((world.interactions["click"] == 1).sum())
    for modality, values in world.features.items():
        assert torch.equal(dataset.features[modality].values, torch.from_numpy(values))
        assert torch.equal(dataset.features[modality].present, torch.from_numpy(world.present[modality]))
