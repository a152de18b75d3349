"""Link prediction on an OGB set, judged by OGB's own evaluator: LightGCN's propagation over nodes of one type.

``python -m mmgraph.recipes.ogb ogbl-collab [--root DIR] [--epochs N]`` reads ``DIR/ogbl_collab`` (by default
``$MMGRAPH_DATA/ogb``), chooses the epoch on valid, opens the test once. Nothing is downloaded without ``--download``.
Hu et al., "Open Graph Benchmark", NeurIPS 2020, https://arxiv.org/abs/2005.00687.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.config import Config
from mmgraph.data import published_split, read_ogb_link
from mmgraph.data.readers import OGBLink
from mmgraph.ops import CSR, propagate
from mmgraph.progress import progress
from mmgraph.recipes.source import data_root


class LinkConfig(Config):
    """How links are learnt.

    Attributes:
        embedding_dim, num_layers: D and the layers of propagation.
        learning_rate, batch_size, epochs, seed: of training.
        eval_every: epochs between looks at valid.
        patience: looks without a better one before it ends.
    """

    embedding_dim: int = 64
    num_layers: int = 2
    learning_rate: float = 5e-3
    batch_size: int = 65_536
    epochs: int = 50
    eval_every: int = 5
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True)
class LinkResult:
    """What came out: ``metric`` on valid at the chosen epoch and, opened once, on test; ``curve`` is (epoch, valid)."""

    name: str
    metric: str
    epoch: int
    valid: float
    test: float
    curve: tuple[tuple[int, float], ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.metric} valid {self.valid:.4f} at epoch {self.epoch}, test {self.test:.4f}"


class NodeRows(nn.Module):
    """LightGCN on one type of nodes: the mean of A^l (E + W f), l = 0 … L, A = D^-1/2 (links, both ways) D^-1/2.

    He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126, there on users and items. The score of a link is the dot
    product of its ends.

    Args:
        num_nodes: N.
        features: [N, F] or None.
        config: D and L.
    """

    def __init__(self, num_nodes: int, features: Tensor | None, config: LinkConfig) -> None:
        super().__init__()
        self.num_layers = config.num_layers
        self.table = nn.Parameter(0.1 * torch.randn(num_nodes, config.embedding_dim))
        self.project = None if features is None else nn.Linear(features.shape[1], config.embedding_dim, bias=False)

    def forward(self, adjacency: CSR, features: Tensor | None, rows: Tensor | None = None) -> Tensor:
        """States [N, D], or those of some rows."""
        x = self.table if self.project is None or features is None else self.table + self.project(features)
        return propagate(adjacency, x, self.num_layers, rows=rows)


def train_links(link: OGBLink, config: LinkConfig | None = None, *, shown: bool = False) -> LinkResult:
    """Trains by BPR against nodes at random, chooses on valid by OGB's evaluator, and judges the test once.

    Args:
        link: of :func:`mmgraph.data.read_ogb_link`.
        config: how.
        shown: show progress.

    Raises:
        SealedTestError: this process has opened the set's test under this name before.
    """
    config = config or LinkConfig()
    split = published_split(link.dataset, "split", repeats="keep", name=f"{link.name}-ogb")
    features = link.dataset.features["node"].values if "node" in link.dataset.features else None
    train, valid = _ends(split.train), _ends(split.valid)
    count = link.dataset.num_users
    adjacency = both_ways(train, count)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = NodeRows(count, features, config)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)
    best, state, curve, bad = (-1.0, -1), {}, [], 0
    with progress(link.name, config.epochs, shown=shown) as advance:
        for epoch in range(config.epochs):
            _epoch(model, adjacency, features, train, optimizer, config, epoch)
            note = ""
            if (epoch + 1) % config.eval_every == 0 or epoch + 1 == config.epochs:
                value = judge(link, model, adjacency, features, valid, "valid")
                curve.append((epoch, value))
                note, bad = f"valid {value:.4f}", 0 if value > best[0] else bad + 1
                if value > best[0]:
                    best, state = (value, epoch), {k: v.clone() for k, v in model.state_dict().items()}
            advance(1, note)
            if bad >= config.patience:
                break
    model.load_state_dict(state)
    test = _ends(split.open_test(f"links, seed {config.seed}"))
    found = judge(link, model, adjacency, features, test, "test")
    return LinkResult(link.name, link.metric, best[1], best[0], found, tuple(curve))


def both_ways(ends: Tensor, count: int) -> CSR:
    """The normalised adjacency [N, N] of links [2, E], each in both directions; repeated links weigh more."""
    rows, cols = torch.cat([ends[0], ends[1]]), torch.cat([ends[1], ends[0]])
    return CSR.from_edges(rows, cols, (count, count), torch.ones(len(rows)), symmetric=True).normalized("sym")


@torch.no_grad()
def judge(link: OGBLink, model: NodeRows, adjacency: CSR, features: Tensor | None, ends: Tensor, part: str) -> float:
    """OGB's metric on links [2, E] against the set's own negatives."""
    x = model.eval()(adjacency, features)
    negatives = link.negatives[part]
    if link.metric == "mrr":  # [E, n]: other targets of each source
        ends, negatives = _in_order(link, ends, part)
        found = torch.cat([(x[a, None] * x[b]).sum(-1) for a, b in zip(ends[0].split(512), negatives.split(512))])
    else:
        found = (x[negatives[0]] * x[negatives[1]]).sum(-1)
    return link.evaluate((x[ends[0]] * x[ends[1]]).sum(-1), found)[link.metric]


def _in_order(link: OGBLink, ends: Tensor, part: str) -> tuple[Tensor, Tensor]:
    """Links and their negatives, which OGB aligns by row."""
    negatives = link.negatives[part]
    if len(negatives) != ends.shape[1]:
        raise ValueError(f"{link.name}: {ends.shape[1]} {part} links, but negatives for {len(negatives)}")
    return ends, negatives


def _ends(table: pl.DataFrame) -> Tensor:
    return torch.stack([torch.tensor(table[name].to_numpy(), dtype=torch.int64) for name in ("user", "video")])


def _epoch(
    model: NodeRows,
    adjacency: CSR,
    features: Tensor | None,
    train: Tensor,
    optimizer: torch.optim.Optimizer,
    config: LinkConfig,
    epoch: int,
) -> None:
    """One pass over the links, each turned at random."""
    chance = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    turned = torch.rand(train.shape[1], generator=chance) < 0.5
    ends = torch.where(turned, train.flip(0), train)[:, torch.randperm(train.shape[1], generator=chance)]
    for batch in ends.split(config.batch_size, dim=1):
        other = torch.randint(adjacency.shape[0], (batch.shape[1],), generator=chance)
        rows, place = torch.unique(torch.cat([batch[0], batch[1], other]), return_inverse=True)
        near, right, wrong = F.embedding(place, model.train()(adjacency, features, rows)).chunk(3)
        loss = F.softplus((near * (wrong - right)).sum(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="ogbl-collab")
    parser.add_argument("--root", type=Path, default=None)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--download", action="store_true", help="let OGB download the set")
    given = parser.parse_args(arguments)
    root = data_root() / "ogb" if given.root is None else given.root
    link = read_ogb_link(given.name, root, download=given.download)
    print(train_links(link, LinkConfig(epochs=given.epochs, seed=given.seed), shown=True))


if __name__ == "__main__":
    main()
