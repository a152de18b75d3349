"""A bundle over HTTP: the event log, the state that is folded from it, the index, the server."""

from __future__ import annotations
