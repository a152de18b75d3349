"""From an experiment to its result: train, choose on valid, open the test once, write."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import math
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import torch

from mmgraph.config import Config
from mmgraph.data.files import DamagedFile, hash_file, owned, read_json, write_atomically, write_json
from mmgraph.evaluate import Evaluation, evaluate, evaluate_test
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity, describe, judged_split, read_identity, write_identity
from mmgraph.experiment.journal import openings, recorded_opening
from mmgraph.experiment.result import PER_USER, Result, environment, without_nan
from mmgraph.experiment.saved import FILES, WEIGHTS, fill, read_weights, save
from mmgraph.graph import build_graph
from mmgraph.models import Recommender
from mmgraph.ops import CSR
from mmgraph.ops.memory import model_need
from mmgraph.train import FitReport, fit
from mmgraph.train.together import ALONE, PARTS, Together

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.graph.multimodal import MultimodalGraph

# What a run writes; a run that starts over begins by removing it.
TRAINED, VALID_USERS = "trained.json", "valid.parquet"
_WRITTEN = ("result.json", PER_USER, TRAINED, VALID_USERS, *FILES, "checkpoint.pt", PARTS, "log.jsonl", "identity.json")
# Where the runs of a place keep the graphs they share, each once.
GRAPHS = "graphs"


class RunExists(ValueError):
    """The folder holds a run already, and nobody said whether to go on with it or to start over."""


@dataclass(frozen=True)
class Prepared:
    """An experiment made ready: its graph and an untrained model.

    Attributes:
        split: as the experiment's function returned it, its protocol with what the transforms add
            (``protocol_parameters``).
        graph: of the wanted stage, transformed.
        seen: CSR [U, V], the pairs to mask, from the graph before the transforms.
        model: initialised under the seed.
    """

    split: Split
    graph: MultimodalGraph
    seen: CSR
    model: Recommender


def prepare(
    experiment: Experiment, seed: int, stage: Literal["valid", "test"] = "valid", split: Split | None = None
) -> Prepared:
    """Builds split, graph and model; the same every time for one seed.

    Args:
        experiment: what to build.
        seed: of the model's initial weights and of random transforms.
        stage: whose graph: ``"valid"``, the one models are trained on, or ``"test"``.
        split: an already built one, to save reading the data again.
    """
    built = judged_split(experiment, experiment.split() if split is None else split)
    graph = build_graph(built, stage)
    seen = graph.seen
    for transform in experiment.transforms:
        graph = transform(graph, torch.Generator().manual_seed(seed))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        make: Any = experiment.model  # each class has a signature of its own, checked by Experiment
        model = make(graph, **experiment.given())
    return Prepared(built, graph, seen, model)


def run(
    experiment: Experiment,
    seed: int = 0,
    out: str | Path = "runs",
    resume: bool = False,
    *,
    overwrite: bool = False,
    source: str | None = None,
    split: Split | None = None,
    progress: bool = False,
    together: Together = ALONE,
) -> Result:
    """Trains, chooses the epoch on valid, opens the test once, and writes ``<out>/<experiment>/<seed>/``.

    The folder holds ``identity.json`` (first), ``log.jsonl``, ``checkpoint.pt`` while it trains, the model with what it
    reads (see :func:`mmgraph.save`), ``trained.json``, ``per_user.parquet`` and ``result.json`` (last, so its presence
    means complete). The opening of the test is written into ``<out>/openings.jsonl`` before the test is read.

    Args:
        experiment: what to run.
        seed: of everything random.
        out: parent folder of all runs.
        resume: return a complete result as it is; else continue from the checkpoint.
        overwrite: start over in a folder that holds a run; the journal keeps its openings.
        source: where the experiment came from, recorded with the result.
        split: an already built split, to save reading the data again.
        progress: show a bar.
        together: the processes that train it, each of which calls this with the same arguments on a disk they share;
            the first judges and writes, the others wait for its result.

    Raises:
        RunExists: (a ValueError) the folder holds a run, and neither ``resume`` nor ``overwrite`` was said.
        ValueError: ``resume``, but the folder holds a run of another identity; the message says what differs.
        FolderInUse: (a ValueError) another process runs it right now.
    """
    if not isinstance(experiment, Experiment):
        fix = "Experiment(name=…, split=…, model=…)"
        raise TypeError(f"run takes an Experiment, got a {type(experiment).__name__}: {fix}")
    if resume and overwrite:
        raise ValueError("resume goes on with what is there, overwrite starts over: say one of them")
    directory = run_folder(experiment, seed, out)
    built: Split = experiment.split() if split is None else split
    identity = experiment.identity(seed, built)
    if not together.leads:
        return _follow(experiment, seed, directory, identity, built, together)
    if resume and (directory / "result.json").exists():
        same_identity(directory, identity)
        together.from_leader(False)
        return together.from_leader(Result.load(directory))
    with owned(directory, "run"):
        _make_room(directory, identity, resume, overwrite)
        together.from_leader(not experiment.model.closed_form and not (directory / TRAINED).exists())
        trained = _train(experiment, seed, Path(out), directory, identity, built, progress, together)
        result = _judge(experiment, seed, Path(out), directory, identity, trained, source, built)
    return together.from_leader(result)


def _follow(
    experiment: Experiment, seed: int, directory: Path, identity: Identity, split: Split, together: Together
) -> Result:
    """What the processes beside the first do of a run: train with it, if it has to train."""
    if together.from_leader(False):
        ready = prepare(experiment, seed, split=split)
        fit_prepared(experiment, ready, seed, directory, identity, together=together)
    return together.from_leader(None)


def train(
    experiment: Experiment,
    seed: int = 0,
    out: str | Path = "runs",
    *,
    split: Split | None = None,
    progress: bool = False,
) -> Trained:
    """The first half of :func:`run`: trains and chooses the epoch on valid, and leaves the test closed.

    ``run(..., resume=True)`` opens it later. What is there is gone on with, or returned.

    Args:
        experiment, seed, out, split, progress: as in :func:`run`.

    Raises:
        ValueError: the folder holds a run of another identity; the message says what differs.
        FolderInUse: (a ValueError) another process trains it right now.
    """
    directory = run_folder(experiment, seed, out)
    built: Split = experiment.split() if split is None else split
    identity = experiment.identity(seed, built)
    if (directory / TRAINED).exists():
        same_identity(directory, identity)
        return Trained.load(directory)
    with owned(directory, "run"):
        _make_room(directory, identity, True, False)
        return _train(experiment, seed, Path(out), directory, identity, built, progress)


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


def _make_room(directory: Path, identity: Identity, resume: bool, overwrite: bool) -> None:
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
        _remove(directory / name)
    write_identity(directory, identity)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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


def _train(
    experiment: Experiment,
    seed: int,
    out: Path,
    directory: Path,
    identity: Identity,
    split: Split,
    progress: bool,
    together: Together = ALONE,
) -> Trained:
    if (directory / TRAINED).exists():
        return Trained.load(directory)
    ready = prepare(experiment, seed, split=split)
    device = experiment.fit.device
    need = model_need(ready.model, ready.seen.num_edges, trained=not ready.model.closed_form, device=device)
    need.check(device)
    report = fit_prepared(experiment, ready, seed, directory, identity, progress=progress, together=together)
    config, device = experiment.evaluate.for_split(ready.split), experiment.fit.device
    valid = evaluate(ready.model, ready.graph, ready.split.valid, config, device, seen=ready.seen)
    files = {VALID_USERS: write_atomically(directory / VALID_USERS, _parquet(_per_user(valid, "valid")))}
    files |= _save(experiment, ready, prepare(experiment, seed, "test", split), out, directory)
    training = {
        "best_epoch": report.best_epoch,
        "epochs": len(report.history),
        "stopped": report.stopped,
        "rising": report.rising,
        "seconds": report.seconds,
        "parameters": sum(p.numel() for p in ready.model.parameters()),
        "monitor": report.best.get(experiment.fit.monitor),
    }
    trained = Trained(valid=without_nan(valid.reported), training=without_nan(training), files=files)
    write_json(directory / TRAINED, trained.model_dump(mode="json"))
    for name in ("checkpoint.pt", PARTS):  # the reported epoch's weights are kept; those go on nowhere
        _remove(directory / name)
    return trained


def _save(experiment: Experiment, ready: Prepared, at_test: Prepared, out: Path, directory: Path) -> dict[str, str]:
    """Saves the model with what it reads at test, and sees that it comes back the same."""
    told = {"args": experiment.arguments(), "protocol": ready.split.protocol.model_dump(), "seen": at_test.seen}
    save(ready.model, directory, at_test.graph, ready.split.dataset, **told, shared=out / GRAPHS, overwrite=True)
    fill(at_test.model, read_weights(directory), directory / WEIGHTS)
    users = torch.arange(min(2, at_test.graph.num_users))
    with torch.no_grad():
        scores = []
        for model in (ready.model.cpu(), at_test.model):
            model.eval()
            scores.append(model.score(model.encode(at_test.graph), users))
    if not torch.allclose(*scores, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise ValueError(
            f"{type(ready.model).__name__} scores differently after its weights were saved and read: it keeps "
            "something outside its parameters and buffers (register_buffer), so that no saved run could be trusted"
        )
    return {name: hash_file(directory / name) for name in FILES}


def _judge(
    experiment: Experiment,
    seed: int,
    out: Path,
    directory: Path,
    identity: Identity,
    trained: Trained,
    source: str | None,
    split: Split,
) -> Result:
    at_test = prepare(experiment, seed, "test", split)
    fill(at_test.model, read_weights(directory), directory / WEIGHTS)
    split, device = at_test.split, experiment.fit.device
    with recorded_opening(out, split, experiment.name, seed, identity.id) as opener:
        test = evaluate_test(at_test.model, at_test.graph, split, opener, experiment.evaluate, device)
    per_user = pl.concat([pl.read_parquet(directory / VALID_USERS), _per_user(test, "test")], how="diagonal")
    files = {PER_USER: write_atomically(directory / PER_USER, _parquet(per_user))}
    result = Result(
        experiment=experiment.name,
        protocol=split.protocol_id,
        seed=seed,
        identity=identity.id,
        valid=trained.metrics(),
        test=test.reported,
        config=experiment.resolved(),
        environment=environment(),
        data=_data(split),
        training=trained.training,
        openings=openings(out, split),
        about=test.about,
        files=files | {name: trained.files[name] for name in FILES},
        source=source,
    )
    result = result.save(directory)
    (directory / VALID_USERS).unlink(missing_ok=True)  # per_user.parquet holds both
    return result


def run_all(
    experiment: Experiment,
    out: str | Path = "runs",
    resume: bool = False,
    *,
    overwrite: bool = False,
    seeds: Sequence[int] | None = None,
    baselines: bool = True,
    source: str | None = None,
    progress: bool = False,
    report: Callable[[Result], None] | None = None,
    together: Together = ALONE,
) -> list[Result]:
    """Runs an experiment for all its seeds, and its baselines for theirs; each split is built once.

    A model in closed form has nothing random, so it runs under its first seed alone.

    Args:
        experiment, out, resume, overwrite, source, progress: as in :func:`run`.
        seeds: in place of the experiment's own; baselines keep theirs.
        baselines: run them too, before the experiment.
        report: called with each result.
        together: as in :func:`run`.
    """
    splits: dict[Callable[[], Any], Split] = {}
    out_results = []
    for member in (*(experiment.baselines if baselines else ()), experiment):
        chosen = seeds if seeds is not None and member is experiment else member.seeds
        for seed in chosen[:1] if member.model.closed_form else chosen:
            if member.split not in splits:
                splits[member.split] = member.split()
            told = {"overwrite": overwrite, "source": source, "split": splits[member.split], "progress": progress}
            result = run(member, seed, out, resume, **told, together=together)
            out_results.append(result)
            if report is not None:
                report(result)
    return out_results


def restore(result: Result, experiment: Experiment, split: Split | None = None) -> Prepared:
    """The trained model of a finished run, on the graph of its test stage.

    Args:
        result: loaded from its folder.
        experiment: the one that made it.
        split: an already built split.

    Raises:
        ValueError: the experiment is not the one that made this result, or the data changed since.
        FileNotFoundError: the weights are gone.
        DamagedFile: (a ValueError) they are not what was written.
    """
    directory = result.directory or Path()
    split = experiment.split() if split is None else split
    same_identity(directory, experiment.identity(result.seed, split))
    ready = prepare(experiment, result.seed, "test", split)
    fill(ready.model, read_weights(directory), directory / WEIGHTS)
    return ready


@dataclass(frozen=True)
class Trial:
    """One setting of a search.

    Attributes:
        changes: dotted path -> value.
        valid: metrics of group ``all`` at the chosen epoch; empty when the trial failed.
        epochs: trained.
        best_epoch: chosen.
        seconds: of training.
        error: why it failed, or None.
        pruned: it was ended early, as not worth going on with.
        curve: (epoch, monitor) of each validation, where a tuning keeps it.
    """

    changes: dict[str, Any]
    valid: dict[str, float]
    epochs: int = 0
    best_epoch: int = -1
    seconds: float = 0.0
    error: str | None = None
    pruned: bool = False
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Search:
    """A finished search on valid.

    Attributes:
        experiment: the best setting, under the searched experiment's name: run it to open the test.
        trials: all, in the order tried.
        monitor: the metric that chose.
        directory: where the trials lie.
    """

    experiment: Experiment
    trials: tuple[Trial, ...]
    monitor: str
    directory: Path

    @property
    def best(self) -> Trial:
        """The trial with the highest monitor; the first of equals."""
        return max((t for t in self.trials if t.valid), key=lambda t: t.valid[self.monitor])

    def frame(self) -> pl.DataFrame:
        """One row a trial, best first."""
        rows = [
            {path: str(value) for path, value in t.changes.items()}
            | {self.monitor: t.valid.get(self.monitor), "best_epoch": t.best_epoch}
            | {"seconds": t.seconds, "error": t.error}
            for t in self.trials
        ]
        return pl.DataFrame(rows, infer_schema_length=None).sort(self.monitor, descending=True, nulls_last=True)


def search(
    experiment: Experiment,
    grid: Mapping[str, Sequence[Any]],
    seed: int = 0,
    out: str | Path = "runs",
    *,
    max_trials: int | None = None,
    progress: bool = False,
) -> Search:
    """Tries settings on valid alone: no trial opens the test, and every trial is kept, failed ones too.

    Run again, it reads the trials that are there and goes on. They lie in ``<out>/<experiment>/search-<seed>/``.

    Args:
        experiment: where to start from.
        grid: dotted path (as in :meth:`Experiment.variant`) -> values; all combinations are tried.
        seed: of each trial.
        out: parent folder of all runs.
        max_trials: try that many combinations, drawn at random under ``seed``.
        progress: show bars.

    Raises:
        ValueError: an empty grid, a setting that does not exist, or no trial that worked.
    """
    if not grid or not all(len(values) for values in grid.values()):
        raise ValueError(f"the grid needs at least one path with at least one value; got {dict(grid)}")
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    variants = [experiment.variant(changes) for changes in settings]  # refuses bad settings before any runs
    if max_trials is not None and max_trials < len(settings):
        chosen = sorted(random.Random(seed).sample(range(len(settings)), max_trials))
        settings, variants = [settings[i] for i in chosen], [variants[i] for i in chosen]
    directory = Path(out) / experiment.name / f"search-{seed}"
    splits: dict[Callable[[], Any], Split] = {}
    trials = []
    with owned(directory, "search"):
        for changes, variant in zip(settings, variants, strict=True):
            if variant.split not in splits:
                splits[variant.split] = variant.split()
            split = splits[variant.split]
            folder = directory / variant.identity(seed, split).id
            trial = read_trial(folder / "trial.json", changes)
            if trial is None:
                folder.mkdir(parents=True, exist_ok=True)
                trial = _try(variant, changes, seed, split, folder, progress)
                write_json(folder / "trial.json", describe(asdict(trial)))
            trials.append(trial)
    if not any(t.valid for t in trials):
        raise ValueError(f"no trial worked; the first failed with: {trials[0].error}")
    found = Search(experiment, tuple(trials), experiment.fit.monitor, directory)
    best = experiment.variant(found.best.changes)
    return Search(best, found.trials, found.monitor, directory)


def read_trial(path: Path, changes: dict[str, Any]) -> Trial | None:
    """The trial that lies there; None where there is none, or only half of one: then it is tried again."""
    try:
        values: dict[str, Any] = {**read_json(path, "trial"), "changes": changes}
        values["curve"] = tuple((int(epoch), float(value)) for epoch, value in values.get("curve", ()))
        return Trial(**values)
    except (FileNotFoundError, DamagedFile, TypeError, ValueError):
        return None


def _try(variant: Experiment, changes: dict[str, Any], seed: int, split: Split, folder: Path, progress: bool) -> Trial:
    try:
        ready = prepare(variant, seed, split=split)
        identity = variant.identity(seed, split)
        report = fit_prepared(variant, ready, seed, folder, identity, progress=progress)
    except FloatingPointError as error:  # diverged: a finding about this setting, not a fault of the search
        return Trial(changes, {}, error=str(error))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return Trial(changes, report.best, len(report.history), report.best_epoch, report.seconds)


def fit_prepared(
    experiment: Experiment,
    ready: Prepared,
    seed: int,
    directory: Path,
    identity: Identity,
    *,
    callbacks: Sequence[Any] = (),
    progress: bool = False,
    together: Together = ALONE,
) -> FitReport:
    """Trains a prepared model in a folder, or goes on there; judged on valid by the experiment's monitor.

    Args:
        experiment, ready, seed: what to train.
        directory: of checkpoint and log.
        identity: of the run; a checkpoint of another one is refused.
        callbacks: beside the experiment's own.
        progress: show a bar.
        together: the processes that train it.
    """
    config = experiment.evaluate.for_split(ready.split).for_validation(experiment.fit.monitor)

    def validate(model: Recommender) -> dict[str, float]:
        found = evaluate(model, ready.graph, ready.split.valid, config, experiment.fit.device, seen=ready.seen)
        named = {f"{group}/{m}": v for group, metrics in found.metrics.items() for m, v in metrics.items()}
        return found["all"] | {m: v for m, v in named.items() if m == experiment.fit.monitor}

    return fit(
        ready.model,
        ready.graph,
        validate,
        experiment.fit,
        seed=seed,
        directory=directory,
        resume=True,
        epoch_transforms=experiment.epoch_transforms,
        callbacks=(*copy.deepcopy(experiment.callbacks), *callbacks),
        identity=identity.id,
        progress=progress,
        together=together,
    )


def _per_user(found: Evaluation, stage: str) -> pl.DataFrame:
    """The groups that have a ranking of their own; the activity groups are subsets of ``all``."""
    table = found.frame().with_columns(stage=pl.lit(stage)).filter(pl.col("group").is_in(["all", "warm", "cold"]))
    return table.select("stage", "group", "user", pl.exclude("stage", "group", "user"))


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def _data(split: Split) -> dict[str, Any]:
    dataset = split.dataset
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "users": dataset.num_users,
        "videos": dataset.num_videos,
        "interactions": len(split.train) + len(split.valid) + split.num_test,
        "train": len(split.train),
        "valid": len(split.valid),
        "test": split.num_test,
        "protocol": split.protocol.model_dump(mode="json"),
    }
