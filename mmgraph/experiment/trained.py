"""A run in its folder before its test is opened: whose the folder is, and what was trained there."""

from __future__ import annotations

import contextlib
import math
import shutil
from pathlib import Path
from typing import Any

from mmgraph.config import Config
from mmgraph.data.files import DamagedFile, read_json
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity, read_identity, write_identity
from mmgraph.experiment.result import PER_USER
from mmgraph.experiment.saved import CONSTRAINT, FILES
from mmgraph.train.together import PARTS

# What a run writes; a run that starts over begins by removing it.
TRAINED, VALID_USERS = "trained.json", "valid.parquet"
_WRITTEN = (
    "result.json",
    PER_USER,
    TRAINED,
    VALID_USERS,
    *FILES,
    CONSTRAINT,
    "checkpoint.pt",
    PARTS,
    "log.jsonl",
    "identity.json",
)


class RunExists(ValueError):
    """The folder holds a run already, and nobody said whether to go on with it or to start over."""


def run_folder(experiment: Experiment, seed: int, out: str | Path) -> Path:
    """Where a run lies."""
    return Path(out) / experiment.name / str(seed)


class Trained(Config):
    """A run before its test is opened, as it lies in ``trained.json``.

    Attributes:
        valid: group -> metric -> number at the chosen epoch.
        training: epochs, the chosen one, why it stopped, seconds, number of parameters.
        files: name -> hash of the model's files.
    """

    valid: dict[str, dict[str, float | None]]
    training: dict[str, Any]
    files: dict[str, str]

    def metrics(self) -> dict[str, dict[str, float]]:
        """``valid``, NaN where JSON has null."""
        return {
            group: {name: math.nan if value is None else value for name, value in found.items()}
            for group, found in self.valid.items()
        }

    @classmethod
    def load(cls, directory: Path) -> Trained:
        """Reads it.

        Raises:
            DamagedFile: (a ValueError) it is not what was written.
        """
        values = read_json(directory / TRAINED, "record of a training")
        try:
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise DamagedFile(f"{directory / TRAINED} is of another version: {error}") from None


def make_room(directory: Path, identity: Identity, resume: bool, overwrite: bool) -> None:
    """Makes the folder of a run this run's: as it is where it goes on, emptied where it starts over.

    Raises:
        RunExists: (a ValueError) it holds a run, and neither was said.
        ValueError: it goes on, but the folder is another run's.
    """
    there = [name for name in _WRITTEN if (directory / name).exists()]
    if there and resume:
        same_identity(directory, identity)
        return
    if there and not overwrite:
        state = "a finished run" if "result.json" in there else "an unfinished run"
        with contextlib.suppress(DamagedFile):
            before = read_identity(directory)
            same = before is not None and before.id == identity.id
            state += " of the same experiment" if same else " of another experiment, or on other data"
        raise RunExists(
            f"{directory} holds {state}. To keep it and go on: resume (--resume); to start over: overwrite=True; "
            "to keep both: another name (variant(..., name=...)) or another folder (out)"
        )
    for name in there:
        remove_files(directory / name)
    write_identity(directory, identity)


def same_identity(directory: Path, identity: Identity) -> None:
    """Refuses to go on in the folder of another run.

    Raises:
        ValueError: what is there was made from other data, another configuration or seed; one line a difference.
    """
    there = read_identity(directory)
    if there is None:
        raise ValueError(
            f"{directory} does not say what made it (no identity.json): start over with overwrite=True, or choose "
            "another folder"
        )
    if there.id != identity.id:
        lines = "\n".join(f"  {line}" for line in there.differences(identity))
        raise ValueError(
            f"{directory} is of another configuration or of other data: give the experiment another name, choose "
            f"another folder, or start over with overwrite=True\n{lines}"
        )


def remove_files(path: Path) -> None:
    """A file or a folder goes, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
