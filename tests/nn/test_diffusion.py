"""Diffusion over rows against its formulas, and the graphs it generates."""

from __future__ import annotations

import pytest
import torch

from mmgraph.nn import GeneratedGraph, RowDiffusion
from mmgraph.ops import CSR


def clicks(rows: torch.Tensor) -> CSR:
    user, video = rows.nonzero(as_tuple=True)
    return CSR.from_edges(user, video, tuple(rows.shape))


ROWS = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]])


def test_noise_rises_linearly_after_its_first_step():
    layer = RowDiffusion(5, hidden=4, steps=4, scale=0.5, lowest=0.1, highest=0.4)
    left = torch.linspace(0.05, 0.2, 4)
    first = (1 - 1e-4) / (1 - left[0])  # the first step is 1e-4 in place of .05, and the rest follow from it
    torch.testing.assert_close(layer.kept, torch.cat([torch.tensor([1 - 1e-4]), (1 - left[1:]) * first]))
    torch.manual_seed(0)
    clean, step = torch.ones(20_000, 1), torch.full((20_000,), 3)
    noisy = layer.noise(clean, step)
    assert abs(float(noisy.mean()) - float(layer.kept[3].sqrt())) < 0.01
    assert abs(float(noisy.var()) - float(1 - layer.kept[3])) < 0.01


def test_predict_weighs_each_step_by_what_it_takes_from_the_signal():
    torch.manual_seed(0)
    layer = RowDiffusion(5, hidden=4, steps=3).eval()
    torch.manual_seed(1)
    guess, loss = layer.predict(ROWS)
    torch.manual_seed(1)
    step = torch.randint(0, 3, (3,))
    expected = layer(layer.noise(ROWS, step), step)
    torch.testing.assert_close(guess, expected)
    ratio = layer.kept / (1 - layer.kept)
    weight = torch.stack([torch.tensor(1.0) if t == 0 else ratio[t - 1] - ratio[t] for t in step.tolist()])
    torch.testing.assert_close(loss, (weight * (ROWS - expected).square().mean(1)).mean())
    assert step.unique().numel() > 1


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_generating_in_the_hidden_space_is_the_long_way(steps):
    torch.manual_seed(0)
    layer = RowDiffusion(5, hidden=4, steps=steps, scale=1.0, lowest=0.1, highest=0.5).eval()
    before = torch.cat([torch.ones(1), layer.kept[:-1]])
    x = ROWS
    with torch.no_grad():
        for t in reversed(range(steps)):
            guess = layer(x, torch.full((3,), t))
            one = layer.chance[t] * before[t].sqrt() / (1 - layer.kept[t])
            two = (1 - before[t]) * (1 - layer.chance[t]).sqrt() / (1 - layer.kept[t])
            x = one * guess + two * x if t else guess  # at the first step they are 1 and 0
    torch.testing.assert_close(layer.generate(clicks(ROWS)), x, atol=1e-5, rtol=1e-5)


def test_a_denoiser_learns_the_rows():
    torch.manual_seed(0)
    layer = RowDiffusion(5, hidden=16, steps=3, dropout=0.0)
    optimiser = torch.optim.Adam(layer.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        layer.predict(ROWS[:2])[1].backward()
        optimiser.step()
    found = layer.eval().generate(clicks(ROWS[:2])).topk(2, dim=1).indices.sort(1).values
    assert found.tolist() == [[0, 3], [1, 2]]


def test_a_generated_graph_in_training_and_after():
    torch.manual_seed(0)
    layer = GeneratedGraph(3, 5, k=2, dropout=0.0, hidden=4)
    rows, allowed = clicks(ROWS), torch.tensor([True, True, False, True, True])
    assert not layer(rows, allowed).num_edges  # nothing is drawn yet
    layer.redraw(torch.tensor([0, 2]), rows.select(torch.tensor([0, 2]))[0], allowed)
    assert layer.edges[1].tolist() == [-1, -1]  # not asked for
    assert layer.edges[2].tolist() == [-1, -1]  # no clicks to start from
    scores = layer.diffusion.generate(rows).masked_fill(~allowed, -torch.inf)
    assert layer.edges[0].tolist() == scores[0].topk(2).indices.tolist()
    a = torch.zeros(8, 8)
    for u in (0, 1):
        for v in scores[u].topk(2).indices.tolist():
            a[u, 3 + v] = a[3 + v, u] = 1
    degree = a.sum(1).clamp_min(1).sqrt()
    torch.testing.assert_close(layer.eval()(rows, allowed).dense(), a / degree[:, None] / degree[None])
    assert "edges" in layer.state_dict()


def test_thinned_edges_weigh_more_and_stale_ones_stay():
    torch.manual_seed(0)
    rows, allowed, every = clicks(torch.ones(400, 5)), torch.ones(5, dtype=torch.bool), torch.arange(400)
    layer = GeneratedGraph(400, 5, k=1, dropout=0.75, hidden=4)
    layer.redraw(every, rows, allowed)
    left = layer.edges[:, 0] >= 0
    assert 60 < int(left.sum()) < 140
    weights = layer(rows, allowed).values
    video = layer.edges[left].flatten().bincount(minlength=5)
    torch.testing.assert_close(weights.max(), 4 / video[video > 0].min().float().sqrt())
    assert layer.eval()(rows, allowed).num_edges == 800  # generated anew, whole
    stale = GeneratedGraph(400, 5, hidden=4, stale=True, loops=True).eval()
    torch.testing.assert_close(stale(rows, allowed).dense(), 2 * torch.eye(405))  # none drawn yet: loops over 1 − .5
