"""Audits whose answers are known before they are run."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mmgraph.audit import (
    AUDIT,
    MOST_GROUPS,
    Audit,
    AuditConfig,
    audit_run,
    paired_effect,
    recall_by_popularity,
    shapley_values,
)
from mmgraph.data import Dataset, cold_video_split, random_split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment, run, train
from mmgraph.models import ContentMean, Embeddings, Recommender
from mmgraph.train import FitConfig

KINDS, USERS, VIDEOS = 6, 90, 150


def dataset(extra: dict[str, torch.Tensor]) -> Dataset:
    """Each video is of a kind, each user likes one kind; ``extra`` modalities beside."""
    random = np.random.default_rng(0)
    kind, taste = np.arange(VIDEOS) % KINDS, np.arange(USERS) % KINDS
    pairs = [
        (u, v) for u, v in itertools.product(range(USERS), range(VIDEOS))
        if random.random() < (0.35 if kind[v] == taste[u] else 0.02)
    ]  # fmt: skip
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
    told = torch.nn.functional.one_hot(torch.tensor(kind)).float()
    videos = pl.DataFrame({"video_id": np.arange(VIDEOS)})
    features = {"told": told + 0.3 * torch.randn(told.shape, generator=torch.Generator().manual_seed(1))}
    return Dataset.from_frames(frame, videos=videos, features=features | extra, name="kinds")


def experiment(extra: dict[str, torch.Tensor], **fields) -> Experiment:
    made = dataset(extra)
    base = {
        "name": "content",
        "split": lambda: cold_video_split(made, seed=0),
        "model": ContentMean,
        "evaluate": EvalConfig(k=(5,), groups=("all", "cold"), auc=False),
        "seeds": (0,),
    }
    return Experiment.model_validate(base | fields)


def audited(tmp_path: Path, asked: Experiment, config: AuditConfig, **told) -> Audit:
    train(asked, 0, tmp_path)
    return audit_run(tmp_path / asked.name / "0", asked, config, **told)


QUICK = AuditConfig(metric="cold/recall@5", rates=(), pairs=0, buckets=2)


def test_a_modality_without_information_is_worth_nothing_and_the_one_with_it_all(tmp_path):
    noise = torch.randn(VIDEOS, 6, generator=torch.Generator().manual_seed(5))
    found = audited(tmp_path, experiment({"noise": noise}), QUICK)
    alone = found.effect("noise", "alone")
    assert alone.low is not None
    assert alone.low <= 0 <= alone.high, alone
    for kind in ("shuffle", "noise"):
        assert not found.effect("noise", kind).sure or found.effect("noise", kind).mean < 0
    assert found.effect("told", "alone").low > 0.2
    assert found.effect("told", "drop").low > 0.2
    assert found.effect("told", "shapley").low > 0.2


def test_a_modality_twice_is_worth_nothing_left_out_and_all_alone(tmp_path):
    told = dataset({}).features["told"].values
    found = audited(tmp_path, experiment({"again": told.clone()}), QUICK)
    for name in ("told", "again"):
        assert abs(found.effect(name, "drop").mean) < 1e-12, "the other one is still there"
        assert found.effect(name, "alone").low > 0.2
        half = (found.full - found.none) / 2
        assert found.effect(name, "shapley").mean == pytest.approx(half), "equals share what they do"
    together = audited(
        tmp_path / "both", experiment({"again": told.clone()}),
        QUICK.model_copy(update={"groups": {"both": ("told", "again")}}),
    )  # fmt: skip
    assert together.effect("both", "drop").mean == pytest.approx(together.full - together.none)


def test_shapley_values_of_orthogonal_linear_groups_are_each_groups_own_share():
    random = np.random.default_rng(0)
    columns = np.linalg.qr(random.standard_normal((200, 6)))[0]
    y = columns @ np.array([3.0, 1.0, 2.0, 0.5, 0.0, 0.0])
    groups = {"a": [0, 1], "b": [2], "c": [3], "nothing": [4, 5]}

    def explained(chosen) -> np.ndarray:
        x = columns[:, [c for name in chosen for c in groups[name]]]
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0] if x.shape[1] else y
        return np.asarray(1 - (left @ left) / (y @ y))

    worth = {frozenset(s): explained(s) for n in range(5) for s in itertools.combinations(groups, n)}
    values = shapley_values(list(groups), worth)
    assert {name: float(v) for name, v in values.items()} == pytest.approx(
        {"a": 10 / 14.25, "b": 4 / 14.25, "c": 0.25 / 14.25, "nothing": 0.0}, abs=1e-9
    )


def test_shapley_values_by_hand_with_an_interaction():
    worth = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 2.0, frozenset("ab"): 7.0}
    assert {k: float(v) for k, v in shapley_values("ab", worth).items()} == {"a": 3.0, "b": 4.0}
    with pytest.raises(ValueError, match=f"at most {MOST_GROUPS}"):
        shapley_values("abcdefg", {})
    with pytest.raises(ValueError, match="no worth of"):
        shapley_values("ab", {frozenset(): 0.0})


def test_a_paired_effect_is_the_t_interval():
    from scipy.stats import ttest_1samp

    d = np.random.default_rng(0).normal(0.2, 1, 40)
    low, high = ttest_1samp(d, 0).confidence_interval()
    effect = paired_effect(np.append(d, np.nan))
    assert (effect.low, effect.high, effect.users) == (pytest.approx(low), pytest.approx(high), 40)
    assert paired_effect(np.array([])).mean is None
    assert paired_effect(np.array([0.5])).low is None
    assert not paired_effect(np.zeros(9)).sure
    assert "over 40 users" in str(effect)


class Told(Recommender):
    """Ranks by what the graph's features and a table say; the table is trained."""

    def __init__(self, graph, *, embedding_dim: int = 4) -> None:
        super().__init__()
        self.user = torch.nn.Parameter(torch.randn(graph.num_users, embedding_dim))
        self.video = torch.nn.Parameter(torch.randn(graph.num_videos, embedding_dim))

    def encode(self, graph, rows=None):
        return Embeddings(self.user, self.video)

    def loss(self, graph, batch):
        margin = (self.user[batch.user] * (self.video[batch.positive] - self.video[batch.negative[:, 0]])).sum(1)
        return {"bpr": torch.nn.functional.softplus(-margin).mean()}


def test_a_model_that_reads_no_features_is_told_so(tmp_path):
    fit = FitConfig(epochs=1, batch_size=64, monitor="recall@5")
    found = audited(tmp_path, experiment({}, model=Told, fit=fit), AuditConfig(rates=(0.5,), pairs=2, draws=1))
    assert found.metric == "recall@5"
    assert found.effect("told", "drop").mean == 0
    assert any("does not read features" in note for note in found.notes)
    assert any("No score fell" in note for note in found.notes)


def test_an_audit_goes_on_where_it_stopped_and_is_written_last(tmp_path, monkeypatch):
    asked = experiment({}, name="stopped")
    config = AuditConfig(metric="cold/recall@5", rates=(0.3, 0.9), pairs=2, draws=2, buckets=3)
    first = audited(tmp_path, asked, config)
    folder = tmp_path / "stopped" / "0"
    assert Audit.load(folder / AUDIT) == first
    kept = sorted((folder / "audit").glob("*.parquet"))
    kept[0].unlink()
    from mmgraph.audit import auditing

    ranked = []
    real = auditing.ranked
    monkeypatch.setattr(auditing, "ranked", lambda *given: ranked.append(given[2].name) or real(*given))
    assert audit_run(folder, asked, config) == first
    assert len(ranked) == 1, "only what was gone is ranked again"
    for how in ("random", "unpopular", "value"):
        rows = [row for row in first.missing if row.how == how and row.group == "every"]
        assert [row.rate for row in rows] == [0.3, 0.9]
        assert rows[1].lost.mean >= rows[0].lost.mean > 0, "the more videos lack it, the more is lost"
        assert how == "unpopular" or rows[1].lost.mean > rows[0].lost.mean, "new videos lose it first, and all are new"
    assert {row.reasons for row in first.fidelity} == {"every kind", "co-watched", "told"}
    popularity = {row.range for row in first.effects if row.where == "popularity"}
    activity = {row.range for row in first.effects if row.where == "activity"}
    assert popularity == {"0"}, "all targets are new videos"
    assert len(activity) == 3


def test_refit_trains_anew_and_closed_forms_are_solved_anew(tmp_path):
    asked = experiment({"noise": torch.randn(VIDEOS, 3)}, name="anew")
    read = audited(tmp_path, asked, QUICK, refit=False)
    anew = audit_run(tmp_path / "anew" / "0", asked, QUICK, refit=True)
    assert (read.refit, anew.refit) == (False, True)
    assert read.full == anew.full
    assert anew.effect("told", "drop").low > 0.2
    assert any("one training" in note for note in anew.notes)
    assert not list((tmp_path / "anew" / "0" / "audit").glob("refit/*")), "what was trained on the way is removed"


def test_the_test_stays_closed_unless_the_run_has_opened_it(tmp_path):
    asked = experiment({}, name="sealed")
    train(asked, 0, tmp_path)
    folder = tmp_path / "sealed" / "0"
    config = QUICK.model_copy(update={"stage": "test"})
    with pytest.raises(ValueError, match="has not opened the test"):
        audit_run(folder, asked, config)
    audit_run(folder, asked, QUICK)
    assert not (tmp_path / "openings.jsonl").exists(), "an audit on valid opens nothing"
    opened = run(asked, 0, tmp_path, resume=True)
    assert audit_run(folder, asked, config).full == pytest.approx(opened.metric("recall@5", "cold"))
    lines = (tmp_path / "openings.jsonl").read_text().splitlines()
    assert sum('"open"' in line for line in lines) == 2, "the look is counted"


def test_wrong_calls_are_named(tmp_path):
    asked = experiment({}, name="wrong")
    with pytest.raises(FileNotFoundError, match="no trained model"):
        audit_run(tmp_path, asked)
    train(asked, 0, tmp_path)
    folder = tmp_path / "wrong" / "0"
    with pytest.raises(KeyError, match="no modality 'sound'"):
        audit_run(folder, asked, AuditConfig(groups={"a": ("sound",)}))
    with pytest.raises(KeyError, match="no value a user"):
        audit_run(folder, asked, AuditConfig(metric="coverage@5"))
    with pytest.raises(ValueError, match="another configuration"):
        audit_run(folder, asked.variant({"model_args.power": 0.25}))
    with pytest.raises(ValueError, match="no modality twice"):
        AuditConfig(groups={"a": ("x",), "b": ("x",)})
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        AuditConfig(rates=(1.5,))


def test_recall_by_popularity_is_counted_by_hand(tmp_path):
    from mmgraph.models import Popularity

    made = dataset({})
    asked = Experiment(
        name="popular",
        split=lambda: random_split(made, seed=0),
        model=Popularity,
        evaluate=EvalConfig(k=(10,), groups=("all",), auc=False),
    )
    train(asked, 0, tmp_path)
    found = recall_by_popularity(tmp_path / "popular" / "0", asked, parts=3)
    split = random_split(made, seed=0)
    count = split.train["video"].value_counts()
    users = dict(zip(count["video"], count["count"], strict=True))
    seen = {u: set(g["video"]) for (u,), g in split.train.group_by("user")}
    ordered = sorted(range(VIDEOS), key=lambda v: (-users.get(v, 0), v))
    for name, effect in found.items():
        low, high = (int(part) for part in (name.split(" to ") * 2)[:2])
        shares = []
        for (user,), targets in split.valid.group_by("user"):
            inside = [v for v in targets["video"] if low <= users.get(v, 0) <= high]
            listed = [v for v in ordered if v not in seen.get(user, ())][:10]
            shares += [sum(v in listed for v in inside) / len(inside)] if inside else []
        assert (effect.users, effect.mean) == (len(shares), pytest.approx(np.mean(shares)))
    assert len(found) == 3


def test_a_dial_of_the_world_that_tells_nothing_is_worth_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "modality_audit.py"))
    asked = example["experiment"]()
    found = audited(tmp_path, asked, AuditConfig(metric="cold/recall@10", rates=(), pairs=0, buckets=1))
    silent = found.effect("audio", "shuffle")
    assert silent.low is not None
    assert silent.low <= 0 <= silent.high, "shuffling what tells nothing changes nothing"
    assert found.effect("visual", "shuffle").low > 0
    assert found.effect("visual", "alone").low > found.effect("audio", "alone").high
