"""What every encoder with a Hugging Face checkpoint shares: loading it frozen, its processor, pooling what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mmgraph.encoders.base import Encoder, hash_weights

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


class HuggingFaceEncoder(Encoder):
    """An encoder whose network is a Hugging Face checkpoint: its name, width and weights.

    Subclasses are dataclasses with these fields.

    Args:
        name_or_folder: a model name of the hub, or a folder that holds one.
        device: where the network runs.
        label: the name in stores and passports, by default ``name_or_folder``'s last part.
    """

    tower: ClassVar[Tower]
    name_or_folder: str | Path
    device: str
    label: str | None

    @property
    def name(self) -> str:
        """The label, or the model's name."""
        return self.label or Path(str(self.name_or_folder)).name

    @property
    def shape(self) -> tuple[int, ...]:
        """(D,)."""
        config = self._checkpoint.model.config
        hidden = getattr(config, "hidden_size", None)
        return (int(hidden if hidden is not None else config.hidden_sizes[-1]),)

    def weights_hash(self) -> str:
        """Hash of the network's weights."""
        return self._checkpoint.weights_hash()

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return load_checkpoint(self.name_or_folder, self.tower, self.device)


def load_image_processor(name_or_folder: str | Path) -> Any:
    """The model's own ``AutoImageProcessor`` with its PIL backend, so that torchvision is not needed."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(str(name_or_folder), backend="pil")


def plain_processor(processor: Any) -> dict[str, Any]:
    """What of a Hugging Face processor changes its inputs, as plain JSON values."""
    values = processor.to_dict()
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in sorted(values.items())
        if isinstance(value, (bool, int, float, str, list, tuple, dict))
        and not name.startswith("_")
        and not name.endswith(("_type", "_class", "_version"))
    }


def pool_tokens(hidden: Tensor, pooling: Pooling) -> Tensor:
    """Last layer -> [B, D]: the mean over tokens [B, N, D] or places [B, D, H, W], or the first token.

    ``cls`` is the first token of a transformer; for a convolutional map it does not exist.
    """
    if hidden.dim() == 4:
        if pooling == "cls":
            raise ValueError("a convolutional network has no class token: use pooling='mean'")
        return hidden.mean((2, 3))
    return hidden[:, 0] if pooling == "cls" else hidden.mean(1)
