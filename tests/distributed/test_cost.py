"""The cost model: worked by hand for 10^9 edges."""

from __future__ import annotations

import pytest

from mmgraph.distributed import Machine

MACHINE = Machine(edge_ns={16: 14.0, 64: 36.0}, wire_mib=256.0, latency_ms=1.0, pairs=440_000.0)


def test_a_billion_edges_by_hand():
    nodes, edges = 110_000_000, 1_000_000_000
    found = MACHINE.memory_gb(nodes, edges, 64, 1)
    assert found["process"] == pytest.approx(112.64)
    assert found["machine"] == pytest.approx(16.88)
    assert MACHINE.memory_gb(nodes, edges, 64, 4, adam=False)["process"] == pytest.approx(7.04)
    # 2 · 10^9 directed edges, 3 layers, 4 passes of 16 columns, 14 ns an edge
    assert MACHINE.propagation_seconds(edges, 64, 3, 16) == pytest.approx(336.0)
    assert MACHINE.bucket_epoch_seconds(edges, 2) == pytest.approx(1136.36, rel=1e-4)


def test_a_step_of_columns_is_two_passes_and_a_message():
    # 2 · 10^6 pairs, 16 columns each of 4 processes, 3 layers, forward and backward; 256 MiB at 256 MiB/s
    seconds = MACHINE.column_step_seconds(2_000_000, 64, 3, 4, 256 * 2**20)
    assert seconds == pytest.approx(2 * 2 * 2e6 * 3 * 14e-9 + 0.001 + 1.0)
