"""Graphs that ops get wrong: empty rows, isolated nodes, duplicates, hubs, no edge at all."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from mmgraph.ops import CSR

BACKENDS = ("cpu", "triton")
TOLERANCE = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-9},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.bfloat16: {"rtol": 3e-2, "atol": 1e-1},
}


@st.composite
def graphs(draw, square: bool = False, max_edges: int = 24) -> CSR:
    """A CSR of up to 7 x 9 (the last row and column isolated), weighted or not, with a hub in half of the
    cases."""
    rows = draw(st.integers(1, 7))
    cols = rows if square else draw(st.integers(1, 9))
    count = draw(st.integers(0, max_edges)) if rows > 1 and cols > 1 else 0
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    row = torch.randint(0, max(rows - 1, 1), (count,), generator=generator, device="cpu")
    col = torch.randint(0, max(cols - 1, 1), (count,), generator=generator, device="cpu")
    if draw(st.booleans()):
        row[: count * 3 // 4] = 0
    values = torch.randn(count, generator=generator, device="cpu") if draw(st.booleans()) else None
    return CSR.from_edges(row, col, (rows, cols), values).to(torch.get_default_device())


def hub_graph(rows: int = 40, cols: int = 30, edges: int = 300, seed: int = 0) -> CSR:
    """Half of all edges in row 2, the lower half of the rows empty, weights with both signs."""
    generator = torch.Generator().manual_seed(seed)
    row = torch.randint(0, max(rows // 2, 1), (edges,), generator=generator, device="cpu")
    row[: edges // 2] = 2
    col = torch.randint(0, cols, (edges,), generator=generator, device="cpu")
    weight = torch.randn(edges, generator=generator, device="cpu")
    return CSR.from_edges(row, col, (rows, cols), weight).to(torch.get_default_device())


def normal(*size: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Seeded normal numbers that want a gradient."""
    drawn = torch.randn(*size, generator=torch.Generator().manual_seed(seed), device="cpu")
    return drawn.to(torch.get_default_device(), dtype).requires_grad_()
