"""The command line: a thin shell over functions of the library, one file a command.

Heavy imports stand inside the commands, so that ``mmgraph --help`` needs neither torch nor PyG. A command says with
:func:`~mmgraph.cli.shell.say` and :func:`~mmgraph.cli.shell.print_json` what it found, and does its work inside
:func:`~mmgraph.cli.shell.errors_for_people`; its file is named after it, and one line in ``app.py`` lists it.
"""

from __future__ import annotations

from mmgraph.cli.app import app

__all__ = ["app"]
