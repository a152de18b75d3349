"""The plain ports that epochs are timed beside make the numbers of the models, term by term, and their gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from benchmarks.epochs.__main__ import quiet_terms
from benchmarks.epochs.cases import MODELS, quiet
from mmgraph.graph.samplers import PairBatch, epoch_generator
from mmgraph.testing import checkerboard

USERS, VIDEOS = torch.tensor([0, 3, 7, 12]), torch.tensor([2, 5, 9, 14])
# each row once: an L2 that counts mentions and one that counts rows agree
BATCH = PairBatch(USERS, VIDEOS, torch.tensor([[1], [6], [11], [17]]))


def made(name):
    case = MODELS[name]
    torch.manual_seed(0)
    graph = case.transform(checkerboard())
    arguments = case.arguments | ({"l2": 0.1} if "l2" in case.model.arguments() else {})
    model = quiet(case.model(graph, embedding_dim=8, **arguments))
    with torch.no_grad():  # so that no term is small beside the others
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    thin = graph if case.epoch_transform is None else case.epoch_transform(graph, epoch_generator(0, 0))
    return case, model, thin


@pytest.mark.parametrize(("name", "impl"), [(name, impl) for name, case in MODELS.items() for impl in case.products])
def test_a_port_is_its_model(name, impl):
    case, model, graph = made(name)
    port = quiet(case.plain(copy.deepcopy(model), graph, case.products[impl]))
    batch: Any = next(iter(model.sampler(graph, 4).epoch(0, 0)))
    if "positive" in batch._fields:
        batch = batch._replace(**BATCH._replace(negative=BATCH.negative[:, : batch.negative.shape[1]])._asdict())
    torch.manual_seed(1)
    ours = model.loss(graph, batch)
    torch.manual_seed(1)  # what is drawn even without dropout and noise is drawn in one order
    theirs = port.loss(batch)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-6)
    torch.stack(list(ours.values())).sum().backward()
    torch.stack(list(theirs.values())).sum().backward()
    total = [
        sum(p.grad.double().square().sum() for p in module.parameters() if p.grad is not None)
        for module in (model, port)
    ]
    torch.testing.assert_close(total[1], total[0], rtol=1e-3, atol=1e-8)


def test_the_denoiser_that_is_run_in_full_draws_the_videos_of_the_one_that_is_not():
    case, model, graph = made("diffmm")
    port: Any = case.plain(copy.deepcopy(model), graph, case.products["torch_coo"])
    generator: Any = port.model.generate["audio"]
    drawn = generator.draw(graph.seen, torch.ones(graph.num_videos, dtype=torch.bool))
    torch.testing.assert_close(port.draw(generator.diffusion, graph.seen.dense()), drawn)


def test_terms_are_compared_without_noise_and_without_the_model_losing_it():
    case, model, graph = made("simgcl")
    vars(model)["noise"] = 0.5
    model.train()
    once, again = (quiet_terms(model, lambda quiet: quiet.loss(graph, BATCH)) for _ in range(2))
    torch.testing.assert_close(once, again, rtol=0, atol=0)
    assert once.keys() == {"bpr", "contrast"}
    assert model.noise == 0.5
    assert model.training
    assert case.plain is not None
