"""The demo: a world of generated videos, from raw media to recommendations and a report, in one call."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from mmgraph.data.files import owned
from mmgraph.data.synthetic import World, WorldConfig, generate, render, write
from mmgraph.data.synthetic.words import SOUNDS, STYLES, TOPICS
from mmgraph.demo.experiment import NAMES, NOTES, demo_experiment
from mmgraph.demo.serving import how_to_serve
from mmgraph.encoders import encode_folder
from mmgraph.experiment import Experiment, Result, restore, run
from mmgraph.progress import Advance, progress
from mmgraph.recommend import recommend_ids
from mmgraph.report import report_of_results, with_model, write_report
from mmgraph.report.people import different_users
from mmgraph.report.results import mean_metric

CEILING = "true-preference"
METRICS = {
    "all": "recall@20",
    "known": "recall_known@20",
    "new": "recall_new@20",
    "share of new": "new_share@20",
    "new shown": "new_shown@20",
    "new among new": "cold/recall@20",
}


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    metrics: model -> "all", "known", "new" (Recall@20 on test in one list over all videos), "share of new" (of the
    lists), "new shown" (of the new videos, to anybody), "new among new" (Recall@20 in lists of new videos alone).
    recommendations: raw user id -> raw video ids, best first. runs: folder of the runs. seconds: step -> wall time.
    """

    report: Path
    data: Path
    runs: Path
    metrics: dict[str, dict[str, float]]
    recommendations: dict[str, list[str]]
    seconds: dict[str, float]


@dataclass
class _Log:
    """Prints steps and keeps their times."""

    echo: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, total: int | None = None, *, own: bool = True) -> Iterator[Advance]:
        """A step; `own`: it shows its progress itself, by what it calls with `advance`."""
        self.echo(f"{name} …")
        begun = time.perf_counter()
        with progress(name, total, shown=own) as advance:
            yield advance
        self.seconds[name] = time.perf_counter() - begun
        self.echo(f"{name}: {self.seconds[name]:.1f} s")


def run_demo(
    out: str | Path,
    *,
    config: WorldConfig | None = None,
    media: bool = True,
    frames: int = 1,
    experiment: Callable[[Path], Experiment] = demo_experiment,
    seed: int = 0,
    users: Sequence[str] = (),
    echo: Callable[[str], None] = print,
) -> DemoResult:
    """World -> media -> features -> runs of a model and its baselines -> recommendations and `report.html`.

    Args:
        out: folder for all of it: `data/` (media-folder layout), `store/` (encoded features), `runs/`, `report.html`.
            Data and runs of an earlier demo there are replaced; features of unchanged media come from the store.
        config: the world; the default has 2,000 users and 1,500 videos.
        media: render pictures and sound and run real encoders on them; False takes the features that the
            generator gives, which needs neither media packages nor time.
        frames: pictures of a video.
        experiment: data folder -> what to train.
        seed: of the models; the world's is in `config`.
        users: raw ids of the users to show; by default three active ones of different tastes.
        echo: told what happens, line by line; progress within a step goes to stderr.

    Raises:
        ImportError: `media` without the packages of `mmgraph[media]`.
        KeyError: a user that is not in the world.
        FolderInUse: (a ValueError) another demo works in the folder.
    """
    out = Path(out)
    with owned(out, "demo"):
        return _run(out, config or WorldConfig(), media, frames, experiment, seed, users, _Log(echo))


def _run(
    out: Path,
    config: WorldConfig,
    media: bool,
    frames: int,
    make: Callable[[Path], Experiment],
    seed: int,
    users: Sequence[str],
    log: _Log,
) -> DemoResult:
    folder, runs = out / "data", out / "runs"
    with log.step("making a world"):
        world = generate(config)
        if (folder / "world.json").exists():
            shutil.rmtree(folder)
        write(world, folder, features=not media)
    if media:
        with log.step("rendering pictures and sound", config.videos) as advance:
            render(world, folder, frames=frames, advance=lambda: advance(1))
        with log.step("encoding media", own=False):
            encoders = {"text": "use", "image": "efficientnet-lite0", "audio": "mfcc", "generation": True}
            made = encode_folder(folder, **encoders, store=out / "store", signal="click")
            for modality, done in made.reports.items():
                log.echo(
                    f"  {modality}: {done.present} of {done.rows} videos, {done.encoded} encoded, {done.reused} reused"
                )
    main = make(folder)
    with log.step("reading the folder"):
        split = main.split()
        log.echo(f"  {split.dataset}\n  {split}")
    dataset = split.dataset
    rows = dataset.user_ids.rows(list(users)).tolist() if users else None  # an unknown id stops here, not at the end
    results: list[Result] = []
    with log.step("training, choosing on valid, testing once", own=False):
        for member in (*main.baselines, main):
            results.append(run(member, seed, runs, overwrite=True, split=split, progress=True))
            log.echo(f"  {_line(results[-1])}")
    results.reverse()
    with log.step("writing the report"):
        ready = restore(results[0], main, split)
        rows = rows or different_users(ready.graph.seen)
        report = report_of_results(
            results,
            ceiling=CEILING,
            names=NAMES,
            notes=NOTES,
            title="mmgraph: a world of generated videos, recommended",
            lead="Every video here was drawn, played and titled by a program, and every user was simulated, so the "
            "true taste of each is known. The recommender saw only files and clicks.",
            footer=(f"World: {config.users} users, {config.videos} videos, {config.days} days, seed {config.seed}.",),
        )
        topics = _world_rows(world.videos["video_id"], dataset.video_ids.ids)
        report = with_model(
            report,
            ready.model,
            ready.graph,
            dataset,
            split.train,
            users=rows,
            tastes=lambda user: _tastes(world, dataset.user_ids.ids[user]),
            groups=[TOPICS[world.factors.topic[row]].name for row in topics],
            groups_about=", coloured by topic, which the model was never told",
        )
        path = write_report(report, out / "report.html")
    raw = dataset.user_ids.raw(rows)
    lists = recommend_ids(ready.model, ready.graph, dataset, raw, k=6).to_frame()
    metrics = {r.experiment: _metrics(r) for r in results}
    recommendations = {
        str(user): [str(video) for video in lists.filter(pl.col("user") == user)["video"].to_list()] for user in raw
    }
    _tell(metrics, lists, path, f"{results[0].experiment}/{seed}", log)
    return DemoResult(path, folder, runs, metrics, recommendations, log.seconds)


def _line(result: Result) -> str:
    found = "  ".join(f"{name} {value:.4f}" for name, value in _metrics(result).items())
    return f"{NAMES.get(result.experiment, result.experiment)}: {found}  ({result.training['seconds']:.1f} s)"


def _metrics(result: Result) -> dict[str, float]:
    found = {name: mean_metric([result], metric) for name, metric in METRICS.items()}
    return {name: float("nan") if value is None else value for name, value in found.items()}


def _world_rows(raw: pl.Series, wanted: pl.Series) -> np.ndarray:
    place = {value: row for row, value in enumerate(raw)}
    return np.array([place[value] for value in wanted])


def _tastes(world: World, user: object) -> list[str]:
    row = world.users["user_id"].to_list().index(user)
    names = ([topic.name for topic in TOPICS], [style.name for style in STYLES], list(SOUNDS))
    found = []
    for taste, labels, count in zip((world.topic_taste, world.style_taste, world.sound_taste), names, (3, 2, 2)):
        found += [labels[k] for k in np.argsort(-taste.at(world.config.drift)[row])[:count]]
    return found


def _tell(metrics: dict[str, dict[str, float]], lists: pl.DataFrame, path: Path, run: str, log: _Log) -> None:
    log.echo(f"\n{'Recall@20 in one list, test':28s}" + "".join(f"{name:>14s}" for name in METRICS))
    for name, values in metrics.items():
        log.echo(f"{NAMES.get(name, name):28s}" + "".join(f"{value:14.4f}" for value in values.values()))
    for (user,), rows in lists.group_by("user", maintain_order=True):
        log.echo(f"\nfor user {user}:")
        for row in rows.iter_rows(named=True):
            log.echo(f"  {row['rank']}. {row['video']}  {row.get('title') or '(no title)'}")
    log.echo(f"\nreport: {path}\n{how_to_serve(path.parent, run)}")
