"""One copy of a graph for all processes of a machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmgraph.data.files import make_folder, read_json, write_json
from mmgraph.distributed.wire import Wire
from mmgraph.ops import CSR
from mmgraph.ops.csr import sound

PARTS = ("indptr", "indices", "values", "row_scale", "col_scale")


def share_matrix(make: Callable[[], CSR], wire: Wire) -> CSR:
    """A sparse matrix that lies once in the memory of a machine, whatever number of its processes read it.

    One process of each machine makes it and writes its tensors into files, which all map; then the files' names are
    gone, and the memory is given back when the last process ends. The others spend neither the time nor the memory of
    making it.

    Args:
        make: called in one process a machine.
        wire: the processes. On one that holds a GPU's tensors or is alone, nothing is shared.
    """
    if wire.size == 1 or wire.device.type != "cpu":
        return make()
    mine = wire.machine_leader()
    home, place = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir()), ""
    if mine == wire.rank:
        matrix = make()
        place = tempfile.mkdtemp(prefix="mmgraph-", dir=home if _room(home) > 2 * _bytes(matrix) else None)
        write_matrix(matrix, place)
        del matrix
    found = map_matrix(wire.from_each(place)[mine])
    wire.from_first(None)  # all have mapped it
    if place:
        shutil.rmtree(place, ignore_errors=True)
    return found


def _bytes(matrix: CSR) -> int:
    return sum(part.nbytes for name in PARTS if (part := getattr(matrix, name)) is not None)


def _room(folder: Path) -> int:
    return shutil.disk_usage(folder).free if folder.is_dir() else 0


def write_matrix(matrix: CSR, folder: Path | str) -> None:
    """Writes a matrix as one raw file a tensor and ``matrix.json``, last."""
    folder = make_folder(folder)
    told: dict[str, object] = {"shape": list(matrix.shape), "symmetric": matrix.symmetric}
    for name in PARTS:
        tensor: Tensor | None = getattr(matrix, name)
        if tensor is not None:
            tensor.contiguous().numpy().tofile(folder / name)
            told[name] = [str(tensor.dtype).removeprefix("torch."), tensor.numel()]
    write_json(folder / "matrix.json", told)


def map_matrix(folder: Path | str) -> CSR:
    """Maps what :func:`write_matrix` wrote, without reading it. It must not be written to.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: (a ValueError) its description is not what was written.
    """
    told = read_json(Path(folder) / "matrix.json", "matrix")
    parts: dict[str, Tensor | None] = {name: None for name in PARTS}
    for name in PARTS:
        if name in told:
            (kind, size), path = told[name], str(Path(folder) / name)
            type_ = getattr(torch, kind)
            parts[name] = (
                torch.from_file(path, shared=True, size=size, dtype=type_) if size else torch.empty(0, dtype=type_)
            )
    shape = (int(told["shape"][0]), int(told["shape"][1]))
    return CSR(**parts, shape=shape, symmetric=told["symmetric"], _pattern=sound())  # type: ignore[arg-type]
