"""Users in buckets on disk: the numbers of tables in memory, one bucket at a time, epochs that outlive a kill."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgraph.distributed import Buckets, RowTable, Wire, bucket_epoch
from mmgraph.graph.samplers import epoch_generator
from mmgraph.losses import bpr
from mmgraph.ops import CSR, negatives
from mmgraph.train import RowwiseAdagrad

U, V, DIM = 10, 12, 4


def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    user, video = torch.meshgrid(torch.arange(U), torch.arange(V), indexing="ij")
    chosen = (user + video) % 2 == 0
    return user[chosen], video[chosen]


def pieces():
    user, video = pairs()
    order = torch.randperm(len(user), generator=torch.Generator().manual_seed(1))
    return zip(user[order].split(7), video[order].split(7), strict=True)


def epochs(wire: Wire, folder: str, count: int) -> dict:
    buckets = Buckets.open(folder)
    videos = RowTable(wire, V, DIM, seed=9)
    losses = []
    for _ in range(count):
        buckets, loss = bucket_epoch(buckets, videos, batch_size=8, negatives_each=2, seed=4)
        losses.append(loss)
    rows = torch.cat([buckets.table(k)["rows"] for k in range(buckets.count)])
    return {"users": rows, "videos": videos.whole(), "losses": losses, "epoch": buckets.epoch}


def test_an_epoch_equals_one_with_the_tables_in_memory(crew, tmp_path):
    made = Buckets.write(tmp_path, pieces(), U, V, dim=DIM, count=3)
    weight = torch.nn.Parameter(torch.cat([made.table(k)["rows"] for k in range(3)]))
    assert weight.shape == (U, DIM)
    found = crew(epochs, 1, str(tmp_path), 2)[0]
    video = torch.nn.Parameter(crew(first_videos, 1)[0])
    both = RowwiseAdagrad().make([weight, video], 0.05, 0.0)
    for epoch in range(2):
        total, seen_pairs = 0.0, 0
        for k in torch.randperm(3, generator=epoch_generator(4, epoch)).tolist():
            start = k * 4
            user, item = made.pairs(k)
            seen = CSR.from_edges(user, item, (len(made.users(k)), V))
            generator = epoch_generator(4 + 1 + k, epoch)
            for at in torch.randperm(len(user), generator=generator).split(8):
                asked = torch.cat([item[at].unsqueeze(1), negatives(seen, user[at], 2, generator=generator)], 1)
                state = F.embedding(user[at] + start, weight, sparse=True).unsqueeze(1)
                scores = torch.linalg.vecdot(F.embedding(asked, video, sparse=True), state)
                loss = bpr(scores[:, :1], scores[:, 1:])
                both.zero_grad()
                loss.backward()
                both.step()
                total, seen_pairs = total + loss.item() * len(at), seen_pairs + len(at)
        assert seen_pairs == len(pairs()[0])
        assert found["losses"][epoch] == pytest.approx(total / seen_pairs, rel=1e-5)
    torch.testing.assert_close(found["users"], weight.detach())
    torch.testing.assert_close(found["videos"], video.detach())


def first_videos(wire: Wire) -> torch.Tensor:
    return RowTable(wire, V, DIM, seed=9).whole()


def test_every_pair_lies_in_its_users_bucket_once(tmp_path):
    made = Buckets.write(tmp_path, pieces(), U, V, dim=DIM, count=3)
    found = [
        (u + made.users(k)[0], v) for k in range(3) for u, v in zip(*(t.tolist() for t in made.pairs(k)), strict=True)
    ]
    assert sorted(found) == sorted(zip(*(t.tolist() for t in pairs()), strict=True))
    with pytest.raises(ValueError, match="holds buckets already"):
        Buckets.write(tmp_path, pieces(), U, V)
    with pytest.raises(ValueError, match="user"):
        Buckets.write(tmp_path / "other", [(torch.tensor([U]), torch.tensor([0]))], U, V)


def test_two_processes_train_one_video_table(crew, tmp_path):
    Buckets.write(tmp_path, pieces(), U, V, dim=DIM, count=5)
    found = crew(epochs, 2, str(tmp_path), 25)
    assert torch.equal(found[0]["videos"], found[1]["videos"])
    assert found[0]["losses"] == found[1]["losses"]
    assert found[0]["losses"][-1] < 0.5 * found[0]["losses"][0]
    scores = found[0]["users"] @ found[0]["videos"].T
    user, video = pairs()
    chosen = torch.zeros(U, V, dtype=torch.bool)
    chosen[user, video] = True
    assert scores[chosen].mean() > scores[~chosen].mean() + 0.5


def test_a_half_epoch_does_not_count(crew, tmp_path):
    Buckets.write(tmp_path / "a", pieces(), U, V, dim=DIM, count=3)
    Buckets.write(tmp_path / "b", pieces(), U, V, dim=DIM, count=3)
    whole = crew(epochs, 1, str(tmp_path / "a"), 3)[0]
    crew(epochs, 1, str(tmp_path / "b"), 1)
    half = Buckets.open(tmp_path / "b")
    half.keep("users-0", {"rows": torch.full((4, DIM), 7.0), "sum": torch.zeros(4)})  # and then it was killed
    assert Buckets.open(tmp_path / "b").epoch == 1
    again = crew(epochs, 1, str(tmp_path / "b"), 2)[0]
    assert again["epoch"] == whole["epoch"] == 3
    assert torch.equal(again["users"], whole["users"])
    assert torch.equal(again["videos"], whole["videos"])
