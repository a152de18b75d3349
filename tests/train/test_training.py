"""The training loop: stopping, resuming to the bit, refusing what is not a number."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmgraph.config import SettingError
from mmgraph.evaluate import evaluate
from mmgraph.graph import EdgeDrop
from mmgraph.models import BPRMF, EASE, LightGCN
from mmgraph.nn import evaluating
from mmgraph.train import (
    Adam,
    AdamW,
    Callback,
    FitConfig,
    FitReport,
    Optimiser,
    RowwiseAdagrad,
    SparseAdam,
    fit,
    load_checkpoint,
)
from tests.worlds import checkerboard, twelve_nodes


def lightgcn(seed: int = 0) -> LightGCN:
    torch.manual_seed(seed)
    return LightGCN(checkerboard(), embedding_dim=8, num_layers=2)


def test_the_best_epoch_remains_and_training_stops_after_patience():
    scores = iter([0.1, 0.5, 0.4, 0.4, 0.3, 0.9])
    states = []

    def validate(model):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"recall@20": next(scores)}

    model = lightgcn()
    report = fit(model, checkerboard(), validate, FitConfig(epochs=50, patience=3, batch_size=64))
    assert isinstance(report, FitReport)
    assert report.seconds == sum(row["seconds"] for row in report.history) > 0
    assert report.best_epoch == 1
    assert report.best == {"recall@20": 0.5}
    assert len(report.history) == 5
    assert "did not rise" in report.stopped
    assert torch.equal(model.embedding, states[1]["embedding"])


def test_validation_every_other_epoch_counts_patience_in_validations():
    calls = []

    def validate(model):
        calls.append(1)
        return {"ndcg@20": 0.5, "recall@20": -len(calls)}

    report = fit(lightgcn(), checkerboard(), validate, FitConfig(epochs=50, patience=2, eval_every=2, batch_size=64))
    assert len(calls) == 3
    assert len(report.history) == 6


def test_the_log_has_a_row_an_epoch(tmp_path):
    fit(lightgcn(), checkerboard(), config=FitConfig(epochs=3, batch_size=64), directory=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [0, 1, 2]
    assert rows[2]["loss/bpr"] < rows[0]["loss/bpr"]


def run_to(epochs: int, folder: Path | None = None, resume: bool = False, seed: int = 5) -> LightGCN:
    model = lightgcn()
    fit(
        model,
        checkerboard(),
        config=FitConfig(epochs=epochs, batch_size=64, checkpoint_seconds=0),
        seed=seed,
        directory=folder,
        resume=resume,
        epoch_transforms=[EdgeDrop(0.3)],
    )
    return model


def test_resume_continues_to_the_bit(tmp_path):
    whole = run_to(8)
    run_to(3, tmp_path)
    assert torch.equal(run_to(8, tmp_path, resume=True).embedding, whole.embedding)


class Noisy(LightGCN):
    """LightGCN with dropout: it draws from torch's global stream at each batch."""

    def loss(self, graph, batch):
        kept = torch.nn.functional.dropout(self.embedding, 0.5, self.training)
        return super().loss(graph, batch) | {"noise": kept.square().mean()}


def test_resume_continues_to_the_bit_with_dropout(tmp_path):
    def to(epochs, folder=None):
        torch.manual_seed(0)
        model = Noisy(checkerboard(), embedding_dim=8, num_layers=2)
        config = FitConfig(epochs=epochs, batch_size=64, checkpoint_seconds=0)
        fit(model, checkerboard(), config=config, seed=2, directory=folder, resume=folder is not None)
        return model.embedding

    whole = to(5)
    to(2, tmp_path)
    torch.rand(7)  # wherever the global stream stands
    assert torch.equal(to(5, tmp_path), whole)


def test_resume_refuses_a_checkpoint_of_another_seed(tmp_path):
    run_to(2, tmp_path)
    with pytest.raises(ValueError, match=r"of another run.*\n  seed: there 5, here 6"):
        run_to(4, tmp_path, resume=True, seed=6)


def test_nan_stops_with_the_batch_named(tmp_path):
    model = lightgcn()
    loss = model.loss
    calls = []

    def broken(graph, batch):
        calls.append(1)
        terms = loss(graph, batch)
        return terms | {"bpr": terms["bpr"] * float("nan")} if len(calls) == 7 else terms

    model.loss = broken  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1 of 5 \(seed 3\): \{'bpr': nan\}"):
        fit(model, checkerboard(), config=FitConfig(epochs=4, batch_size=64), seed=3, directory=tmp_path)


def test_a_closed_form_is_solved_and_saved(tmp_path):
    graph = twelve_nodes()
    model = EASE(graph, reg=1.0)
    report = fit(model, graph, lambda m: {"recall@20": 0.25}, directory=tmp_path)
    assert report.best == {"recall@20": 0.25}
    assert torch.equal(load_checkpoint(tmp_path / "checkpoint.pt")["model"]["weight"], model.weight)


def test_bf16_trains():
    model = BPRMF(checkerboard(), embedding_dim=8)
    report = fit(model, checkerboard(), config=FitConfig(epochs=5, batch_size=64, precision="bf16", learning_rate=0.05))
    assert report.history[-1]["loss/bpr"] < report.history[0]["loss/bpr"]


def test_fit_leaves_the_global_random_stream_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    model = lightgcn()
    torch.manual_seed(1)
    fit(model, checkerboard(), config=FitConfig(epochs=1))
    assert torch.equal(torch.rand(1), expected)


# -- what is reported ---------------------------------------------------------------------------------------------


def trained_on(values, **settings):
    """The report of a run whose validations give these values."""
    given = iter(values)
    config = FitConfig(**{"epochs": len(values), "batch_size": 2048} | settings)
    return fit(lightgcn(), checkerboard(), lambda m: {"recall@20": next(given)}, config)


def test_an_equal_value_is_no_rise():
    report = trained_on([0.5, 0.5, 0.5, 0.6], patience=2)
    assert (report.best_epoch, len(report.history)) == (0, 3)


def test_a_run_that_ended_while_still_rising_says_so(caplog):
    rising = trained_on([0.1, 0.2, 0.3])
    assert rising.rising
    assert rising.stopped == "all 3 epochs, recall@20 still rising"
    assert "give it more epochs" in caplog.text
    caplog.clear()
    assert not trained_on([0.1, 0.3, 0.2]).rising
    assert not trained_on([0.1, 0.2, 0.2, 0.2], patience=2).rising
    assert trained_on([0.1] * 18 + [0.3, 0.2], patience=30).rising  # among the last tenth
    assert not trained_on([0.1] * 17 + [0.3, 0.2, 0.2], patience=30).rising
    assert not trained_on([0.1]).rising  # one validation says nothing


def test_a_first_nan_does_not_win_for_ever(caplog):
    report = trained_on([math.nan, 0.1, math.nan, 0.2], patience=3)
    assert (report.best_epoch, report.best) == (3, {"recall@20": 0.2})
    assert "recall@20 is not a number in the validation of epoch 0" in caplog.text
    never = trained_on([math.nan] * 5, patience=3)
    assert (never.best, len(never.history)) == ({}, 3)
    assert "never a number, so the last weights remain" in never.stopped


def test_the_report_is_short_in_print():
    text = repr(trained_on([0.1, 0.3, 0.2]))
    assert text == "FitReport(3 epochs, best epoch 1: recall@20 0.3000; all 3 epochs)"
    other = FitReport(best_epoch=2, best={"ndcg@5": 0.9, "recall@5": 0.4}, monitor="recall@5", stopped="enough")
    assert repr(other) == "FitReport(0 epochs, best epoch 2: recall@5 0.4000; enough)"
    assert repr(FitReport()) == "FitReport(0 epochs; not finished)"


# -- checked at the door ------------------------------------------------------------------------------------------


def test_a_monitor_that_is_not_measured_is_named():
    with pytest.raises(KeyError, match=r"'ndcg@10' is not among the validation metrics \['recall@20'\]"):
        fit(lightgcn(), checkerboard(), lambda m: {"recall@20": 1.0}, FitConfig(epochs=1, monitor="ndcg@10"))


def test_a_monitor_is_looked_up_before_training_where_validate_says_what_it_gives():
    class Validate:
        metrics = ("recall@20",)

        def __call__(self, model):
            raise AssertionError("trained before it looked")

    with pytest.raises(KeyError, match="'ndcg@10' is not among"):
        fit(lightgcn(), checkerboard(), Validate(), FitConfig(epochs=1, monitor="ndcg@10"))


def test_a_validation_that_gives_something_else_says_what_to_return():
    targets = pl.DataFrame({"user": [0, 1], "video": [0, 1]})
    graph = checkerboard()
    for wrong, what in (
        (lambda m: evaluate(m, graph, targets), "validate gave a Evaluation"),
        (lambda m: evaluate(m, graph, targets).metrics, "validate gave metrics of several groups"),
        (lambda m: 0.5, "validate gave a float"),
        (lambda m: {"recall@20": "high"}, "a metric that is no number"),
    ):
        with pytest.raises(TypeError, match=what):
            fit(lightgcn(), graph, wrong, FitConfig(epochs=1, batch_size=64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.1}, "no setting 'lr'; did you mean 'learning_rate'"),
        ({"lerning_rate": 0.1}, "did you mean 'learning_rate'"),
        ({"epochs": True}, "epochs.* must be a number; got True"),
        ({"epochs": -1}, r"epochs must be greater than or equal to 0"),
        ({"learning_rate": math.inf}, "learning_rate must be a finite number"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"weight_decay": -1}, "weight_decay must be"),
        ({"clip_norm": 0}, "clip_norm must be greater than 0"),
        ({"batch_size": 1.5}, "batch_size must be"),
        ({"device": "gpu"}, "no device 'gpu'; did you mean 'cuda'"),
        ({"device": "cdua"}, "did you mean 'cuda'"),
        ({"precision": "fp16"}, "precision must be 'fp32' or 'bf16'"),
        ({"monitor": ""}, "monitor"),
    ],
)
def test_settings_are_checked_when_they_are_made(settings, message):
    with pytest.raises(SettingError, match=message):
        FitConfig(**settings)


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device='cuda', but torch .* sees none here: use device='cpu'"):
        fit(lightgcn(), checkerboard(), config=FitConfig(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="there are 2: cuda:0 to cuda:1"):
        fit(lightgcn(), checkerboard(), config=FitConfig(device="cuda:2"))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="config must be a FitConfig"):
        fit(lightgcn(), checkerboard(), config={"epochs": 1})  # type: ignore[arg-type]
    for seed in (-1, True, 0.5, None):
        with pytest.raises(ValueError, match="seed must be a whole number from 0"):
            fit(lightgcn(), checkerboard(), seed=seed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="LightGCN has no parameter that takes a gradient"):
        fit(lightgcn().requires_grad_(False), checkerboard())


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ({}, TypeError, "loss gave no term"),
        ({"bpr": torch.ones(3, requires_grad=True)}, TypeError, r"the term 'bpr' is of shape \[3\], not a scalar"),
        ({"bpr": 0.5}, TypeError, "the term 'bpr' is a float"),
        ({"bpr": torch.ones(())}, ValueError, r"no term of \['bpr'\] depends on a parameter"),
    ],
)
def test_a_loss_that_cannot_be_minimised_is_refused(terms, error, message):
    model = lightgcn()
    model.loss = lambda graph, batch: terms  # type: ignore[method-assign]
    with pytest.raises(error, match=message):
        fit(model, checkerboard(), config=FitConfig(epochs=1))


# -- steps --------------------------------------------------------------------------------------------------------


class Descent(Optimiser):
    """θ ← θ − lr g."""

    def make(self, parameters, learning_rate, weight_decay):
        return torch.optim.SGD(parameters, lr=learning_rate)


@pytest.mark.parametrize(("clip", "length"), [(1e-3, 1e-3), (1e3, None)])
def test_a_long_gradient_is_cut_and_a_short_one_is_not(clip, length):
    def move(**settings):
        model = lightgcn()
        before = model.embedding.detach().clone()
        config = FitConfig(epochs=1, batch_size=10_000, learning_rate=1.0, optimizer=Descent(), **settings)
        fit(model, checkerboard(), config=config)
        return model.embedding.detach() - before

    free = move()
    expected = free if length is None else free * (length / free.norm())
    torch.testing.assert_close(move(clip_norm=clip), expected, rtol=1e-3, atol=1e-7)


class Reads(TorchDispatchMode):
    """Counts how often a number is fetched from a tensor: on a GPU each time waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimiser", [Adam(), AdamW(), SparseAdam(), RowwiseAdagrad()])
def test_no_number_is_fetched_within_a_step(optimiser):
    class Counted(LightGCN):
        """Its sampler gives the same few batches, again and again, so that only what steps fetch can grow."""

        repeats = 1

        def loss(self, graph, batch):
            return {"norm": self.embedding[batch.user].square().sum()}

        def sampler(self, graph, batch_size):
            batches = list(super().sampler(graph, batch_size).epoch(0, 0)) * self.repeats

            class Same:
                def __len__(self):
                    return len(batches)

                def epoch(self, seed, epoch):
                    return iter(batches)

            return Same()

    counts = []
    for repeats in (1, 10):
        torch.manual_seed(0)
        model = Counted(checkerboard(), embedding_dim=8)
        model.repeats = repeats
        config = FitConfig(epochs=1, batch_size=64, optimizer=optimiser, clip_norm=1.0)
        with Reads() as reads:
            fit(model, checkerboard(), config=config)
        counts.append(reads.count)
    assert counts[0] == counts[1] > 0


def failing_at(step: int, terms: dict[str, float], batch_size: int, folder=None, **settings):
    """What a run says whose loss at one step has these terms in place of its own."""
    model, calls = lightgcn(), []
    loss = model.loss

    def broken(graph, batch):
        calls.append(1)
        found = loss(graph, batch)
        return {k: v * 0 + terms.get(k, v.detach()) if len(calls) > step else v for k, v in found.items()}

    model.loss = broken  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError) as caught:
        fit(model, checkerboard(), config=FitConfig(batch_size=batch_size, **settings), seed=3, directory=folder)
    return str(caught.value)


@pytest.mark.parametrize("step", [0, 63, 64, 66])
def test_the_first_batch_that_failed_is_named_however_late_one_looks(step):
    # 264 pairs in batches of 4: 66 an epoch
    said = failing_at(step, {"bpr": math.inf}, batch_size=4, epochs=2)
    assert said.startswith(
        f"loss is not finite at epoch {step // 66}, batch {step % 66} of 66 (seed 3): {{'bpr': inf}}"
    )


def test_terms_that_are_finite_but_whose_sum_is_not_are_all_named():
    said = failing_at(2, {"bpr": 2.0**127, "l2": 2.0**127}, batch_size=64, epochs=1)
    assert f"{{'bpr': {2.0**127}, 'l2': {2.0**127}}}" in said


def test_no_checkpoint_is_written_of_a_run_that_is_not_finite(tmp_path):
    said = failing_at(7, {"l2": math.nan}, batch_size=64, epochs=4, folder=tmp_path, checkpoint_seconds=0)
    assert f"the last checkpoint in {tmp_path} is from before it" in said
    saved = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (saved["epoch"], saved["batch"]) == (1, 2)
    assert saved["last"]["embedding"].isfinite().all()


def test_terms_may_differ_from_batch_to_batch():
    model, calls = lightgcn(), []
    loss = model.loss

    def alternating(graph, batch):
        calls.append(1)
        return {k: v for k, v in loss(graph, batch).items() if k == "bpr" or len(calls) % 2}

    model.loss = alternating  # type: ignore[method-assign]
    row = fit(model, checkerboard(), config=FitConfig(epochs=1, batch_size=64, learning_rate=1e-9)).history[0]
    always = fit(lightgcn(), checkerboard(), config=FitConfig(epochs=1, batch_size=64, learning_rate=1e-9)).history[0]
    assert row["loss/bpr"] == always["loss/bpr"]
    assert 0.4 * always["loss/l2"] < row["loss/l2"] < 0.8 * always["loss/l2"]


def test_a_model_that_is_asked_while_it_trains_stays_in_training():
    """From within a step, as another thread would: ``evaluating`` leaves the mode alone."""
    model, modes = lightgcn(), []

    class Ask(Callback):
        def on_step(self, step):
            modes.append((evaluating(step.model).training, step.model.training))

    fit(model, checkerboard(), config=FitConfig(epochs=1, batch_size=64), callbacks=[Ask()])
    assert set(modes) == {(False, True)}
    assert not model.training


# -- resuming -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weighted:
    """A transform that holds a tensor."""

    weight: torch.Tensor

    def __call__(self, graph, generator=None):
        return graph


def test_a_run_of_something_else_is_not_gone_on_with(tmp_path):
    def to(epochs, resume=True, layers=2, l2=1e-4, graph=None, weight=1.0, identity=None, **settings):
        torch.manual_seed(0)
        graph = checkerboard() if graph is None else graph
        model = LightGCN(graph, embedding_dim=8, num_layers=layers, l2=l2)
        config = FitConfig(**{"epochs": epochs, "batch_size": 64} | settings)
        transforms, where = [Weighted(torch.tensor([weight]))], {"directory": tmp_path, "resume": resume}
        return fit(model, graph, None, config, epoch_transforms=transforms, identity=identity, **where)

    other = checkerboard()
    other["user", "interacts", "video"].edge_index = other["user", "interacts", "video"].edge_index.flip(1)
    features = checkerboard()
    features["audio"].x = features["audio"].x + 1
    to(1, resume=False, identity={"split": "a"})
    for changed, field in (
        ({"layers": 1}, r".*model\.layers\.model\.num_layers: there 2, here 1"),
        ({"l2": 1e-3}, r".*model\.layers\.model\.l2: there 0\.0001, here 0\.001"),
        ({"graph": other}, r"graph\.user interacts video\.edge_index\.hash"),
        ({"graph": features}, r"graph\.audio\.x\.hash"),
        ({"weight": 2.0}, r"epoch_transforms: there"),
        ({"optimizer": AdamW()}, r"fit\.optimizer\.kind: there \"adam\", here \"adamw\""),
        ({"learning_rate": 0.5}, r"fit\.learning_rate: there 0\.001, here 0\.5"),
        ({"identity": {"split": "b"}}, r"identity\.split: there \"a\", here \"b\""),
    ):
        with pytest.raises(ValueError, match=rf"(?s)of another run.*\n  {field}"):
            to(2, **{"identity": {"split": "a"}} | changed)
    assert len(to(2, identity={"split": "a"}, patience=3, checkpoint_seconds=5).history) == 2


def test_more_patience_lets_a_run_go_on_and_a_finished_one_is_returned(tmp_path):
    values = [0.5, 0.4, 0.3, 0.2, 0.1]

    def to(**settings):
        given = iter(values[len(rows) :])
        config = FitConfig(**{"epochs": 5, "batch_size": 64} | settings)
        return fit(
            lightgcn(), checkerboard(), lambda m: {"recall@20": next(given)}, config, directory=tmp_path, resume=True
        )

    rows: list = []
    rows = to(patience=2).history
    assert len(rows) == 3
    assert to(patience=2).stopped == "recall@20 did not rise for 2 validations"
    more = to(patience=4)
    assert (len(more.history), more.best_epoch) == (5, 0)
    assert more.stopped == "recall@20 did not rise for 4 validations"
