"""Settings that are checked when they are made: the base of every configuration, and the hint at a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

__all__ = ["Config", "SettingError", "did_you_mean"]


class SettingError(ValueError):
    """A setting that does not exist or does not fit; the message names it, says what it takes and what it got."""


class Config(BaseModel):
    """Frozen settings with checked values. Unknown names are refused, with a hint at the name that was meant.

    ::

        class FitConfig(Config):
            learning_rate: float = Field(default=1e-3, gt=0)

        FitConfig(lr=1e-2)  # SettingError: FitConfig has no setting 'lr'; did you mean 'learning_rate'?

    Raises:
        SettingError: (a ValueError) one line for each setting that is wrong.
        TypeError: settings without their names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _of_its_own_kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Text is no number, a truth value none either, and neither is a number a truth value."""
        field = cls.model_fields.get(info.field_name or "")
        kinds = set() if field is None else _kinds(field.annotation)
        if kinds and kinds <= {int, float} and isinstance(value, (bool, str)):
            raise ValueError(f"must be a number; got {value!r}")
        if kinds == {bool} and not isinstance(value, bool):
            raise ValueError(f"must be True or False; got {value!r}")
        return value

    if not TYPE_CHECKING:  # the fields are the signature that editors and type checkers should show

        def __init__(self, /, *values: Any, **settings: Any) -> None:
            if values:
                example = next(iter(type(self).model_fields), "name")
                raise TypeError(
                    f"{type(self).__name__} takes its settings by name, as {type(self).__name__}({example}=…); "
                    f"got {values[0]!r} without one"
                )
            try:
                super().__init__(**settings)
            except ValidationError as error:
                raise SettingError(_in_words(type(self), error)) from None

        # Nested settings report to the outermost, which words them all.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """A mapping, or settings already made, checked."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise SettingError(_in_words(cls, error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            given = f"{type(self).__name__}(**{{**dict(config), {name!r}: {value!r}}})"
            raise AttributeError(f"{type(self).__name__} is frozen: make a new one, {given}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        """The settings that differ from their defaults, or must be given."""
        fields = type(self).model_fields
        changed = {name: getattr(self, name) for name, field in fields.items() if field.repr}
        changed = {
            name: value
            for name, value in changed.items()
            if value != fields[name].get_default(call_default_factory=True)
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    __str__ = __repr__


def did_you_mean(name: str, known: Collection[str]) -> str:
    """What to append to "there is no such name": ``; did you mean 'learning_rate'?``, or what there is.

    Close spellings count, and initials: ``lr``.
    """
    initials = [word for word in known if len(name) > 1 and "".join(part[:1] for part in word.split("_")) == name]
    close = (
        initials
        or difflib.get_close_matches(name, list(known), n=1)
        or [w for w in known if len(name) > 2 and name in w]
    )
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(map(repr, sorted(known)))}"


def _kinds(annotation: Any) -> set[Any]:
    """What a setting may be, None apart: ``{int}`` for ``Annotated[int, …] | None``."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation))) - {NoneType}
    return {annotation}


def _in_words(cls: type[BaseModel], error: ValidationError) -> str:
    return "\n".join(dict.fromkeys(_line(cls, found) for found in error.errors(include_url=False)))


def _line(cls: type[BaseModel], found: Mapping[str, Any]) -> str:
    place = list(found["loc"])
    owner, inner = _owner(cls, place[:-1])
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inner + place[-1:])[1:]
    match found["type"]:
        case "extra_forbidden":
            return f"{owner.__name__} has no setting {name!r}{did_you_mean(str(place[-1]), owner.model_fields)}"
        case "missing":
            return f"{owner.__name__} needs {name!r}"
        case "value_error" | "assertion_error":
            said = str(found["ctx"]["error"])
            return said if not place or name in said else f"{owner.__name__}.{name}: {said}"
    said = found["msg"][:1].lower() + found["msg"][1:]
    said = said.replace("input should", "must", 1)
    where = f"{owner.__name__}.{name}" if place else owner.__name__
    return f"{where} {said}; got {_short(found['input'])}"


def _owner(cls: type[BaseModel], place: list[Any]) -> tuple[type[BaseModel], list[Any]]:
    """The settings that a place in nested ones belongs to, and the rest of the path in them."""
    for at, part in enumerate(place):
        field = cls.model_fields.get(str(part))
        nested = [] if field is None else [field.annotation, *get_args(field.annotation)]
        nested = [kind for kind in nested if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not nested:
            return cls, place[at:]
        cls = nested[0]
    return cls, []


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
