"""Where there is a GPU Triton compiles its kernels and interprets none: their tests make their tensors there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _tensors_are_where_triton_runs(request: pytest.FixtureRequest) -> Iterator[None]:
    if "triton" in request.node.name and torch.cuda.is_available():
        with torch.device("cuda"):
            yield
    else:
        yield
