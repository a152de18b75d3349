"""Models in closed form, or solved without batches: the rows of honesty beside every trained one."""

from __future__ import annotations

from mmgraph.models.closed.addease import AddEASE
from mmgraph.models.closed.bspm import BSPM
from mmgraph.models.closed.chebycf import ChebyCF
from mmgraph.models.closed.contentknn import ContentKNN
from mmgraph.models.closed.ease import EASE
from mmgraph.models.closed.gfcf import GFCF
from mmgraph.models.closed.ials import IALS
from mmgraph.models.closed.itemknn import ItemKNN
from mmgraph.models.closed.popularity import Popularity
from mmgraph.models.closed.slim import SLIM
from mmgraph.models.closed.turbocf import TurboCF

__all__ = [
    "BSPM",
    "EASE",
    "GFCF",
    "IALS",
    "SLIM",
    "AddEASE",
    "ChebyCF",
    "ContentKNN",
    "ItemKNN",
    "Popularity",
    "TurboCF",
]
