"""On a GPU: no step waits for it, and a resumed run is exact."""

from __future__ import annotations

import pytest
import torch

from mmgraph.models import BPRMF, Recommender
from mmgraph.train import AdamW, Callback, Cosine, FitConfig, fit
from tests.worlds import checkerboard

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


class Still(Recommender):
    """A table and dropout, with a loss that never asks the device for anything."""

    def __init__(self, graph) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(graph.num_users, 8))

    def loss(self, graph, batch):
        kept = torch.nn.functional.dropout(self.table, 0.5, self.training)
        return {"norm": kept[batch.user].square().mean()}

    def sampler(self, graph, batch_size):
        batches = list(BPRMF(graph).sampler(graph, batch_size).epoch(0, 0))

        class Same:
            def __len__(self):
                return len(batches)

            def epoch(self, seed, epoch):
                return iter(batches)

        return Same()


class Strict(Callback):
    """From the second step of each epoch on, waiting for the device is an error."""

    def on_step(self, step):
        torch.cuda.set_sync_debug_mode("error" if step.batch < step.batches - 1 else "default")


def run(epochs: int, folder=None, resume=False, **settings) -> Still:
    torch.manual_seed(0)
    model = Still(checkerboard())
    config = FitConfig(
        epochs=epochs,
        batch_size=64,
        device="cuda",
        optimizer=AdamW(),
        schedule=Cosine(epochs=9),
        clip_norm=1.0,
        **settings,
    )
    fit(model, checkerboard(), None, config, seed=1, directory=folder, resume=resume, callbacks=[Strict()])
    return model


def test_no_step_waits_for_the_device():
    before = torch.cuda.get_sync_debug_mode()
    try:
        assert run(3).table.isfinite().all()
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_a_resumed_run_is_exact(tmp_path):
    try:
        run(2, tmp_path)
        assert torch.equal(run(4, tmp_path, resume=True).table, run(4).table)
    finally:
        torch.cuda.set_sync_debug_mode("default")
