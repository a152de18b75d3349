"""What a procedural world is made of: sizes, strengths, and how much each modality tells."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator

from mmgraph.config import Config
from mmgraph.data.synthetic.words import SOUNDS, STYLES, TOPICS

MODALITIES = ("text", "visual", "audio", "generation")


def _each(value: float) -> dict[str, float]:
    return dict.fromkeys(MODALITIES, value)


def _checked(given: Mapping[str, float], default: float, field: str) -> dict[str, float]:
    for modality, value in given.items():
        if modality not in MODALITIES:
            raise ValueError(f"{field}: unknown modality {modality!r}; known: {', '.join(MODALITIES)}")
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{field}[{modality!r}] must lie in [0, 1], got {value}")
    return _each(default) | dict(given)


class WorldConfig(Config):
    """Size and strengths of a world of generated videos (see `docs/synthetic-world.md` for the choice model).

    Everything random in a world follows from `seed` alone, in any process.

    Sizes: `users` U, `videos` V, `topics`, `styles`, `sounds` (levels of the three factors), `days`,
    `communities`. Strengths are in units of the click logit; `drift` is the angle in radians by which a taste
    turns over all days. `informative[m]` in [0, 1] is the share of videos of which modality m shows the true
    factors; the others show factors drawn at random, so 0 leaves a modality of the same shape that tells
    nothing. `coverage[m]` in [0, 1] is the share of videos that have modality m at all. `start` is the first
    moment, UTC seconds.
    """

    users: int = Field(default=2000, ge=2)
    videos: int = Field(default=1500, ge=4)
    topics: int = Field(default=12, ge=2, le=len(TOPICS))
    styles: int = Field(default=6, ge=2, le=len(STYLES))
    sounds: int = Field(default=8, ge=2, le=len(SOUNDS))
    days: int = Field(default=60, ge=2)
    communities: int = Field(default=12, ge=1)
    seed: int = Field(default=0, ge=0)
    start: float = 1_735_689_600.0  # 2025-01-01

    informative: Mapping[str, float] = Field(default_factory=lambda: _each(1.0))
    coverage: Mapping[str, float] = Field(
        default_factory=lambda: {"text": 1.0, "visual": 0.98, "audio": 0.92, "generation": 0.95}
    )

    sessions_per_week: float = Field(default=2.5, gt=0)
    slate: int = Field(default=8, ge=1, description="exposures in a session")
    click_bias: float = -2.2
    topic_strength: float = 1.2
    style_strength: float = 1.0
    sound_strength: float = 1.0
    synergy: float = Field(default=0.3, description="extra taste for pairs of factors that are both liked")
    quality: float = Field(default=0.4, ge=0, description="standard deviation of a video's quality")
    community: float = Field(default=0.5, ge=0, le=1, description="share of a taste that a community shares")
    drift: float = Field(default=0.7, ge=0, description="radians that a taste turns over all days")
    position: float = Field(default=0.25, ge=0, description="clicks lost per unit of log(1 + position)")
    popularity: float = Field(default=0.25, ge=0, description="weight of log(1 + clicks so far) in what is exposed")
    freshness: float = Field(default=1.0, ge=0, description="weight of a video's newness (e-folding: 5 days)")
    targeting: float = Field(default=0.5, ge=0, description="weight of the true preference in what is exposed")

    @field_validator("informative")
    @classmethod
    def _informative(cls, given: Mapping[str, float]) -> Mapping[str, float]:
        return _checked(given, 1.0, "informative")

    @field_validator("coverage")
    @classmethod
    def _coverage(cls, given: Mapping[str, float]) -> Mapping[str, float]:
        return _checked(given, 1.0, "coverage")
