"""From an experiment to its result: train, choose on valid, open the test once, write."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from mmgraph.data.files import hash_file, owned, write_atomically, write_json
from mmgraph.evaluate import Evaluation, evaluate, evaluate_test
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity
from mmgraph.experiment.journal import openings, recorded_opening
from mmgraph.experiment.preparing import Prepared, fit_prepared, prepare
from mmgraph.experiment.result import PER_USER, Result, environment, without_nan
from mmgraph.experiment.saved import CONSTRAINT, FILES, WEIGHTS, fill, read_weights, save
from mmgraph.experiment.trained import TRAINED, VALID_USERS, Trained, make_room, remove_files, run_folder, same_identity
from mmgraph.ops.memory import model_need
from mmgraph.train.together import ALONE, PARTS, Together

if TYPE_CHECKING:
    from mmgraph.data.split import Split

# Where the runs of a place keep the graphs they share, each once.
GRAPHS = "graphs"


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
        make_room(directory, identity, resume, overwrite)
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
        make_room(directory, identity, True, False)
        return _train(experiment, seed, Path(out), directory, identity, built, progress)


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
        remove_files(directory / name)
    return trained


def _save(experiment: Experiment, ready: Prepared, at_test: Prepared, out: Path, directory: Path) -> dict[str, str]:
    """Saves the model with what it reads at test, and sees that it comes back the same."""
    told = {
        "args": experiment.arguments(),
        "protocol": ready.split.protocol.model_dump(),
        "seen": at_test.seen,
        "constraint": experiment.evaluate.for_split(ready.split).constraint,
    }
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
    return {name: hash_file(directory / name) for name in (*FILES, CONSTRAINT) if (directory / name).exists()}


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
        files=files | {name: found for name, found in trained.files.items() if name != VALID_USERS},
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
