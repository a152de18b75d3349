"""Nothing that a caller passes may read or write memory that is not the op's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmgraph.ops import (
    CSR,
    Negatives,
    attend,
    best_of,
    checks,
    edge_dot,
    k_hop,
    knn,
    log_q,
    negatives,
    propagate,
    random_walks,
    sample_neighbours,
    segment_softmax,
    spmm,
    topk,
    topk_scores,
)
from mmgraph.ops.compiled import DECLARED, call, library
from tests.ops.op_graphs import hub_graph


def test_rows_are_int64_within_the_table():
    for good in (torch.tensor([0, 4], dtype=torch.int32), np.array([0, 4]), [0, 4], range(0, 5, 4)):
        index = checks.rows(good, 5, "rows")
        assert index.dtype == torch.int64
        assert index.tolist() == [0, 4]
    assert checks.rows([], 0, "rows").tolist() == []
    assert checks.rows(torch.tensor([[0], [2]]), 3, "rows", dim=2).shape == (2, 1)
    assert checks.rows([7], None, "rows").tolist() == [7]


WRONG_ROWS = [
    (torch.tensor([0.0, 1.0]), TypeError, "float32"),
    (torch.tensor([0.5]), TypeError, "float32"),
    (torch.tensor([True, False]), TypeError, "nonzero"),
    (torch.tensor([1j]), TypeError, "complex64"),
    ([0.5, 1.0], TypeError, "float32"),
    ([True], TypeError, "bool"),
    (["a"], TypeError, "makes none"),
    ([2**70], TypeError, "makes none"),
    ("ab", TypeError, "str"),
    (None, TypeError, "NoneType"),
    (3, TypeError, "int 3"),
    (torch.tensor([0, -1]), ValueError, r"holds -1 \(entry 1\), outside 0..4"),
    (torch.tensor([-(10**12)]), ValueError, "holds -1000000000000"),
    (torch.tensor([0, 5]), ValueError, r"holds 5 \(entry 1\), outside 0..4"),
    (torch.tensor([2**62]), ValueError, "outside 0..4"),
    (torch.tensor([[0]]), ValueError, r"must be \[B\], got \[1, 1\]"),
    (torch.tensor(0), ValueError, r"must be \[B\]"),
    (torch.empty(2, dtype=torch.int64, device="meta"), ValueError, "is on meta"),
    (torch.tensor([0, 1]).to_sparse(), TypeError, "dense"),
]


@pytest.mark.parametrize(("wrong", "kind", "match"), WRONG_ROWS)
def test_rows_that_are_none_are_refused_in_the_argument_s_name(wrong, kind, match):
    with pytest.raises(kind, match=match) as caught:
        checks.rows(wrong, 5, "users", like=torch.zeros(1))
    assert "users" in str(caught.value)


def test_counts_are_plain_ints_in_range():
    assert type(checks.count(np.int64(3), "k")) is int
    assert checks.count(0, "k", 0) == 0
    for wrong in (True, 3.0, "3", None, torch.tensor(3), np.float64(3)):
        with pytest.raises(TypeError, match="k must be a whole number"):
            checks.count(wrong, "k")
    for wrong in (0, -1, 10**9):
        with pytest.raises(ValueError, match="k must be from 1 to 5, got"):
            checks.count(wrong, "k", 1, 5)


def test_flags_and_numbers_have_their_type_shape_and_device():
    assert checks.flags([True, False], 2, "seen").dtype == torch.bool
    with pytest.raises(TypeError, match="seen must be bool"):
        checks.flags(torch.tensor([1, 0]), 2, "seen")
    with pytest.raises(ValueError, match=r"seen must be \[3\] bool"):
        checks.flags(torch.tensor([True]), 3, "seen")
    assert checks.numbers(torch.ones(2, 3), (2, None), "x").shape == (2, 3)
    assert checks.numbers(torch.tensor([True]), (1,), "x", bools=True).dtype == torch.bool
    with pytest.raises(TypeError, match=r"x must be floating point, got torch\.int64"):
        checks.numbers(torch.ones(2).long(), (2,), "x")
    with pytest.raises(ValueError, match=r"x must be \[2, \*\]"):
        checks.numbers(torch.ones(2), (2, None), "x")
    with pytest.raises(ValueError, match="x is on meta"):
        checks.numbers(torch.ones(2, device="meta"), (2,), "x", like=torch.ones(2))
    assert checks.readable(torch.ones(1))
    assert not checks.readable(torch.ones(1, device="meta"))


def csr(indptr, indices, cols=3, **options):
    return CSR(torch.tensor(indptr), torch.tensor(indices), options.pop("values", None), (2, cols), **options)


@pytest.mark.parametrize(
    ("make", "kind", "match"),
    [
        (lambda: csr([0, 1, 2], [0, 3]), ValueError, r"indices holds 3 \(entry 1\), outside 0..2"),
        (lambda: csr([0, 1, 2], [0, -1]), ValueError, "indices holds -1"),
        (lambda: csr([0, 5, 2], [0, 1]), ValueError, "indptr holds 5"),
        (lambda: csr([0, 2, 1], [0, 1]), ValueError, "rise from 0 to 2"),
        (lambda: csr([1, 1, 2], [0, 1]), ValueError, "rise from 0 to 2"),
        (lambda: csr([0, 1, 1], [0, 1]), ValueError, "rise from 0 to 2"),
        (lambda: csr([0, 2, 2], [1, 0]), ValueError, "ascend within each row"),
        (lambda: csr([0, 1], [0]), ValueError, r"indptr must be \[3\]"),
        (lambda: csr([0.0, 1.0, 2.0], [0, 1]), TypeError, "indptr"),
        (lambda: csr([0, 1, 2], [0.0, 1.0]), TypeError, "indices"),
        (lambda: csr([0, 1, 2], [0, 1], values=torch.ones(3)), ValueError, r"values must be \[2\]"),
        (lambda: csr([0, 1, 2], [0, 1], values=torch.ones(2, device="meta")), ValueError, "values is on meta"),
        (lambda: csr([0, 1, 2], [0, 1], values=torch.ones(2).int()), TypeError, "values must be floating"),
        (lambda: csr([0, 1, 2], [0, 1], row_scale=torch.ones(3)), ValueError, r"row_scale must be \[2\]"),
        (lambda: csr([0, 1, 1], [1], 2, symmetric=True), ValueError, r"no \(j, i\)"),
        (lambda: CSR.from_edges([0.0], [0], (1, 1)), TypeError, "row must be whole"),
        (lambda: CSR.from_edges([0], [-1], (1, 1)), ValueError, "col holds -1"),
        (lambda: CSR.from_edges([0], [0], (1.0, 1)), TypeError, r"shape\[0\]"),
        (lambda: CSR.from_edges([0], [0], (-1, 1)), ValueError, r"shape\[0\]"),
        (lambda: CSR.bipartite([2], [0], (2, 3)), ValueError, "row holds 2"),  # it would be video 0
        (lambda: CSR.bipartite([0], [-1], (2, 3)), ValueError, "col holds -1"),  # the last user
        (lambda: hub_graph().select(torch.tensor([-1])), ValueError, "rows holds -1"),
        (lambda: hub_graph().with_values(torch.ones(300), symmetric=True), ValueError, "not known to be symmetric"),
    ],
)
def test_a_csr_that_would_read_foreign_memory_cannot_be_made(make, kind, match):
    with pytest.raises(kind, match=match):
        make()


def test_a_csr_has_indices_as_the_kernels_read_them():
    a = CSR(torch.tensor([0, 9, 1, 9, 3], dtype=torch.int32)[::2], torch.tensor([2, 0, 1]), None, (2, 3))
    assert a.indptr.dtype == torch.int64
    assert a.indices.dtype == torch.int32
    assert a.indptr.is_contiguous()
    assert a.dense().tolist() == [[0, 0, 1], [1, 1, 0]]


A, X = hub_graph(), torch.zeros(30, 4)  # [40, 30]
SQUARE = CSR.bipartite([0, 1], [1, 0], (2, 2))
META = torch.zeros(300, device="meta")
RNG = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (lambda rows: spmm(A, X, rows=rows), "rows"),
        (lambda rows: propagate(SQUARE, torch.zeros(4, 2), 2, rows=rows), "rows"),
        (lambda rows: A.select(rows), "rows"),
        (lambda rows: topk(torch.zeros(len(rows), 4), X, 3, seen=A, users=rows), "users"),
        (lambda rows: topk_scores(lambda u: torch.zeros(len(u), 30), rows, 30, 3, seen=A), "users"),
        (lambda rows: negatives(A, rows, 2, generator=RNG), "users"),
        (lambda rows: log_q(torch.ones(30), rows), "videos"),
        (lambda rows: sample_neighbours(A, rows, 2, RNG), "rows"),
        (lambda rows: k_hop(SQUARE, rows, [1], RNG), "seeds"),
        (lambda rows: random_walks(A, rows, 2, generator=RNG), "seeds"),
    ],
)
@pytest.mark.parametrize(
    "wrong", [[-1], [40], [-(10**12)], [2**40], [0.0], [True], torch.empty(1, dtype=torch.int64, device="meta")]
)
def test_every_op_refuses_wrong_rows_in_its_own_words(run, name, wrong):
    with pytest.raises((TypeError, ValueError), match=f"^{name} "):
        run(wrong if isinstance(wrong, torch.Tensor) else torch.tensor(wrong))


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_rows_of_users_may_be_of_any_whole_type(impl):
    user, video = torch.randn(2, 4, generator=RNG), torch.randn(30, 4, generator=RNG)
    best = topk(user, video, 3, seen=A, users=torch.tensor([7, 2]), impl=impl).video
    assert torch.equal(topk(user, video, 3, seen=A, users=torch.tensor([7, 2]).int(), impl=impl).video, best)
    assert torch.equal(spmm(A, X + 1, rows=torch.tensor([3], dtype=torch.uint8)), spmm(A, X + 1)[[3]])


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (lambda k: topk(X[:2], X, k), "k"),
        (lambda k: topk_scores(lambda u: torch.zeros(len(u), 30), torch.tensor([0]), 30, k), "k"),
        (lambda k: best_of(X, k), "k"),
        (lambda k: knn(X, k), "k"),
        (lambda k: propagate(SQUARE, torch.zeros(4, 2), k), "num_layers"),
        (lambda k: negatives(A, torch.tensor([0]), k, generator=RNG), "count"),
        (lambda k: random_walks(A, torch.tensor([0]), 2, length=k, generator=RNG), "length"),
        (lambda k: random_walks(A, torch.tensor([0]), k, generator=RNG), "k"),
        (lambda k: sample_neighbours(A, torch.tensor([0]), k, RNG), "fanout"),
    ],
)
@pytest.mark.parametrize("wrong", [torch.tensor(3), 3.0, True, -2, "3"])
def test_every_op_refuses_wrong_counts(run, name, wrong):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
        run(wrong)


@pytest.mark.parametrize("run", [lambda k: topk(X[:2], X, k), lambda k: best_of(X, k), lambda k: knn(X, k)])
def test_a_list_far_longer_than_the_catalogue_is_not_made(run):
    with pytest.raises(ValueError, match="k must be from 0 to 65,536, got 1,000,000,000"):
        run(10**9)


@pytest.mark.parametrize(
    ("run", "match"),
    [
        (lambda: spmm(A, X, values=META), "values is on meta"),
        (lambda: spmm(A, X, mask=META), "mask is on meta"),
        (lambda: spmm(A, torch.zeros(30, 4, device="meta")), "x is on meta"),
        (lambda: spmm(A, X, values=torch.ones(300).int()), "values must be floating"),
        (lambda: spmm(A, X, mask=torch.ones(300).cfloat()), "mask must be floating point or bool"),
        (lambda: spmm(A.dense(), X), "A must be a CSR"),
        (lambda: spmm(A, X.cfloat()), "x must be floating"),
        (lambda: propagate(SQUARE, torch.zeros(4, 2), 1, weights=META[:2]), "weights is on meta"),
        (lambda: propagate(SQUARE, torch.zeros(4, 2), 1, weights=torch.tensor([1, 2])), "weights must be floating"),
        (lambda: propagate(SQUARE, torch.zeros(4, 2), 1, weights=["1", "2"]), "weights must be numbers"),
        (lambda: propagate(SQUARE, torch.zeros(4, 2), 1, storage=torch.int8), "storage must be"),
        (lambda: edge_dot(A, torch.zeros(40, 4), torch.zeros(30, 4, device="meta")), "right is on meta"),
        (lambda: attend(A, META, X), "logits is on meta"),
        (lambda: attend(A, torch.zeros(300), torch.zeros(30, 4, device="meta")), "x is on meta"),
        (lambda: segment_softmax(A, META), "logits is on meta"),
        (lambda: topk(X, torch.zeros(5, 4, device="meta"), 2), "video is on meta"),
        (lambda: topk(X, X.double(), 2), "of one type"),
        (lambda: topk(X, X, 2, candidates=torch.ones(30).long()), "candidates must be bool"),
        (lambda: topk(X, X, 2, candidates=torch.ones(30, dtype=torch.bool, device="meta")), "candidates is on meta"),
        (lambda: topk(X, X, 2, seen=torch.zeros(30, 30)), "seen must be a CSR"),
        (lambda: best_of(X.long(), 2), "scores must be floating"),
        (lambda: best_of(X[0], 2), r"scores must be \[\*, \*\]"),
        (lambda: knn(X, 2, present=torch.ones(30)), "present must be bool"),
        (lambda: knn(X, 2, query=torch.zeros(1, 4, device="meta")), "query is on meta"),
        (lambda: knn(X.cfloat(), 2), "x must be a dense tensor of numbers"),
        (lambda: knn(X, 2, query_present=torch.ones(1).bool()), "needs query"),
        (lambda: Negatives(A, META[:30]), "weights is on meta"),
        (lambda: negatives(A, torch.tensor([0]), 1, alpha=float("nan"), generator=RNG), "alpha must be"),
        (lambda: random_walks(A, torch.tensor([0]), 1, generator=None), "generator must be"),
    ],
)
def test_tensors_of_another_type_or_device_are_refused(run, match):
    with pytest.raises((TypeError, ValueError), match=match):
        run()


def test_checks_look_at_no_values_where_there_are_none():
    fake = torch._subclasses.FakeTensorMode()
    with fake:
        index = torch.tensor([0, 99])
        assert checks.rows(index, 5, "rows").dtype == torch.int64
    meta = torch.empty(2, dtype=torch.int32, device="meta")
    assert checks.rows(meta, 5, "rows", like=meta).device.type == "meta"
    fresh = hub_graph()  # its transpose is made in what is compiled
    run = torch.compile(lambda rows, x: spmm(fresh, x, rows=rows), backend="eager", fullgraph=True)
    assert torch.equal(run(torch.tensor([2, 39]), X + 1), spmm(A, X + 1)[[2, 39]])


@pytest.mark.skipif(library() is None, reason="the kernels in C were not compiled")
def test_compiled_kernels_refuse_what_they_were_not_declared_for():
    def arrays():
        return {
            "rows": 2,
            "scores": torch.rand(2, 5),
            "width": 5,
            "k": 2,
            "which": None,
            "indptr": None,
            "indices": None,
            "best": torch.empty(2, 2),
            "column": torch.empty(2, 2, dtype=torch.int64),
        }

    assert [argument.name for argument in DECLARED["topk"]] == list(arrays())
    assert call("topk", torch.float32, *arrays().values()) == 0
    for name, wrong in {
        "k": torch.tensor(2),
        "width": 5.0,
        "rows": -1,
        "scores": torch.rand(2, 5).double(),
        "which": torch.tensor([0, 1], dtype=torch.int32),
        "indices": torch.tensor([0, 1]),
        "best": torch.empty(2, 4)[:, ::2],
        "column": None,
    }.items():
        with pytest.raises(TypeError, match=f"topk: {name} must be"):
            call("topk", torch.float32, *(arrays() | {name: wrong}).values())
    with pytest.raises(TypeError, match=r"best must be contiguous torch\.float32 on cpu, got torch\.float32 on meta"):
        call("topk", torch.float32, *(arrays() | {"best": torch.empty(2, 2, device="meta")}).values())
    with pytest.raises(TypeError, match="takes 9 arguments, got 1"):
        call("topk", torch.float32, 2)
