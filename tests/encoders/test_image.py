"""Image encoders."""

from __future__ import annotations

import json

import numpy as np
import torch
from PIL import Image

from mmgraph.encoders import EfficientNetLite0, HuggingFaceImage, ImageEncoder, read_image
from tests.encoders.making import jpeg


def test_hugging_face_image_is_the_models_own_pixels_and_mean_of_tokens(tiny_vit, tmp_path) -> None:
    from transformers import AutoModel

    path = jpeg(tmp_path / "a.jpg", 3)
    encoder = HuggingFaceImage(tiny_vit)
    small = read_image(path).resize((32, 32), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1) / 255 * 2 - 1
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(tiny_vit)(pixel_values=pixels[None]).last_hidden_state
    assert torch.allclose(encoder([path]).values, hidden.mean(1), atol=1e-4)
    assert torch.allclose(HuggingFaceImage(tiny_vit, "cls")([path]).values, hidden[:, 0], atol=1e-4)


def test_pixel_statistics_are_part_of_the_key(tiny_vit, tmp_path) -> None:
    for file in tiny_vit.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    config["image_mean"] = [0.1, 0.2, 0.3]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    first = HuggingFaceImage(tiny_vit, label="vit")
    second = HuggingFaceImage(tmp_path, label="vit")
    assert first.weights_hash() == second.weights_hash()
    assert first.key() != second.key()


def test_efficientnet_batch_equals_single_and_sees_content(efficientnet, tmp_path) -> None:
    paths = [jpeg(tmp_path / f"{seed}.jpg", seed, (300, 200)) for seed in range(3)]
    read_image(paths[0]).save(tmp_path / "again.jpg", quality=80)
    together = efficientnet([*paths, tmp_path / "again.jpg"]).values
    assert isinstance(efficientnet, ImageEncoder)
    assert together.shape == (4, 1280)
    assert torch.allclose(together[1], efficientnet([paths[1]]).values[0], atol=1e-4)
    unit = torch.nn.functional.normalize(together, dim=1)
    assert unit[0] @ unit[3] > 0.95 > unit[0] @ unit[1]


def test_efficientnet_input_is_the_centre_in_the_weights_own_units() -> None:
    pixels = np.full((256, 512, 3), 255, dtype=np.uint8)
    pixels[:, 150:362] = 127
    prepared = EfficientNetLite0().prepare(Image.fromarray(pixels))
    assert prepared.shape == (3, 224, 224)
    assert prepared[:, :, 20:-20].abs().max() == 0  # 127 is 0
    assert prepared[:, :, 0].min() == 1.0  # 255 is 1, and lies 6 pixels inside the crop's edge
    whole = EfficientNetLite0(crop=False).prepare(Image.fromarray(pixels))
    assert whole[0, 0, :60].min() > 0.9


def test_efficientnet_tells_a_picture_from_its_mirror_of_colours(efficientnet) -> None:
    red = Image.new("RGB", (64, 64), (255, 0, 0))
    with torch.inference_mode():
        values = efficientnet.encode([efficientnet.prepare(red), efficientnet.prepare(Image.new("RGB", (64, 64)))])
    assert (values[0] - values[1]).abs().max() > 0.1
    assert EfficientNetLite0().weights_hash() == efficientnet.weights_hash()


def test_pictures_of_every_mode_become_rgb_and_stand_upright(tmp_path) -> None:
    for mode in ("L", "P", "RGBA", "CMYK", "1", "I;16"):
        path = tmp_path / f"{mode.replace(';', '')}.{'tif' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (8, 6)).save(path)
        assert read_image(path).mode == "RGB"
    upright = jpeg(tmp_path / "up.jpg", 1, (40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to show"
    read_image(upright).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "turned.jpg").size == (20, 40)
