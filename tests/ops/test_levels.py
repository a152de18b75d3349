"""The kernels in C on every instruction set they are compiled for, as far as this machine has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmgraph.ops import compiled
from mmgraph.ops.compiled import LEVELS, call, level, library
from tests.ops.op_graphs import hub_graph

pytestmark = pytest.mark.skipif(library() is None, reason="the kernels in C were not compiled")
HERE = range(level() + 1 if library() else 1)


def test_the_best_level_is_taken_and_one_that_is_not_there_is_refused():
    assert len(LEVELS) == 3
    assert compiled.level() in range(3)
    with pytest.raises(ValueError, match="this machine has the levels"):
        call("topk", torch.float32, *([None] * 9), at=level() + 1)


@pytest.mark.parametrize("at", HERE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [1, 31, 64, 150])
def test_products_are_those_of_float64_at_every_level(at, dtype, width):
    a, generator = hub_graph(), torch.Generator().manual_seed(width)
    x, left = (torch.randn(n, width, generator=generator).to(dtype) for n in (30, 40))
    out, dots = torch.empty(40, width, dtype=dtype), torch.empty(300, dtype=dtype)
    name = f"spmm_to_{compiled.KINDS[dtype]}"
    call(name, dtype, 40, None, a.indptr, a.indices, a.values, None, x, None, None, out, width, 300, at=at)
    call("edge_dot", dtype, 40, a.indptr, a.indices, left, x, dots, width, 300, at=at)
    truth = a.dense().double() @ x.double()
    rounding = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-20
    size = a.dense().abs().double() @ x.abs().double()
    assert bool(((out - truth).abs() <= rounding * truth.abs() + 1e-4 * size).all())
    truth = (left.double()[a.row_indices().long()] * x.double()[a.indices.long()]).sum(1)
    size = (left.double()[a.row_indices().long()] * x.double()[a.indices.long()]).abs().sum(1)
    assert bool(((dots - truth).abs() <= rounding * truth.abs() + 1e-5 * size).all())


@pytest.mark.parametrize("at", HERE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [3, 128, 5003])
def test_selection_equals_a_stable_sort_at_every_level(at, dtype, width):
    generator = torch.Generator().manual_seed(width)
    scores = torch.randint(-40, 40, (6, width), generator=generator).to(dtype)
    scores[torch.rand(6, width, generator=generator) < 0.2] = -torch.inf
    k = min(width, 20)
    best, column = torch.empty(6, k), torch.empty(6, k, dtype=torch.int64)
    assert call("topk", dtype, 6, scores, width, k, None, None, None, best, column, at=at) == 0
    value, index = torch.sort(scores.float(), dim=1, descending=True, stable=True)
    assert torch.equal(best, value[:, :k])
    assert torch.equal(column, index[:, :k].masked_fill(value[:, :k] == -torch.inf, -1))
    scores[2, width - 1] = torch.nan
    assert call("topk", dtype, 6, scores, width, k, None, None, None, best, column, at=at) == 1


@pytest.mark.parametrize("at", HERE)
@pytest.mark.parametrize(("rows", "columns", "stride"), [(1, 1, 1), (3, 255, 300), (2, 4600, 4601)])
def test_a_scan_rounds_the_float32_product_at_every_level(at, rows, columns, stride):
    generator = torch.Generator().manual_seed(columns)
    left, table = torch.randn(rows, 9, generator=generator), torch.randn(9, stride, generator=generator).bfloat16()
    table[3, columns // 2] = -torch.inf
    out = torch.full((rows, columns), 7.0, dtype=torch.bfloat16)
    call("scan", torch.bfloat16, rows, left, table, out, 9, stride, columns, at=at)
    truth = left.double() @ table[:, :columns].double()
    finite = truth.isfinite()
    assert torch.equal(out.double()[~finite], truth[~finite])
    size = (left.abs().double() @ table[:, :columns].abs().double())[finite]
    assert bool(((out.double() - truth)[finite].abs() <= 2.0**-8 * truth[finite].abs() + 1e-5 * size).all())


BOUNDS = """
import torch
from mmgraph.ops import TopKIndex, topk
from mmgraph.ops.topk import cpu

generator = torch.Generator().manual_seed(0)
centre = torch.randn(12, 24, generator=generator)
user, video = (
    (centre[torch.randint(12, (n,), generator=generator)] + torch.randn(n, 24, generator=generator))
    * torch.rand(n, 1, generator=generator)
    for n in (40, 5000)
)
torch.cpu._is_avx512_bf16_supported = lambda: {products}
truth = topk(user.double(), video.double(), 10, impl="reference").video
index = TopKIndex(video)
assert torch.equal(index.search(user, 10).video, truth)
assert torch.equal(torch.cat([index.search(one, 10).video for one in user.split(3)]), truth)
assert torch.equal(topk(user, video, 10).video, truth)
assert len(index._bounded(user, 10, None, None, None)[1]) < 20
print("exact")
"""


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize(("torch_set", "onednn_set"), [("default", "SSE41"), ("avx2", "AVX2"), ("avx512", "DEFAULT")])
def test_bounds_hold_whatever_torch_multiplies_with(torch_set, onednn_set, products):
    given = {**os.environ, "ATEN_CPU_CAPABILITY": torch_set, "ONEDNN_MAX_CPU_ISA": onednn_set}
    command = [sys.executable, "-c", BOUNDS.replace("{products}", str(products))]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=given, capture_output=True, text=True, check=False)
    assert done.stdout == "exact\n", done.stderr[-2000:]


def test_kernels_of_another_version_are_not_called_and_a_warning_says_so(monkeypatch, caplog):
    monkeypatch.setattr(compiled, "_VERSION", 10_000)
    assert compiled.library.__wrapped__() is None
    assert "this code calls version 10000" in caplog.text
    assert "install mmgraph again" in caplog.text
