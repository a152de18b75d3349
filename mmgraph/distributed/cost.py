"""What training on P processes costs, as formulas whose constants are measured."""

from __future__ import annotations

from dataclasses import dataclass


def column_step_bytes(
    batch: int, negatives: int = 1, *, in_batch: int | None = None, cosine_videos: int | None = None, sums: int = 1
) -> int:
    """Bytes that each process hands over in one step of the column scheme; they depend on the batch alone.

    One number a score: B (1 + N), or B times its distinct videos for the softmax over the batch. A cosine adds the
    norms of B users and of the videos that the batch reads, there and back.

    Args:
        batch: B pairs.
        negatives: N a pair.
        in_batch: how many videos a batch holds that is its own sample; None: the negatives are drawn.
        cosine_videos: how many videos' norms are taken; None: no cosine.
        sums: loss terms that are summed over columns (``l2``).
    """
    scores = batch * (1 + negatives if in_batch is None else in_batch)
    norms = 0 if cosine_videos is None else 2 * (batch + cosine_videos)
    return 4 * (scores + norms + sums)


def row_step_bytes(nodes: int, dim: int, layers: int, processes: int) -> int:
    """Bytes that each process hands over in one step when the graph is cut by rows: all of a table, every layer, in the
    forward and the backward pass, 2 L · 4 N D (P − 1)/P.

    Args:
        nodes: N.
        dim: D.
        layers: L.
        processes: P.
    """
    return 2 * layers * 4 * nodes * dim * (processes - 1) // processes


@dataclass(frozen=True)
class Machine:
    """Constants of one core and of what joins the processes; measured by ``python -m benchmarks.distributed``.

    Attributes:
        edge_ns: {columns: ns that one core takes for one edge of a sparse product of that many columns}, beyond the
            cache.
        wire_mib: MiB a second that an all-reduce moves.
        latency_ms: of an all-reduce of a few bytes.
        pairs: pairs a core second of sampled training by rows.
    """

    edge_ns: dict[int, float]
    wire_mib: float
    latency_ms: float
    pairs: float

    def memory_gb(self, nodes: int, edges: int, dim: int, processes: int, *, adam: bool = True) -> dict[str, float]:
        """GB: ``process`` for the columns of the tables (four times them with Adam: weights, gradient, two moments),
        ``machine`` for the adjacency, one for all its processes: a column and a weight
        of 4 bytes both ways, 8 bytes a node."""
        copies = 4 if adam else 1
        return {"process": copies * 4 * nodes * dim / processes / 1e9, "machine": (16 * edges + 8 * nodes) / 1e9}

    def propagation_seconds(self, edges: int, dim: int, layers: int, width: int) -> float:
        """Core seconds of L layers over E pairs (2 E directed edges), ``width`` columns at a time."""
        return 2 * edges * layers * (dim / width) * self.edge_ns[width] * 1e-9

    def column_step_seconds(self, edges: int, dim: int, layers: int, processes: int, step_bytes: int) -> float:
        """Wall seconds of a step of the column scheme, one core a process: forward and backward, and the message."""
        width = max((w for w in self.edge_ns if w <= dim // processes), default=min(self.edge_ns))
        product = 2 * self.propagation_seconds(edges, dim // processes, layers, width)
        return product + self.latency_ms / 1e3 + step_bytes / self.wire_mib / 2**20

    def bucket_epoch_seconds(self, edges: int, cores: int) -> float:
        """Wall seconds of an epoch of sampled training, users in buckets on disk."""
        return edges / self.pairs / cores
