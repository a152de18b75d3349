"""The recipes that come with the package: each can be tuned, and a suite has each model once."""

from __future__ import annotations

import pytest

from mmgraph.recipes import suites, tiktok

RECIPES = (*tiktok.CLOSED, *tiktok.COLLABORATIVE, *tiktok.MULTIMODAL)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_a_recipe_lies_in_its_own_space(recipe):
    experiment = recipe()
    assert experiment.name == f"tiktok-{recipe.__name__.replace('_', '-')}"
    for path, values in experiment.tuning.space.items():
        assert experiment.setting(path) in values, path
    if not experiment.model.closed_form:
        assert "fit.learning_rate" in experiment.tuning.space


def test_every_trained_model_of_the_tiktok_suite_has_the_same_budget():
    suite = suites.tiktok()
    members = suite.members()
    assert len(members) == len(RECIPES)
    assert suite.trials >= 6
    assert suite.seconds == suites.TIKTOK_SECONDS
    assert {m.fit.batch_size for m in members if not m.model.closed_form} == {2048}


def test_bf16_is_lightgcn_but_for_its_precision():
    assert tiktok.lightgcn_bf16().variant({"fit.precision": "fp32"}, name="tiktok-lightgcn").resolved() == (
        tiktok.lightgcn().resolved()
    )
