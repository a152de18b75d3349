"""OGB's recipe on sets made by hand in OGB's own files: rings and cliques, judged by OGB's evaluator, offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmgraph.data import SealedTestError, read_ogb_link
from mmgraph.data.readers import OGBLink
from mmgraph.recipes.ogb import LinkConfig, NodeRows, both_ways, judge, train_links

CLIQUES, SIZE = 5, 10


def on_disk(folder: Path, name: str, metric: str) -> OGBLink:
    """Five cliques of ten nodes in OGB's layout; held-out links lie inside cliques, negatives between them."""
    chance = np.random.default_rng(0)
    inside = np.array([(c * SIZE + i, c * SIZE + j) for c in range(CLIQUES) for i in range(SIZE) for j in range(i)])
    chance.shuffle(inside)
    valid, test, train = np.split(inside, [20, 40])
    between = np.array([(i, j) for i in range(50) for j in range(i) if i // SIZE != j // SIZE])
    chance.shuffle(between)
    parts: dict[str, dict] = {"train": {"edge": train}, "valid": {"edge": valid}, "test": {"edge": test}}
    if metric == "mrr":
        for part, edges in (("train", train), ("valid", valid), ("test", test)):
            parts[part] = {"source_node": edges[:, 0], "target_node": edges[:, 1]}
            others = [chance.permutation([n for n in range(50) if n // SIZE != s // SIZE])[:30] for s in edges[:, 0]]
            if part != "train":
                parts[part]["target_node_neg"] = np.stack(others)
    else:
        parts["valid"]["edge_neg"], parts["test"]["edge_neg"] = between[:200], between[200:400]
    (folder / "processed").mkdir(parents=True)
    (folder / "split" / "time").mkdir(parents=True)
    graph = {"edge_index": np.concatenate([train, train[:, ::-1]]).T, "edge_feat": None, "num_nodes": 50}
    graph["node_feat"] = chance.standard_normal((50, 4)).astype(np.float32)
    torch.save(graph, folder / "processed" / "data_processed", pickle_protocol=4)
    for part, value in parts.items():
        torch.save(value, folder / "split" / "time" / f"{part}.pt", pickle_protocol=4)
    (folder / "RELEASE_v1.txt").touch()
    said = ("task type", "eval metric", "is hetero", "binary", "add_inverse_edge", "split", "additional node files")
    values = ("link prediction", metric, "False", "False", "True", "time", "None")
    meta = dict(zip(said, values, strict=True)) | {"dir_path": str(folder), "download_name": "tiny", "version": 1}
    return read_ogb_link(name, meta=meta | {"url": "", "additional edge files": "None"})


FAST = {"embedding_dim": 16, "batch_size": 64, "learning_rate": 0.02, "eval_every": 2}


@pytest.mark.parametrize(("name", "metric"), [("ogbl-collab", "hits@50"), ("ogbl-citation2", "mrr")])
def test_links_inside_cliques_come_first_by_ogbs_own_metric(tmp_path: Path, name: str, metric: str):
    link = on_disk(tmp_path / "tiny", name, metric)
    seed = 1 if metric == "mrr" else 0
    found = train_links(link, LinkConfig(epochs=12, seed=seed, **FAST))
    assert (found.metric, found.name) == (metric, name)
    assert found.valid == max(value for _, value in found.curve)
    assert found.test > 0.9
    assert f"{metric} valid" in str(found)
    with pytest.raises(SealedTestError, match="has opened the test"):
        train_links(link, LinkConfig(epochs=1, seed=seed, **FAST))


def test_an_untrained_model_is_worth_little_and_the_truth_all(tmp_path: Path):
    link = on_disk(tmp_path / "tiny", "ogbl-citation2", "mrr")
    model = NodeRows(50, None, LinkConfig(embedding_dim=CLIQUES, num_layers=0))
    nothing = both_ways(torch.empty(2, 0, dtype=torch.int64), 50)
    rows = link.dataset.interactions
    ends = torch.stack([torch.tensor(rows[c].to_numpy()) for c in ("user", "video")])[:, rows["split"].to_numpy() == 1]
    untrained = judge(link, model, nothing, None, ends, "valid")
    assert untrained < 0.4
    truth = torch.nn.functional.one_hot(torch.arange(50) // SIZE).float()
    model.table = torch.nn.Parameter(truth)
    assert judge(link, model, nothing, None, ends, "valid") == 1.0
    with pytest.raises(ValueError, match="negatives for 20"):
        judge(link, model, nothing, None, ends[:, :3], "valid")


def test_the_propagation_is_the_dense_one():
    ends = torch.tensor([[0, 1, 1], [1, 2, 2]])  # the second link twice
    dense = torch.tensor([[0.0, 1, 0], [1, 0, 2], [0, 2, 0]])
    scale = dense.sum(1).rsqrt()
    a = scale[:, None] * dense * scale
    torch.manual_seed(0)
    features = torch.randn(3, 2)
    model = NodeRows(3, features, LinkConfig(embedding_dim=4, num_layers=2))
    assert model.project is not None
    x = model.table + features @ model.project.weight.T
    want = (x + a @ x + a @ a @ x) / 3
    torch.testing.assert_close(model(both_ways(ends, 3), features), want)
    rows = torch.tensor([2, 0])
    torch.testing.assert_close(model(both_ways(ends, 3), features, rows), want[rows])
