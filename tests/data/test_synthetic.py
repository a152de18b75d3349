"""The procedural world: determinism, causality, the choice model, and what each modality tells."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmgraph.data.synthetic import MODALITIES, Factors, Tastes, World, WorldConfig, generate, read_world, write

TINY = WorldConfig(users=60, videos=80, topics=4, styles=3, sounds=3, days=10, communities=3, seed=3)


@pytest.fixture(scope="module")
def tiny() -> World:
    return generate(TINY)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _rows(world: World) -> tuple[np.ndarray, np.ndarray]:
    user = {raw: row for row, raw in enumerate(world.users["user_id"])}
    video = {raw: row for row, raw in enumerate(world.videos["video_id"])}
    table = world.interactions
    return np.array([user[u] for u in table["user_id"]]), np.array([video[v] for v in table["video_id"]])


def _neighbour_agreement(values: np.ndarray, labels: np.ndarray) -> float:
    unit = values - values.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return float((labels[similarity.argmax(axis=1)] == labels).mean())


def test_same_seed_gives_the_same_bytes_in_another_process(tiny: World, tmp_path: Path) -> None:
    here = _hashes(write(tiny, tmp_path / "here"))
    code = (
        "import sys\nfrom mmgraph.data.synthetic import WorldConfig, generate, write\n"
        "write(generate(WorldConfig.model_validate_json(sys.argv[1])), sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, TINY.model_dump_json(), str(tmp_path / "there")], check=True)
    assert _hashes(tmp_path / "there") == here
    assert {"users.csv", "videos.csv", "interactions.csv", "truth.npz", "features/visual.npy"} <= here.keys()
    other = _hashes(write(generate(TINY.model_copy(update={"seed": 4})), tmp_path / "other"))
    assert all(other[name] != here[name] for name in ("videos.csv", "interactions.csv", "features/text.npy"))


def test_read_world_makes_the_written_world_again(tiny: World, tmp_path: Path) -> None:
    again = read_world(write(tiny, tmp_path))
    assert again.interactions.equals(tiny.interactions)
    with np.load(tmp_path / "truth.npz") as truth:
        assert (truth["topic"] == tiny.factors.topic).all()
        assert (truth["style_taste_second"] == tiny.style_taste.second).all()


def test_nothing_happens_before_its_cause(tiny: World) -> None:
    user, video = _rows(tiny)
    table = tiny.interactions
    time = table["timestamp"].to_numpy()
    assert (time >= np.floor(tiny.created[video])).all()
    assert (np.diff(time) >= 0).all()
    assert (table["finish"] <= table["click"]).all()
    assert (table["like"] <= table["finish"]).all()
    assert len(set(zip(user.tolist(), video.tolist()))) == len(table), "a feed never shows a video twice"
    for column in ("click", "finish", "like"):
        assert 0 < table[column].sum() < len(table)


def test_new_videos_arrive_all_the_time_and_the_last_ones_have_no_clicks(tiny: World) -> None:
    _, video = _rows(tiny)
    day = (tiny.created - TINY.start) // 86_400
    assert len(np.unique(day)) >= TINY.days * 0.8
    last = np.argsort(tiny.created)[-1]
    assert last not in video
    # Rows are not in order of arrival: an id must not tell a recommender which videos are new.
    assert abs(np.corrcoef(np.arange(TINY.videos), tiny.created)[0, 1]) < 0.35


def test_clicks_follow_the_true_preference_and_the_position(tiny: World) -> None:
    world = generate(TINY.model_copy(update={"users": 400, "position": 1.0, "drift": 0.0}))
    user, video = _rows(world)
    click = world.interactions["click"].to_numpy()
    position = world.interactions["position"].to_numpy()
    want = world.true_preference(None, None, TINY.start)[user, video]
    # The logit of a click, stated in the docs: bias + preference - position * log(1 + p).
    expected = 1 / (1 + np.exp(-(TINY.click_bias + want - 1.0 * np.log1p(position))))
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 1.0)):
        chosen = (expected >= low) & (expected < high)
        assert chosen.sum() > 200
        assert abs(click[chosen].mean() - expected[chosen].mean()) < 0.05
    first, last = click[position == 0].mean(), click[position == TINY.slate - 1].mean()
    assert first > 1.5 * last


def test_true_preference_is_the_stated_sum(tiny: World) -> None:
    config = TINY
    time = config.start + 0.5 * config.days * 86_400
    user, video = 7, 11
    angle = 0.5 * config.drift

    def taste(pair: Tastes, level: int) -> float:
        return np.cos(angle) * pair.first[user, level] + np.sin(angle) * pair.second[user, level]

    topic = taste(tiny.topic_taste, tiny.factors.topic[video])
    style = taste(tiny.style_taste, tiny.factors.style[video])
    sound = taste(tiny.sound_taste, tiny.factors.sound[video])
    expected = (
        config.topic_strength * topic
        + config.style_strength * style
        + config.sound_strength * sound
        + config.synergy * (topic * style + style * sound + topic * sound) / np.sqrt(3)
        + tiny.quality[video]
    )
    assert tiny.true_preference([user], [video], time).item() == pytest.approx(expected, rel=1e-12)
    assert tiny.true_preference(None, None, time).shape == (config.users, config.videos)
    assert tiny.true_preference([1, 2, 2], [5], time).shape == (3, 1)


def test_tastes_drift_with_time_and_only_within_the_world(tiny: World) -> None:
    start, end = TINY.start, TINY.start + TINY.days * 86_400
    first, last = tiny.true_preference(None, None, start), tiny.true_preference(None, None, end)
    assert np.corrcoef(first.ravel(), last.ravel())[0, 1] < 0.97
    assert np.abs(first - last).max() > 0.5
    assert (tiny.true_preference(None, None, end + 1e9) == last).all()
    still = generate(TINY.model_copy(update={"drift": 0.0}))
    assert (still.true_preference(None, None, start) == still.true_preference(None, None, end)).all()


def test_popularity_feeds_on_itself() -> None:
    def share_of_the_top_tenth(popularity: float) -> float:
        world = generate(TINY.model_copy(update={"users": 300, "popularity": popularity}))
        shown = np.sort(np.bincount(_rows(world)[1], minlength=TINY.videos))[::-1]
        return shown[:8].sum() / shown.sum()

    assert share_of_the_top_tenth(2.0) > share_of_the_top_tenth(0.0) * 1.2


@pytest.mark.parametrize(("modality", "factor"), [("text", "topic"), ("visual", "style"), ("audio", "sound")])
def test_a_modality_told_to_be_uninformative_tells_nothing(tiny: World, modality: str, factor: str) -> None:
    config = TINY.model_copy(update={"videos": 400, "coverage": dict.fromkeys(MODALITIES, 1.0)})
    clear = generate(config)
    config = WorldConfig(**{**config.model_dump(), "informative": {modality: 0.0}})
    mute = generate(config)
    assert mute.features[modality].shape == clear.features[modality].shape
    labels = getattr(clear.factors, factor)
    levels = {"topic": 4, "style": 3, "sound": 3}[factor]
    assert _neighbour_agreement(clear.features[modality], labels) > 0.8
    assert abs(_neighbour_agreement(mute.features[modality], labels) - 1 / levels) < 0.1
    # Nothing else about the world moved: the same people did the same things.
    assert mute.interactions.equals(clear.interactions)
    others = set(MODALITIES) - {modality}
    assert all((mute.shown[m].topic == clear.shown[m].topic).all() for m in others)


def test_generation_metadata_tells_style_and_quality_unless_uninformative() -> None:
    config = WorldConfig(users=2, videos=2000, days=2, coverage={"generation": 1.0})
    clear = generate(config)
    mute = generate(config.model_copy(update={"informative": dict.fromkeys(MODALITIES, 0.0)}))
    for world, tells in ((clear, True), (mute, False)):
        log_steps = world.features["generation"][:, -1]
        made_by = world.features["generation"][:, :-1].argmax(axis=1)
        within = log_steps - np.array([log_steps[made_by == g].mean() for g in range(5)])[made_by]
        assert (np.corrcoef(within, world.quality)[0, 1] > 0.3) == tells
        table = pl.DataFrame({"g": made_by, "s": world.factors.style}).group_by("g", "s").len()
        majority = table.group_by("g").agg(pl.col("len").max())["len"].sum() / config.videos
        assert (majority > 0.5) == tells


def test_words_name_the_topic_in_two_languages_and_missing_means_missing(tiny: World) -> None:
    world = generate(TINY.model_copy(update={"videos": 300, "coverage": dict.fromkeys(MODALITIES, 0.7)}))
    videos = world.videos
    for language in ("en", "zh"):
        titles = videos.filter((pl.col("language") == language) & pl.col("title").is_not_null())
        assert len(titles) > 50
        chinese = titles["title"].str.contains(r"\p{Han}")
        assert chinese.all() if language == "zh" else not chinese.any()
    assert (videos["title"].is_null().to_numpy() == ~world.present["text"]).all()
    assert (videos["generate_method"].is_null().to_numpy() == ~world.present["generation"]).all()
    for modality in MODALITIES:
        zero = (world.features[modality] == 0).all(axis=1)
        assert (zero == ~world.present[modality]).all()
        assert 0.55 < world.present[modality].mean() < 0.85
    turbo = videos.filter(pl.col("generate_method") == "kite-turbo")
    assert turbo["guidance"].is_null().all()
    assert turbo["seed"].is_not_null().all()


def test_a_wrong_configuration_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="unknown modality 'smell'"):
        WorldConfig(informative={"smell": 1.0})
    with pytest.raises(ValueError, match=r"coverage\['audio'\] must lie in \[0, 1\]"):
        WorldConfig(coverage={"audio": 1.5})
    with pytest.raises(ValueError, match="has no setting"):
        WorldConfig(user=5)  # type: ignore[call-arg]


def test_factors_are_one_level_of_each_a_video():
    config = WorldConfig(users=20, videos=50, days=5)
    factors = generate(config).factors
    assert isinstance(factors, Factors)
    for levels, count in zip(factors, (config.topics, config.styles, config.sounds), strict=True):
        assert levels.shape == (50,)
        assert set(np.unique(levels)) <= set(range(count))


def test_a_world_is_a_dataset_of_its_clicks_and_showings(tiny: World):
    dataset = tiny.dataset(name="tiny")
    user, video = _rows(tiny)
    clicked = tiny.interactions["click"].to_numpy() == 1
    assert dataset.interactions.select("user", "video").rows() == list(zip(user[clicked], video[clicked], strict=True))
    assert dataset.exposures is not None
    assert dataset.exposures["video"].to_list() == video.tolist()
    assert dataset.exposures["click"].to_list() == clicked.astype(int).tolist()
    assert dataset.exposures["position"].to_list() == tiny.interactions["position"].to_list()
    assert (dataset.features["audio"].present.numpy() == tiny.present["audio"]).all()
    bare = tiny.dataset({}, exposures=False)
    assert (list(bare.features), bare.exposures) == ([], None)
