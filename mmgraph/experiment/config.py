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
from mmgraph.evaluate.evalconfig import metric_name
from mmgraph.experiment.identity import Identity, describe, identify
from mmgraph.experiment.space import Tuning
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
        model_args: keyword arguments, checked against the class's signature here and now. Each run gets a copy, so that
            a head, say, begins each with the weights that it has here; they are part of the run's identity.
        objective: of :mod:`mmgraph.objectives`, as the model's argument of that name; its own default when None.
        transforms: applied to the graph once, in order, each as ``transform(graph, generator)``.
        epoch_transforms: applied by ``fit`` at each epoch.
        callbacks: of ``fit``, see :class:`mmgraph.train.Callback`; each run trains with copies of them.
        fit: training. ``fit.monitor`` chooses the epoch on valid; ``"cold/recall@20"`` names a group's metric.
        evaluate: what is measured at the end, on valid and on test.
        seeds: of everything random; one run each.
        baselines: experiments for the same table, run by the command line beside this one.
        tuning: what :func:`tune` may try, see :class:`Tuning`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    split: Callable[[], Any]
    model: type[Recommender]
    model_args: dict[str, Any] = Field(default_factory=dict)
    objective: Any = None
    transforms: tuple[Callable[..., Any], ...] = ()
    epoch_transforms: tuple[Callable[..., Any], ...] = ()
    callbacks: tuple[Any, ...] = ()
    fit: FitConfig = FitConfig.model_validate({})
    evaluate: EvalConfig = EvalConfig()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    baselines: tuple[Experiment, ...] = ()
    tuning: Tuning = Tuning()

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
        if self.objective is not None and known is not None and "objective" not in known:
            raise ValueError(f"{self.model.__name__} takes no objective; it takes {sorted(known)}")
        if self.objective is not None and "objective" in self.model_args:
            raise ValueError("objective is given twice: as a field and in model_args")
        if (self.tuning.space or not self.model.closed_form) and not self.evaluate.measures(self.fit.monitor):
            k, own = max(self.evaluate.k), [metric_name(metric) for metric in self.evaluate.metrics]
            raise ValueError(
                f"fit.monitor={self.fit.monitor!r} is nothing that evaluate measures. It measures cut-offs "
                f"{self.evaluate.k}, as in 'recall@{k}' or 'cold/ndcg@{k}', auc, gauc, user_auc"
                + "".join(f", {name}" for name in own)
            )
        missing = [
            key
            for key, parameter in (known or {}).items()
            if parameter.default is parameter.empty and key not in self.model_args
        ]
        if missing:
            raise ValueError(f"{self.model.__name__} needs {missing} in model_args")
        for path in self.tuning.space:
            self.setting(path)  # raises where there is none
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

    def setting(self, path: str) -> Any:
        """The value at a dotted path, as :meth:`variant` takes it; a model's default where it was not said.

        Raises:
            ValueError: a path that does not exist.
        """
        head, _, tail = path.partition(".")
        if head not in type(self).model_fields:
            raise ValueError(
                f"Experiment has no field {head!r} (in {path!r}); it has {sorted(type(self).model_fields)}"
            )
        value: Any = self.arguments() if head == "model_args" else getattr(self, head)
        if not tail:
            return value
        known = value if isinstance(value, Mapping) else vars(value) if isinstance(value, BaseModel) else {}
        if tail not in known:
            raise ValueError(f"{head} has no {tail!r} (in {path!r}); it has {sorted(known)}")
        return known[tail]

    def resolved(self) -> dict[str, Any]:
        """Everything that determines the numbers, as plain JSON values, the model's default arguments included."""
        out = {name: getattr(self, name) for name in type(self).model_fields if name != "baselines"}
        out["model_args"] = self.arguments()
        out["baselines"] = [b.name for b in self.baselines]
        return describe(out)

    def arguments(self) -> dict[str, Any]:
        """What the model's class is called with after the graph, its defaults included."""
        defaults = {k: p.default for k, p in (_arguments(self.model) or {}).items() if p.default is not p.empty}
        return defaults | self.given()

    def given(self) -> dict[str, Any]:
        """What was said of those: ``model_args``, and the objective."""
        return self.model_args | ({} if self.objective is None else {"objective": self.objective})

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
    known = model.arguments()
    return None if any(p.kind is p.VAR_KEYWORD for p in known.values()) else known
