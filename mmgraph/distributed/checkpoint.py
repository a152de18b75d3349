"""Checkpoints that several processes write together and any other number reads."""

from __future__ import annotations

import shutil
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from mmgraph.data.files import DamagedFile, write_atomically
from mmgraph.distributed.wire import Wire
from mmgraph.models import Recommender
from mmgraph.train.checkpoint import load_checkpoint, save_checkpoint

LATEST, REST = "LATEST", "rest.pt"


def save_parts(
    folder: Path, wire: Wire, tables: Mapping[str, int], names: Sequence[str], state: Mapping[str, Any]
) -> None:
    """Writes a checkpoint of columns: DCP for the tables and their moments, ``rest.pt`` for all else.

    It goes into a new folder; ``LATEST`` names it once all processes have written, and older ones are removed: a kill
    leaves the one before or the new one.

    Args:
        folder: of the run's checkpoints.
        wire: the processes.
        tables: parameter -> axis of its columns.
        names: of the parameters in the optimiser's order.
        state: as :meth:`mmgraph.train.together.Together.save` takes it.
    """
    parts, rest = _apart(tables, names, state)
    mesh = _mesh(wire)
    place = wire.from_first(f"{state['epoch']}-{state['batch']}-{uuid.uuid4().hex[:8]}")
    sharded: dict[str, Any] = {
        key: DTensor.from_local(value, mesh, [Shard(dim)], run_check=False) for key, (value, dim) in parts.items()
    }
    dcp.save(sharded, checkpoint_id=folder / place, process_group=wire.group)
    if wire.rank == 0:
        save_checkpoint(folder / place / REST, rest)
        write_atomically(folder / LATEST, place.encode())
        for old in folder.iterdir():
            if old.is_dir() and old.name != place:
                shutil.rmtree(old, ignore_errors=True)
    wire.from_first(None)


def _apart(
    tables: Mapping[str, int], names: Sequence[str], state: Mapping[str, Any]
) -> tuple[dict[str, tuple[Tensor, int]], dict[str, Any]]:
    """What is shared out, with its axis, and the rest."""
    parts: dict[str, tuple[Tensor, int]] = {}
    rest = dict(state)
    for key in ("model", "last"):
        parts |= {f"{key}.{name}": (state[key][name].detach(), dim) for name, dim in tables.items()}
        rest[key] = {name: value for name, value in state[key].items() if name not in tables}
    kept: dict[int, dict[str, Any]] = {}
    for index, moments in state["optimizer"]["state"].items():
        kept[index] = {}
        for name, value in moments.items():
            owner = names[int(index)]
            if value.ndim and owner in tables:  # the number of steps has no axis
                parts[f"optimizer.{index}.{name}"] = (value, tables[owner])
            else:
                kept[index][name] = value
    rest["optimizer"] = {**state["optimizer"], "state": kept}
    return parts, rest


def load_parts(
    folder: Path, wire: Wire, tables: Mapping[str, int], model: Recommender, names: Sequence[str]
) -> dict[str, Any]:
    """This process's part of the latest checkpoint, whatever number of processes wrote it.

    Args:
        folder, wire, tables, names: as in :func:`save_parts`.
        model: holds its part already; gives the shapes.

    Raises:
        DamagedFile: (a ValueError) it is not what was written.
    """
    place, rest, sizes = _read(folder)
    mesh = _mesh(wire)
    parts: dict[str, Any] = {}
    for key in sizes:
        name = _parameter(key, names)
        own = torch.empty_like(model.get_parameter(name), requires_grad=False)
        parts[key] = DTensor.from_local(own, mesh, [Shard(tables[name])], run_check=False)
        if tuple(parts[key].shape) != sizes[key]:
            raise DamagedFile(f"{place} holds {key} {list(sizes[key])}, but the model's is {list(parts[key].shape)}")
    dcp.load(parts, checkpoint_id=place, process_group=wire.group)
    return _together({key: part.to_local() for key, part in parts.items()}, rest)


def read_parts(folder: Path | str) -> dict[str, Any]:
    """The latest checkpoint that several processes wrote, whole; for one process, without any group.

    The same as :func:`mmgraph.train.load_checkpoint` gives of a run on one process.

    Args:
        folder: ``checkpoint`` in the run's folder.

    Raises:
        FileNotFoundError: no checkpoint there.
        DamagedFile: (a ValueError) it is not what was written.
    """
    place, rest, sizes = _read(Path(folder))
    parts: dict[str, Any] = {key: torch.empty(size) for key, size in sizes.items()}
    with warnings.catch_warnings(action="ignore"):  # that there is no group, which is meant
        dcp.load(parts, checkpoint_id=place, no_dist=True)
    return _together(parts, rest)


def _read(folder: Path) -> tuple[Path, dict[str, Any], dict[str, tuple[int, ...]]]:
    """Where the latest lies, its rest, and the shapes of what is shared out."""
    if not (folder / LATEST).exists():
        raise FileNotFoundError(f"no checkpoint at {folder}")
    place = folder / (folder / LATEST).read_text()
    rest = load_checkpoint(place / REST)
    try:
        held = dcp.FileSystemReader(place).read_metadata().state_dict_metadata
    except Exception as error:
        raise DamagedFile(f"{place} is not a readable checkpoint ({error}): remove {folder} to start over") from error
    return place, rest, {key: tuple(entry.size) for key, entry in held.items()}  # type: ignore[union-attr]


def _parameter(key: str, names: Sequence[str]) -> str:
    """Whose entry it is: ``last.embedding``, ``optimizer.0.exp_avg``."""
    kind, _, name = key.partition(".")
    return names[int(name.partition(".")[0])] if kind == "optimizer" else name


def _together(parts: Mapping[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    for key, value in parts.items():
        kind, _, name = key.partition(".")
        if kind == "optimizer":
            index, _, moment = name.partition(".")
            rest["optimizer"]["state"].setdefault(int(index), {})[moment] = value
        else:
            rest[kind][name] = value
    return rest


def _mesh(wire: Wire) -> DeviceMesh:
    return DeviceMesh.from_group(wire.group or dist.group.WORLD, wire.device.type)  # type: ignore[arg-type]
