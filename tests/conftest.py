"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real data, named by ``MMGRAPH_DATA``; the test is skipped where it is absent."""
    value = os.environ.get("MMGRAPH_DATA")
    if not value or not Path(value).is_dir():
        pytest.skip("real data: set MMGRAPH_DATA to its folder to run this test")
    return Path(value).resolve()
