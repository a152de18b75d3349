"""The implementations that are compared, each as one lap that times its parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.ops.shapes import SHAPES, graph, seen
from benchmarks.ops.timing import Lap, now
from mmgraph.ops import CSR, attend, knn, spmm, topk


def products(a: CSR, device: str, room: float) -> dict[str, Callable[[Tensor], Tensor]]:
    """``A x`` by every library at hand; those that would need more than ``room`` numbers an edge-row are
    left out."""
    from torch_geometric.nn import LGConv

    warnings.filterwarnings("ignore", message=".*Sparse.*")
    row, col, size = a.row_indices().long(), a.indices.long(), a.shape
    weights = a.values
    assert weights is not None
    csr = torch.sparse_csr_tensor(a.indptr.to(a.indices.dtype), a.indices, weights, size)
    ours: dict[str, Callable[[Tensor], Tensor]] = {}
    if room > 0:
        edges, conv = torch.stack([col, row]), LGConv(normalize=False)
        ours["pyg_scatter"] = lambda x: conv(x, edges, weights)
    if find_spec("torch_scatter") is not None and room > 0:
        from torch_scatter import scatter

        ours["torch_scatter"] = lambda x: scatter(
            x.index_select(0, col) * weights.unsqueeze(1), row, dim=0, dim_size=size[0]
        )
    coo = torch.sparse_coo_tensor(torch.stack([row, col]), weights, size, is_coalesced=True)
    ours["torch_coo"] = lambda x: torch.sparse.mm(coo, x)
    ours["cusparse" if device == "cuda" else "torch_csr"] = lambda x: csr @ x
    ours["mmgraph-triton" if device == "cuda" else "mmgraph-cpu"] = lambda x: spmm(a, x)
    return ours


def spmm_laps(shape: str, dim: int, device: str, room_bytes: int) -> tuple[dict[str, Lap], dict[str, float]]:
    """Forward and backward of one SpMM; and the bytes that one forward must read and write."""
    a = graph(shape, device)
    needed = 4 * a.num_edges * dim * 4  # PyG holds the gathered messages, their product, and the gradients of both
    x = torch.randn(a.shape[1], dim, device=device, requires_grad=True)
    grad = torch.randn(a.shape[0], dim, device=device)

    def lap(product: Callable[[Tensor], Tensor]) -> dict[str, float]:
        start = now(device)
        out = product(x)
        middle = now(device)
        out.backward(grad)
        end = now(device)
        x.grad = None
        return {"forward": middle - start, "backward": end - middle, "forward+backward": end - start}

    made = products(a, device, room_bytes - needed)
    truth = spmm(a, x.detach())
    for name, product in made.items():
        torch.testing.assert_close(product(x).detach(), truth, rtol=1e-3, atol=1e-4, msg=f"{name} is wrong")
    traffic = a.num_edges * (dim * 4 + 8) + a.shape[0] * dim * 4
    return {name: (lambda p=product: lap(p)) for name, product in made.items()}, {"forward": float(traffic)}


def attend_laps(shape: str, dim: int, device: str, room_bytes: int) -> tuple[dict[str, Lap], dict[str, float]]:
    """Softmax over neighbours and weighted sum, one head."""
    from torch_geometric.utils import scatter, softmax

    a = graph(shape, device)
    row, col = a.row_indices().long(), a.indices.long()
    x = torch.randn(a.shape[1], dim, device=device, requires_grad=True)
    logits = torch.randn(a.num_edges, device=device, requires_grad=True)
    grad = torch.randn(a.shape[0], dim, device=device)

    def pyg() -> Tensor:
        alpha = softmax(logits, row, num_nodes=a.shape[0])
        return scatter(x[col] * alpha.unsqueeze(1), row, 0, a.shape[0])

    def lap(function: Callable[[], Tensor]) -> dict[str, float]:
        start = now(device)
        out = function()
        middle = now(device)
        out.backward(grad)
        end = now(device)
        x.grad = logits.grad = None
        return {"forward": middle - start, "backward": end - middle, "forward+backward": end - start}

    made: dict[str, Callable[[], Tensor]] = {}
    if 4 * a.num_edges * dim * 4 < room_bytes:
        made["pyg_scatter"] = pyg
    made["mmgraph-triton" if device == "cuda" else "mmgraph-cpu"] = lambda: attend(a, logits, x)
    return {name: (lambda f=function: lap(f)) for name, function in made.items()}, {}


def topk_laps(shape: str, dim: int, device: str, room_bytes: int) -> tuple[dict[str, Lap], dict[str, float]]:
    """Top 20 of all videos for every user, seen pairs masked."""
    pairs = seen(shape, device)
    users, videos, _ = SHAPES[shape]
    user, video = torch.randn(users, dim, device=device), torch.randn(videos, dim, device=device)
    sample = torch.randperm(users, generator=torch.Generator().manual_seed(0))[:_QUERIES].to(device)

    def naive() -> None:
        for rows in sample.split(1024):
            scores = user[rows] @ video.T
            part, _ = pairs.select(rows)
            scores[part.row_indices().long(), part.indices.long()] = -torch.inf
            scores.topk(20)

    ours = "mmgraph-torch" if device == "cuda" else "mmgraph-cpu"
    made = {"torch_topk": naive, ours: lambda: topk(user[sample], video, 20, seen=pairs, users=sample)}
    return _whole(made, device, users / len(sample))


def knn_laps(shape: str, dim: int, device: str, room_bytes: int) -> tuple[dict[str, Lap], dict[str, float]]:
    """The 10 nearest videos of each video."""
    videos = SHAPES[shape][1]
    x = torch.randn(videos, dim, device=device)
    sample = torch.randperm(videos, generator=torch.Generator().manual_seed(0))[:_QUERIES].to(device)

    def naive() -> None:
        unit = torch.nn.functional.normalize(x, dim=1)
        for rows in sample.split(1024):
            (unit[rows] @ unit.T).topk(10)

    made = {"torch_topk": naive, "mmgraph-cpu": lambda: knn(x, 10, query=x[sample])}
    return _whole(made, device, videos / len(sample))


def _whole(made: dict[str, Callable[[], object]], device: str, scale: float) -> tuple[dict[str, Lap], dict[str, float]]:
    """Laps over a sample of the queries, their time scaled to all: the work of a query does not depend on
    others."""

    def lap(function: Callable[[], object]) -> dict[str, float]:
        start = now(device)
        function()
        return {"forward": (now(device) - start) * scale}

    return {name: (lambda f=function: lap(f)) for name, function in made.items()}, {}


# Queries timed of a ranking; the times in the rows are scaled to all of them.
_QUERIES = 4096

LAPS = {"spmm": spmm_laps, "attend": attend_laps, "topk": topk_laps, "knn": knn_laps}
TESTS = {
    "spmm": ("tests/ops/test_csr.py", "tests/ops/test_spmm.py"),
    "attend": ("tests/ops/test_segment_softmax.py",),
    "topk": ("tests/ops/test_topk.py",),
    "knn": ("tests/ops/test_knn.py",),
}
