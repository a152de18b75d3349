from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmgraph.ops import CSR, spmm
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


def pair(device: str = "cpu") -> tuple[float, Pair, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second, x = (torch.randn(3, generator=generator).requires_grad_() for _ in range(3))
    return 2.0, Pair(first.to(device), second.to(device)), x.to(device)


class Watch(TorchDispatchMode):
    """The names of the operations that pass the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_a_plain_call_gives_what_the_dispatcher_gives():
    scale, two, x = pair()
    outs = weighed_op(scale, two, x), torch.ops.mmgraph.weighed(*weighed_op.flat((scale, two, x)))
    for plain, sent in zip(*outs, strict=True):
        assert torch.equal(plain, sent)
        assert plain.requires_grad == sent.requires_grad
    assert type(outs[0][0].grad_fn).__name__ == "weighedBackward"
    for direct, sent in zip(*(torch.autograd.grad(out[0].sum(), two) for out in outs), strict=True):
        assert torch.equal(direct, sent)
    with torch.no_grad():
        assert not weighed_op(scale, two, x)[0].requires_grad


def test_whoever_traces_sees_the_op():
    scale, two, x = pair()
    with Watch() as watch:
        weighed_op(scale, two, x)
    assert "mmgraph::weighed" in watch.names
    with torch._subclasses.FakeTensorMode():
        fake = weighed_op(scale, Pair(torch.empty(3), torch.empty(3)), torch.empty(3))[0]
    assert isinstance(fake, torch._subclasses.FakeTensor)
    assert weighed_op(*pair("meta"))[0].device.type == "meta"
    compiled = torch.compile(lambda x: weighed_op(scale, two, x)[0], backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), weighed_op(scale, two, x)[0])


def test_an_op_gives_gradients_of_gradients():
    # d/dx of a product's gradient to x is spmm's transpose again: linear, so the second derivative is exact
    a = CSR.from_edges(torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1]), (2, 2), torch.tensor([2.0, 3.0, 5.0]))
    x = torch.eye(2, requires_grad=True)
    (first,) = torch.autograd.grad(spmm(a, x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(second, 2 * a.dense().T @ a.dense() @ torch.ones(2, 2))
