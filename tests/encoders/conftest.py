"""Pretrained encoders are loaded once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmgraph.encoders import EfficientNetLite0, HuggingFaceText, UniversalSentenceEncoder, minilm


@pytest.fixture(scope="session")
def minilm_encoder() -> HuggingFaceText:
    return minilm(batch_size=8)


@pytest.fixture(scope="session")
def use_encoder() -> UniversalSentenceEncoder:
    return UniversalSentenceEncoder()


@pytest.fixture(scope="session")
def efficientnet() -> EfficientNetLite0:
    return EfficientNetLite0(batch_size=4)


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random vision transformer and its processor."""
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
