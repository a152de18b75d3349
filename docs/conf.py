"""Sphinx settings. Pages below ``reference/`` are made by ``_ext/mmgraph_docs`` at each build."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "_ext"), str(Path(__file__).parents[1])]

project = "mmgraph"
author = "The mmgraph developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mmgraph_docs.building"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "mmgraph"
html_static_path = ["_static"]
html_css_files = ["rows.css"]
exclude_patterns = ["_build", "_ext"]
autodoc_typehints = "description"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
napoleon_use_ivar = True
python_use_unqualified_type_names = True
toc_object_entries = False
# a broken reference to a name of ours is an error; other libraries' names are not looked up, the build needs no network
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!mmgraph\.).*")]
