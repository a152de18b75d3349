"""Tiny graphs with known answers, shared by the tests."""

from __future__ import annotations

from mmgraph.testing import WIDTHS, checkerboard, make_graph, twelve_nodes

__all__ = ["WIDTHS", "checkerboard", "make_graph", "twelve_nodes"]
