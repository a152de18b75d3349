"""Models in closed form: the rows of honesty beside every trained one."""

from __future__ import annotations

from mmgraph.models.closed.ease import EASE
from mmgraph.models.closed.itemknn import ItemKNN
from mmgraph.models.closed.popularity import Popularity

__all__ = ["EASE", "ItemKNN", "Popularity"]
