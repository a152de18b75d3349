"""Experiments end to end on a tiny world, and statistics against numbers worked out by hand or by scipy."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import sys
from importlib.machinery import ModuleSpec

import numpy as np
import polars as pl
import pytest
import torch

from mmgraph.data import Dataset, random_split
from mmgraph.data.files import DamagedFile, owned
from mmgraph.evaluate import EvalConfig, SampledCandidates
from mmgraph.experiment import (
    Choice,
    Comparison,
    Prepared,
    Result,
    ResultTable,
    RunExists,
    Search,
    Trial,
    Tuning,
    compare,
    holm,
    load,
    openings,
    prepare,
    restore,
    run,
    run_all,
    search,
    table,
)
from mmgraph.experiment.identity import describe
from mmgraph.experiment.resampling import paired_t_test
from mmgraph.experiment.result import environment
from mmgraph.experiment.saved import FILES
from mmgraph.experiment.tables import Cell
from mmgraph.graph import EdgeDrop, Exposures
from mmgraph.models import BPRMF, Popularity
from mmgraph.nn import NCFHead
from mmgraph.objectives import BPR, SampledSoftmax
from mmgraph.train import Adam, AdamW, Callback, Cosine, FitConfig
from tests.experiment.toys import Dots, toy, toy_split, world

# --- the description --------------------------------------------------------------------------------------------------


def test_experiment_checks_arguments_names_and_seeds_at_once():
    with pytest.raises(ValueError, match="no argument 'embeding_dim'; did you mean 'embedding_dim'"):
        toy(model_args={"embeding_dim": 8})
    with pytest.raises(ValueError, match="becomes a folder"):
        toy(name="../up")
    with pytest.raises(ValueError, match="distinct"):
        toy(seeds=(1, 1))
    with pytest.raises(ValueError, match="names that differ"):
        toy(baselines=(toy(),))
    with pytest.raises(ValueError, match="patience_"):
        toy(patience_=3)

    class Needy(Dots):
        def __init__(self, graph, width):
            super().__init__(graph)

    with pytest.raises(ValueError, match=r"Needy needs \['width'\]"):
        toy(model=Needy)


def test_the_monitor_is_looked_up_when_the_experiment_is_made():
    for good in (
        "ndcg@10",
        "all/recall@5",
        "cold/hit_rate@10",
        "activity_2/map@5",
        "user_auc",
        "new_share@10",
        "novel",
    ):
        evaluate = EvalConfig(k=(5, 10), metrics=(novel,))
        assert toy(evaluate=evaluate, fit=FitConfig(monitor=good)).fit.monitor == good
    for bad in ("recall@20", "recal@5", "recall", "activity_9/map@5", "lukewarm/recall@5", "users", "auc@5", "novel@5"):
        with pytest.raises(ValueError, match=rf"fit.monitor='{bad}' is nothing that evaluate measures"):
            toy(fit=FitConfig(monitor=bad))
    assert toy(model=Popularity, fit=FitConfig(monitor="recall@999")).model is Popularity  # chooses no epoch
    with pytest.raises(ValueError, match="nothing that evaluate measures"):  # but a search would choose by it
        toy(
            model=Popularity,
            fit=FitConfig(epochs=1, monitor="recall@999"),
            tuning=Tuning(space={"fit.epochs": Choice(1, 2)}),
        )


def novel(ranking):
    return 1 - ranking.hits[:, 0].double()


novel.at_k = False


def test_an_objective_is_the_models_argument():
    made = toy(model=BPRMF, objective=SampledSoftmax(negatives=3))
    assert prepare(made, 0).model.objective == SampledSoftmax(negatives=3)
    assert made.identity(0).id == toy(model=BPRMF, model_args={"objective": SampledSoftmax(negatives=3)}).identity(0).id
    assert made.identity(0).id != toy(model=BPRMF, objective=SampledSoftmax(negatives=4)).identity(0).id
    assert toy(model=BPRMF, objective=BPR()).identity(0).id != made.identity(0).id
    with pytest.raises(ValueError, match="Dots takes no objective"):
        toy(objective=BPR())
    with pytest.raises(ValueError, match="given twice"):
        toy(model=BPRMF, objective=BPR(), model_args={"objective": BPR()})


STEPS: list[int] = []


@dataclasses.dataclass
class Counts(Callback):
    """Counts its own steps, and tells a list outside."""

    mine: int = 0

    def on_step(self, step):
        self.mine += 1
        STEPS.append(self.mine)


def test_optimiser_schedule_callback_metric_and_candidates_in_one_experiment(tmp_path):
    STEPS.clear()
    made = toy(
        model=BPRMF,
        objective=SampledSoftmax(negatives=3),
        fit=FitConfig(epochs=3, batch_size=64, optimizer=AdamW(), schedule=Cosine(floor=0.1), monitor="novel"),
        evaluate=EvalConfig(k=(5,), metrics=(novel,), candidates=SampledCandidates(9)),
        callbacks=(Counts(),),
    )
    result = run(made, 0, tmp_path)
    assert len(STEPS) >= 3
    run(made, 1, tmp_path)
    assert STEPS.count(1) == 2  # a run has callbacks of its own
    assert made.callbacks == (Counts(),)
    assert "novel" in result.test["all"]
    assert "candidates" in result.data["protocol"]["parameters"]
    assert load(tmp_path / "dots/0").model.objective == made.objective
    for changes in ({"fit.optimizer": Adam()}, {"fit.schedule": None}, {"evaluate.candidates": SampledCandidates(5)}):
        assert made.variant(changes).identity(0).id != made.identity(0).id
    assert made.variant(callbacks=()).identity(0).id != made.identity(0).id


def test_variant_changes_parts_and_checks_them():
    changed = toy().variant({"fit.learning_rate": 0.5, "model_args.embedding_dim": 2}, name="other")
    assert (changed.name, changed.fit.learning_rate, changed.fit.epochs) == ("other", 0.5, 3)
    assert changed.model_args == {"embedding_dim": 2}
    assert toy().model_args == {}
    for bad in ({"fit.lr": 1.0}, {"fitt.epochs": 1}, {"model_args.dim": 2}, {"name.x": 1}):
        with pytest.raises(ValueError, match=r"lr|fitt|dim|name"):
            toy().variant(bad)


def test_resolved_config_is_json_holds_defaults_and_is_the_same_every_time():
    config = toy(epoch_transforms=(EdgeDrop(0.1),), baselines=(toy(name="b"),)).resolved()
    assert config["model_args"] == {"embedding_dim": 4, "scale": 0.1}
    assert config["split"] == f"{toy_split.__module__}:toy_split"
    assert config["baselines"] == ["b"]
    assert "0.1" in json.dumps(config["epoch_transforms"])
    assert json.loads(json.dumps(config)) == config
    assert describe(functools.partial(toy, name="x"))["keywords"] == {"name": "x"}
    assert describe(object()) == {"class": "builtins:object"}  # no address in it
    assert repr(toy()) == str(toy()) == "Experiment('dots': Dots on toy_split, 2 seeds)"
    assert repr(toy(seeds=(3,), baselines=(toy(name="b"),))).endswith("1 seed, 1 baselines)")


# --- running ----------------------------------------------------------------------------------------------------------


def test_run_writes_one_complete_folder(tmp_path):
    result = run(toy(), 0, tmp_path)
    folder = tmp_path / "dots" / "0"
    assert {p.name for p in folder.iterdir()} == {
        "identity.json",
        "result.json",
        "trained.json",
        "per_user.parquet",
        *FILES,
        "log.jsonl",
        "lock",
    }
    raw = json.loads((folder / "result.json").read_text())
    assert {"experiment", "protocol", "seed", "valid", "test", "config", "environment", "data"} <= raw.keys()
    assert raw["test"]["all"]["recall@5"] == result.test["all"]["recall@5"]
    assert raw["protocol"] == toy_split().protocol_id
    assert raw["data"]["fingerprint"] == toy_split().dataset.fingerprint()
    assert [(o["experiment"], o["times"], o["seeds"]) for o in raw["openings"]] == [("dots", 1, [0])]
    assert raw["identity"] == toy().identity(0).id
    per_user = result.per_user()
    assert per_user["recall@5"].mean() == pytest.approx(result.metric("recall@5"), abs=1e-12)
    assert result.per_user(stage="valid")["ndcg@10"].mean() == pytest.approx(result.valid["all"]["ndcg@10"])
    assert Result.load(folder).test["all"] == pytest.approx(result.test["all"], nan_ok=True)
    with pytest.raises(KeyError, match=r"no metric 'recall@7'; there are .*recall@5"):
        result.metric("recall@7")


def test_same_seed_same_numbers_other_seed_other_numbers(tmp_path):
    first, second = run(toy(), 0, tmp_path / "a"), run(toy(), 0, tmp_path / "b")
    assert first.test["all"] == pytest.approx(second.test["all"], rel=0, abs=0, nan_ok=True)
    assert run(toy(), 1, tmp_path / "a").test["all"]["auc"] != first.test["all"]["auc"]


def test_a_head_begins_every_run_with_the_weights_it_was_given(tmp_path):
    head = NCFHead(8)
    given = {name: value.clone() for name, value in head.state_dict().items()}
    experiment = toy(model=BPRMF, model_args={"head": head, "embedding_dim": 8}, name="headed")
    told = experiment.identity(0).id
    first, second = (run(experiment, 0, tmp_path / name) for name in "ab")
    assert first.test["all"] == pytest.approx(second.test["all"], rel=0, abs=0, nan_ok=True)
    assert all(torch.equal(head.state_dict()[name], value) for name, value in given.items())
    assert experiment.identity(0).id == told


def test_resume_returns_a_finished_result_and_refuses_another_configuration(tmp_path):
    first = run(toy(), 0, tmp_path)
    stamp = (tmp_path / "dots/0/result.json").stat().st_mtime_ns
    again = run(toy(), 0, tmp_path, resume=True)
    assert again.test["all"]["recall@5"] == first.test["all"]["recall@5"]
    assert (tmp_path / "dots/0/result.json").stat().st_mtime_ns == stamp
    assert again.opened == 1
    with pytest.raises(ValueError, match=r"another configuration(.|\n)*fit.epochs: there 3, here 4"):
        run(toy().variant({"fit.epochs": 4}), 0, tmp_path, resume=True)


def test_a_finished_run_is_not_returned_when_its_data_changed(tmp_path):
    run(toy(), 0, tmp_path)
    less = world().where(pl.col("video") != 3)
    for changed in (lambda: random_split(less, seed=0), lambda: random_split(world(), seed=1)):
        with pytest.raises(ValueError, match=r"other data(.|\n)*split.manifest.train: there"):
            run(toy(split=changed), 0, tmp_path, resume=True)
    late = Dataset(**vars(world()) | {"interactions": world().interactions.with_columns(time=pl.lit(5.0))})
    with pytest.raises(ValueError, match=r"\n  graph.test: there"):  # the same pairs, with times
        run(toy(split=lambda: random_split(late, seed=0)), 0, tmp_path, resume=True)


def test_a_run_is_overwritten_only_where_somebody_says_so(tmp_path):
    first = run(toy(), 0, tmp_path)
    before = (tmp_path / "dots/0/result.json").read_bytes()
    with pytest.raises(RunExists, match="finished run of the same experiment"):
        run(toy(), 0, tmp_path)
    with pytest.raises(RunExists, match="another experiment, or on other data"):  # a variant that kept its name
        run(toy().variant({"model_args.embedding_dim": 2}), 0, tmp_path)
    with pytest.raises(ValueError, match="say one of them"):
        run(toy(), 0, tmp_path, resume=True, overwrite=True)
    assert (tmp_path / "dots/0/result.json").read_bytes() == before
    again = run(toy(), 0, tmp_path, overwrite=True)
    assert (first.opened, again.opened) == (1, 2)
    (tmp_path / "dots/0/result.json").unlink()
    with pytest.raises(RunExists, match="an unfinished run of the same"):
        run(toy(), 0, tmp_path)
    (tmp_path / "dots/0/identity.json").unlink()
    with pytest.raises(ValueError, match="does not say what made it"):
        run(toy(), 0, tmp_path, resume=True)


def test_one_process_at_a_time_works_in_a_run_folder(tmp_path):
    with owned(tmp_path / "dots/0"), pytest.raises(ValueError, match=r"dots/0 is in use by a run: process \d+ on "):
        run(toy(), 0, tmp_path)
    assert run(toy(), 0, tmp_path).opened == 1


def test_every_flipped_byte_of_a_result_is_noticed(tmp_path):
    result = run(toy(), 0, tmp_path)
    folder = tmp_path / "dots/0"
    for name, read in (("result.json", Result.load), ("per_user.parquet", lambda _: result.per_user())):
        whole = (folder / name).read_bytes()
        for place in np.linspace(0, len(whole) - 1, 60).astype(int):
            changed = bytearray(whole)
            changed[place] ^= 4
            (folder / name).write_bytes(changed)
            with pytest.raises(DamagedFile, match=name):
                read(folder)
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamagedFile, match=name):
            read(folder)
        (folder / name).write_bytes(whole)
        read(folder)
    (folder / "result.json").write_text('{"experiment": "dots", "test": 3}')
    with pytest.raises(DamagedFile, match=r"result\.json is no result"):
        Result.load(folder)


def test_resume_after_a_stop_gives_the_same_result(tmp_path, monkeypatch):
    whole = run(toy(), 0, tmp_path / "a")
    half = toy().variant({"fit.checkpoint_seconds": 0.0})

    def stop(*_):
        raise KeyboardInterrupt

    calls, loss = [], Dots.loss

    def loss_that_stops(self, graph, batch):
        calls.append(1)
        return stop() if len(calls) == 6 else loss(self, graph, batch)

    monkeypatch.setattr(Dots, "loss", loss_that_stops)
    with pytest.raises(KeyboardInterrupt):
        run(half, 0, tmp_path / "b")
    assert not (tmp_path / "b/dots/0/result.json").exists()
    with pytest.raises(FileNotFoundError, match="--resume"):
        Result.load(tmp_path / "b/dots/0")
    resumed = run(half, 0, tmp_path / "b", resume=True)
    assert resumed.test["all"] == pytest.approx(whole.test["all"], rel=0, abs=0, nan_ok=True)


def test_the_monitor_may_name_a_group(tmp_path):
    result = run(toy().variant({"fit.monitor": "activity_2/recall@5"}), 0, tmp_path)
    assert result.training["monitor"] == result.valid["activity_2"]["recall@5"]


def test_transforms_change_the_graph_but_not_the_mask():
    ready = prepare(toy(transforms=(EdgeDrop(0.5),)), 0)
    assert isinstance(ready, Prepared)
    assert ready.graph.seen.num_edges < ready.seen.num_edges == len(ready.split.train)
    same = prepare(toy(transforms=(EdgeDrop(0.5),)), 0)
    assert torch.equal(ready.graph.seen.indices, same.graph.seen.indices)
    torch.manual_seed(123)  # whatever the caller's generator is at
    same = prepare(toy(transforms=(EdgeDrop(0.5),)), 0)
    assert torch.equal(ready.model.user, same.model.user)
    assert not torch.equal(ready.model.user, prepare(toy(), 1).model.user)


def test_training_is_judged_under_the_mask_of_the_split(tmp_path):
    result = run(toy(transforms=(EdgeDrop(0.5),)), 0, tmp_path)
    assert result.training["monitor"] == result.valid["all"]["recall@5"]


def test_restore_gives_back_the_trained_model(tmp_path):
    result = run(toy(), 1, tmp_path)
    ready = restore(Result.load(tmp_path / "dots/1"), toy())
    untrained = prepare(toy(), 1).model
    assert not torch.equal(ready.model.user, untrained.user)
    from mmgraph.evaluate import evaluate

    valid = evaluate(ready.model, ready.graph, ready.split.valid, toy().evaluate)
    assert valid["all"]["auc"] == result.valid["all"]["auc"]
    with pytest.raises(ValueError, match="another configuration"):
        restore(result, toy().variant({"model_args.scale": 0.2}))


def test_run_all_runs_baselines_first_closed_forms_once_and_builds_the_split_once(tmp_path):
    built = []

    def counted():
        built.append(1)
        return toy_split()

    experiment = toy(split=counted, baselines=(toy(name="popularity", model=Popularity, split=counted),))
    told = []
    results = run_all(experiment, tmp_path, report=told.append)
    assert [(r.experiment, r.seed) for r in results] == [("popularity", 0), ("dots", 0), ("dots", 1)]
    assert told == results
    assert len(built) == 1
    shorter = run_all(experiment, tmp_path / "b", seeds=[5], baselines=False)
    assert [(r.experiment, r.seed) for r in shorter] == [("dots", 5)]


def test_search_chooses_on_valid_keeps_every_trial_and_never_opens_the_test(tmp_path):
    split = toy_split()
    grid = {"fit.learning_rate": [0.05, 1e-6], "model_args.embedding_dim": [2, 4]}
    found = search(toy(split=lambda: split), grid, 0, tmp_path)
    assert isinstance(found, Search)
    assert split.openings == ()
    assert len(found.trials) == 4
    assert all(isinstance(t, Trial) for t in found.trials)
    best = max(t.valid["recall@5"] for t in found.trials)
    assert found.best.valid["recall@5"] == best
    assert found.experiment.fit.learning_rate == found.best.changes["fit.learning_rate"]
    assert found.experiment.name == "dots"
    assert found.frame()["recall@5"].is_sorted(descending=True)
    assert len(list(found.directory.glob("*/trial.json"))) == 4

    again = search(toy(), grid, 0, tmp_path / "other", max_trials=2)
    assert len(again.trials) == 2
    with pytest.raises(ValueError, match="grid"):
        search(toy(), {"fit.learning_rate": []}, 0, tmp_path)


def test_a_search_started_again_reads_the_trials_that_are_there(tmp_path):
    grid = {"fit.learning_rate": [0.05, 0.01]}
    first = search(toy(), grid, 0, tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in first.directory.glob("*/trial.json")}
    assert search(toy(), grid, 0, tmp_path).best == first.best
    assert {p: p.stat().st_mtime_ns for p in first.directory.glob("*/trial.json")} == stamps
    half = next(iter(stamps))
    half.write_bytes(half.read_bytes()[:40])
    assert search(toy(), grid, 0, tmp_path).best.valid == first.best.valid  # half a trial is tried again
    assert half.stat().st_size > 40


def test_a_search_never_returns_trials_of_other_data(tmp_path):
    grid = {"fit.learning_rate": [0.05, 0.01]}
    first = search(toy(), grid, 0, tmp_path)
    other = search(toy(split=lambda: random_split(world(), seed=3)), grid, 0, tmp_path)
    assert [t.valid for t in first.trials] != [t.valid for t in other.trials]
    assert len(list(first.directory.glob("*/trial.json"))) == 4


def test_a_diverged_trial_is_a_finding(tmp_path):
    found = search(toy(), {"model_args.scale": [0.1, 1e30]}, 0, tmp_path)
    failed = [t for t in found.trials if t.error]
    assert [t.changes["model_args.scale"] for t in failed] == [1e30]
    assert "not finite" in failed[0].error
    assert found.best.changes["model_args.scale"] == 0.1


def test_the_command_is_what_was_typed(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/cold_start.py", "--seeds", "2"])
    for name in ("benchmarks.cold_start", "benchmarks.cold_start.__main__"):
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec(name, None))
        assert environment()["command"] == "python -m benchmarks.cold_start --seeds 2"
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert environment()["command"] == "cold_start.py --seeds 2"


def test_environment_names_versions_hardware_and_command():
    found = environment()
    assert found["versions"]["torch"] == torch.__version__
    assert found["hardware"]["cores"] >= 1
    assert found["command"]


# --- statistics -------------------------------------------------------------------------------------------------------


def test_exposures_of_the_test_make_another_protocol(tmp_path):
    shown = torch.arange(4)
    made = functools.partial(Exposures, shown, shown, shown.double(), shown > 1)
    plain = toy(name="plain")
    before = plain.variant(name="before", transforms=(made(transductive=False),))
    after = plain.variant(name="after", transforms=(made(transductive=True),))
    ids = {e.name: run(e, 0, tmp_path).protocol for e in (plain, before, after)}
    assert ids["plain"] == ids["before"] != ids["after"]
    result = Result.load(tmp_path / "after" / "0")
    assert result.data["protocol"]["parameters"]["transductive_exposure"] is True
    # one test was opened three times here, under two protocols
    assert [(o["experiment"], o["protocols"]) for o in result.openings] == [(e, [ids[e]]) for e in ids]
    assert result.opened == 3
    assert openings(tmp_path, toy_split()) == result.openings
    assert restore(result, after).split.protocol_id == ids["after"]
    with pytest.raises(ValueError, match="different protocols"):
        compare([Result.load(tmp_path / "before" / "0")], [result], "recall@5")


def stored(tmp_path, name, seed, values, protocol="p-1"):
    """A result with these per-user values of recall@5."""
    folder = tmp_path / name / str(seed)
    folder.mkdir(parents=True)
    frame = pl.DataFrame({"stage": "test", "group": "all", "user": range(len(values)), "recall@5": values})
    frame.write_parquet(folder / "per_user.parquet")
    metrics = {"all": {"recall@5": float(np.mean(values)), "ndcg@5": 0.5}}
    empty = {"config": {}, "environment": {}, "data": {}}
    return Result(experiment=name, protocol=protocol, seed=seed, valid={}, test=metrics, **empty).save(folder)


def test_paired_t_test_equals_scipy_and_knows_its_edges():
    from scipy import stats

    d = np.random.default_rng(0).normal(0.1, 1, 50)
    t, p = paired_t_test(d)
    want = stats.ttest_1samp(d, 0)
    assert (t, p) == pytest.approx((want.statistic, want.pvalue))
    assert paired_t_test(np.zeros(3)) == (0.0, 1.0)
    assert paired_t_test(np.ones(3)) == (math.inf, 0.0)
    assert math.isnan(paired_t_test(np.ones(1))[1])


def test_compare_pairs_users_and_seeds(tmp_path):
    random = np.random.default_rng(1)
    base = [random.random(200) for _ in range(3)]
    shift = [0.05 + 0.1 * random.standard_normal(200) for _ in range(3)]
    b = [stored(tmp_path, "b", s, base[s]) for s in range(3)]
    a = [stored(tmp_path, "a", s, base[s] + shift[s]) for s in range(3)]
    found = compare(a, b, "recall@5")
    d = np.mean(shift, 0)
    assert isinstance(found, Comparison)
    assert found.difference == pytest.approx(d.mean())
    assert (found.users, found.seeds) == (200, 3)
    assert found.p_users == pytest.approx(paired_t_test(d)[1])
    assert found.p_seeds == pytest.approx(paired_t_test(np.array([s.mean() for s in shift]))[1])
    assert found.p_seeds_permutation == 2 / 2**3  # all three have one sign
    assert found.p_permutation == pytest.approx(1 / 2001)
    assert found.low < d.mean() < found.high
    half = 1.96 * d.std(ddof=1) / 200**0.5
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)
    assert compare(b, a, "recall@5").difference == -found.difference
    same = compare(a, a, "recall@5")
    assert (same.difference, same.p_users, same.p_permutation) == (0, 1, 1)
    assert "paired t-test" in str(found)


def test_a_single_baseline_stands_against_every_seed(tmp_path):
    b = [stored(tmp_path, "b", 0, [0.1, 0.2, 0.3])]
    a = [stored(tmp_path, "a", s, [0.2, 0.3 + s / 100, 0.5]) for s in range(2)]
    found = compare(a, b, "recall@5")
    assert found.seeds == 2
    assert found.p_seeds_permutation == 0.5


def test_compare_refuses_what_does_not_pair(tmp_path):
    a = [stored(tmp_path, "a", s, [0.1, 0.2]) for s in range(3)]
    b = [stored(tmp_path, "b", s, [0.1, 0.2]) for s in range(2)]
    with pytest.raises(ValueError, match="seeds do not pair"):
        compare(a, b, "recall@5")
    with pytest.raises(ValueError, match="different protocols"):
        compare(a, [stored(tmp_path, "c", 0, [0.1, 0.2], protocol="p-2")], "recall@5")
    with pytest.raises(ValueError, match="different users"):
        compare(a, [stored(tmp_path, "d", 0, [0.1])], "recall@5")
    with pytest.raises(ValueError, match="several experiments"):
        compare([a[0], b[0]], b, "recall@5")
    with pytest.raises(KeyError, match=r"no per-user 'ndcg@5'"):
        compare(a, a, "ndcg@5")


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_table_gives_mean_and_sample_deviation_over_seeds(tmp_path):
    results = [stored(tmp_path, "my_model", s, [0.1 + 0.01 * s]) for s in range(3)]
    results += [stored(tmp_path, "pop", 0, [0.0597])]
    shown = table(results, ["recall@5", "ndcg@5"], published={"paper": {"recall@5": 0.05}})
    assert isinstance(shown, ResultTable)
    assert shown.rows["my_model"][0].mean == pytest.approx(0.11)
    assert shown.rows["my_model"][0].std == pytest.approx(0.01)
    text = shown.markdown()
    assert "| my_model | .1100 ± .0100 | .5000 ± .0000 | 3 |" in text  # one user: nothing is shown to be best
    assert "| pop | .0597 | .5000 | 1 |" in text
    assert "| paper (quoted; chosen: not said) | .0500 | – | – |" in text
    latex = shown.latex()
    assert r"my\_model & $.1100 \pm .0100$" in latex
    assert latex.count(r"\\") == 4
    assert shown.rich().row_count == 3
    assert str(shown) == text
    assert Cell(math.nan, math.nan).text() == "–"


def test_table_refuses_two_protocols_and_repeated_seeds(tmp_path):
    one = stored(tmp_path, "a", 0, [0.1])
    with pytest.raises(ValueError, match="one protocol"):
        table([one, stored(tmp_path, "b", 0, [0.1], protocol="p-2")], ["recall@5"])
    with pytest.raises(ValueError, match="two results for seed 0"):
        table([one, one], ["recall@5"])
    with pytest.raises(ValueError, match="no results"):
        table([])


def test_tables_script_reads_runs_and_compares(tmp_path, capsys):
    from benchmarks.tables import comparisons, finished, main

    random = np.random.default_rng(0)
    for s in range(2):
        noise = random.random(50)
        stored(tmp_path, "weak", s, noise)
        stored(tmp_path, "strong", s, noise + 0.1 + 0.01 * random.random(50))
    (tmp_path / "weak" / "search-0").mkdir()
    results = finished(tmp_path)
    assert [(r.experiment, r.seed) for r in results] == [("strong", 0), ("strong", 1), ("weak", 0), ("weak", 1)]
    lines = comparisons(results, "strong", "recall@5", "all")
    assert len(lines) == 1
    assert lines[0].startswith("strong - weak: recall@5")
    main([str(tmp_path), "--metrics", "recall@5", "--against", "strong"])
    printed = capsys.readouterr().out
    assert "| strong | **" in printed
    assert "Holm p = " in printed
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nothing")])
