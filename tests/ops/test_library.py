from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmgraph.ops.library import Op


class Pair(NamedTuple):
    """Two tensors, one of them optional."""

    first: Tensor
    second: Tensor | None


@Op
def weighed_op(scale: float, pair: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
    """scale · first · x (+ second), and their sum."""
    out = scale * pair.first * x
    out = out if pair.second is None else out + pair.second
    return out, out.sum()


@weighed_op.fake
def _(scale, pair, x):
    return torch.empty_like(x), x.new_empty(())


seen: list[tuple] = []


def backward(scale, pair, x, out, total, needs, grad, _):
    seen.append((pair.first is None, x is None, needs))
    return {"pair.first": scale * grad * x if "pair.first" in needs else None, "pair.second": grad}


weighed_op.gradient(
    backward, unread=lambda needs: set() if "pair.first" in needs else {"x", "pair.first"}, outputs=True, constant=(1,)
)


def test_an_op_is_called_with_its_parts_and_gives_gradients_by_name():
    first, second, x = torch.tensor([2.0, 3.0]), torch.tensor([1.0, 1.0], requires_grad=True), torch.tensor([5.0, 7.0])
    out, total = weighed_op(10.0, Pair(first, second), x)
    assert out.tolist() == [101, 211]
    assert not total.requires_grad
    out.sum().backward()
    assert second.grad.tolist() == [1, 1]
    assert seen.pop() == (True, True, {"pair.second"})  # what the gradient does not read was not kept
    first.requires_grad_()
    weighed_op(10.0, Pair(first, None), x)[0].sum().backward()
    assert first.grad.tolist() == [50, 70]
    assert seen.pop() == (False, False, {"pair.first"})


def test_an_op_is_known_to_torch_by_flat_names():
    assert weighed_op.names == ["scale", "pair.first", "pair.second", "x"]
    arguments = weighed_op.flat((2.0, Pair(torch.ones(2), None), torch.ones(2, requires_grad=True)))
    schema = torch.ops.mmgraph.weighed.default._schema
    assert [argument.name for argument in schema.arguments] == ["scale", "pair_first", "pair_second", "x"]
    torch.library.opcheck(
        weighed_op.torch, arguments, test_utils=("test_schema", "test_faketensor", "test_autograd_registration")
    )
