"""The recipes' old address: ``benchmarks.recipes.tiktok`` is :mod:`mmgraph.recipes` under the name of older records."""

from __future__ import annotations

import mmgraph.recipes

__path__ = [*__path__, *mmgraph.recipes.__path__]
