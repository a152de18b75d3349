"""A procedural world of generated videos, with known user tastes (see `docs/synthetic-world.md`)."""

from __future__ import annotations

from mmgraph.data.synthetic.config import MODALITIES, WorldConfig
from mmgraph.data.synthetic.factors import Factors, Tastes
from mmgraph.data.synthetic.media import picture, render, sound_track
from mmgraph.data.synthetic.on_disk import read_world, write
from mmgraph.data.synthetic.world import World, generate

__all__ = [
    "MODALITIES",
    "Factors",
    "Tastes",
    "World",
    "WorldConfig",
    "generate",
    "picture",
    "read_world",
    "render",
    "sound_track",
    "write",
]
