"""How a function becomes an op that torch knows: autograd, fake tensors and ``torch.compile`` included.

torch wants the tensors of an op one by one, and their gradients by position. Here an op is a function of what it means,
say of an :class:`~mmgraph.ops.operand.Operand` and a table, and its gradients have names.

The way through torch's dispatcher costs some 40 microseconds a call: on a small graph, and on a GPU, more than the
work. So a call with nothing but plain tensors on CPU or CUDA, that nobody traces, goes to the function itself (under
autograd where a gradient is wanted). Any other goes through the dispatcher, to the same function and gradients.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, get_type_hints

import torch
from torch import Tensor

Gradient = Callable[..., dict[str, Tensor | None]]


class Op:
    """A function ``<name>_op`` registered as ``torch.ops.mmgraph.<name>``; called like the function.

    An argument that is a NamedTuple of tensors is passed to torch field by field, as ``<argument>.<field>`` in the
    names of gradients.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        hints = get_type_hints(function)
        returned = hints.pop("return")
        self._kinds = [getattr(kind, "_make", None) and kind for kind in hints.values()]
        self.names: list[str] = []
        flat: list[inspect.Parameter] = []
        for name, kind in hints.items():
            fields = get_type_hints(kind).items() if hasattr(kind, "_make") else [("", kind)]
            for field, part in fields:
                self.names.append(f"{name}.{field}" if field else name)
                place = self.names[-1].replace(".", "_")
                flat.append(inspect.Parameter(place, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=part))

        self._tensors = [i for i, part in enumerate(flat) if part.annotation in (Tensor, Tensor | None)]
        self._rest = [i for i in range(len(flat)) if i not in self._tensors]

        def run(*given: Any) -> Any:
            return function(*self._packed(given))

        run.__signature__ = inspect.Signature(flat, return_annotation=returned)  # pyright: ignore
        name = f"mmgraph::{function.__name__.removesuffix('_op')}"
        self._slices = []
        place = 0
        for kind in self._kinds:
            size = len(kind._fields) if kind else 1
            self._slices.append((kind, place, place + size))
            place += size
        self.torch = torch.library.custom_op(name, run, mutates_args=())
        self._call = getattr(torch.ops.mmgraph, name.removeprefix("mmgraph::")).default
        self._function = function
        self._node: type[torch.autograd.Function] | None = None

    def __call__(self, *given: Any) -> Any:
        flat = self.flat(given)
        tensors = [flat[i] for i in self._tensors if flat[i] is not None]
        if not _at_hand(tensors):
            return self._call(*flat)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return self._call(*flat) if self._node is None else self._node.apply(*flat)
        return self._function(*given)

    def flat(self, given: Iterable[Any]) -> list[Any]:
        """The arguments one by one."""
        out = []
        for kind, argument in zip(self._kinds, given, strict=True):
            out.extend(argument) if kind else out.append(argument)
        return out

    def _packed(self, given: Sequence[Any]) -> list[Any]:
        return [kind(*given[first:last]) if kind else given[first] for kind, first, last in self._slices]

    def fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Registers what the result looks like, as a function of the op's arguments."""
        self.torch.register_fake(lambda *given: function(*self._packed(given)))
        return function

    def gradient(
        self,
        backward: Gradient,
        *,
        unread: Callable[[frozenset[str]], set[str]] = lambda needs: set(),
        outputs: bool = False,
        constant: Sequence[int] = (),
    ) -> None:
        """Registers the gradients.

        Args:
            backward: of the op's arguments (None for what is ``unread``), then its outputs where ``outputs`` says so,
                the names of what needs a gradient, and the gradients of the outputs (None where there is none); gives
                the gradients by name.
            unread: the arguments that need not be kept, given the names of what needs a gradient.
            outputs: whether ``backward`` reads the outputs.
            constant: outputs by position that have no gradient.
        """

        tensors, rest = self._tensors, self._rest

        @cache
        def wanted(need: tuple[bool, ...]) -> tuple[frozenset[str], list[int]]:
            names = frozenset(name for name, wants in zip(self.names, need) if wants)
            dropped = unread(names)
            return names, [place for place, i in enumerate(tensors) if self.names[i] in dropped]

        def setup(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
            ctx.needs, dropped = wanted(ctx.needs_input_grad)
            ctx.rest = [inputs[i] for i in rest]
            kept = [inputs[i] for i in tensors]
            for place in dropped:
                kept[place] = None
            if outputs:
                kept.extend(output if isinstance(output, tuple) else (output,))
            ctx.save_for_backward(*kept)
            ctx.set_materialize_grads(False)
            if constant:
                ctx.mark_non_differentiable(*(output[i] for i in constant))

        def run(ctx: Any, *grads: Tensor | None) -> Any:
            if all(grad is None for grad in grads):
                return (None,) * len(self.names)
            saved = ctx.saved_tensors
            given: list[Any] = [None] * len(self.names)
            for i, value in zip(rest, ctx.rest):
                given[i] = value
            for i, value in zip(tensors, saved):
                given[i] = value
            out = backward(*self._packed(given), *saved[len(tensors) :], ctx.needs, *grads)
            return tuple(out.get(name) if name in ctx.needs else None for name in self.names)

        self.torch.register_autograd(run, setup_context=setup)
        self._node = _node(self.torch._name, lambda given: self._function(*self._packed(given)), setup, run)


def _at_hand(tensors: Sequence[Tensor]) -> bool:
    """Whether these are memory that the function can read now: not traced, fake, batched by functorch or elsewhere."""
    if torch.compiler.is_compiling() or _modes() or _transforms():
        return False
    return all(type(tensor) in _PLAIN and (tensor.is_cpu or tensor.is_cuda) for tensor in tensors)


_PLAIN = (Tensor, torch.nn.Parameter)
_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
_transforms: Callable[[], bool] = torch._C._are_functorch_transforms_active


def _node(
    name: str, function: Callable[[Sequence[Any]], Any], setup: Callable[..., None], backward: Callable[..., Any]
) -> type[torch.autograd.Function]:
    """The node of autograd that torch would make of an op."""

    def forward(ctx: Any, *given: Any) -> Any:
        out = function(given)
        setup(ctx, given, out)
        return out

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name.removeprefix("mmgraph::"), (torch.autograd.Function,), methods)
