"""The two halves of a run: trained with the test closed, then judged by it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from mmgraph.data.files import hash_file, write_atomically, write_json
from mmgraph.evaluate import Evaluation, evaluate, evaluate_test
from mmgraph.experiment.config import Experiment
from mmgraph.experiment.identity import Identity
from mmgraph.experiment.journal import openings, recorded_opening
from mmgraph.experiment.preparing import Prepared, fit_prepared, prepare
from mmgraph.experiment.result import PER_USER, Result, environment, without_nan
from mmgraph.experiment.saved import CONSTRAINT, FILES, WEIGHTS, fill, read_weights, save
from mmgraph.experiment.trained import TRAINED, VALID_USERS, Trained, remove_files
from mmgraph.ops.memory import model_need
from mmgraph.train.together import ALONE, PARTS, Together

if TYPE_CHECKING:
    from mmgraph.data.split import Split

# Where the runs of a place keep the graphs they share, each once.
GRAPHS = "graphs"


def train_stage(
    experiment: Experiment,
    seed: int,
    out: Path,
    directory: Path,
    identity: Identity,
    split: Split,
    progress: bool,
    together: Together = ALONE,
) -> Trained:
    """Trains in a folder of one's own, chooses the epoch on valid and saves the model; the test stays closed."""
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


def judge_stage(
    experiment: Experiment,
    seed: int,
    out: Path,
    directory: Path,
    identity: Identity,
    trained: Trained,
    source: str | None,
    split: Split,
) -> Result:
    """Opens the test, once, for a run that was trained in this folder, and writes the result."""
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
