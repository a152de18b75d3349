"""From an experiment to its result: train, choose on valid, open the test once, write."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import torch

from mmgraph.evaluate import EvalConfig, Evaluation, evaluate, evaluate_test
from mmgraph.experiment.config import Experiment, describe
from mmgraph.experiment.result import Result, environment, write_atomically
from mmgraph.graph import build_graph
from mmgraph.models.base import Recommender
from mmgraph.ops import CSR
from mmgraph.train import FitReport, fit, load_checkpoint

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.graph.multimodal import MultimodalGraph

# What a finished run may differ in and still be the same run.
_FREE = ("name", "seeds", "baselines")


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
    built: Split = experiment.split() if split is None else split
    for transform in experiment.transforms:
        if added := getattr(transform, "protocol_parameters", None):
            built = built.with_parameters(**added)
    graph = build_graph(built, stage)
    seen = graph.seen
    for transform in experiment.transforms:
        graph = transform(graph, torch.Generator().manual_seed(seed))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        make: Any = experiment.model  # each class has a signature of its own, checked by Experiment
        model = make(graph, **experiment.model_args)
    return Prepared(built, graph, seen, model)


def run(
    experiment: Experiment,
    seed: int = 0,
    out: str | Path = "runs",
    resume: bool = False,
    *,
    source: str | None = None,
    split: Split | None = None,
    progress: bool = False,
) -> Result:
    """Trains, chooses the epoch on valid, opens the test once, and writes ``<out>/<experiment>/<seed>/``.

    The folder holds ``result.json`` (last, so its presence means complete), ``per_user.parquet``, ``checkpoint.pt``,
    ``log.jsonl`` and ``openings.jsonl``.

    Args:
        experiment: what to run.
        seed: of everything random.
        out: parent folder of all runs.
        resume: return a complete result as it is; else continue from the checkpoint. Without it a run starts
            over, and says in ``openings`` that the test had been opened before.
        source: where the experiment came from, for ``mmgraph recommend``.
        split: an already built split, to save reading the data again.
        progress: show a bar.

    Raises:
        ValueError: ``resume``, but the folder holds a result of another configuration.
    """
    directory = Path(out) / experiment.name / str(seed)
    config = experiment.resolved()
    if resume and (directory / "result.json").exists():
        found = Result.load(directory)
        _same_config(found.config, config, directory)
        return found
    directory.mkdir(parents=True, exist_ok=True)
    stale = ["result.json", "per_user.parquet"] + ([] if resume else ["checkpoint.pt", "log.jsonl"])
    for name in stale:
        (directory / name).unlink(missing_ok=True)

    ready = prepare(experiment, seed, split=split)
    report = _fit(experiment, ready, seed, directory, resume, progress)
    split, device = ready.split, experiment.fit.device
    valid = evaluate(ready.model, ready.graph, split.valid, experiment.evaluate, device, seen=ready.seen)
    graph = prepare(experiment, seed, "test", split).graph
    test = evaluate_test(ready.model, graph, split, f"{experiment.name}/{seed}", experiment.evaluate, device)

    openings = _record_opening(directory, test)
    write_atomically(directory / "per_user.parquet", _per_user({"valid": valid, "test": test}))
    result = Result(
        experiment=experiment.name,
        protocol=split.protocol_id,
        seed=seed,
        valid=valid.metrics,
        test=test.metrics,
        config=config,
        environment=environment(),
        data=_data(split),
        training={
            "best_epoch": report.best_epoch,
            "epochs": len(report.history),
            "stopped": report.stopped,
            "seconds": report.seconds,
            "parameters": sum(p.numel() for p in ready.model.parameters()),
            "monitor": report.best.get(experiment.fit.monitor),
        },
        openings=openings,
        about=test.about,
        source=source,
    )
    return result.save(directory)


def run_all(
    experiment: Experiment,
    out: str | Path = "runs",
    resume: bool = False,
    *,
    seeds: Sequence[int] | None = None,
    baselines: bool = True,
    source: str | None = None,
    progress: bool = False,
    report: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Runs an experiment for all its seeds, and its baselines for theirs; each split is built once.

    A model in closed form has nothing random, so it runs under its first seed alone.

    Args:
        experiment, out, resume, source, progress: as in :func:`run`.
        seeds: in place of the experiment's own; baselines keep theirs.
        baselines: run them too, before the experiment.
        report: called with each result.
    """
    splits: dict[Callable[[], Any], Split] = {}
    out_results = []
    for member in (*(experiment.baselines if baselines else ()), experiment):
        chosen = seeds if seeds is not None and member is experiment else member.seeds
        for seed in chosen[:1] if member.model.closed_form else chosen:
            done = resume and (Path(out) / member.name / str(seed) / "result.json").exists()
            if not done and member.split not in splits:
                splits[member.split] = member.split()
            split = splits.get(member.split)
            result = run(member, seed, out, resume, source=source, split=split, progress=progress)
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
        FileNotFoundError: the checkpoint is gone.
    """
    directory = result.directory or Path()
    _same_config(result.config, experiment.resolved(), directory)
    ready = prepare(experiment, result.seed, "test", split)
    if ready.split.protocol_id != result.protocol:
        raise ValueError(
            f"{directory} was made under {result.protocol}, but the data now gives {ready.split.protocol_id}"
        )
    state = load_checkpoint(directory / "checkpoint.pt")
    ready.model.load_state_dict(state.get("best_state") or state["model"])
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
    """

    changes: dict[str, Any]
    valid: dict[str, float]
    epochs: int = 0
    best_epoch: int = -1
    seconds: float = 0.0
    error: str | None = None


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
    for changes, variant in zip(settings, variants, strict=True):
        config = json.dumps({k: v for k, v in variant.resolved().items() if k not in _FREE}, sort_keys=True)
        folder = directory / hashlib.sha256(config.encode()).hexdigest()[:12]
        path = folder / "trial.json"
        if not path.exists():
            if variant.split not in splits:
                splits[variant.split] = variant.split()
            folder.mkdir(parents=True, exist_ok=True)
            trial = _try(variant, changes, seed, splits[variant.split], folder, progress)
            write_atomically(path, (json.dumps(describe(asdict(trial)), indent=1) + "\n").encode())
        trials.append(Trial(**json.loads(path.read_text()) | {"changes": changes}))
    if not any(t.valid for t in trials):
        raise ValueError(f"no trial worked; the first failed with: {trials[0].error}")
    found = Search(experiment, tuple(trials), experiment.fit.monitor, directory)
    best = experiment.variant(found.best.changes)
    return Search(best, found.trials, found.monitor, directory)


def _try(variant: Experiment, changes: dict[str, Any], seed: int, split: Split, folder: Path, progress: bool) -> Trial:
    try:
        ready = prepare(variant, seed, split=split)
        report = _fit(variant, ready, seed, folder, True, progress)
    except FloatingPointError as error:  # diverged: a finding about this setting, not a fault of the search
        return Trial(changes, {}, error=str(error))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return Trial(changes, report.best, len(report.history), report.best_epoch, report.seconds)


def _fit(
    experiment: Experiment, ready: Prepared, seed: int, directory: Path, resume: bool, progress: bool
) -> FitReport:
    config = _monitoring(experiment.evaluate, experiment.fit.monitor)

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
        resume=resume,
        epoch_transforms=experiment.epoch_transforms,
        progress=progress,
    )


def _monitoring(config: EvalConfig, monitor: str) -> EvalConfig:
    """What an epoch needs measured: group ``all`` without AUC, and whatever the monitor names."""
    group, _, metric = monitor.rpartition("/")
    cheap = config.for_validation()
    groups = ("all", *([] if group in ("", "all") else [group.partition("_")[0]]))
    return EvalConfig.model_validate(cheap.model_dump() | {"groups": groups, "auc": "auc" in metric})


def _same_config(there: dict[str, Any], here: dict[str, Any], directory: Path) -> None:
    here = json.loads(json.dumps(here))
    changed = sorted(k for k in {*there, *here} - set(_FREE) if there.get(k) != here.get(k))
    if changed:
        lines = [f"  {k}: there {there.get(k)}, here {here.get(k)}" for k in changed]
        raise ValueError(
            f"{directory} holds a result of another configuration: name the experiment anew, choose another folder, or "
            "start over without resume\n" + "\n".join(lines)
        )


def _record_opening(directory: Path, test: Evaluation) -> list[dict[str, Any]]:
    path = directory / "openings.jsonl"  # never deleted: a run started over has still seen its test
    assert test.opening is not None
    with path.open("a") as file:
        file.write(json.dumps(asdict(test.opening)) + "\n")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _per_user(stages: Mapping[str, Evaluation]) -> bytes:
    """Parquet of the groups that have a ranking of their own; the activity groups are subsets of ``all``."""
    frames = [e.frame().with_columns(stage=pl.lit(stage)) for stage, e in stages.items()]
    table = pl.concat(frames, how="diagonal").filter(pl.col("group").is_in(["all", "warm", "cold"]))
    buffer = io.BytesIO()
    table.select("stage", "group", "user", pl.exclude("stage", "group", "user")).write_parquet(buffer)
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
        "protocol": describe(split.protocol),
    }
