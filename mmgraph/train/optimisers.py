"""Optimisers as settings: what turns gradients into steps. ``FitConfig(optimizer=AdamW())``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from mmgraph.config import Config, did_you_mean

C = TypeVar("C", bound=Config)
Share = Annotated[float, Field(ge=0, lt=1)]
Small = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Optimiser(Config):
    """What an optimiser has beside the learning rate and the weight decay, which are :class:`FitConfig`'s.

    One of your own is a subclass with :meth:`make`, and is given as an object; nothing is registered.

    Attributes:
        kind: which one, in a saved configuration; the class's name unless it says otherwise.
        by_entry: each entry of a table moves by its own gradients alone, whatever its neighbours do.
    """

    by_entry: ClassVar[bool] = False
    kind: str = Field(default="", validate_default=True, repr=False)

    @field_validator("kind")
    @classmethod
    def _named(cls, kind: str) -> str:
        return kind or cls.__qualname__

    def make(self, parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """The optimiser of these parameters. Its ``state_dict`` goes into the checkpoint.

        Raises:
            ValueError: a weight decay that this optimiser does not have.
        """
        raise NotImplementedError(f"{type(self).__name__}.make")


class Adam(Optimiser):
    """Adam (Kingma and Ba, ICLR 2015, https://arxiv.org/abs/1412.6980); ``weight_decay`` is an L2 term of the gradient.

    One fused pass over parameters, gradients and moments.

    Args:
        betas: decay of the mean and of the square.
        eps: added to the root of the square.
    """

    by_entry: ClassVar[bool] = True
    kind: Literal["adam"] = "adam"
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Small = 1e-8

    def make(self, parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """``torch.optim.Adam``, fused."""
        return torch.optim.Adam(
            parameters, lr=learning_rate, betas=self.betas, eps=self.eps, weight_decay=weight_decay, fused=True
        )


class AdamW(Optimiser):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101).

    θ ← θ − lr · weight_decay · θ, then Adam's step. ``FitConfig.weight_decay`` is 0 unless given.

    Args:
        betas, eps: as in :class:`Adam`.
    """

    by_entry: ClassVar[bool] = True
    kind: Literal["adamw"] = "adamw"
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Small = 1e-8

    def make(self, parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """``torch.optim.AdamW``, fused."""
        return torch.optim.AdamW(
            parameters, lr=learning_rate, betas=self.betas, eps=self.eps, weight_decay=weight_decay, fused=True
        )


class SparseAdam(Optimiser):
    """Adam that moves only the rows a batch touched: moments of the others neither decay nor act.

    For tables whose gradient is sparse (``nn.Embedding(sparse=True)``), as ``torch.optim.SparseAdam``; a dense gradient
    is taken by rows too, one that is all zero counting as untouched, so that any model may use it. Bias correction
    counts all steps.

    Args:
        betas, eps: as in :class:`Adam`.
    """

    kind: Literal["sparse_adam"] = "sparse_adam"
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Small = 1e-8

    def make(self, parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """Takes sparse and dense gradients; no weight decay."""
        _no_decay(self, weight_decay)
        return ByRows(parameters, learning_rate, _lazy_adam, {"betas": self.betas, "eps": self.eps})


class RowwiseAdagrad(Optimiser):
    """Adagrad with one number a row in place of one an entry.

    G_i ← G_i + mean(g_i²), θ_i ← θ_i − lr · g_i / (√G_i + eps).
    Duchi et al., JMLR 2011, with the rows' sums of large embedding tables (Gupta et al., 2014; FBGEMM's and TorchRec's
    ``EXACT_ROWWISE_ADAGRAD``): the state of a table [n, D] is n numbers where Adam's is 2 n D. Rows that a batch did
    not touch stay. A vector or a scalar has one sum an entry. Sparse and dense gradients.

    Args:
        initial: G before the first step.
        eps: added to the root.
    """

    kind: Literal["rowwise_adagrad"] = "rowwise_adagrad"
    initial: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    eps: Small = 1e-10

    def make(self, parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """Takes sparse and dense gradients; no weight decay."""
        _no_decay(self, weight_decay)
        return ByRows(parameters, learning_rate, _rowwise_adagrad, {"initial": self.initial, "eps": self.eps})


def _no_decay(optimiser: Optimiser, weight_decay: float) -> None:
    if weight_decay:
        raise ValueError(
            f"weight_decay={weight_decay}, but {type(optimiser).__name__} has none: a decay would touch every row. Use "
            "the model's l2 (of the batch's rows), or Adam or AdamW"
        )


class ByRows(torch.optim.Optimizer):
    """An optimiser whose update is a function of rows: of the touched ones where the gradient is sparse.

    Args:
        parameters: of any shape; those of two and more axes are taken by rows.
        learning_rate: lr.
        update: ``update(parameter, gradient, rows, state, group)`` moves one parameter; ``rows`` are those that
            ``gradient`` holds, None for all of them.
        settings: what ``update`` reads from ``group`` beside ``lr``.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        learning_rate: float,
        update: Callable[[Tensor, Tensor, Tensor | None, dict[str, Any], dict[str, Any]], None],
        settings: Mapping[str, Any],
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, **settings})
        self.update = update

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step from the gradients there are."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                grad = parameter.grad
                if grad is None:
                    continue
                rows = None
                if grad.is_sparse:
                    grad = grad.coalesce()
                    rows, grad = grad.indices()[0], grad.values()
                self.update(parameter, grad, rows, self.state[parameter], group)
        return loss


def _lazy_adam(
    parameter: Tensor, grad: Tensor, rows: Tensor | None, state: dict[str, Any], group: dict[str, Any]
) -> None:
    if not state:
        state["step"] = 0
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    state["step"] += 1
    (first, second), step = group["betas"], state["step"]
    old = parameter, state["exp_avg"], state["exp_avg_sq"]
    tensors = old
    if rows is not None:
        old = parameter[rows], old[1][rows], old[2][rows]
    mean = torch.lerp(old[1], grad, 1 - first)
    square = torch.lerp(old[2], grad * grad, 1 - second)
    size = group["lr"] * (1 - second**step) ** 0.5 / (1 - first**step)
    new = old[0] - size * mean / (square.sqrt() + group["eps"])
    for tensor, value, before in zip(tensors, (new, mean, square), old, strict=True):
        if rows is not None:
            tensor[rows] = value
        else:
            tensor.copy_(torch.where(_spread((_by_row(grad != 0)) > 0, grad), value, before))


def _rowwise_adagrad(
    parameter: Tensor, grad: Tensor, rows: Tensor | None, state: dict[str, Any], group: dict[str, Any]
) -> None:
    if not state:
        state["sum"] = parameter.new_full(parameter.shape[:1], group["initial"])
    total, square = state["sum"], _by_row(grad * grad)
    if rows is None:
        total += square
        parameter -= _spread(group["lr"] / (total.sqrt() + group["eps"]), grad) * grad
    else:
        total[rows] += square
        parameter[rows] -= _spread(group["lr"] / (total[rows].sqrt() + group["eps"]), grad) * grad


def _by_row(values: Tensor) -> Tensor:
    """Means over all axes but the first."""
    return values.float() if values.ndim < 2 else values.flatten(1).float().mean(1)


def _spread(rows: Tensor, like: Tensor) -> Tensor:
    """One number a row, in a shape that multiplies ``like``."""
    return rows.view(rows.shape + (1,) * (like.ndim - rows.ndim))


def read_optimiser(value: object) -> Optimiser:
    """An optimiser as it is, or from the mapping that the ``model_dump()`` of one of this file gave.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, Optimiser):
        return value
    if isinstance(value, Mapping):
        return from_mapping(value, (Adam, AdamW, SparseAdam, RowwiseAdagrad), "optimizer")
    shown = value.__name__ if isinstance(value, type) else repr(value)
    raise ValueError(
        f"optimizer takes an object, such as Adam(), AdamW(), SparseAdam() or RowwiseAdagrad(); got {shown}"
    )


def from_mapping(value: Mapping[str, Any], classes: Sequence[type[C]], what: str) -> C:
    """The settings that a saved configuration names by their ``kind``.

    Raises:
        ValueError: a kind that none of the classes has, or settings that do not fit.
    """
    kinds = {cls.model_fields["kind"].default: cls for cls in classes}
    kind = value.get("kind")
    if kind not in kinds:
        raise ValueError(f"{what} of kind {kind!r}{did_you_mean(str(kind), list(kinds))}")
    return kinds[kind](**value)
