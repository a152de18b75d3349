"""The Triton kernels for GPUs that are not here. In a process of its own: in this one Triton interprets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from benchmarks.ops.aot import FEW, GATHER, TARGETS, TYPES, narrow_arithmetic


def test_every_kernel_compiles_without_spills_with_wide_loads_and_64_bit_addresses(tmp_path):
    path = tmp_path / "rows.jsonl"
    given = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.ops.aot", "--few", "--json", str(path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kernels = {"_spmm", "_spmm (no weights)", "_add_carries", "_edge_dot", "_attend", "_merge", "_attend_edges"}
    assert {(row["dtype"], row["width"], int(row["target"][3:])) for row in rows} == FEW
    assert len(rows) == len(FEW) * len(kernels)
    for row in rows:
        assert row["spilled"] == 0, row
        assert row["narrow"] == [], row
        if row["kernel"].split()[0] in GATHER and row["width"] % 16 == 0:
            assert row["loads_128"], row
    assert {row["kernel"] for row in rows} == kernels
    assert {target for _, _, target in FEW} == set(TARGETS)
    assert {dtype for dtype, _, _ in FEW} < set(TYPES)


def test_32_bit_arithmetic_on_sizes_is_noticed():
    ttir = """module {
  tt.func public @_spmm(%x: !tt.ptr<f32>, %rows: i32 loc("rows"), %out_stride: i32 {tt.divisibility = 16 : i32}) {
    %0 = arith.muli %row, %out_stride : i32 loc(#loc1)
    %1 = tt.splat %out_stride : i32 -> tensor<16x1xi32>
    %2 = arith.muli %place, %1 : tensor<16x1xi32>
    %3 = arith.addi %rows, %out_stride : i32
    %4 = arith.extsi %out_stride : i32 to i64
    %5 = arith.muli %row_64, %4 : i64
    %6 = arith.muli %program, %c64_i32 : i32
"""
    assert narrow_arithmetic(ttir) == [
        "%0 = arith.muli %row, %out_stride : i32",
        "%2 = arith.muli %place, %1 : tensor<16x1xi32>",
        "%3 = arith.addi %rows, %out_stride : i32",
    ]
