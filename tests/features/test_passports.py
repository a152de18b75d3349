"""Feature passports."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from mmgraph.data import Features
from mmgraph.encoders import HashEncoder
from mmgraph.features import NoiseCheck, Passport, noise_check, passport


@pytest.fixture(scope="module")
def world() -> tuple[torch.Tensor, pl.DataFrame]:
    """Sixty videos of six topics; each user watches one topic."""
    generator = torch.Generator().manual_seed(0)
    topic = torch.arange(60) % 6
    values = torch.eye(6)[topic] + 0.3 * torch.randn(60, 6, generator=generator)
    pairs = [(user, video) for user in range(120) for video in range(60)
             if topic[video] == user % 6 and torch.rand(1, generator=generator) < 0.5]  # fmt: skip
    return values, pl.DataFrame(pairs, schema=["user", "video"], orient="row")


def test_counts_are_those_of_the_present_rows() -> None:
    values = torch.tensor([[1.0, 2, 5], [1, 2, 5], [0, 0, 0], [3, 3, 3], [9, 9, 9], [-0.0, 0, 0]])
    present = torch.tensor([True, True, True, True, False, True])
    found = passport("visual", Features(values, present), encoder=HashEncoder())
    assert isinstance(found, Passport)
    assert (found.rows, found.dim, found.present) == (6, 3, 5)
    assert (found.duplicates, found.zero_rows, found.constant_rows, found.constant_columns) == (2, 2, 1, 0)
    assert found.encoder is not None
    assert found.encoder["weights"] == "none"
    assert any("all zero" in warning for warning in found.warnings)
    text = found.text()
    assert "visual: 6 x 3 from hash v1" in text
    assert "present 5 (83.3%), duplicates 2, all-zero 2, constant 1" in text
    assert Passport.model_validate_json(found.model_dump_json()) == found


def test_constant_columns_are_counted() -> None:
    values = torch.tensor([[1.0, 7, 0], [2, 7, 0], [3, 7, 0]])
    assert passport("x", Features(values)).constant_columns == 2


def test_features_that_follow_tastes_pass_and_noise_does_not(world) -> None:
    values, interactions = world
    good = noise_check(Features(values), interactions, neighbours=5)
    assert isinstance(good, NoiseCheck)
    assert good.agreement > 3 * good.shuffled
    assert good.p_value == pytest.approx(0.01)
    assert good.noise_rows < 0.1
    assert not good.looks_like_noise
    noise = torch.randn(60, 6, generator=torch.Generator().manual_seed(5))
    found = passport("visual", Features(noise), interactions=interactions, neighbours=5)
    assert found.noise is not None
    assert found.noise.looks_like_noise
    assert any("noise" in warning for warning in found.warnings)
    assert "p = " in found.text()


def test_agreement_is_the_cosine_of_the_sets_of_users() -> None:
    values = torch.tensor([[1.0, 0], [1, 0.1], [-1, 0], [-1, 0.1]])
    pairs = pl.DataFrame({"user": [0, 1, 0, 1, 2, 3, 4, 2, 0], "video": [0, 0, 1, 1, 2, 2, 2, 3, 0]})
    found = noise_check(Features(values), pairs, neighbours=1)
    assert found is not None
    # neighbours 0-1 share both users: 1; 2-3 share one of 3 and 1: 1 / sqrt 3. (A pair twice counts once.)
    assert found.agreement == pytest.approx((1 + 1 + 2 / 3**0.5) / 4)


def test_absent_and_unwatched_videos_are_left_out(world) -> None:
    values, interactions = world
    present = torch.ones(60, dtype=torch.bool)
    present[:20] = False
    found = noise_check(Features(values, present), interactions.filter(pl.col("video") < 50), neighbours=5)
    assert found is not None
    assert found.videos == 30
    assert noise_check(Features(values), interactions.head(0)) is None
    sampled = noise_check(Features(values), interactions, neighbours=5, max_videos=25)
    assert sampled is not None
    assert sampled.videos == 25


def test_a_matrix_without_present_rows_has_a_passport() -> None:
    found = passport("audio", Features(torch.zeros(3, 2), torch.zeros(3, dtype=torch.bool)))
    assert (found.present, found.zero_rows, found.duplicates) == (0, 0, 0)
