"""Settings refuse what does not fit in words that name the setting."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Annotated

import pytest
from pydantic import Field

from mmgraph.config import Config, SettingError, did_you_mean
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.models import LightGCN
from mmgraph.train import FitConfig


class Inner(Config):
    learning_rate: float = Field(default=0.1, gt=0)
    sizes: tuple[int, ...] = (1, 2)


class Outer(Config):
    name: str
    inner: Inner = Inner()


def test_a_misspelt_setting_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(SettingError) as said:
        Inner(lr=1)  # type: ignore[call-arg]
    assert str(said.value) == "Inner has no setting 'lr'; did you mean 'learning_rate'?"
    with pytest.raises(SettingError, match=r"Inner has no setting 'zzz'; there are 'learning_rate', 'sizes'"):
        Inner(zzz=1)  # type: ignore[call-arg]
    for name in ("lerning_rate", "rate", "lr"):
        assert did_you_mean(name, ["epochs", "learning_rate"]) == "; did you mean 'learning_rate'?"


def test_every_wrong_value_is_a_line_with_what_it_must_be_and_what_it_is() -> None:
    with pytest.raises(SettingError) as said:
        Outer(inner={"learning_rate": -1, "sizes": [1, "x"], "sise": 3})  # type: ignore[arg-type, call-arg]
    assert str(said.value).splitlines() == [
        "Outer needs 'name'",
        "Inner.learning_rate must be greater than 0; got -1",
        "Inner.sizes[1] must be a valid integer, unable to parse string as an integer; got 'x'",
        "Inner has no setting 'sise'; did you mean 'sizes'?",
    ]
    with pytest.raises(SettingError, match=r"Inner\.learning_rate must be greater than 0"):
        Outer.model_validate({"name": "x", "inner": {"learning_rate": 0}})
    with pytest.raises(SettingError, match=r"Experiment\.split must be callable; got 3"):
        Experiment(name="x", split=3, model=LightGCN)  # type: ignore[arg-type]


def test_settings_go_by_name_and_stay_as_they_are() -> None:
    with pytest.raises(TypeError, match=r"Inner takes its settings by name, as Inner\(learning_rate=…\); got 3"):
        Inner(3)  # type: ignore[call-arg]
    config = Inner()
    with pytest.raises(AttributeError, match="Inner is frozen: make a new one"):
        config.learning_rate = 3.0  # type: ignore[misc]
    assert config == Inner()


def test_settings_show_what_differs_from_the_defaults() -> None:
    assert repr(FitConfig(epochs=3)) == "FitConfig(epochs=3)"
    assert str(EvalConfig()) == "EvalConfig()"
    assert repr(Outer(name="x", inner=Inner(sizes=(3,)))) == "Outer(name='x', inner=Inner(sizes=(3,)))"
    config = FitConfig(epochs=3)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config


class Numbers(Config):
    """Settings of each kind."""

    count: int = 1
    share: Annotated[float, Field(ge=0)] | None = None
    widths: tuple[int, ...] = ()
    fast: bool = False
    name: str | int = "x"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": "3"}, "Numbers.count: must be a number; got '3'"),
        ({"count": True}, "Numbers.count: must be a number; got True"),
        ({"share": "0.1"}, "Numbers.share: must be a number; got '0.1'"),
        ({"share": False}, "Numbers.share: must be a number; got False"),
        ({"fast": "yes"}, "Numbers.fast: must be True or False; got 'yes'"),
        ({"fast": 1}, "Numbers.fast: must be True or False; got 1"),
    ],
)
def test_text_is_no_number_and_a_truth_value_neither(wrong, said) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        Numbers(**wrong)


def test_what_settings_are_is_taken() -> None:
    made = Numbers(count=2, share=1, widths=[1, 2], fast=True, name=3)
    assert (made.count, made.share, made.widths, made.fast, made.name) == (2, 1.0, (1, 2), True, 3)
    assert Numbers.model_validate(made.model_dump(mode="json")) == made
    assert Numbers(share=None).share is None
