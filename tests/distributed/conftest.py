"""The crew, once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.distributed.crew import Crew


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    workers = Crew()
    yield workers
    workers.dismiss()
