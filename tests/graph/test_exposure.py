"""Exposures and co-exposure: who was shown what, with and without the test's."""

from __future__ import annotations

import pytest
import torch

from mmgraph.evaluate import mann_whitney_auc
from mmgraph.graph.transforms import CoExposure, Exposures
from mmgraph.ops import spmm
from tests.worlds import make_graph, twelve_nodes

# user 0 sees 0, 1, 2 at 0, 10, 100; user 1 sees 1, 0 at 5, 6; user 3 sees 6 twice
USER = torch.tensor([0, 1, 0, 0, 1, 3, 3])
VIDEO = torch.tensor([1, 1, 0, 2, 0, 6, 6])
TIME = torch.tensor([10.0, 5.0, 0.0, 100.0, 6.0, 0.0, 1.0])


def weights(graph) -> dict[tuple[int, int], float]:
    store = graph["video", "co_exposed", "video"]
    return {(int(a), int(b)): float(w) for (a, b), w in zip(store.edge_index.T, store.weight, strict=True)}


def test_exposures_are_edges_of_their_own_and_mask_nothing():
    graph = twelve_nodes()
    out = Exposures(USER, VIDEO, TIME)(graph)
    assert out["user", "exposed", "video"].edge_index.shape == (2, 7)
    assert torch.equal(out.seen.indices, graph.seen.indices)
    assert ("user", "exposed", "video") not in graph.edge_types


@pytest.mark.parametrize(("transductive", "edges"), [(False, 5), (True, 7)])
def test_the_tests_exposures_are_used_only_when_the_protocol_says_so(transductive, edges):
    held_out = torch.tensor([0, 0, 0, 0, 0, 1, 1], dtype=torch.bool)
    out = Exposures(USER, VIDEO, TIME, held_out, transductive)(twelve_nodes())
    assert out["user", "exposed", "video"].edge_index.shape[1] == edges


def test_co_exposure_counts_pairs_near_in_time_by_hand():
    graph = Exposures(USER, VIDEO, TIME)(twelve_nodes())
    # 0-1 twice (users 0 and 1), 1-2 and 0-2 once; a video beside itself is no pair
    found = weights(CoExposure()(graph))
    n = {0: 3, 1: 3, 2: 2}
    assert set(found) == {(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)}
    assert found[0, 1] == pytest.approx(2 / (n[0] * n[1]) ** 0.5)
    assert found[1, 2] == pytest.approx(1 / (n[1] * n[2]) ** 0.5)
    assert set(weights(CoExposure(window=50)(graph))) == {(0, 1), (1, 0)}
    assert (0, 2) not in weights(CoExposure(steps=1)(graph))


def test_only_the_heaviest_neighbours_are_kept():
    graph = Exposures(USER, VIDEO, TIME)(twelve_nodes())
    assert set(weights(CoExposure(k=1)(graph))) == {(1, 0), (0, 1), (0, 2)}  # into 2 the tie goes to the lower row


def test_order_of_the_rows_does_not_matter():
    at = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    one = weights(CoExposure()(Exposures(USER, VIDEO, TIME)(twelve_nodes())))
    other = weights(CoExposure()(Exposures(USER[at], VIDEO[at], TIME[at])(twelve_nodes())))
    assert one == other


def test_co_exposure_reaches_videos_that_nobody_clicked():
    """Two tastes; videos 20-39 have exposures but no click. AUC of the summed neighbours: chance without, high with."""
    generator = torch.Generator().manual_seed(0)
    user = torch.arange(40).repeat_interleave(12)
    taste = user % 2
    video = torch.randint(20, (len(user),), generator=generator) * 2 % 40 // 2 * 2 % 20 + taste
    graph = make_graph(user, video, 40, 40, {})
    late = torch.arange(40).repeat_interleave(6)
    cold = 20 + torch.randint(10, (len(late),), generator=generator) * 2 + late % 2
    shown_user, shown_video = torch.cat([user, late]), torch.cat([video, cold])
    time = torch.rand(len(shown_user), generator=generator)
    held_out = torch.arange(len(shown_user)) >= len(user)
    auc = {}
    for on in (False, True):
        near = CoExposure()(Exposures(shown_user, shown_video, time, held_out, on)(graph))
        score = spmm(near.adjacency("co_exposed", norm=None), graph.seen.dense().T).T[:, 20:]
        label = (torch.arange(40)[:, None] % 2) == (torch.arange(20, 40)[None] % 2)
        rank = score.flatten().double()
        order = (rank[:, None] > rank[None]).sum(1) + 0.5 * ((rank[:, None] == rank[None]).sum(1) - 1) + 1
        total, positive = torch.tensor(label.numel()), label.sum()
        auc[on] = float(mann_whitney_auc(order[label.flatten()].sum(), positive, total))
    assert auc[False] == pytest.approx(0.5)
    assert auc[True] > 0.9


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="one length"):
        Exposures(USER, VIDEO[:2], TIME)
    with pytest.raises(ValueError, match="video holds 7 "):
        Exposures(USER, VIDEO + 1, TIME)(twelve_nodes())
    with pytest.raises(ValueError, match="apply Exposures first"):
        CoExposure()(twelve_nodes())
    with pytest.raises(ValueError, match="window must be a finite number above 0"):
        CoExposure(window=0.0)
