"""Checkpoints that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes ``state`` beside ``path``, syncs it to disk, then renames: a kill leaves the old file or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what :func:`save_checkpoint` wrote, tensors on the CPU.

    Raises:
        FileNotFoundError: no checkpoint there.
        ValueError: the file is not a checkpoint of mmgraph.
    """
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a readable checkpoint: delete it to start over ({error})") from error
