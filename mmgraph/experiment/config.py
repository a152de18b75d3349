"""What an experiment is, checked before anything runs."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mmgraph.config import Config
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment.identity import Identity, describe, identify
from mmgraph.models import Recommender
from mmgraph.train import FitConfig

if TYPE_CHECKING:
    from mmgraph.data.split import Split


class Experiment(Config):
    """A model, the split it is measured on, and how it is trained. Frozen; unknown keys are refused.

    A recipe is a function that returns one; a variant calls its parent and changes what differs::

        def lightgcn() -> Experiment:
            return Experiment(name="lightgcn", split=tiktok, model=LightGCN, fit=FitConfig(epochs=200))

        def deeper() -> Experiment:
            return lightgcn().variant({"model_args.num_layers": 4}, name="lightgcn-4")

    Attributes:
        name: the folder under ``runs/``; letters, digits and ``. _ - =``.
        split: a function without arguments that returns a ``Split``; called when the experiment runs.
        model: a ``Recommender`` class, called with the graph and ``model_args``.
        model_args: keyword arguments, checked against the class's signature here and now.
        transforms: applied to the graph once, in order, each as ``transform(graph, generator)``.
        epoch_transforms: applied by ``fit`` at each epoch.
        fit: training. ``fit.monitor`` chooses the epoch on valid; ``"cold/recall@20"`` names a group's metric.
        evaluate: what is measured at the end, on valid and on test.
        seeds: of everything random; one run each.
        baselines: experiments for the same table, run by the command line beside this one.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    split: Callable[[], Any]
    model: type[Recommender]
    model_args: dict[str, Any] = Field(default_factory=dict)
    transforms: tuple[Callable[..., Any], ...] = ()
    epoch_transforms: tuple[Callable[..., Any], ...] = ()
    fit: FitConfig = FitConfig.model_validate({})
    evaluate: EvalConfig = EvalConfig()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    baselines: tuple[Experiment, ...] = ()

    @field_validator("name")
    @classmethod
    def _is_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.=-]*", name):
            raise ValueError(f"name becomes a folder: letters, digits and . _ - = only; got {name!r}")
        return name

    @field_validator("seeds")
    @classmethod
    def _has_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError(f"seeds must be distinct numbers from 0, at least one; got {seeds}")
        return seeds

    @model_validator(mode="after")
    def _arguments_fit(self) -> Experiment:
        known = _arguments(self.model)
        for key in self.model_args:
            if known is not None and key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; it takes {sorted(known)}"
                raise ValueError(f"{self.model.__name__} has no argument {key!r}{hint}")
        missing = [
            key
            for key, parameter in (known or {}).items()
            if parameter.default is parameter.empty and key not in self.model_args
        ]
        if missing:
            raise ValueError(f"{self.model.__name__} needs {missing} in model_args")
        names = [b.name for b in self.baselines] + [self.name]
        if len(set(names)) < len(names):
            raise ValueError(f"the experiment and its baselines need names that differ; got {names}")
        return self

    def variant(self, changes: Mapping[str, Any] | None = None, /, **fields: Any) -> Experiment:
        """A copy with some fields changed, checked like a new one.

        Args:
            changes: dotted path -> value, such as ``{"fit.learning_rate": 1e-3, "model_args.num_layers": 2}``.
            fields: whole fields.

        Raises:
            ValueError: a path that does not exist, or a value that does not fit.
        """
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields} | fields
        for path, value in (changes or {}).items():
            head, _, tail = path.partition(".")
            if head not in values:
                raise ValueError(f"Experiment has no field {head!r} (in {path!r}); it has {sorted(values)}")
            if not tail:
                values[head] = value
            elif isinstance(values[head], BaseModel):
                inner = values[head]
                values[head] = type(inner).model_validate(dict(inner) | {tail: value})
            elif isinstance(values[head], Mapping):
                values[head] = {**values[head], tail: value}
            else:
                raise ValueError(f"{head!r} has no parts to change (in {path!r})")
        return Experiment.model_validate(values)

    def resolved(self) -> dict[str, Any]:
        """Everything that determines the numbers, as plain JSON values, the model's default arguments included."""
        out = {name: getattr(self, name) for name in type(self).model_fields if name != "baselines"}
        out["model_args"] = self.arguments()
        out["baselines"] = [b.name for b in self.baselines]
        return describe(out)

    def arguments(self) -> dict[str, Any]:
        """What the model's class is called with after the graph, its defaults included."""
        defaults = {k: p.default for k, p in (_arguments(self.model) or {}).items() if p.default is not p.empty}
        return defaults | self.model_args

    def identity(self, seed: int = 0, split: Split | None = None) -> Identity:
        """Everything that determines the numbers of one run, hashed: data, split, graph, transforms, model, fit, seed.

        Args:
            seed: of the run.
            split: an already built split, to save reading the data again.
        """
        return identify(self, seed, self.split() if split is None else split)

    def __repr__(self) -> str:
        made_by = getattr(self.split, "__qualname__", repr(self.split))
        seeds = f"{len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}"
        beside = f", {len(self.baselines)} baselines" if self.baselines else ""
        return f"Experiment({self.name!r}: {self.model.__name__} on {made_by}, {seeds}{beside})"

    __str__ = __repr__


def _arguments(model: type[Recommender]) -> dict[str, inspect.Parameter] | None:
    """The arguments after the graph; None when the class takes any."""
    parameters = list(inspect.signature(model).parameters.values())[1:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name: p for p in parameters if p.kind is not p.VAR_POSITIONAL}
