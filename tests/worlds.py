"""Tiny graphs with known answers, and how near is near, shared by the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgraph.testing import WIDTHS, checkerboard, make_graph, twelve_nodes

__all__ = ["WIDTHS", "checkerboard", "make_graph", "near", "twelve_nodes"]


def near(got: Tensor, want: Tensor) -> None:
    """Equal up to the rounding of a few float32 operations."""
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
