"""Row-sharded tables: the numbers of one embedding, and the bytes of the rows that travelled."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgraph.distributed import RowTable, Wire
from mmgraph.train import RowwiseAdagrad

N, DIM, STEPS = 11, 3, 4


def ids_of(step: int, size: int) -> list[torch.Tensor]:
    """Each process's share of a batch, of uneven sizes, with repeats."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randint(N, (5 + 2 * rank, 2), generator=generator) for rank in range(size)]


def loss_of(rows: torch.Tensor) -> torch.Tensor:
    return (rows.prod(1).sum(1) - 1).square().sum()


def steps(wire: Wire) -> dict:
    table = RowTable(wire, N, DIM, seed=5, std=1.0)
    first = table.whole()
    optimizer = RowwiseAdagrad().make([table.weight], 0.1, 0.0)
    losses, sent = [], []
    for step in range(STEPS):
        ids = ids_of(step, wire.size)[wire.rank]
        wire.sent.clear()
        loss = loss_of(table(ids))
        optimizer.zero_grad()
        loss.backward()
        sent.append(wire.sent["all_to_all"])
        optimizer.step()
        losses.append(loss.detach())
    return {"first": first, "held": len(table.weight), "last": table.whole(), "losses": losses, "sent": sent}


@pytest.mark.parametrize("size", [2, 4])
def test_training_equals_one_sparse_embedding(crew, size):
    found = crew(steps, size)
    weight = torch.nn.Parameter(found[0]["first"].clone())
    optimizer = RowwiseAdagrad().make([weight], 0.1, 0.0)
    for step in range(STEPS):
        loss = loss_of(F.embedding(torch.cat(ids_of(step, size)), weight, sparse=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(torch.stack([part["losses"][step] for part in found]).sum(), loss.detach())
    assert [part["held"] for part in found] == [len(range(rank, N, size)) for rank in range(size)]
    for part in found:
        torch.testing.assert_close(part["last"], weight.detach())


def test_only_touched_rows_travel(crew):
    size = 2
    found = crew(steps, size)
    for rank in range(size):
        asked = [ids_of(step, size)[rank].unique() for step in range(STEPS)]
        others = [ids_of(step, size)[1 - rank].unique() for step in range(STEPS)]
        for step in range(STEPS):
            away = int((asked[step] % size != rank).sum())
            served = int((others[step] % size == rank).sum())
            counts = 3 * size * 8  # how many rows each exchange brings
            assert found[rank]["sent"][step] == away * 8 + served * DIM * 4 + away * DIM * 4 + counts


def first(wire: Wire) -> torch.Tensor:
    return RowTable(wire, N, DIM, seed=5).whole()


def test_first_values_do_not_depend_on_the_number_of_processes(crew):
    one, two, four = (crew(first, size)[0] for size in (1, 2, 4))
    assert torch.equal(one, two)
    assert torch.equal(one, four)
    assert 0.03 < one.std() < 0.2


def wrong(wire: Wire) -> None:
    RowTable(wire, N, DIM)(torch.tensor([N]))


def test_an_id_outside_the_table_is_refused(crew):
    with pytest.raises(AssertionError, match="ids"):
        crew(wrong, 1)
