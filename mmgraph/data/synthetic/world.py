"""The latent truth of a world and the behaviour that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from mmgraph.data.dataset import Dataset, Features
from mmgraph.data.synthetic.config import MODALITIES, WorldConfig
from mmgraph.data.synthetic.factors import Factors, Floats, Ints, Tastes
from mmgraph.data.synthetic.features import make_features
from mmgraph.data.synthetic.words import GENERATORS, prompt, title

DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class World:
    """A generated world: tables, features and the truth behind them.

    users [U rows]: user_id, age, gender. videos [V rows]: video_id, title, language, duration, created,
    generate_method, prompt, guidance, steps, seed (a setting that a generator does not report is null).
    interactions: user_id, video_id, timestamp (UTC s), position, click, finish, like; one row an exposure, by
    time. features[m]: [V, D] float32, zero where the video lacks the modality, as present[m] [V] bool tells.
    factors: the true levels. shown[m]: the levels that modality m shows. quality: [V]. created: [V] UTC s.
    """

    config: WorldConfig
    users: pl.DataFrame
    videos: pl.DataFrame
    interactions: pl.DataFrame
    features: dict[str, NDArray[np.float32]]
    present: dict[str, NDArray[np.bool_]]
    factors: Factors
    shown: dict[str, Factors]
    quality: Floats
    created: Floats
    community: Ints
    topic_taste: Tastes
    style_taste: Tastes
    sound_taste: Tastes

    def true_preference(self, users: ArrayLike | None, videos: ArrayLike | None, time: float) -> Floats:
        """What users want at a moment: the click logit without position and without the common bias.

        users [B], videos [N]: rows (None: all). time: UTC seconds, held to the world's span. Returns [B, N].
        No recommender that ranks by taste can do better in expectation: this is the ceiling of the world.
        """
        rows = np.arange(self.config.users) if users is None else np.asarray(users, dtype=np.int64)
        columns = np.arange(self.config.videos) if videos is None else np.asarray(videos, dtype=np.int64)
        return _preference(self, turn(self.config, time), rows, columns)

    def dataset(
        self, features: Mapping[str, Features] | None = None, *, exposures: bool = True, name: str = "world"
    ) -> Dataset:
        """Its clicks as a dataset with users, videos, features and, as exposures, all that was shown.

        Args:
            features: modality -> features, in place of the world's own.
            exposures: whether it says what was shown.
            name: the dataset's name.
        """
        if features is None:
            features = {m: Features.of(values, self.present[m]) for m, values in self.features.items()}
        clicks = self.interactions.filter(pl.col("click") == 1)
        made = Dataset.from_frames(clicks, self.users, self.videos, features, name=name)
        if not exposures:
            return made
        shown = self.interactions.select(
            pl.Series("user", made.user_ids.rows(self.interactions["user_id"])),
            pl.Series("video", made.video_ids.rows(self.interactions["video_id"])),
            pl.col("position").cast(pl.Int64),
            pl.col("timestamp").cast(pl.Float64).alias("time"),
            pl.col("click").cast(pl.Int8),
        )
        return replace(made, exposures=shown)

    def truth(self) -> dict[str, NDArray]:
        """The latent truth as arrays, as `truth.npz` holds it."""
        arrays: dict[str, NDArray] = {
            "quality": self.quality,
            "created": self.created,
            "community": self.community,
        }
        for name in Factors._fields:
            arrays[name] = getattr(self.factors, name)
            taste: Tastes = getattr(self, f"{name}_taste")
            arrays[f"{name}_taste_first"], arrays[f"{name}_taste_second"] = taste.first, taste.second
            for modality in MODALITIES:
                arrays[f"shown_{modality}_{name}"] = getattr(self.shown[modality], name)
        return arrays


def turn(config: WorldConfig, time: float) -> float:
    """The angle by which tastes have turned at `time`."""
    return config.drift * float(np.clip((time - config.start) / (config.days * DAY), 0.0, 1.0))


def _preference(world: World, angle: float, users: Ints, videos: Ints) -> Floats:
    config, factors = world.config, world.factors
    topic = world.topic_taste.at(angle)[users][:, factors.topic[videos]]
    style = world.style_taste.at(angle)[users][:, factors.style[videos]]
    sound = world.sound_taste.at(angle)[users][:, factors.sound[videos]]
    pairs = (topic * style + style * sound + topic * sound) / np.sqrt(3.0)
    return (
        config.topic_strength * topic
        + config.style_strength * style
        + config.sound_strength * sound
        + config.synergy * pairs
        + world.quality[videos]
    )


def generate(config: WorldConfig | None = None) -> World:
    """Make a world: videos, users, and everything they did, from the seed of `config` alone."""
    config = config or WorldConfig()
    # One stream a purpose: making one part differently leaves the others as they were.
    seeds = np.random.SeedSequence(config.seed).spawn(6)
    user_rng, video_rng, shown_rng, words_rng, feature_rng, behaviour_rng = map(np.random.default_rng, seeds)

    community = user_rng.integers(config.communities, size=config.users)
    tastes = [_tastes(config, levels, community, user_rng) for levels in (config.topics, config.styles, config.sounds)]
    users = _user_table(config, community, user_rng)

    factors = Factors(
        video_rng.integers(config.topics, size=config.videos),
        video_rng.integers(config.styles, size=config.videos),
        video_rng.integers(config.sounds, size=config.videos),
    )
    quality = config.quality * video_rng.standard_normal(config.videos)
    created = _creation_times(config, video_rng)
    shown = {modality: _shown(config, factors, modality, shown_rng) for modality in MODALITIES}
    present = {m: shown_rng.random(config.videos) < config.coverage[m] for m in MODALITIES}
    shown_quality = _shown_quality(config, quality, shown_rng)
    videos, generator, steps = _video_table(config, shown, shown_quality, present, created, words_rng)
    features = make_features(shown, generator, steps, present, config, feature_rng)

    world = World(
        config=config,
        users=users,
        videos=videos,
        interactions=pl.DataFrame(),
        features=features,
        present=present,
        factors=factors,
        shown=shown,
        quality=quality,
        created=created,
        community=community,
        topic_taste=tastes[0],
        style_taste=tastes[1],
        sound_taste=tastes[2],
    )
    object.__setattr__(world, "interactions", _behave(world, behaviour_rng))
    return world


def _tastes(config: WorldConfig, levels: int, community: Ints, rng: np.random.Generator) -> Tastes:
    def one() -> Floats:
        shared = rng.standard_normal((config.communities, levels))[community]
        own = rng.standard_normal((config.users, levels))
        return np.sqrt(config.community) * shared + np.sqrt(1.0 - config.community) * own

    return Tastes(one(), one())


def _user_table(config: WorldConfig, community: Ints, rng: np.random.Generator) -> pl.DataFrame:
    # Age follows the community a little, so user features tell something, as they do in life.
    centre = rng.uniform(18, 50, size=config.communities)[community]
    age = np.clip(np.round(centre + 8 * rng.standard_normal(config.users)), 13, 80).astype(np.int64)
    gender = np.where(rng.random(config.users) < 0.5, "f", "m")
    width = len(str(config.users))
    ids = [f"u{row:0{width}d}" for row in range(config.users)]
    return pl.DataFrame({"user_id": ids, "age": age, "gender": gender})


def _creation_times(config: WorldConfig, rng: np.random.Generator) -> Floats:
    # A third is there at the start; the others arrive faster and faster, the last 2% after the last session.
    stock = config.videos // 3
    late = max(1, config.videos // 50)
    arriving = np.sort(np.sqrt(rng.random(config.videos - stock - late)))
    span = config.days * DAY
    times = np.concatenate([np.zeros(stock), arriving * span * 0.995, span * (1.0 + 0.002 * np.sort(rng.random(late)))])
    # Shuffled, so that a row or an id says nothing about when a video came.
    return rng.permutation(np.round(config.start + times))


def _shown(config: WorldConfig, true: Factors, modality: str, rng: np.random.Generator) -> Factors:
    honest = rng.random(config.videos) < config.informative[modality]
    sizes = (config.topics, config.styles, config.sounds)
    return Factors(*(np.where(honest, level, rng.integers(n, size=config.videos)) for level, n in zip(true, sizes)))


def _shown_quality(config: WorldConfig, quality: Floats, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal(config.videos)
    if config.quality == 0 or config.informative["generation"] == 0:
        return noise
    tells = config.informative["generation"] * 0.8
    return tells * quality / config.quality + np.sqrt(1 - tells**2) * noise


def _video_table(
    config: WorldConfig,
    shown: dict[str, Factors],
    shown_quality: Floats,
    present: dict[str, NDArray[np.bool_]],
    created: Floats,
    rng: np.random.Generator,
) -> tuple[pl.DataFrame, Ints, Floats]:
    count = config.videos
    chinese = rng.random(count) < 0.4
    # Each style has a generator that is mostly used for it.
    favourite = shown["generation"].style % len(GENERATORS)
    generator = np.where(rng.random(count) < 0.8, favourite, rng.integers(len(GENERATORS), size=count))
    steps = np.array([GENERATORS[g].steps for g in generator]) * np.exp(0.25 * shown_quality)
    steps = np.maximum(1, np.round(steps))
    guidance_noise = np.round(0.5 * rng.standard_normal(count), 1)
    seeds = rng.integers(2**31, size=count)
    duration = np.round(np.clip(np.exp(2.6 + 0.5 * rng.standard_normal(count)), 4, 90), 1)

    text, generation = shown["text"].topic, shown["generation"]
    rows = []
    for v in range(count):
        made = GENERATORS[generator[v]] if present["generation"][v] else None
        name, ask = (
            title(int(text[v]), bool(chinese[v]), rng),
            prompt(int(generation.topic[v]), int(generation.style[v]), bool(chinese[v]), rng),
        )
        guidance = made.guidance if made else None
        rows.append(
            (
                f"v{v:0{len(str(count))}d}",
                name if present["text"][v] else None,
                "zh" if chinese[v] else "en",
                float(duration[v]),
                float(created[v]),
                made.name if made else None,
                ask if made else None,
                None if guidance is None else round(guidance + float(guidance_noise[v]), 1),
                int(steps[v]) if made else None,
                int(seeds[v]) if made and made.reports_seed else None,
            )
        )
    columns = {
        "video_id": pl.String,
        "title": pl.String,
        "language": pl.String,
        "duration": pl.Float64,
        "created": pl.Float64,
        "generate_method": pl.String,
        "prompt": pl.String,
        "guidance": pl.Float64,
        "steps": pl.Int64,
        "seed": pl.Int64,
    }
    return pl.DataFrame(rows, schema=columns, orient="row"), generator, steps


def _behave(world: World, rng: np.random.Generator) -> pl.DataFrame:
    """Sessions day by day: a feed exposes, the user clicks, finishes, likes (`docs/synthetic-world.md`)."""
    config = world.config
    activity = rng.lognormal(0.0, 0.6, size=config.users)
    activity *= config.sessions_per_week / 7.0 / activity.mean()
    clicks = np.zeros(config.videos)
    seen = np.zeros((config.users, config.videos), dtype=bool)
    columns: dict[str, list[NDArray]] = {
        name: [] for name in ("user", "video", "timestamp", "position", "click", "finish", "like")
    }
    hours = np.exp(1.2 * np.cos((np.arange(24) - 20.5) / 24 * 2 * np.pi))  # most sessions start near 20:30
    duration = world.videos["duration"].to_numpy()
    everything = np.arange(config.videos)
    for day in range(config.days):
        midnight = config.start + day * DAY
        # At most one session a user and day: a slate is drawn without what the user saw before.
        awake = np.flatnonzero(rng.random(config.users) < 1.0 - np.exp(-activity))
        hour = rng.choice(24, size=len(awake), p=hours / hours.sum())
        begin = midnight + hour * 3600.0 + rng.random(len(awake)) * 3600.0
        preference = _preference(world, turn(config, midnight + DAY / 2), awake, everything)
        age = begin[:, None] - world.created[None, :]
        feed = (
            config.targeting * preference
            + config.popularity * np.log1p(clicks)
            + config.freshness * np.exp(-np.maximum(age, 0.0) / (5 * DAY))
            + rng.gumbel(size=preference.shape)  # the top of score + Gumbel noise is a draw from softmax(score)
        )
        feed[(age < 0) | seen[awake]] = -np.inf
        size = min(config.slate, config.videos)
        slate = np.argpartition(-feed, size - 1, axis=1)[:, :size]
        ranked = np.argsort(-np.take_along_axis(feed, slate, axis=1), axis=1, kind="stable")
        slate = np.take_along_axis(slate, ranked, axis=1)
        shown = np.isfinite(np.take_along_axis(feed, slate, axis=1))
        position = np.broadcast_to(np.arange(size), slate.shape)

        want = np.take_along_axis(preference, slate, axis=1)
        click = rng.random(slate.shape) < _sigmoid(config.click_bias + want - config.position * np.log1p(position))
        length = np.log(duration[slate] / 15.0)
        finish = click & (rng.random(slate.shape) < _sigmoid(0.4 + 0.4 * want - 0.8 * length))
        like = finish & (rng.random(slate.shape) < _sigmoid(-2.0 + 0.5 * want))
        watched = np.where(finish, duration[slate], np.where(click, 0.4 * duration[slate], 1.5))
        time = np.floor(begin[:, None] + np.cumsum(watched, axis=1) - watched)

        who = np.broadcast_to(awake[:, None], slate.shape)
        seen[who[shown], slate[shown]] = True
        clicks += np.bincount(slate[shown & click], minlength=config.videos)
        for name, values in zip(columns, (who, slate, time, position, click, finish, like)):
            columns[name].append(values[shown])
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    order = np.lexsort((joined["position"], joined["user"], joined["timestamp"]))
    user_ids, video_ids = world.users["user_id"].to_numpy(), world.videos["video_id"].to_numpy()
    return pl.DataFrame(
        {
            "user_id": user_ids[joined["user"][order]],
            "video_id": video_ids[joined["video"][order]],
            "timestamp": joined["timestamp"][order].astype(np.int64),
            "position": joined["position"][order].astype(np.int64),
            "click": joined["click"][order].astype(np.int64),
            "finish": joined["finish"][order].astype(np.int64),
            "like": joined["like"][order].astype(np.int64),
        }
    )


def _sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))
