"""Callbacks: what they are told, how they end a run, and that a resumed run goes on with their state."""

from __future__ import annotations

import logging
import sys

import pytest
import torch

from mmgraph.models import LightGCN
from mmgraph.train import (
    Callback,
    Cosine,
    Epoch,
    FitConfig,
    LogEpochs,
    Pruned,
    Pruning,
    Start,
    Step,
    StopTraining,
    TensorBoard,
    fit,
    load_checkpoint,
)
from tests.worlds import checkerboard

CONFIG = FitConfig(epochs=4, batch_size=64)


def lightgcn() -> LightGCN:
    torch.manual_seed(0)
    return LightGCN(checkerboard(), embedding_dim=8, num_layers=1)


class Recorder(Callback):
    """Writes down what it is told, and counts."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.steps = 0

    def on_start(self, start: Start) -> None:
        self.told.append(f"start {start.epoch}.{start.batch} of {start.batches}")

    def on_step(self, step: Step) -> None:
        self.steps += 1
        assert set(step.terms) == {"bpr", "l2"}
        assert not step.terms["bpr"].requires_grad
        if step.batch == step.batches - 1:
            self.told.append(f"step {step.epoch}.{step.batch}")

    def on_epoch(self, epoch: Epoch) -> None:
        self.told.append(f"epoch {epoch.epoch} {epoch.row['recall@20']} best {epoch.report.best_epoch}")

    def on_end(self, report) -> None:
        self.told.append(report.stopped)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def test_callbacks_are_told_in_order_and_change_nothing():
    recorder, values = Recorder(), iter([0.1, 0.3, 0.2, 0.2])
    watched, alone = lightgcn(), lightgcn()
    fit(watched, checkerboard(), lambda m: {"recall@20": next(values)}, CONFIG, callbacks=[recorder])
    fit(alone, checkerboard(), config=FitConfig(epochs=2, batch_size=64))
    assert torch.equal(watched.embedding, alone.embedding)  # of epoch 1, the best
    assert recorder.steps == 4 * 5
    assert recorder.told[:3] == ["start 0.0 of 5", "step 0.4", "epoch 0 0.1 best 0"]
    assert recorder.told[-1] == "all 4 epochs"


def test_an_object_with_some_of_the_methods_will_do():
    class Plain:
        def __init__(self):
            self.epochs = []

        def on_epoch(self, epoch):
            self.epochs.append(epoch.epoch)

    plain = Plain()
    fit(lightgcn(), checkerboard(), config=CONFIG, callbacks=[plain])
    assert plain.epochs == [0, 1, 2, 3]


@pytest.mark.parametrize(("kind", "pruned"), [(StopTraining, False), (Pruned, True)])
def test_a_callback_ends_the_run_with_its_reason_and_the_best_weights(kind, pruned, tmp_path):
    class Enough(Callback):
        def on_epoch(self, epoch):
            if epoch.epoch == 2:
                raise kind("enough")

    values, states = iter([0.1, 0.3, 0.2]), []

    def validate(model):
        states.append(model.embedding.detach().clone())
        return {"recall@20": next(values)}

    model = lightgcn()
    report = fit(model, checkerboard(), validate, CONFIG, directory=tmp_path, callbacks=[Enough()])
    assert (report.stopped, report.pruned, len(report.history)) == ("enough", pruned, 3)
    assert torch.equal(model.embedding, states[1])
    again = fit(lightgcn(), checkerboard(), validate, CONFIG, directory=tmp_path, resume=True)  # finished: no training
    assert (again.stopped, again.pruned) == ("enough", pruned)


def test_a_step_may_end_the_run_too():
    class Enough(Callback):
        def on_step(self, step):
            if (step.epoch, step.batch) == (1, 2):
                raise StopTraining("out of time")

    report = fit(lightgcn(), checkerboard(), config=CONFIG, callbacks=[Enough()])
    assert report.stopped == "out of time"
    assert len(report.history) == 1  # the epoch that was not finished does not count


def test_pruning_asks_after_each_validation():
    asked, values = [], iter([0.3, 0.1])

    def hopeless(epoch, value):
        asked.append((epoch, value))
        return value < 0.2

    config = FitConfig(epochs=6, batch_size=64, eval_every=2)
    report = fit(
        lightgcn(), checkerboard(), lambda m: {"recall@20": next(values)}, config, callbacks=[Pruning(hopeless)]
    )
    assert asked == [(1, 0.3), (3, 0.1)]
    assert report.pruned
    assert report.stopped == "pruned after epoch 3, recall@20 0.1000"


def test_a_resumed_run_goes_on_with_the_state_of_its_callbacks(tmp_path):
    def to(epochs, callbacks, resume=False):
        config = FitConfig(epochs=epochs, batch_size=64)
        fit(lightgcn(), checkerboard(), config=config, directory=tmp_path, resume=resume, callbacks=callbacks)

    class Counter(Recorder):
        def on_epoch(self, epoch):
            pass

    class Other(Counter):
        pass

    to(2, [Counter()])
    assert load_checkpoint(tmp_path / "checkpoint.pt")["callbacks"][0]["state"] == {"steps": 10}
    other, counter = Other(), Counter()
    to(3, [other, counter], resume=True)
    assert counter.told[0] == "start 2.0 of 5"
    assert (counter.steps, other.steps) == (15, 5)


def test_epochs_are_logged_and_so_is_what_one_should_know(caplog):
    with caplog.at_level(logging.INFO, logger="mmgraph"):
        fit(lightgcn(), checkerboard(), config=FitConfig(epochs=2, batch_size=64))
    lines = [record.getMessage() for record in caplog.records if record.name == "mmgraph.train.loop"]
    assert lines[0].startswith("epoch 0 of 2: bpr 0.")
    assert lines[-1] == "training ended after epoch 1: all 2 epochs"
    caplog.clear()
    logger = logging.getLogger("another.program")
    with caplog.at_level(logging.DEBUG, logger="another.program"):
        callbacks = [LogEpochs(logger, logging.DEBUG, every=2)]
        fit(lightgcn(), checkerboard(), config=FitConfig(epochs=5, batch_size=64), callbacks=callbacks)
    mine = [r.getMessage() for r in caplog.records if r.name == "another.program"]
    assert [line.partition(":")[0] for line in mine] == ["epoch 1", "epoch 3"]


def test_tensorboard_is_only_asked_for_where_it_is_used(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        fit(lightgcn(), checkerboard(), config=CONFIG, callbacks=[TensorBoard(tmp_path)])


def test_tensorboard_gets_each_number_once_over_steps(tmp_path, monkeypatch):
    written, begun = [], []

    class Writer:
        def __init__(self, folder, purge_step=None):
            begun.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def flush(self):
            pass

        def close(self):
            written.append(("closed", -1))

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)

    def to(epochs, resume):
        config = FitConfig(epochs=epochs, batch_size=64)
        callbacks = [TensorBoard(tmp_path / "board", every_steps=4)]
        fit(lightgcn(), checkerboard(), None, config, directory=tmp_path, resume=resume, callbacks=callbacks)

    to(1, False)
    assert begun == [(str(tmp_path / "board"), None)]
    assert written.count(("loss/bpr", 4)) == 1
    assert [step for name, step in written if name == "step/bpr"] == [0, 4]
    assert written[-1] == ("closed", -1)
    written.clear()
    to(2, True)
    assert begun[1] == (str(tmp_path / "board"), 5)
    assert [step for name, step in written if name == "loss/bpr"] == [9]
    assert [step for name, step in written if name == "step/bpr"] == [8]


def test_a_cosine_over_other_epochs_is_another_run(tmp_path):
    config = FitConfig(epochs=2, batch_size=64, schedule=Cosine())
    fit(lightgcn(), checkerboard(), config=config, directory=tmp_path)
    longer = FitConfig(epochs=3, batch_size=64, schedule=Cosine())
    with pytest.raises(ValueError, match=r"fit\.schedule\.epochs: there 2, here 3"):
        fit(lightgcn(), checkerboard(), config=longer, directory=tmp_path, resume=True)
