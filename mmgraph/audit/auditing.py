"""``audit_run``: a finished or trained run, ranked again on graphs that lack, shuffle or blur what it reads."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from mmgraph.audit.findings import Audit, AuditConfig
from mmgraph.audit.judged import Buckets, judged
from mmgraph.audit.steps import FULL, Step, every_step
from mmgraph.audit.subject import WORK, Subject
from mmgraph.audit.telling import told
from mmgraph.data.files import owned
from mmgraph.evaluate import Evaluation, evaluate
from mmgraph.experiment import Experiment, openings, prepare, train
from mmgraph.experiment.journal import recorded_opening
from mmgraph.experiment.saved import MODEL, WEIGHTS, fill, read_weights
from mmgraph.experiment.trained import run_folder, same_identity
from mmgraph.progress import progress as progress_bar
from mmgraph.recommend import deletion_fidelity, explain

if TYPE_CHECKING:
    from mmgraph.data.split import Split
    from mmgraph.graph.multimodal import MultimodalGraph
    from mmgraph.models import Recommender
    from mmgraph.progress import Advance
    from mmgraph.recommend import Explanation

AUDIT = "audit.json"


def audit_run(
    folder: str | Path,
    experiment: Experiment,
    config: AuditConfig | None = None,
    *,
    refit: bool | None = None,
    split: Split | None = None,
    progress: bool = False,
) -> Audit:
    """What each modality, or group of modalities, is worth to the model of a run, on the users of valid.

    On graphs changed before the experiment's transforms: without a group (``drop``, leave-one-out), with it alone
    (``alone``, add-one), with its features dealt at random (``shuffle``) or blurred (``noise``), and with its
    modalities missing from a share of the videos; Shapley values over all subsets of up to six groups. Each is a paired
    difference over users, by popularity of the target and activity of the user too. And whether the paths that
    :func:`mmgraph.recommend.explain` names are what the scores hang on (:func:`mmgraph.recommend.deletion_fidelity`).

    Each ranking is kept in ``<folder>/audit/`` under the identity of what it was made of: stopped and started again,
    the audit goes on. ``<folder>/audit.json`` is written last.

    Args:
        folder: of one seed, finished or only trained (:func:`mmgraph.experiment.train`).
        experiment: the one that made it.
        config: what to audit.
        refit: train, or solve, anew on each changed graph: what the *data* are worth to this model. Without it the
            trained model reads the changed graph: what the *trained model* hangs on. By default only closed forms,
            whose solution holds the features, are solved anew.
        split: an already built split.
        progress: show a bar.

    Raises:
        ValueError: the run is another experiment's, the graph has no modality, a metric that is not measured, or
            ``stage="test"`` of a run that has not opened its test.
        KeyError: no such modality, or a metric without a value a user.
        FileNotFoundError: the folder holds no trained model.
    """
    subject = subject_of(folder, experiment, config or AuditConfig(), refit, split)
    with owned(subject.folder, "audit"), _opened(subject) as targets:
        popularity = popularity_of(subject, targets)
        frames, explained = _measure(subject, targets, popularity, progress)
    audit = told(subject, frames, popularity, explained)
    audit.save(subject.folder / AUDIT)
    return audit


def subject_of(
    folder: str | Path, experiment: Experiment, config: AuditConfig, refit: bool | None, split: Split | None
) -> Subject:
    """The run in a folder, after a look whether it is this experiment's."""
    folder = Path(folder)
    if not (folder / MODEL).exists():
        raise FileNotFoundError(f"{folder} holds no trained model: give runs/<experiment>/<seed> of a run that trained")
    seed = _seed(folder)
    built: Split = experiment.split() if split is None else split
    identity = experiment.identity(seed, built)
    same_identity(folder, identity)
    anew = experiment.model.closed_form if refit is None else refit
    return Subject(folder, experiment, config, seed, built, identity, anew)


def _seed(folder: Path) -> int:
    name = folder.resolve().name
    if not name.isdigit():
        raise ValueError(f"{folder} is no run's folder: give runs/<experiment>/<seed>, whose last part is a number")
    return int(name)


@contextlib.contextmanager
def _opened(subject: Subject) -> Iterator[pl.DataFrame]:
    """The targets of the stage. The test's only where this run has opened it before; the journal counts this look."""
    split, place = subject.split, subject.folder.resolve().parent.parent
    if subject.config.stage == "valid":
        yield split.valid
        return
    name = subject.experiment.name
    looks = [entry for entry in openings(place, split) if entry["experiment"] == name]
    if not any(subject.seed in entry.get("seeds", ()) for entry in looks):
        raise ValueError(
            f"{name} seed {subject.seed} has not opened the test of {split.protocol_id}, and an audit never does: "
            "audit it on valid, or finish the run first"
        )
    with recorded_opening(place, split, f"{name}, audit", subject.seed, subject.identity.id) as opener:
        yield split.open_test(opener)


def _measure(
    subject: Subject, targets: pl.DataFrame, popularity: Buckets, progress: bool
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame | None]:
    """Step -> a row a user; and the pairs that were explained."""
    model, steps = subject.trained(), every_step(subject.groups, subject.config, not subject.refit)
    frames = {}
    pairs = subject.config.pairs
    with progress_bar("audit", len(steps) + pairs, shown=progress) as advance:
        for step in steps:
            key = subject.key("step", step, subject.refit and bool(step.transforms))

            def make(step: Step = step) -> pl.DataFrame:
                return judged(ranked(subject, model, step, targets), subject.metric, popularity)

            frames[step.name] = subject.kept(key, make)
            advance(1, step.name)
        explained = None
        if pairs:
            key = subject.key("explained", pairs, subject.config.draws)
            explained = subject.kept(key, lambda: _explained(subject, model, targets, advance))
    return frames, explained


def popularity_of(subject: Subject, targets: pl.DataFrame) -> Buckets:
    """Ranges of the videos by their training users, each with about as many targets."""
    users = subject.graph.seen.transpose().degree()
    return Buckets.make(users, torch.tensor(targets["video"].to_numpy(), dtype=torch.int64), subject.config.buckets)


def ranked(subject: Subject, model: Recommender, step: Step, targets: pl.DataFrame) -> Evaluation:
    """What the run's model, or one trained anew, ranks on the step's graph."""
    experiment, split = subject.experiment, subject.split
    config = experiment.evaluate.for_split(split).for_validation(subject.metric)
    told: Mapping[str, Any] = {"seen": subject.graph.seen}
    device = experiment.fit.device
    if not (subject.refit and step.transforms):
        return evaluate(model, subject.graph_after(step), targets, config, device, **told)
    name = f"{experiment.name}-{subject.key('refit', step)}"
    transforms = (*(_Seeded(t, subject.config.seed) for t in step.transforms), *experiment.transforms)
    variant = experiment.variant(name=name, transforms=transforms, baselines=())
    out = subject.folder / WORK / "refit"
    train(variant, subject.seed, out, split=split)
    ready = prepare(variant, subject.seed, subject.config.stage, split)
    where = run_folder(variant, subject.seed, out)
    fill(ready.model, read_weights(where), where / WEIGHTS)
    found = evaluate(ready.model, ready.graph, targets, config, device, **told)
    shutil.rmtree(out)  # what it found is kept; the model would take its size a step
    return found


@dataclass(frozen=True)
class _Seeded:
    """A transform under a seed of its own, so that every seed of a run meets the same change."""

    transform: Callable[..., Any]
    seed: int

    def __call__(self, graph: MultimodalGraph, generator: torch.Generator | None = None) -> MultimodalGraph:
        return self.transform(graph, torch.Generator().manual_seed(self.seed))


def _explained(subject: Subject, model: Recommender, targets: pl.DataFrame, advance: Advance) -> pl.DataFrame:
    """A row a pair and kind of reasons: ``reasons``, ``explained``, ``random``."""
    config, step = subject.config, FULL
    ranking = ranked(subject, model, step, targets).rankings["all"]
    chance = torch.Generator().manual_seed(config.seed)
    lines = torch.randperm(len(ranking), generator=chance)[: config.pairs]
    graph, model = subject.graph_after(step), model.cpu()
    parts = []
    for user, video in zip(ranking.users[lines].tolist(), ranking.lists[lines, 0].tolist(), strict=True):
        for reasons in ("every kind", "co-watched", *graph.modalities):
            found = deletion_fidelity(
                model, graph, [user], [video], _only(graph, reasons), draws=config.draws, seed=config.seed
            )
            parts.append((reasons, float(found.explained[0]), float(found.random[0])))
        advance(1, f"why user {user} gets video {video}")
    return pl.DataFrame(parts, schema=["reasons", "explained", "random"], orient="row")


def _only(graph: MultimodalGraph, kind: str) -> Callable[[int, int], Explanation]:
    """Explanations by reasons of one kind, or all kinds, the strongest first."""

    def explanation(user: int, video: int) -> Explanation:
        found = explain(graph, user, video)
        chosen = [reason for reason in found.reasons if kind in ("every kind", reason.kind)]
        chosen.sort(key=lambda reason: -reason.strength)
        return type(found)(found.user, found.video, tuple(chosen))

    return explanation
