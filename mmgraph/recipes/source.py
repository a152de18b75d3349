"""Where the real data and the features made of it lie: the one place that reads ``MMGRAPH_DATA``, ``MMGRAPH_STORE``."""

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


def feature_store() -> Path:
    """The folder named by the environment variable ``MMGRAPH_STORE``: the store for features of raw media.

    A recipe encodes what the store lacks; the folder may be empty or new, and must not lie in the data.

    Raises:
        FileNotFoundError: the variable is unset.
    """
    value = os.environ.get("MMGRAPH_STORE")
    if not value:
        raise FileNotFoundError(
            "set MMGRAPH_STORE to a folder for features: what it lacks is encoded once, posters about 30 a second. To "
            "fill it first: mmgraph encode $MMGRAPH_DATA/mlsmall --image efficientnet-lite0 --text minilm "
            "--text-columns title,year,genres --store $MMGRAPH_STORE --out $MMGRAPH_STORE/mlsmall"
        )
    return Path(value).expanduser().resolve()
