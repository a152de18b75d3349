"""What every encoder with a Hugging Face checkpoint shares: loading it frozen, its processor, pooling what it gives."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mmgraph.encoders.base import Encoder, hash_weights, usable_device

Tower = Literal["text", "vision", "audio"]
Pooling = Literal["mean", "cls"]


_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
_WEIGHTS = ("*.safetensors", "*.bin")
_LOOK_UP_SECONDS = 10.0
# What a network's first input says of it.
_KINDS: dict[str, Tower] = {
    "input_ids": "text",
    "pixel_values": "vision",
    "input_values": "audio",
    "input_features": "audio",
}


def find_model(name_or_folder: str | Path) -> str:
    """What to load: the folder, the local cache's copy of a model of the hub, or a name that the hub knows.

    A folder and a cached model cost no look-up; any other name costs one, before anything else is tried.

    Raises:
        ValueError: there is no such folder and no such model, or the hub cannot be asked; with what was tried.
    """
    name = str(name_or_folder)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise ValueError(f"{folder} holds no config.json: give the folder of a Hugging Face checkpoint")
        return str(folder)
    if folder.exists() or isinstance(name_or_folder, Path) or not _REPOSITORY.fullmatch(name) or name[0] in ".~":
        raise ValueError(f"there is no folder {folder}: give a folder that holds a Hugging Face checkpoint, or a name "
                         "of the hub such as org/model")  # fmt: skip
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import RepositoryNotFoundError

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str) and any(any(Path(cached).parent.glob(pattern)) for pattern in _WEIGHTS):
        return str(Path(cached).parent)
    tried = f"there is no folder {name}, and no such model in the local cache ({constants.HF_HUB_CACHE})"
    try:
        HfApi().model_info(name, timeout=_LOOK_UP_SECONDS)
    except RepositoryNotFoundError as error:
        raise ValueError(f"{tried} or on the hub: check the spelling (a private model needs a token)") from error
    except Exception as error:  # whatever the net, a proxy or the offline switch makes of one request
        why = type(error).__name__
        raise ValueError(f"{tried}, and the hub cannot be asked ({why}): check the spelling, or download it") from error
    return name


def load(kind: str, loader: Any, name_or_folder: str | Path, **options: Any) -> Any:
    """``loader.from_pretrained`` without running any code of the checkpoint's own.

    Raises:
        ValueError: it cannot be loaded as this kind of thing; the reason in the loader's words.
    """
    source = find_model(name_or_folder)
    try:
        return loader.from_pretrained(source, trust_remote_code=False, **options)
    except ImportError:
        raise
    except Exception as error:  # loaders meet any file and raise nearly anything
        if "trust_remote_code" in str(error) or "custom code" in str(error):
            raise ValueError(
                f"{name_or_folder} is code of its own, which is never run here: use a model that transformers knows"
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name_or_folder} cannot be loaded as {kind}: {reason}") from error


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A frozen model, and the names of weights that its checkpoint did not hold (they are never used)."""

    model: Any
    absent: frozenset[str]

    @cached_property
    def takes(self) -> frozenset[str]:
        """The names of the inputs that the model takes."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    @cached_property
    def has_class_token(self) -> bool:
        """Whether the first token stands for the whole medium, as in BERT and ViT."""
        ends = {name.rsplit(".", 1)[-1] for name in self.model.state_dict()}
        return bool(ends & {"cls_token", "class_embedding", "class_token"})

    @cached_property
    def _hash(self) -> str:
        return hash_weights(self.model.state_dict(), skip=self.absent)

    def weights_hash(self) -> str:
        """Hash over the weights that came from the checkpoint."""
        return self._hash


def load_checkpoint(name_or_folder: str | Path, tower: Tower, device: str) -> Checkpoint:
    """A model in eval mode without gradients, float32; the named tower of a two-tower model.

    Raises:
        ValueError: it is a model of something else, or the checkpoint lacks weights that the features pass through.
            transformers would fill them with random numbers and go on; features would then differ from run to run.
            (A pooler on top is allowed to be missing: it is not used here.)
    """
    from transformers import AutoModel

    place = usable_device(device)
    model, info = load("a model", AutoModel, name_or_folder, output_loading_info=True, dtype=torch.float32)
    missing = set(info["missing_keys"])
    for prefix in (f"{tower}_model", "encoder") if model.config.is_encoder_decoder else (f"{tower}_model",):
        inner = getattr(model, prefix, None)
        if isinstance(inner, torch.nn.Module):
            missing = {name[len(prefix) + 1 :] for name in missing if name.startswith(prefix + ".")}
            model = inner
            break
    reads = getattr(model, "main_input_name", None)
    if reads in _KINDS and _KINDS[reads] != tower:
        raise ValueError(f"{name_or_folder} is a {_KINDS[reads]} model ({type(model).__name__}), not one of {tower}")
    random = sorted(name for name in missing if "pooler" not in name.split("."))
    if random:
        raise ValueError(
            f"{name_or_folder}: the checkpoint lacks {len(random)} weights of {type(model).__name__}, "
            f"such as {random[0]!r}; its features would be random"
        )
    return Checkpoint(model.eval().requires_grad_(False).to(place), frozenset(missing))


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

    return load("an image model", AutoImageProcessor, name_or_folder, backend="pil")


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


def pool_tokens(hidden: Tensor, pooling: Pooling, has_class_token: bool = True) -> Tensor:
    """Last layer -> [B, D]: the mean over tokens [B, N, D] or places [B, D, H, W], or the class token.

    Raises:
        ValueError: "cls" of a network that has no class token (a convolutional one, SigLIP, Swin, wav2vec): its first
            token is only the first corner or moment.
    """
    if pooling == "cls" and (hidden.dim() == 4 or not has_class_token):
        raise ValueError("this network has no class token: use pooling='mean'")
    if hidden.dim() == 4:
        return hidden.mean((2, 3))
    return hidden[:, 0] if pooling == "cls" else hidden.mean(1)
