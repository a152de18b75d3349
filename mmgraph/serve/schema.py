"""What clients send and get, as pydantic models: they check requests and make the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema

from mmgraph.serve.http import Problem
from mmgraph.serve.log.base import MAX_ID
from mmgraph.serve.log.events import EventError, identifier

MAX_K, MAX_EXCLUDE, MAX_CANDIDATES, MAX_HISTORY, MAX_USERS, MAX_VIDEOS = 1000, 10_000, 100_000, 1000, 256, 1000
MAX_EVENTS = 10_000
_SHOWN = 20  # wrong fields named in one answer


def _id(value: Any) -> str:
    try:
        return identifier({"id": value}, "id")
    except EventError as error:
        raise ValueError(error.detail) from None


_ID_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": r"^[^\x00-\x1f\x7f]+$"},
        {"type": "integer", "minimum": -(2**53), "maximum": 2**53},
    ]
}
RawId = Annotated[str, BeforeValidator(_id), WithJsonSchema(_ID_SCHEMA)]
Text = Annotated[str, Field(max_length=1000)]
Value = Annotated[str, Field(max_length=MAX_ID)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Filter = Annotated[
    dict[Name, Annotated[list[Value], Field(min_length=1, max_length=100)]],
    Field(max_length=8, description="column -> values, one of which a video must have in each column"),
]
Whole = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
K = Annotated[int, Field(ge=1, le=MAX_K, description="how many"), Whole]


_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Recommend(_Body):
    """Whom to recommend what. A history takes the place of what is known of the user; without both it is the popular
    list."""

    user: RawId | None = None
    k: K = 20
    history: (
        Annotated[list[RawId], Field(max_length=MAX_HISTORY, description="clicked videos, oldest first")] | None
    ) = None
    exclude: Annotated[list[RawId], Field(max_length=MAX_EXCLUDE)] = []
    candidates: Annotated[list[RawId], Field(max_length=MAX_CANDIDATES, description="no other video")] | None = None
    filter: Filter = {}
    explain: bool = False
    min_seq: Annotated[int, Field(ge=0, le=2**53, description="answer when the log is folded up to here"), Whole] = 0


class RecommendMany(_Body):
    """Lists for several known users."""

    users: Annotated[list[RawId], Field(min_length=1, max_length=MAX_USERS)]
    k: K = 20
    filter: Filter = {}
    explain: bool = False


class Because(BaseModel):
    """Why: the clicked video that it is most like, and what they share."""

    video: str
    likeness: float
    title: str | None = None
    shared: dict[str, list[str]] | None = None


class Item(BaseModel):
    """A recommended video. ``source``: ``model``, ``new`` (it came after training), ``popular``."""

    video: str
    score: float
    source: Literal["model", "new", "popular"]
    title: str | None = None
    because: Because | None = None


class Meta(BaseModel):
    """What the answer was made from. ``fallback``: why the list is the popular one, or null."""

    bundle: str
    seq: int
    popularity_at: float
    profile: Literal["none", "trained", "events"]
    fallback: str | None
    took_ms: float


class Recommended(BaseModel):
    """A list, best first."""

    user: str | None
    items: list[Item]
    meta: Meta


class RecommendedMany(BaseModel):
    """A list each, in the order of the users."""

    answers: list[Recommended]


class EventBody(BaseModel):
    """One event, see docs/stream.md. Each is checked by itself: one that is wrong is rejected, the others count."""

    id: str | None = None
    type: Literal["click", "finish", "like", "skip"]
    user: Any
    video: Any
    time: float | None = None
    value: float | None = None


class Events(_Body):
    """What happened."""

    events: Annotated[
        list[Any],
        Field(min_length=1, max_length=MAX_EVENTS),
        WithJsonSchema(
            {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": {
                "description": "type (click, finish, like, skip), user, video; id, time, value where known. Each is "
                "checked by itself, see docs/stream.md",
            }}
        ),
    ]  # fmt: skip


class Rejected(BaseModel):
    """An event that was not taken, and why."""

    index: int
    type: Literal["fields", "future", "unknown-video"]
    pointer: str
    detail: str


class Taken(BaseModel):
    """What became of the events; ``seq``: where the log is; an answer with this seq or a higher one counts them."""

    accepted: int
    duplicates: int
    rejected: list[Rejected]
    seq: int


class Half(_Body):
    """Features in half precision: base64 of little-endian float16."""

    f16_base64: Annotated[str, Field(max_length=100_000, pattern=_BASE64)]


Number = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]
Feature = Annotated[list[Number] | Half, Field(description='numbers as wide as the bundle\'s, or {"f16_base64"}')]


class VideoBody(_Body):
    """What a video is. ``tags`` is the column ``tag``; further columns go under ``columns``."""

    features: Annotated[dict[Name, Feature], Field(max_length=16)] = {}
    title: Text | None = None
    tags: Annotated[list[Value], Field(max_length=100)] | None = None
    columns: Annotated[dict[Name, Value | Annotated[list[Value], Field(max_length=100)]], Field(max_length=32)] = {}
    published: Annotated[float, Field(ge=0, le=1e12, description="UTC seconds")] | None = None


class NamedVideo(VideoBody):
    """A video and its id."""

    video: RawId


class Videos(_Body):
    """Several videos."""

    videos: Annotated[list[NamedVideo], Field(min_length=1, max_length=MAX_VIDEOS)]


class Patch(_Body):
    """Hide a video, or show it again."""

    hidden: bool


class Written(BaseModel):
    """A write that counts in every answer from now on. ``recommendable``: the video has a row to be ranked by."""

    seq: int
    video: str
    recommendable: bool
    note: str | None = None


class WrittenMany(BaseModel):
    """Several writes that count in every answer from now on."""

    seq: int
    written: int


class MediumTaken(BaseModel):
    """A medium that waits to be encoded; it survives whatever happens to the server."""

    seq: int
    video: str
    modality: str


class Video(BaseModel):
    """What is known of a video."""

    video: str
    title: str | None = None
    columns: dict[str, Any]
    hidden: bool
    recommendable: bool
    source: Literal["trained", "new"]
    popularity: float


class Similar(BaseModel):
    """Videos like one, best first."""

    video: str
    items: list[Item]
    meta: Meta


class Score(_Body):
    """Whose scores of which videos."""

    user: RawId
    videos: Annotated[list[RawId], Field(min_length=1, max_length=MAX_CANDIDATES)]


class Scored(BaseModel):
    """Scores in the order asked; null for a video that may not be shown or has no row."""

    user: str
    scores: list[float | None]
    meta: Meta


class ProblemBody(BaseModel):
    """RFC 9457: what is wrong and what to do."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None
    close: list[str] | None = None


T = TypeVar("T")


def parse(kind: TypeAdapter[T], body: bytes) -> T:
    """A body as one of the models.

    Raises:
        Problem: no JSON, or wrong fields, each with its pointer.
    """
    try:
        return kind.validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise Problem("not-json", found[0]["msg"]) from None
        raise fields([(_pointer(one["loc"]), one["msg"]) for one in found]) from None


def fields(wrong: list[tuple[str, str]]) -> Problem:
    """The problem of wrong fields, given as pairs of pointer and detail."""
    errors = [{"pointer": pointer, "detail": detail} for pointer, detail in wrong[:_SHOWN]]
    pointer, detail = wrong[0]
    more = f" ({len(wrong)} fields are wrong)" if len(wrong) > 1 else ""
    return Problem("fields", f"{pointer or 'the body'}: {detail}{more}", errors=errors)


def _pointer(place: tuple[int | str, ...]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in place)
