"""Text encoders."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from mmgraph.encoders import HuggingFaceText, TextEncoder, minilm
from mmgraph.encoders.huggingface import load_checkpoint, pool_tokens

TEXTS = ["cat", "a small cat sleeps on the warm window sill", "stock prices fell " * 30, "红色的猫"]


def test_batch_equals_single_at_any_padding(minilm_encoder) -> None:
    together = minilm_encoder(TEXTS).values
    alone = torch.cat([minilm_encoder([text]).values for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)


def test_it_is_the_masked_mean_of_the_last_layer(minilm_encoder) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = str(minilm_encoder.name_or_folder)
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS[1], return_tensors="pt")
    with torch.inference_mode():
        mean = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0].mean(0)
    expected = mean / mean.norm()
    assert torch.allclose(minilm_encoder(TEXTS[:2]).values[1], expected, atol=1e-5)


def test_only_the_first_512_tokens_count(minilm_encoder) -> None:
    long, cut, short = minilm_encoder(["cat " * 600 + "moon", "cat " * 510, "cat " * 100]).values
    assert torch.allclose(long, cut, atol=1e-5)
    assert not torch.allclose(cut, short, atol=1e-3)


def test_meaning_is_near_and_blank_is_absent(minilm_encoder) -> None:
    encoded = minilm_encoder(["a kitten naps", "  ", "a cat sleeps", None, "stock market news"])
    assert encoded.present.tolist() == [True, False, True, False, True]
    assert encoded.problems == ()
    kitten, _, cat, _, news = encoded.values
    assert kitten @ cat > 0.5 > kitten @ news


def test_weights_hash_and_name_are_those_of_the_wheel(minilm_encoder) -> None:
    assert minilm_encoder.name == "all-MiniLM-L6-v2"
    assert minilm_encoder.shape == (384,)
    assert minilm().weights_hash() == minilm_encoder.weights_hash()


def test_use_puts_chinese_and_english_in_one_space(use_encoder) -> None:
    assert isinstance(use_encoder, TextEncoder)
    texts = ["a cat is sleeping", "一只猫在睡觉", "股市今天下跌", "the stock market fell today"]
    values = use_encoder(texts).values
    near = values @ values.T
    assert values.shape == (4, 512)
    assert near[0, 1] > 0.6 > 0.3 > near[0, 2]
    assert near[2, 3] > 0.6
    alone = torch.cat([use_encoder([text]).values for text in texts])
    assert torch.allclose(values, alone, atol=1e-5)
    assert len(use_encoder.weights_hash()) == 64


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=6,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_a_model_with_few_positions_cuts_texts_there(tiny_bert) -> None:
    encoder = HuggingFaceText(tiny_bert)
    values = encoder(["a b c d e f g h", "a b c d"]).values  # [CLS] + 4 + [SEP] = 6 positions
    assert torch.allclose(values[0], values[1], atol=1e-6)
    assert encoder.shape == (8,)


def test_a_checkpoint_with_missing_weights_is_refused(tiny_bert, tmp_path) -> None:
    for file in tiny_bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    removed = next(name for name in state if "attention.self.query.weight" in name)
    safetensors.torch.save_file(
        {name: value for name, value in state.items() if name != removed},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueError, match="features would be random"):
        load_checkpoint(tmp_path, "text", "cpu")
    # Without its pooler a checkpoint is whole, and hashes the same each time although the pooler is random.
    checkpoints = [load_checkpoint(tiny_bert, "text", "cpu") for _ in range(2)]
    assert checkpoints[0].weights_hash() == checkpoints[1].weights_hash()
    assert any("pooler" in name for name in checkpoints[0].absent)


def test_pooling_over_tokens_and_places() -> None:
    tokens = torch.arange(12.0).reshape(1, 3, 4)
    assert pool_tokens(tokens, "mean").tolist() == [[4, 5, 6, 7]]
    assert pool_tokens(tokens, "cls").tolist() == [[0, 1, 2, 3]]
    assert pool_tokens(torch.ones(1, 2, 3, 3) * torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), "mean").tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="no class token"):
        pool_tokens(torch.ones(1, 2, 3, 3), "cls")


def test_settings_are_plain_json(minilm_encoder) -> None:
    assert json.loads(json.dumps(minilm_encoder.settings())) == minilm_encoder.settings()
