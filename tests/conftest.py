"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Beside other workers a process has one thread, and so have its children: two of two threads each take turns on two
# cores, waiting for one another. Read when torch is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

# Under nohup a hangup is ignored, by the runs that tests stop with one too.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# No wall clock: a busy machine fails no test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Without a GPU the Triton kernels run in Triton's interpreter; it has to be told before Triton is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real data, named by ``MMGRAPH_DATA``; the test is skipped where it is absent."""
    value = os.environ.get("MMGRAPH_DATA")
    if not value or not Path(value).is_dir():
        pytest.skip("real data: set MMGRAPH_DATA to its folder to run this test")
    return Path(value).resolve()


@pytest.fixture(autouse=True)
def _nobody_has_opened_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a process of its own as far as the seal is concerned."""
    from mmgraph.data.split import sealed

    monkeypatch.setattr(sealed, "_OPENED", {})
