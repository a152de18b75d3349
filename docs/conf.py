"""Sphinx settings."""

project = "mmgraph"
author = "The mmgraph developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "mmgraph"
exclude_patterns = ["_build"]
autodoc_typehints = "description"
suppress_warnings = ["myst.xref_missing"]
