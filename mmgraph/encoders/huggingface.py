"""Loading a frozen Hugging Face checkpoint, and pooling what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmgraph.encoders.base import hash_weights

Tower = Literal["text", "vision", "audio"]
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A frozen model, and the names of weights that its checkpoint did not hold (they are never used)."""

    model: Any
    absent: frozenset[str]

    @cached_property
    def _hash(self) -> str:
        return hash_weights(self.model.state_dict(), skip=self.absent)

    def weights_hash(self) -> str:
        """Hash over the weights that came from the checkpoint."""
        return self._hash


def load_checkpoint(name_or_folder: str | Path, tower: Tower, device: str) -> Checkpoint:
    """A model in eval mode without gradients, float32; the named tower of a two-tower model.

    Raises:
        ValueError: the checkpoint lacks weights that the features pass through. transformers would fill them
            with random numbers and go on; features would then differ from run to run. (A pooler on top is
            allowed to be missing: it is not used here.)
    """
    from transformers import AutoModel

    model, info = AutoModel.from_pretrained(str(name_or_folder), output_loading_info=True, dtype=torch.float32)
    missing = set(info["missing_keys"])
    for prefix in (f"{tower}_model", "encoder") if model.config.is_encoder_decoder else (f"{tower}_model",):
        inner = getattr(model, prefix, None)
        if isinstance(inner, torch.nn.Module):
            missing = {name[len(prefix) + 1 :] for name in missing if name.startswith(prefix + ".")}
            model = inner
            break
    random = sorted(name for name in missing if "pooler" not in name.split("."))
    if random:
        raise ValueError(
            f"{name_or_folder}: the checkpoint lacks {len(random)} weights of {type(model).__name__}, "
            f"such as {random[0]!r}; its features would be random"
        )
    return Checkpoint(model.eval().requires_grad_(False).to(device), frozenset(missing))


def pool_tokens(hidden: Tensor, pooling: Pooling) -> Tensor:
    """Last layer -> [B, D]: the mean over tokens [B, N, D] or places [B, D, H, W], or the first token.

    ``cls`` is the first token of a transformer; for a convolutional map it does not exist.
    """
    if hidden.dim() == 4:
        if pooling == "cls":
            raise ValueError("a convolutional network has no class token: use pooling='mean'")
        return hidden.mean((2, 3))
    return hidden[:, 0] if pooling == "cls" else hidden.mean(1)
