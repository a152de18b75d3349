"""Users in buckets on disk: tables larger than memory, read once an epoch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mmgraph.data.files import read_json, write_atomically, write_json
from mmgraph.distributed.rows import RowTable, first_rows
from mmgraph.graph.samplers import epoch_generator
from mmgraph.losses import bpr
from mmgraph.ops import CSR, checks, negatives
from mmgraph.train import RowwiseAdagrad

MANIFEST = "buckets.json"


@dataclass(frozen=True)
class Buckets:
    """Pairs and rows of users, cut into K files each; of the graph only one bucket at a time is in memory.

    The graph is bipartite, so only users need cutting: a pair belongs to its user's bucket, and videos stay whole
    (or shared out by rows). Bucket k holds the users k·s … (k+1)·s − 1, s = ⌈U/K⌉. A folder: ``pairs-k.i32`` [E_k, 2]
    int32 of user (from 0 in its bucket) and video; ``epoch-e/``, the tables after e epochs; ``buckets.json``, which
    names the epoch that counts and is written last, so that a kill goes back to the epoch before.

    Attributes:
        folder: where they lie.
        num_users: U.
        num_videos: V.
        dim: D.
        count: K.
        seed: of the first values.
        epoch: how many are done.
    """

    folder: Path
    num_users: int
    num_videos: int
    dim: int
    count: int
    seed: int
    epoch: int = 0

    @classmethod
    def write(
        cls,
        folder: Path | str,
        pairs: Iterable[tuple[Tensor, Tensor]],
        num_users: int,
        num_videos: int,
        *,
        dim: int = 64,
        count: int = 16,
        seed: int = 0,
    ) -> Buckets:
        """Cuts pairs into buckets, piece by piece.

        Args:
            folder: made where it does not exist.
            pairs: pieces of users [n] and videos [n], int64, in any order; each fits in memory.
            num_users, num_videos: U and V, below 2^31.
            dim: D.
            count: K; about 16 B · U · D / K of memory are needed at a time, and as much again for its pairs.
            seed: of the first values.

        Raises:
            ValueError: a row outside, or buckets there already.
        """
        folder = Path(folder)
        if (folder / MANIFEST).exists():
            raise ValueError(f"{folder} holds buckets already: open them with Buckets.open, or remove the folder")
        count = min(checks.count(count, "count"), checks.count(num_users, "num_users"))
        out = cls(folder, num_users, checks.count(num_videos, "num_videos"), checks.count(dim, "dim"), count, seed)
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(count):
            out._pairs(k).write_bytes(b"")
        for user, video in pairs:
            user = checks.rows(user, num_users, "user")
            video = checks.rows(video, num_videos, "video", like=user)
            bucket = user // out.size
            for k in torch.unique(bucket).tolist():
                chosen = bucket == k
                both = torch.stack([user[chosen] - k * out.size, video[chosen]], 1).int()
                with out._pairs(k).open("ab") as file:
                    file.write(both.numpy().tobytes())
        out._commit(0)
        return out

    @classmethod
    def open(cls, folder: Path | str) -> Buckets:
        """What :meth:`write` wrote, after the epochs that are done.

        Raises:
            FileNotFoundError: no buckets there.
            DamagedFile: (a ValueError) they are not what was written.
        """
        return cls(folder=Path(folder), **read_json(Path(folder) / MANIFEST, "list of buckets"))

    @property
    def size(self) -> int:
        """s, users a bucket."""
        return -(-self.num_users // self.count)

    def users(self, k: int) -> range:
        """The rows of bucket k."""
        return range(min(k * self.size, self.num_users), min((k + 1) * self.size, self.num_users))

    def pairs(self, k: int) -> tuple[Tensor, Tensor]:
        """Users [E_k], from 0 in the bucket, and videos [E_k], int64."""
        path = self._pairs(k)
        entries = path.stat().st_size // 4
        if not entries:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
        both = torch.from_file(str(path), size=entries, dtype=torch.int32).view(-1, 2).long()
        return both[:, 0], both[:, 1]

    def table(self, k: int) -> dict[str, Tensor]:
        """``rows`` [n_k, D] of the users of bucket k, and the optimiser's ``sum`` [n_k], after the epochs done."""
        if self.epoch == 0:
            rows = first_rows(torch.tensor(self.users(k)), self.dim, self.num_users, self.seed, 0.1)
            return {"rows": rows, "sum": torch.zeros(len(rows))}
        return load_file(self._folder(self.epoch) / f"users-{k}.safetensors")

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Writes tables of the epoch at hand; they count once :meth:`finish` was called."""
        write_atomically(self._folder(self.epoch + 1) / f"{name}.safetensors", save(tensors))

    def finish(self) -> Buckets:
        """The epoch is done: what was kept counts, what was before is removed."""
        out = self._commit(self.epoch + 1)
        shutil.rmtree(self._folder(self.epoch), ignore_errors=True)
        return out

    def _commit(self, epoch: int) -> Buckets:
        values = {name: value for name, value in vars(self).items() if name != "folder"} | {"epoch": epoch}
        write_json(self.folder / MANIFEST, values)
        return Buckets(folder=self.folder, **values)

    def _pairs(self, k: int) -> Path:
        return self.folder / f"pairs-{k}.i32"

    def _folder(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}"


def bucket_epoch(
    buckets: Buckets,
    videos: RowTable,
    *,
    batch_size: int = 8192,
    negatives_each: int = 1,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> tuple[Buckets, float]:
    """One epoch of matrix factorisation under BPR, bucket by bucket; row-wise Adagrad, sparse gradients.

    Each process takes every P-th bucket of an order drawn anew each epoch; the touched videos' rows come from
    ``videos`` by all-to-all, so that all processes train one video table. The buckets' folder is shared.

    Args:
        buckets: of all processes.
        videos: [V, D]; its optimiser's state goes on in the folder.
        batch_size: B pairs of one process a step.
        negatives_each: N videos that the user did not choose, uniform.
        learning_rate: of both tables.
        seed: of order and negatives, which depend on (seed, epoch) alone.

    Returns:
        The buckets after it, and the mean loss a pair.
    """
    wire, optimiser = videos.wire, RowwiseAdagrad()
    if buckets.epoch:
        held = load_file(buckets._folder(buckets.epoch) / f"videos-{wire.rank}-of-{wire.size}.safetensors")
        videos.weight.data.copy_(held["rows"])
    else:
        held = {"sum": torch.zeros(len(videos.weight))}
    of_videos = optimiser.make([videos.weight], learning_rate, 0.0)
    of_videos.state[videos.weight]["sum"] = held["sum"]
    order = torch.randperm(buckets.count, generator=epoch_generator(seed, buckets.epoch))
    total = torch.zeros(2, dtype=torch.float64)
    for first in range(0, buckets.count, wire.size):
        k = int(order[first + wire.rank]) if first + wire.rank < buckets.count else None
        total += _one_bucket(buckets, k, videos, of_videos, (batch_size, negatives_each, learning_rate, seed))
    state = {"rows": videos.weight.detach(), "sum": of_videos.state[videos.weight]["sum"]}
    buckets.keep(f"videos-{wire.rank}-of-{wire.size}", state)
    loss, pairs = wire.sum_in_place(total).tolist()
    done = buckets.finish() if wire.rank == 0 else None
    return wire.from_first(done), loss / max(pairs, 1)


def _one_bucket(
    buckets: Buckets, k: int | None, videos: RowTable, of_videos: Any, settings: tuple[int, int, float, int]
) -> Tensor:
    """Trains on one bucket, or serves rows while the others do; gives the sum of losses and the number of pairs."""
    batch_size, count, learning_rate, seed = settings
    table = {"rows": torch.empty(0, buckets.dim), "sum": torch.empty(0)} if k is None else buckets.table(k)
    weight = nn.Parameter(table["rows"])
    of_users = RowwiseAdagrad().make([weight], learning_rate, 0.0)
    of_users.state[weight]["sum"] = table["sum"]
    batches = list(_batches(buckets, k, batch_size, count, seed))
    total = torch.zeros(2, dtype=torch.float64)
    nothing = torch.empty(0, dtype=torch.int64)
    for step in range(int(videos.wire.largest(torch.tensor(len(batches))))):
        batch = batches[step]() if step < len(batches) else None
        user, video = (nothing, nothing) if batch is None else batch
        rows = videos(video)
        of_videos.zero_grad()
        of_users.zero_grad()
        if batch is None:
            (rows.sum() * 0.0).backward()  # the others' gradients come through here
        else:
            scores = torch.linalg.vecdot(rows, F.embedding(user, weight, sparse=True).unsqueeze(1))
            loss = bpr(scores[:, :1], scores[:, 1:])
            loss.backward()
            of_users.step()
            total += torch.tensor([loss.item() * len(user), len(user)], dtype=torch.float64)
        of_videos.step()
    if k is not None:
        buckets.keep(f"users-{k}", {"rows": weight.detach(), "sum": of_users.state[weight]["sum"]})
    return total


def _batches(
    buckets: Buckets, k: int | None, batch_size: int, count: int, seed: int
) -> Iterator[Callable[[], tuple[Tensor, Tensor]]]:
    """Users [B] and videos [B, 1 + N] of each batch, drawn when called."""
    if k is None:
        return
    user, video = buckets.pairs(k)
    seen = CSR.from_edges(user, video, (len(buckets.users(k)), buckets.num_videos))
    generator = epoch_generator(seed + 1 + k, buckets.epoch)
    for at in torch.randperm(len(user), generator=generator).split(batch_size):

        def draw(at: Tensor = at) -> tuple[Tensor, Tensor]:
            other = negatives(seen, user[at], count, generator=generator)
            return user[at], torch.cat([video[at].unsqueeze(1), other], 1)

        if len(at):
            yield draw
