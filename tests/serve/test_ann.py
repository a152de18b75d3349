"""The approximate index: exact where it reads every list, measured where it does not, exact for what is new."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmgraph.bundle import Bundle
from mmgraph.ops import topk
from mmgraph.serve.ann import ApproximateIndex, approximate
from mmgraph.serve.index import Index, exact
from mmgraph.serve.server import ServeConfig
from tests.serve.conftest import Running

WIDTH = 8


def rows(count: int, seed: int = 0) -> torch.Tensor:
    """Clustered rows of very different lengths, which inner products over plain lists would get wrong."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(20, WIDTH, generator=generator) * 2
    made = centre[torch.arange(count) % 20] + torch.randn(count, WIDTH, generator=generator)
    return made * torch.rand(count, 1, generator=generator).add(0.1)


def test_without_faiss_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"mmgraph\[ann\]"):
        ApproximateIndex(rows(100))


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss", reason="the approximate index needs faiss: pip install 'mmgraph[ann]'")


def test_reading_every_list_it_is_exact_and_recall_says_how_far_it_is_otherwise(faiss):
    table, queries = rows(4000), rows(30, seed=1)
    whole = ApproximateIndex(table, lists=50, probes=50)
    assert whole.recall == 1.0
    wanted, found = topk(queries, table, 20), whole.top(queries, 20)
    assert torch.equal(found.video, wanted.video)
    assert torch.allclose(found.score, wanted.score, atol=1e-5)
    some = [ApproximateIndex(table, lists=50, probes=p) for p in (1, 10)]
    assert some[0].recall < some[1].recall <= 1.0
    exact = topk(queries, table, 20).video.tolist()
    mine = some[0]._near(queries, 20, ()).video.tolist()
    share = sum(len(set(a) & set(b)) for a, b in zip(exact, mine, strict=True)) / 600
    assert some[0].measure(queries, 20) == pytest.approx(share)
    assert ApproximateIndex(table, seed=3).recall == ApproximateIndex(table, seed=3).recall


def test_what_is_new_or_changed_is_found_exactly_and_what_is_hidden_never(faiss):
    table, query = rows(2000), torch.ones(1, WIDTH)
    index = ApproximateIndex(table, lists=40, probes=1)
    first = index.append(torch.stack([query[0] * 5, query[0] * 3]))
    assert (first, len(index), index.tail) == (2000, 2002, 2)
    worst = int((table @ query[0]).argmin())  # in a list that the query never reads
    index.replace(worst, query[0] * 4)
    best = int(index.top(query, 4).video[0, 3])
    index.replace(best, -query[0])
    found = index.top(query, 3)
    assert found.video.tolist() == [[2000, worst, 2001]]
    assert found.score.tolist() == [[40.0, 32.0, 24.0]]
    everything = index.top(query, 2002)
    assert dict(zip(*(t[0].tolist() for t in everything[::-1]), strict=True))[best] == -WIDTH, "not its old score"
    index.replace(2000, query[0] * 2)
    assert index.top(query, 3).video[0].tolist() == [worst, 2001, 2000]
    index.hide(worst)
    assert index.top(query, 2).video[0].tolist() == [2001, 2000]
    assert index.top(query, 1, [np.array([2001])]).video[0].tolist() == [2000]
    only = torch.zeros(2002, dtype=torch.bool)
    only[[worst, best, 2000]] = True
    assert index.top(query, 3, allowed=only).video[0].tolist() == [2000, best, -1], "a filter is searched exactly"
    assert [row for row, _ in index.search(query, 3, allowed=only)[0]] == [2000, best]
    index.show(worst)
    index.probes = 40
    index.rebuild()
    assert index.tail == 0
    assert index.top(query, 2).video[0].tolist() == [worst, 2001], "in the lists now"
    index.hide(worst)
    assert index.top(query, 1).video[0].tolist() == [2001], "hidden in the lists as in the tail"
    index.show(worst)
    assert torch.equal(index.rows[worst], query[0] * 4)
    assert not bool(index.hidden.any())


def test_ties_go_to_the_lower_row(faiss):
    index = ApproximateIndex(torch.ones(80, WIDTH), lists=2, probes=2)
    index.append(torch.ones(1, WIDTH))
    assert index.top(torch.ones(1, WIDTH), 81).video[0].tolist() == list(range(81))
    with pytest.raises(ValueError, match="cannot make 90 lists"):
        ApproximateIndex(torch.ones(80, WIDTH), lists=90)


def test_a_list_is_never_short_and_recall_is_told_of_given_queries(faiss):
    table = rows(2000)
    index = ApproximateIndex(table, lists=40, probes=1, queries=table[:5])
    assert index.kind == "faiss"
    assert index.recall == index.measure(table[:5]) < 1.0
    query = torch.ones(1, WIDTH)
    held = index._near(query, 500, ()).video
    assert held.shape[1] < 500 or int(held.min()) < 0, "one list holds fewer"
    assert torch.equal(index.top(query, 500).video, topk(query, table, 500).video)
    alone = Index(table)
    assert (alone.kind, alone.recall, alone.tail) == ("exact", 1.0, 0)
    assert len(exact(SimpleNamespace(video=table, user=None, videos=range(2000)))) == 2000


def test_a_server_searches_by_it_tells_its_recall_and_never_shows_what_is_hidden(
    serving: Callable[..., Running], looks, faiss
):
    running = serving(index="faiss")
    status = running.client.get("/v1/status").json()
    assert (status["index"], status["index_recall"], status["index_tail"]) == ("faiss", 1.0, 0)
    before = running.videos("0", k=5)
    assert running.client.put("/v1/videos/new", json={"features": looks["even"]}).json()["recommendable"]
    assert running.client.get("/v1/status").json()["index_tail"] == 1
    assert "new" in running.videos("0", k=5), "the exact tail counts in the next answer"
    assert running.videos("0", k=3, filter={"tag": ["odd"]}) == serving().videos("0", k=3, filter={"tag": ["odd"]})
    for video in ("new", before[0]):
        running.client.patch(f"/v1/videos/{video}", json={"hidden": True})
        assert video not in running.videos("0", k=1000)
    assert running.app.engine.reload()["bundle"]
    assert running.client.get("/v1/status").json()["index"] == "faiss"
    assert not {"new", before[0]} & set(running.videos("0", k=1000))
    assert "mmgraph_index_recall 1" in running.client.get("/metrics").text


def test_scores_that_are_no_products_are_refused_and_so_is_another_word(bundle: Bundle, bundle_folder: Path, log_path):
    with pytest.raises(ValueError, match="--index exact"):
        approximate(SimpleNamespace(user=None))
    with pytest.raises(ValueError, match="'exact' or 'faiss'"):
        ServeConfig(bundle_folder, log_path, index="hnsw")
    pytest.importorskip("faiss")
    assert approximate(bundle).recall == 1.0
