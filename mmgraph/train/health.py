"""Sums of loss terms, and whether all were finite, kept on the model's device: no step waits for a number."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class NotFinite(Exception):
    """A loss that is NaN or infinite: ``batch`` of the epoch, and its ``bad`` terms."""

    def __init__(self, batch: int, terms: Mapping[str, float]) -> None:
        super().__init__(batch, terms)
        self.batch = batch
        self.bad = {name: value for name, value in terms.items() if not math.isfinite(value)} or dict(terms)


class Health:
    """The loss terms of one epoch's steps.

    Each step is added to sums on the device. The terms of the first step whose loss is not finite stay there too, with
    how many steps came before it, so that a look once in a while still names that step.

    Args:
        batch: number of the batch that is added next.
        sums: of the terms of the batches before.
    """

    def __init__(self, batch: int = 0, sums: Mapping[str, Tensor] | None = None) -> None:
        self.batch, self._sums = batch, dict(sums or {})
        self._names: tuple[str, ...] = ()

    def add(self, terms: Mapping[str, Tensor], values: Tensor, loss: Tensor) -> None:
        """Takes a step: its terms, their ``values`` [T] in one tensor, and their sum."""
        if tuple(terms) != self._names:  # terms may differ from batch to batch
            self.look()
            self._sums, self._names = self.sums(), tuple(terms)
            zero = values.new_zeros(())
            self._total = torch.stack([self._sums.pop(name, zero).to(values) for name in self._names])
            self._kept, self._fine = values, values.new_ones((), dtype=torch.bool)
            self._steps = values.new_zeros((), dtype=torch.int64)
        self._total += values
        self._kept = torch.where(self._fine, values, self._kept)
        self._steps += self._fine
        self._fine = self._fine & loss.isfinite()

    def look(self) -> None:
        """Waits for the device.

        Raises:
            NotFinite: with the first batch whose loss was not finite.
        """
        if not self._names:
            return
        steps = int(self._steps)
        if not self._fine.item():
            raise NotFinite(self.batch + steps - 1, dict(zip(self._names, self._kept.tolist(), strict=True)))
        self.batch += steps
        self._steps = torch.zeros_like(self._steps)

    def sums(self) -> dict[str, Tensor]:
        """Term -> sum so far, on the device."""
        return self._sums | (dict(zip(self._names, self._total.clone().unbind(), strict=True)) if self._names else {})

    def means(self, count: int) -> dict[str, float]:
        """``loss/<term>`` -> mean over ``count`` batches. Waits for the device."""
        sums = self.sums()
        numbers = torch.stack(list(sums.values())).tolist() if sums else []
        return {f"loss/{name}": number / max(count, 1) for name, number in zip(sums, numbers, strict=True)}
