"""What a run leaves behind."""

from __future__ import annotations

import html
import io
import math
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmgraph.data.files import DamagedFile, hash_bytes, read_json, write_json

PER_USER = "per_user.parquet"
OF_TRAINING = ("seconds", "epochs", "parameters")
Metrics = dict[str, dict[str, float]]


class Result(BaseModel):
    """One seed of one experiment, as it lies in ``runs/<experiment>/<seed>/result.json``.

    Attributes:
        experiment: its name.
        protocol: the protocol id of the split; numbers compare only where it is the same.
        seed: of the run.
        identity: hash of everything that determines the numbers; ``identity.json`` beside it says what that was.
        valid: group -> metric -> number, at the chosen epoch.
        test: likewise, from the one opening of the test.
        config: the resolved experiment.
        environment: versions, hardware, commit, command.
        data: name, fingerprint and sizes of the dataset, and the protocol in full.
        training: epochs, the chosen one, why it stopped, seconds, number of parameters.
        openings: how often this protocol's test had been opened in this place, this opening included, and by whom:
            one entry an experiment, see :func:`mmgraph.experiment.openings`. ``opened`` is the sum.
        about: group -> who is in it.
        files: name -> hash of each file beside it that belongs to this result.
        source: ``module:function`` or ``file.py:function`` that returned the experiment, where known; never run.
        directory: where it lies; not stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    protocol: str
    seed: int
    identity: str = ""
    valid: Metrics
    test: Metrics
    config: dict[str, Any]
    environment: dict[str, Any]
    data: dict[str, Any]
    training: dict[str, Any] = Field(default_factory=dict)
    openings: list[dict[str, Any]] = Field(default_factory=list)
    about: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    source: str | None = None
    directory: Path | None = Field(default=None, exclude=True)

    @classmethod
    def load(cls, directory: str | Path) -> Result:
        """Reads a run's folder.

        Raises:
            FileNotFoundError: no ``result.json`` there: the run did not finish, or the path is another.
            DamagedFile: (a ValueError) the file is not what was written, or no result.
        """
        path = Path(directory) / "result.json"
        if not path.exists():
            began = (path.parent / "log.jsonl").exists()
            hint = "the run did not finish: run it again with --resume" if began else "give the folder of one seed"
            raise FileNotFoundError(f"no result.json in {directory}: {hint}")
        values = read_json(path, "result")
        try:
            for stage in ("valid", "test"):
                for metrics in values.get(stage, {}).values():
                    metrics.update({name: math.nan for name, number in metrics.items() if number is None})
            return cls.model_validate(values | {"directory": Path(directory)})
        except (ValidationError, AttributeError, TypeError) as error:
            problem = error.errors()[0] if isinstance(error, ValidationError) else None
            where = ".".join(map(str, problem["loc"])) if problem else "valid or test"
            said = problem["msg"] if problem else str(error)
            raise DamagedFile(f"{path} is no result of this version: {where}: {said}") from None

    def save(self, directory: str | Path) -> Result:
        """Writes ``result.json``, whole or not at all, with a hash of itself; returns the result with its directory.

        Raises:
            WriteFailed: (an OSError) a full disk, for one.
        """
        write_json(Path(directory) / "result.json", without_nan(self.model_dump(mode="json")))
        return self.model_copy(update={"directory": Path(directory)})

    @property
    def opened(self) -> int:
        """How often this protocol's test had been opened in this place, this run's opening included."""
        return sum(int(entry.get("times", 1)) for entry in self.openings)

    def __repr__(self) -> str:
        shown = [name for name in ("recall@20", "ndcg@20") if name in self.test.get("all", {})]
        shown = shown or list(self.test.get("all", {}))[:2]
        told = ", ".join(f"{name} {self.test['all'][name]:.4f}" for name in shown)
        return f"Result({self.experiment!r}, seed {self.seed}, {self.protocol}: test {told})"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Groups down, metrics across, as notebooks show it."""
        names = list(dict.fromkeys(name for metrics in self.test.values() for name in metrics))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *names))
        rows = "".join(
            f"<tr><th>{html.escape(group)}</th>"
            + "".join(f"<td>{metrics[name]:.4f}</td>" if name in metrics else "<td>–</td>" for name in names)
            + "</tr>"
            for group, metrics in self.test.items()
        )
        return f"<p>{html.escape(repr(self))}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def metric(self, name: str, group: str = "all", stage: str = "test") -> float:
        """One number; ``seconds``, ``epochs`` and ``parameters`` are of the training, whatever the group and stage.

        Raises:
            KeyError: no such group or metric; the message lists what there is.
        """
        if name in OF_TRAINING and name in self.training:
            return float(self.training[name])
        groups: Metrics = getattr(self, stage)
        if group not in groups:
            raise KeyError(f"{self.experiment}: no group {group!r} on {stage}; there are {sorted(groups)}")
        if name not in groups[group]:
            raise KeyError(f"{self.experiment}: no metric {name!r}; there are {sorted(groups[group])}")
        return groups[group][name]

    def per_user(self, group: str = "all", stage: str = "test") -> pl.DataFrame:
        """Each user's values: ``user`` (row), one column a metric; users ascending.

        Raises:
            FileNotFoundError: the file beside the result is gone.
            DamagedFile: (a ValueError) it is not the file that was written with this result.
        """
        path = (self.directory or Path()) / PER_USER
        if self.directory is None or not path.exists():
            raise FileNotFoundError(f"no per-user values of {self.experiment} seed {self.seed}: {path} is missing")
        try:
            content = path.read_bytes()
            if PER_USER in self.files and hash_bytes(content) != self.files[PER_USER]:
                raise DamagedFile(f"{path} is not what was written with its result.json (its hash differs)")
            rows = pl.read_parquet(io.BytesIO(content))
            rows = rows.filter((pl.col("stage") == stage) & (pl.col("group") == group))
            return rows.drop("stage", "group").sort("user")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DamagedFile(f"{path} cannot be read: {error}") from None


def environment() -> dict[str, Any]:
    """Versions, hardware, commit and command of this process: what a number needs to be believed."""
    import torch

    packages = ("mmgraph", "torch", "torch-geometric", "numpy", "scipy", "polars")
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
        "hardware": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "system": platform.platform(),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "command": shlex.join([*_program(), *sys.argv[1:]]),
    }


def _program() -> list[str]:
    """``python -m module`` where that was typed, else the program's name."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [Path(sys.argv[0]).name] if spec is None else ["python", "-m", spec.name.removesuffix(".__main__")]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def without_nan(value: Any) -> Any:
    """JSON values with null in the place of NaN and infinity."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
