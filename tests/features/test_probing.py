"""Judging encoders by clicks on videos they were not fit on."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from mmgraph.data import Dataset, Features
from mmgraph.features import Probe, click_auc, probe_dataset, probe_features, probing

# , probe_dataset, probe_features


@pytest.fixture(scope="module")
def world() -> tuple[torch.Tensor, pl.DataFrame]:
    """150 videos, 80 users; a user clicks a video if their vectors point the same way."""
    generator = torch.Generator().manual_seed(0)
    video, user = torch.randn(150, 6, generator=generator), torch.randn(80, 6, generator=generator)
    users, videos = ((user @ video.T) > 1.5).nonzero().T.tolist()
    return video, pl.DataFrame({"user": users, "video": videos})


def test_auc_is_the_share_of_pairs_in_order_with_ties_as_halves() -> None:
    scores = np.array([[3.0, 1, 2, 2], [0, 0, 0, 0], [1, 2, 3, 4], [4, 3, 2, 1]])
    clicked = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]], dtype=bool)
    # first: (3,1) (3,2) (2,1) in order, (2,2) a tie: 3.5 of 4; last: (4,3) (4,1) (2,1) of 4
    assert click_auc(scores, clicked)[[0, 1, 3]].tolist() == [3.5 / 4, 0.5, 3 / 4]
    assert np.isnan(click_auc(scores, clicked)[2])
    shown = np.array([[1, 0, 1, 1]] * 4, dtype=bool)
    assert click_auc(scores, clicked, shown)[[0, 3]].tolist() == [1.5 / 2, 1.0]


def test_what_tastes_follow_is_found_and_noise_is_not(world) -> None:
    truth, clicks = world
    found = probe_features(Features(truth), clicks)
    assert isinstance(found, Probe)
    assert found.auc > 0.9
    assert abs(found.shuffled - 0.5) < 0.05
    noise = probe_features(Features(torch.randn(150, 6, generator=torch.Generator().manual_seed(1))), clicks)
    assert abs(noise.auc - 0.5) < 4 * noise.error
    half = probe_features(Features(truth[:, :3]), clicks)
    assert noise.auc + 0.1 < half.auc < found.auc - 0.02
    assert f"{found.auc:.4f} ± {found.error:.4f}" in found.text("truth")
    assert (found.users, found.videos, len(found.ridges)) == (clicks["user"].n_unique(), 150, 5)


def test_an_id_says_nothing_of_a_video_that_was_held_out(world) -> None:
    _, clicks = world
    assert probe_features(Features(torch.eye(150)), clicks).auc == pytest.approx(0.5, abs=1e-9)


def test_scale_and_offset_of_columns_do_not_matter(world) -> None:
    truth, clicks = world
    other = truth * torch.tensor([1, 10, 100, 0.1, 0.01, 5]) + torch.tensor([3.0, -50, 7, 0, 1, 9])
    assert probe_features(Features(other), clicks).auc == pytest.approx(
        probe_features(Features(truth), clicks).auc, abs=1e-3
    )


def test_of_what_was_shown_only_clicks_count(world) -> None:
    truth, clicks = world
    # everybody is shown the same third of the catalogue, and clicks what they like of it
    shown = pl.DataFrame([(user, video) for user in range(80) for video in range(0, 150, 3)], schema=["user", "video"],
                         orient="row")  # fmt: skip
    log = shown.join(clicks.with_columns(click=1), on=["user", "video"], how="left").fill_null(0)
    found = probe_features(Features(truth), log)
    assert found.videos == 50
    assert found.auc > 0.85
    assert found.auc == pytest.approx(probe_features(Features(truth), pl.concat([log, log])).auc)
    liked = log.filter(pl.col("click") == 1)
    with pytest.raises(ValueError, match="no user has both"):
        probe_features(Features(truth), liked)


def test_absent_videos_are_neither_fit_on_nor_judged(world) -> None:
    truth, clicks = world
    present = torch.arange(150) < 100
    found = probe_features(Features(truth, present), clicks)
    alone = probe_features(Features(truth[:100]), clicks.filter(pl.col("video") < 100))
    assert found == alone
    assert found.videos == 100


def test_a_sample_of_users_is_judged(world) -> None:
    truth, clicks = world
    found = probe_features(Features(truth), clicks, max_users=20)
    assert found.users <= 20
    assert found.auc > 0.85


def test_modalities_of_a_dataset_are_judged_side_by_side(world) -> None:
    truth, clicks = world
    dataset = Dataset.from_frames(
        clicks, videos={"video": list(range(150))}, features={"a": truth, "b": torch.eye(150)}
    )
    found = probe_dataset(dataset)
    assert found["a"].auc > 0.9 > 0.51 > found["b"].auc
    assert probe_dataset(dataset, ["a"], interactions=dataset.interactions) == {"a": found["a"]}
    with pytest.raises(ValueError, match=r"modalities \['c'\] asked for; dataset has \['a', 'b'\]"):
        probe_dataset(dataset, ["c"])


def test_too_little_is_said(world) -> None:
    truth, clicks = world
    with pytest.raises(ValueError, match="at least 3"):
        probe_features(Features(truth), clicks, folds=2)
    with pytest.raises(ValueError, match="too few for 5 folds"):
        probe_features(Features(truth[:9]), clicks.filter(pl.col("video") < 9))


def test_what_is_shown_often_and_ignored_is_not_what_is_liked() -> None:
    generator = np.random.default_rng(0)
    topic = np.arange(100) % 2
    shown = generator.random((60, 100)) < np.array([0.9, 0.3])[topic]
    click = generator.random((60, 100)) < np.array([0.3, 0.8])[topic]
    user, video = shown.nonzero()
    log = pl.DataFrame({"user": user, "video": video, "click": click[shown].astype(np.int64)})
    values = np.stack([topic, 1 - topic], 1) + 0.1 * generator.standard_normal((100, 2))
    features = Features(torch.from_numpy(values).float())
    # more clicks on the first topic (.27 a video against .24), and more for each showing on the second
    assert probe_features(features, log).auc > 0.6


def test_the_ridge_is_chosen_where_features_are_many(world) -> None:
    truth, clicks = world
    noise = torch.randn(150, 200, generator=torch.Generator().manual_seed(2))
    found = probe_features(Features(torch.cat([truth, 0.5 * noise], 1)), clicks)
    fixed = [probe_with(ridge, truth, noise, clicks) for ridge in (0.01, 10.0)]
    assert found.auc > min(fixed) + 0.01
    assert found.auc > max(fixed) - 0.02


def probe_with(ridge: float, truth: torch.Tensor, noise: torch.Tensor, clicks: pl.DataFrame) -> float:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "RIDGES", (ridge,))
        return probe_features(Features(torch.cat([truth, 0.5 * noise], 1)), clicks).auc
