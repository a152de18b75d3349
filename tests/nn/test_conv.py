"""Graph convolutions against dense sums."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mmgraph.nn import ModalityConv, RelationConv
from mmgraph.ops import CSR


def two_relations():
    torch.manual_seed(0)
    dense = {"a": torch.tensor([[0.0, 2, 0], [0, 0, 0], [1, 0, 3]]), "b": torch.tensor([[1.0, 0], [0, 0], [0, 0.5]])}
    sparse = {}
    for name, matrix in dense.items():
        row, col = matrix.nonzero().unbind(1)
        sparse[name] = CSR.from_edges(row, col, tuple(matrix.shape), matrix[row, col])
    return dense, sparse, {"a": torch.randn(3, 4), "b": torch.randn(2, 4)}, torch.randn(3, 4)


def test_relation_conv_is_a_sum_of_linear_messages():
    dense, sparse, x, own = two_relations()
    conv = RelationConv(4, 5, ["a", "b"], self_loop=True)
    expected = own @ conv.loop + sum(dense[r] @ (x[r] @ conv.weight[r]) for r in dense)
    torch.testing.assert_close(conv(x, sparse, own), expected, atol=1e-6, rtol=1e-5)
    rows = torch.tensor([2, 1])
    torch.testing.assert_close(conv(x, sparse, own[rows], rows), expected[rows], atol=1e-6, rtol=1e-5)


def test_a_node_without_edges_keeps_its_own_state_or_zero():
    _, sparse, x, own = two_relations()
    with_loop, without = RelationConv(4, 5, ["a", "b"], self_loop=True), RelationConv(4, 5, ["a", "b"])
    torch.testing.assert_close(with_loop(x, sparse, own)[1], own[1] @ with_loop.loop)
    assert without(x, sparse)[1].tolist() == [0] * 5


def test_modality_conv_adds_or_concatenates_the_id_state():
    dense, sparse, x, identity = two_relations()
    for concat in (False, True):
        layer = ModalityConv(4, 4, concat)
        h = F.leaky_relu(dense["a"] @ x["a"] @ layer.conv.weight["interacts"])
        own = F.leaky_relu(layer.own(x["a"])) + identity
        expected = layer.combine(torch.cat([h, own], 1)) if concat else layer.combine(h) + own
        got = layer(x["a"], identity, sparse["a"])
        torch.testing.assert_close(got, F.leaky_relu(expected), atol=1e-6, rtol=1e-5)
