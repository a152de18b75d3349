"""The demo: a world of generated videos, from raw media to recommendations and a report, in one call."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from mmgraph.data import Dataset, Features
from mmgraph.data.readers import read_media_folder
from mmgraph.data.split import Split, global_time_split
from mmgraph.data.synthetic import MODALITIES, World, WorldConfig, generate, render, write
from mmgraph.data.synthetic.words import SOUNDS, STYLES, TOPICS
from mmgraph.encoders import (
    EfficientNetLite0,
    Encoder,
    GenerationEncoder,
    MFCCStatistics,
    UniversalSentenceEncoder,
    extract_with_report,
    generation_records,
)
from mmgraph.evaluate import EvalConfig, Evaluation, evaluate, evaluate_test
from mmgraph.experiment.journal import unused_name
from mmgraph.features import Passport, passport
from mmgraph.graph import build_graph
from mmgraph.models import ALL, Embeddings, HeteroMMGCN, ItemKNN, Popularity, Recommender, Rows
from mmgraph.recommend import explain, recommend
from mmgraph.report import (
    Because,
    Clip,
    Curve,
    Map,
    ModalityFacts,
    Pick,
    Point,
    Report,
    Row,
    Table,
    Viewer,
    jpeg_uri,
    sound_uri,
    sprite_uri,
    write_report,
)
from mmgraph.train import FitConfig, FitReport, fit

if TYPE_CHECKING:
    from PIL import Image

    from mmgraph.graph.multimodal import MultimodalGraph

GROUPS = ("all", "warm", "cold")
METRIC = "recall@20"
FIT = FitConfig(epochs=20, batch_size=2048, learning_rate=4e-3, eval_every=4, patience=3)
# Alignment by distance: with a catalogue this small InfoNCE over a batch's videos costs more than the model itself.
MODEL = {"align": 0.005, "align_kind": "l2", "l2": 1e-2}
_EVAL = EvalConfig(k=(20,), groups=("warm", "cold"), auc=False)
_KINDS = {"visual": "look", "audio": "sound", "text": "words", "generation": "making", "co-watched": "co-watched"}


class TruePreference(Recommender):
    """The ceiling of a world: scores are the users' true preference at one moment, which only a world knows.

    Args:
        graph: gives nothing but its size.
        scores: [U, V], rows as in the dataset.
    """

    closed_form = True
    scores: Tensor

    def __init__(self, graph: MultimodalGraph, *, scores: Tensor) -> None:
        super().__init__()
        if scores.shape != (graph.num_users, graph.num_videos):
            raise ValueError(f"scores {tuple(scores.shape)}: the graph has {graph.num_users} x {graph.num_videos}")
        self.register_buffer("scores", scores.float())

    def solve(self, graph: MultimodalGraph) -> None:
        """Nothing to fit: it is known."""

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user [U, V]: the scores; video [V, 1]: the column of each video among them."""
        columns = torch.arange(self.scores.shape[1], dtype=torch.float32).unsqueeze(1)
        return rows.of(self.scores, columns)

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """[B, V], or [B, N] for given videos."""
        rows = emb.user[users]
        columns = emb.video[:, 0].long()
        return rows[:, columns] if videos is None else rows.gather(1, columns[videos])


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    metrics: name -> group ("all", "warm", "cold") -> Recall@20 on test. recommendations: raw user id -> raw video
    ids, best first. seconds: step -> wall time.
    """

    report: Path
    data: Path
    metrics: dict[str, dict[str, float]]
    recommendations: dict[str, list[str]]
    seconds: dict[str, float]


@dataclass
class _Log:
    """Prints steps and keeps their times."""

    echo: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.echo(f"{name} …")
        begun = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begun
        self.echo(f"{name}: {self.seconds[name]:.1f} s")


def default_encoders(dataset: Dataset) -> dict[str, Encoder]:
    """The encoders that need no download: one for each modality.

    Titles by Universal Sentence Encoder (Chinese and English), frames by EfficientNet-Lite0, sound by MFCC
    statistics, generation metadata by its own fields.
    """
    return {
        "text": UniversalSentenceEncoder(),
        "visual": EfficientNetLite0(crop=False),
        "audio": MFCCStatistics(),
        "generation": GenerationEncoder.fit(generation_records(dataset)),
    }


def standardised(features: Features, rows: Tensor) -> Features:
    """Features with columns centred and scaled by their mean and deviation over `rows` [n] that have the modality.

    `rows` are the training videos, so that no later video shapes the scale. Rows end with unit mean square.
    """
    known = features.values[rows[features.present[rows]]]
    values = (features.values - known.mean(0)) / known.std(0).clamp_min(1e-6)
    return Features(values.clamp(-5, 5), features.present)


def run_demo(
    out: str | Path,
    *,
    config: WorldConfig | None = None,
    media: bool = True,
    frames: int = 1,
    fit_config: FitConfig | None = None,
    seed: int = 0,
    users: Sequence[str] = (),
    echo: Callable[[str], None] = print,
) -> DemoResult:
    """World -> media -> encoders -> store -> graph -> MMGCN-type model -> results, recommendations, `report.html`.

    Args:
        out: folder for all of it: `data/` (media-folder layout), `store/` (encoded features), `report.html`. The
            data of an earlier demo there is replaced; features of unchanged media are reused from the store.
        config: the world; the default has 2,000 users and 1,500 videos.
        media: render pictures and sound and run real encoders on them; False takes the features that the
            generator gives, which needs neither media packages nor time.
        frames: pictures of a video.
        fit_config: training of the graph models.
        seed: of the models; the world's is in `config`.
        users: raw ids of the users to show; by default three active ones of different tastes.
        echo: told what happens, line by line.

    Raises:
        ImportError: `media` without the packages of `mmgraph[media]`.
        KeyError: a user that is not in the world.
    """
    out, log = Path(out), _Log(echo)
    out.mkdir(parents=True, exist_ok=True)
    config = config or WorldConfig()
    fit_config = fit_config or FIT
    with log.step("making a world"):
        world = generate(config)
        folder = out / "data"
        if (folder / "world.json").exists():
            shutil.rmtree(folder)
        write(world, folder, features=not media)
    if media:
        with log.step("rendering pictures and sound"):
            render(world, folder, frames=frames)
    with log.step("reading the folder"):
        dataset = read_media_folder(folder, signal="click")
        echo(repr(dataset))
    made_by: Mapping[str, Any] = {}
    if media:
        with log.step("encoding media"):
            encoders = default_encoders(dataset)
            dataset, reports = extract_with_report(dataset, encoders, out / "store")
            made_by = {modality: encoder.describe() for modality, encoder in encoders.items()}
            for modality, done in reports.items():
                echo(
                    f"  {modality}: {done.present} of {done.rows} videos, {done.encoded} encoded, {done.reused} reused"
                )
    with log.step("splitting and building the graph"):
        raw, split, graph = _prepare(dataset)
    echo(f"{split}")
    with log.step("training and testing"):
        models, histories, tests = _train(world, split, graph, fit_config, seed, echo)
    with log.step("passports"):
        passports = {
            modality: passport(modality, raw[modality], encoder=made_by.get(modality), interactions=split.train)
            for modality in graph.modalities
        }
    metrics = {name: {g: test[g][METRIC] for g in GROUPS if g in test.metrics} for name, test in tests.items()}
    with log.step("writing the report"):
        best = models["all modalities"]
        shown = _chosen_users(world, dataset, split, users)
        picks = recommend(best, graph, torch.tensor(shown), k=6).video
        report = _report(world, dataset, split, graph, best, histories, metrics, passports, shown, picks, log)
        path = write_report(report, out / "report.html")
    recommendations = {
        str(dataset.user_ids.raw([user])[0]): [str(raw_id) for raw_id in dataset.video_ids.raw(row.tolist())]
        for user, row in zip(shown, picks)
    }
    _print_results(metrics, recommendations, dataset, path, echo)
    return DemoResult(path, folder, metrics, recommendations, log.seconds)


def _prepare(dataset: Dataset) -> tuple[dict[str, Features], Split, MultimodalGraph]:
    split = global_time_split(dataset, (0.8, 0.1, 0.1))
    known = torch.from_numpy(split.train["video"].unique().to_numpy().copy())
    raw = dict(dataset.features)
    scaled = {modality: standardised(features, known) for modality, features in raw.items()}
    # The same interactions and moments; only the features' scale is new.
    split = global_time_split(dataset.with_features(**scaled), (0.8, 0.1, 0.1))
    return raw, split, build_graph(split, "test")


def _train(
    world: World,
    split: Split,
    graph: MultimodalGraph,
    config: FitConfig,
    seed: int,
    echo: Callable[[str], None],
) -> tuple[dict[str, Recommender], dict[str, FitReport], dict[str, Evaluation]]:
    end = world.config.start + 86_400.0 * world.config.days
    made: dict[str, Callable[[], Recommender]] = {
        "true preference": lambda: TruePreference(graph, scores=_true_scores(world, split.dataset, 0.95, end)),
        "popularity": lambda: Popularity(graph),
        "ItemKNN": lambda: ItemKNN(graph),
    }
    for modality in graph.modalities:
        made[f"{modality} only"] = lambda modality=modality: HeteroMMGCN(graph, modalities=[modality], **MODEL)
    made["all modalities"] = lambda: HeteroMMGCN(graph, **MODEL)
    models, histories, tests = {}, {}, {}
    valid = _EVAL.for_validation()
    for name, make in made.items():
        torch.manual_seed(seed)
        model = make()
        histories[name] = fit(model, graph, lambda m: evaluate(m, graph, split.valid, valid)["all"], config, seed=seed)
        tests[name] = evaluate_test(model, graph, split, unused_name(split, f"demo/{name}"), _EVAL)
        models[name] = model
        found = "  ".join(f"{g} {tests[name][g][METRIC]:.4f}" for g in GROUPS if g in tests[name].metrics)
        echo(f"  {name}: Recall@20 {found}  ({histories[name].seconds:.1f} s)")
    return models, histories, tests


def _true_scores(world: World, dataset: Dataset, share: float, end: float) -> Tensor:
    """True preference [U, V] late in the world, rows as in the dataset."""
    users = _world_rows(world.users["user_id"], dataset.user_ids.ids)
    videos = _world_rows(world.videos["video_id"], dataset.video_ids.ids)
    moment = world.config.start + share * (end - world.config.start)
    return torch.from_numpy(world.true_preference(users, videos, moment))


def _world_rows(raw: pl.Series, wanted: pl.Series) -> np.ndarray:
    at = {value: row for row, value in enumerate(raw)}
    return np.array([at[value] for value in wanted])


def _chosen_users(world: World, dataset: Dataset, split: Split, wanted: Sequence[str]) -> list[int]:
    """Rows of the wanted users, or three with many clicks and different favourite topics."""
    if wanted:
        return dataset.user_ids.rows(list(wanted)).tolist()
    counts = np.bincount(split.train["user"].to_numpy(), minlength=dataset.num_users)
    late = set(split.valid["user"].unique().to_list())
    topics = world.topic_taste.at(world.config.drift).argmax(1)[
        _world_rows(world.users["user_id"], dataset.user_ids.ids)
    ]
    chosen: list[int] = []
    for user in np.argsort(-counts, kind="stable").tolist():
        if user in late and topics[user] not in {topics[other] for other in chosen}:
            chosen.append(user)
        if len(chosen) == 3:
            break
    return chosen


class _Media:
    """Frames, sounds and cards of a world's videos, by row of the dataset."""

    def __init__(self, world: World, dataset: Dataset) -> None:
        from mmgraph.data.synthetic import picture, sound_track
        from mmgraph.data.synthetic.sounds import RATE

        self.world, self.rows = world, _world_rows(world.videos["video_id"], dataset.video_ids.ids)
        self._picture, self._sound, self._rate = picture, sound_track, RATE
        self.titles = [title or str(raw) for title, raw in zip(dataset.videos["title"], dataset.video_ids.ids)]

    def frame(self, video: int) -> Image.Image | None:
        row = int(self.rows[video])
        return self._picture(self.world, row, 0.0) if self.world.present["visual"][row] else None

    def clip(self, video: int, size: tuple[int, int] = (120, 160), sound: bool = True) -> Clip:
        row, frame = int(self.rows[video]), self.frame(video)
        track = sound_uri(self._sound(self.world, row), self._rate) if self.world.present["audio"][row] else None
        image = None if frame is None else jpeg_uri(frame, size)
        return Clip(self.titles[video], image=image, sound=track if sound else None)


def _report(
    world: World,
    dataset: Dataset,
    split: Split,
    graph: MultimodalGraph,
    model: Recommender,
    histories: Mapping[str, FitReport],
    metrics: Mapping[str, Mapping[str, float]],
    passports: Mapping[str, Passport],
    users: Sequence[int],
    picks: Tensor,
    log: _Log,
) -> Report:
    media = _Media(world, dataset)
    popularity, ours, ceiling = (metrics[name] for name in ("popularity", "all modalities", "true preference"))
    counts = np.bincount(split.train["video"].to_numpy(), minlength=dataset.num_videos)
    figures = [
        (
            f"{dataset.num_videos:,}",
            "generated videos",
            f"{dataset.num_users:,} users, {len(split.train):,} clicks to train on",
        ),
        (f"{ours['all']:.3f}", "Recall@20", f"popularity {popularity['all']:.3f}, the ceiling {ceiling['all']:.3f}"),
    ]
    if "cold" in ours:
        times = ours["cold"] / max(popularity["cold"], 1e-9)
        more = f"Recall@20 {ours['cold']:.3f} on videos that nobody in training saw"
        figures.append((f"{times:.1f}×", "popularity, on new videos", more))
    figures.append(
        (f"{sum(log.seconds.values()):.0f} s", "from nothing to here", "world, media, features, training, tests")
    )
    return Report(
        title="mmgraph: a world of generated videos, recommended",
        lead="Every video here was drawn, played and titled by a program, and every user was simulated, so the true "
        "taste of each is known. The recommender saw only files and clicks.",
        figures=figures,
        viewers=[
            _viewer(world, dataset, split, graph, media, user, row.tolist(), counts)
            for user, row in zip(users, picks, strict=True)
        ],
        table=_table(metrics),
        curves=_curves(histories["all modalities"]),
        map=_map(world, model, graph, media, counts),
        modalities=[_facts(modality, passports[modality]) for modality in graph.modalities],
        footer=(
            f"World: {world.config.users} users, {world.config.videos} videos, {world.config.days} days, seed "
            f"{world.config.seed}. Protocol {split.protocol_id}. Test opened once by each row of the table.",
            "Time: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in log.seconds.items()) + ".",
            "Made by mmgraph demo. This page fetches nothing.",
        ),
    )


def _table(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    notes = {
        "true preference": ("the ceiling: what users truly want, which no model sees", "ceiling"),
        "popularity": ("clicks in training", "baseline"),
        "ItemKNN": ("co-watching alone", "baseline"),
        "all modalities": ("titles, frames, sound and generation metadata in one graph", "model"),
        "text only": ("titles", "part"),
        "visual only": ("frames", "part"),
        "audio only": ("sound tracks", "part"),
        "generation only": ("generator, prompt, guidance, steps, seed", "part"),
    }
    order = ["true preference", "all modalities", *(n for n in metrics if n.endswith(" only")), "ItemKNN", "popularity"]
    rows = []
    for name in order:
        note, kind = notes.get(name, ("the same model with one modality", "part"))
        label = "MMGCN, all modalities" if name == "all modalities" else name
        label = f"MMGCN, {name}" if name.endswith(" only") else label
        rows.append(Row(label[0].upper() + label[1:], note, kind, [metrics[name].get(group) for group in GROUPS]))
    return Table(
        columns=("All videos", "Known videos", "New videos"),
        rows=rows,
        note="Recall@20 on the last tenth of the clicks. Known: somebody in training clicked the video; new: nobody "
        "did. Each is ranked among its own kind.",
    )


def _curves(history: FitReport) -> list[Curve]:
    rows = history.history
    names = [key for key in rows[0] if key.startswith("loss/")] if rows else []
    best = float(history.best_epoch)
    curves = [
        Curve(
            "Loss" if name == "loss/bpr" else f"Loss: {name.removeprefix('loss/')}",
            [row["epoch"] for row in rows],
            [row[name] for row in rows],
            best,
        )
        for name in names
        if name != "loss/l2"
    ]
    judged = [row for row in rows if METRIC in row]
    if judged:
        curves.append(Curve("Recall@20 on valid", [r["epoch"] for r in judged], [r[METRIC] for r in judged], best))
    return curves


def _viewer(
    world: World,
    dataset: Dataset,
    split: Split,
    graph: MultimodalGraph,
    media: _Media,
    user: int,
    picks: Sequence[int],
    counts: np.ndarray,
) -> Viewer:
    history = split.train.filter(pl.col("user") == user).sort("time", descending=True)["video"].to_list()
    row = int(_world_rows(world.users["user_id"], dataset.user_ids.ids[user : user + 1])[0])
    about = dataset.users.row(user, named=True)
    words = ", ".join(str(about[key]) for key in ("age", "gender") if about.get(key) is not None)
    return Viewer(
        name=f"User {dataset.user_ids.ids[user]}",
        about=f"{words} · {len(history)} clicks in training. True taste today, which the model never saw:",
        tastes=_tastes(world, row),
        watched=[media.clip(video, (96, 128)) for video in history[:10]],
        picks=[
            Pick(media.clip(video), _reasons(graph, media, user, video), ("new",) if counts[video] == 0 else ())
            for video in picks
            if video >= 0
        ],
    )


def _tastes(world: World, user: int) -> list[str]:
    angle = world.config.drift
    names = ([topic.name for topic in TOPICS], [style.name for style in STYLES], list(SOUNDS))
    tastes = (world.topic_taste, world.style_taste, world.sound_taste)
    found = []
    for taste, labels, count in zip(tastes, names, (3, 2, 2)):
        found += [labels[k] for k in np.argsort(-taste.at(angle)[user])[:count]]
    return found


def _reasons(graph: MultimodalGraph, media: _Media, user: int, video: int, most: int = 3) -> list[Because]:
    """The strongest path of each kind, those first that stand out most among all videos."""
    found: list[tuple[float, Because]] = []
    for reason in explain(graph, user, video, k=1).reasons:
        kind = _KINDS.get(reason.kind, reason.kind)
        clip = media.clip(reason.video, (36, 48), sound=False)
        if reason.kind == "co-watched":
            if reason.count >= 3:  # one or two people in common are chance
                text = f"by {reason.count} people who watched {clip.title}"
                found.append((0.97, Because(kind, text, reason.strength, clip)))
            continue
        share = _less_alike(graph, reason.kind, reason.video, video)
        if share >= 0.9:  # a likeness that one in ten videos has is no reason
            found.append((share, Because(kind, f"with {clip.title}", reason.strength, clip)))
    ordered = sorted(found, key=lambda each: -each[0])
    return [because for _, because in ordered[:most]]


def _less_alike(graph: MultimodalGraph, modality: str, watched: int, video: int) -> float:
    """The share of videos that are less like the watched one than `video` is."""
    features = graph.features(modality)
    values = features.values[features.present]
    cosine = torch.nn.functional.cosine_similarity(values, features.values[watched][None])
    own = torch.nn.functional.cosine_similarity(features.values[video], features.values[watched], dim=0)
    return float((cosine < own).float().mean())


@torch.no_grad()
def _map(world: World, model: Recommender, graph: MultimodalGraph, media: _Media, counts: np.ndarray) -> Map:
    from sklearn.manifold import TSNE  # librosa brings scikit-learn

    video = torch.nn.functional.normalize(model.encode(graph).video, dim=1).numpy()
    perplexity = min(30.0, (len(video) - 1) / 3)
    places = TSNE(2, init="pca", perplexity=perplexity, random_state=0).fit_transform(video)
    tile = (48, 64)
    points = [
        Point(float(x), float(y), int(world.factors.topic[media.rows[v]]), bool(counts[v] == 0), media.titles[v])
        for v, (x, y) in enumerate(places)
    ]
    return Map(
        points=points,
        groups=[topic.name for topic in TOPICS[: world.config.topics]],
        sprite=sprite_uri([media.frame(v) for v in range(len(points))], 40, tile),
        columns=40,
        tile=tile,
        note="Where the model puts each video (t-SNE of its embeddings), coloured by topic, which it was never told. "
        "A ring marks a new video: no click has drawn it anywhere, its look, sound and words alone place it. "
        "Point at one, or tap.",
    )


def _facts(modality: str, found: Passport) -> ModalityFacts:
    made = "straight from the generator"
    if found.encoder is not None:
        made = f"{found.encoder['name']} v{found.encoder['version']}, weights {str(found.encoder['weights'])[:12]}"
    facts = {
        "width": str(found.dim),
        "duplicate rows": str(found.duplicates),
        "all-zero rows": str(found.zero_rows),
        "constant columns": str(found.constant_columns),
    }
    if found.noise is not None:
        facts["neighbours share users"] = f"{found.noise.agreement:.4f}"
        facts["the same, shuffled"] = f"{found.noise.shuffled:.4f}"
        facts["p"] = f"{found.noise.p_value:.2f}"
    return ModalityFacts(modality, made, found.present / max(1, found.rows), facts, found.warnings)


def _print_results(
    metrics: Mapping[str, Mapping[str, float]],
    recommendations: Mapping[str, Sequence[str]],
    dataset: Dataset,
    path: Path,
    echo: Callable[[str], None],
) -> None:
    echo(f"\n{'Recall@20 on test':24s}{'all':>8s}{'warm':>8s}{'cold':>8s}")
    for name, values in metrics.items():
        cells = "".join(f"{values[group]:8.4f}" if group in values else f"{'–':>8s}" for group in GROUPS)
        echo(f"{name:24s}{cells}")
    titles = dict(zip(dataset.video_ids.ids, dataset.videos["title"]))
    for user, videos in recommendations.items():
        echo(f"\nfor user {user}:")
        for rank, video in enumerate(videos, 1):
            echo(f"  {rank}. {video}  {titles[video] or '(no title)'}")
    echo(f"\nreport: {path}")


__all__ = ["MODALITIES", "DemoResult", "TruePreference", "default_encoders", "run_demo", "standardised"]
