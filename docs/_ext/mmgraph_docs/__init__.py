"""Makes pages of the documentation from docstrings, sources and committed rows, when the documentation is built."""

from mmgraph_docs.building import setup

__all__ = ["setup"]
