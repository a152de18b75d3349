"""The recipes that come with the package: each can be tuned, and a suite has each model once."""

from __future__ import annotations

import pytest

from mmgraph.recipes import aigc, suites, tiktok
from mmgraph.recipes.tiktok import budget

RECIPES = (*tiktok.CLOSED, *tiktok.COLLABORATIVE, *tiktok.MULTIMODAL)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_a_recipe_lies_in_its_own_space(recipe):
    experiment = recipe()
    assert experiment.name == f"tiktok-{recipe.__name__.replace('_', '-')}"
    for path, values in experiment.tuning.space.items():
        assert experiment.setting(path) in values, path
    if not experiment.model.closed_form:
        assert "fit.learning_rate" in experiment.tuning.space


@pytest.mark.parametrize("suite", ["gowalla", "cold", "sequence", "world", "missing", "speed", "quick"])
def test_every_recipe_of_a_suite_that_trains_can_be_tuned_from_its_own_setting(suite):
    for member in getattr(suites, suite)().members():
        for path, values in member.tuning.space.items():
            assert member.setting(path) in values, (member.name, path)
        if not member.model.closed_form:
            assert "fit.learning_rate" in member.tuning.space, member.name
            assert len(member.tuning.space) > 1
            assert member.tuning.warm_up < member.fit.epochs


def test_worlds_with_more_missing_have_the_same_clicks_and_fewer_features():
    splits = [aigc.missing_split(rate)() for rate in (0.0, 0.9)]
    assert aigc.missing_split(0.9) is aigc.missing_split(0.9)  # built once for all rows of the suite
    assert splits[0].train.equals(splits[1].train)
    shares = [[float(f.present.float().mean()) for f in split.dataset.features.values()] for split in splits]
    assert all(share > 0.95 for share in shares[0])
    assert all(0.03 < share < 0.2 for share in shares[1])
    names = [member.name for member in suites.missing().members()]
    assert len(names) == 3 * len(aigc.MISSING) == len(set(names))


def test_every_trained_model_of_the_tiktok_suite_has_the_same_budget():
    light, *others = suites.tiktok(), suites.tiktok_heavy(), suites.tiktok_cuda()
    members = [*light.members(), *(m for other in others for m in other.members() if not m.model.closed_form)]
    assert sorted(m.name for m in members) == sorted(make().name for make in RECIPES)
    for suite in (light, *others):
        assert (suite.trials, suite.seconds) == (6, suites.TIKTOK_SECONDS)
        device = "cuda" if suite.name == "tiktok-cuda" else "cpu"
        assert {m.fit.device for m in suite.members() if not m.model.closed_form} == {device}
    assert {m.name.removeprefix("tiktok-") for m in suites.tiktok_top().members()} == set(budget.TOP)
    trained = [m for m in members if not m.model.closed_form]
    assert all(m.fit.patience >= 10 and m.tuning.warm_up < m.fit.epochs for m in trained)
    assert all("fit.learning_rate" in m.tuning.space for m in trained)
    assert not any(m.tuning.space for m in members if m.model.closed_form)
    listed = {f"tiktok-{name}" for name in (*budget.STEPS, *budget.HEAVY, *budget.HEAVIEST)}
    assert listed <= {m.name for m in trained}


def test_models_as_coded_differ_from_the_papers_by_that_alone():
    every = (*suites.tiktok_coded().members(), *suites.tiktok_long_coded().members())
    members = {member.name: member for member in every}
    names = (*budget.CODED, "diffmm-long")
    assert len(members) == 2 * len(names)
    for name in names:
        paper, coded = members[f"tiktok-{name}"], members[f"tiktok-{name}-coded"]
        assert coded.arguments() == paper.arguments() | {"as_coded": True}
        assert coded.variant(model_args=paper.model_args, name=paper.name).resolved() == paper.resolved()


def test_bf16_is_lightgcn_but_for_its_precision():
    assert tiktok.lightgcn_bf16().variant({"fit.precision": "fp32"}, name="tiktok-lightgcn").resolved() == (
        tiktok.lightgcn().resolved()
    )
