"""Where the real data lies: the one place that reads ``MMGRAPH_DATA``."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """The folder named by the environment variable ``MMGRAPH_DATA``.

    Raises:
        FileNotFoundError: the variable is unset or names no folder.
    """
    value = os.environ.get("MMGRAPH_DATA")
    if not value:
        raise FileNotFoundError("set MMGRAPH_DATA to the folder that holds tiktok/, gowalla/, … and run again")
    root = Path(value).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"MMGRAPH_DATA={value} is not a folder")
    return root
