"""One copy of a matrix for all processes of a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mmgraph.distributed import Wire, map_matrix, share_matrix, write_matrix
from mmgraph.ops import CSR
from tests.worlds import checkerboard


def adjacency() -> CSR:
    return checkerboard().adjacency(norm="sym")


def shared(wire: Wire) -> dict:
    made = []

    def make() -> CSR:
        made.append(wire.rank)
        return adjacency()

    found = share_matrix(make, wire)
    assert found.values is not None
    files = [file_of(part) for part in (found.indptr, found.indices, found.values)]
    return {"made": made, "dense": found.dense(), "symmetric": found.symmetric, "files": files}


def file_of(tensor: torch.Tensor) -> tuple[str, str]:
    """Device and inode of what is mapped where the tensor lies; inode 0 is memory of the process's own."""
    for line in Path(f"/proc/{os.getpid()}/maps").read_text().splitlines():
        span, _, _, device, inode = line.split()[:5]
        start, end = (int(x, 16) for x in span.split("-"))
        if start <= tensor.data_ptr() < end:
            return device, inode
    raise LookupError("the tensor lies nowhere")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_one_process_makes_it_and_all_map_the_same_pages(crew):
    found = crew(shared, 4)
    assert [part["made"] for part in found] == [[0], [], [], []]
    for part in found:
        assert torch.equal(part["dense"], adjacency().dense())
        assert part["symmetric"]
        assert part["files"] == found[0]["files"]
        assert len({inode for _, inode in part["files"]} - {"0"}) == 3, "a file each"


def test_a_matrix_comes_back_from_its_folder(tmp_path):
    for name, matrix in {
        "weighted": CSR.from_edges(torch.tensor([0, 2]), torch.tensor([1, 0]), (3, 2), torch.tensor([0.5, -1.0])),
        "bare": CSR.from_edges(torch.tensor([1]), torch.tensor([1]), (2, 2)),
        "scaled": CSR.bipartite(torch.tensor([0, 1]), torch.tensor([1, 0]), (2, 2)).normalized("sym", store=False),
    }.items():
        write_matrix(matrix, tmp_path / name)
        found = map_matrix(tmp_path / name)
        assert torch.equal(found.dense(), matrix.dense())
        assert (found.shape, found.symmetric) == (matrix.shape, matrix.symmetric)
    with pytest.raises(FileNotFoundError):
        map_matrix(tmp_path)


def test_a_graph_takes_a_matrix_made_before():
    graph = checkerboard()
    matrix = graph.adjacency(norm="sym").with_values(None)
    by_rows = graph.adjacency(norm="row")
    found = graph.with_adjacency(matrix)
    assert found.adjacency(norm="sym") is matrix
    assert graph.adjacency(norm="sym") is not matrix
    assert found.adjacency(norm="row") is by_rows
    with pytest.raises(ValueError, match="but the matrix is"):
        graph.with_adjacency(CSR.from_edges(torch.tensor([0]), torch.tensor([0]), (1, 1)))
