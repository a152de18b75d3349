"""What was done to make a split, and its id."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SeenAtTest = Literal["train", "train+valid"]


class Protocol(BaseModel):
    """How a split was made, and the hashes of what came out.

    ``manifest`` holds hashes of users, videos, pairs, each modality's features, and of the pairs of each part.
    ``seen_at_test`` says which interactions the graph holds, and ranking masks, when the test part is ranked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dataset: str
    method: str
    parameters: dict[str, Any]
    seed: int | None
    seen_at_test: SeenAtTest
    manifest: dict[str, str]

    @property
    def id(self) -> str:
        """``name`` and 8 hex digits of the hash of all the other fields but the dataset's name."""
        content = self.model_dump(mode="json", exclude={"name", "dataset"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return f"{self.name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
