"""Checkpoints of every convention: who is told about padding, where positions start, what is never run."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError

from mmgraph.encoders import (
    EfficientNetLite0,
    HuggingFaceAudio,
    HuggingFaceImage,
    HuggingFaceText,
    HuggingFaceVideo,
    encode_folder,
    text_encoder,
)
from mmgraph.encoders.huggingface import find_model
from tests.encoders.making import jpeg

PADS = ["<pad>", "<unk>"]
WORDS = [*PADS, "a", "red", "cat", "big", "dog", "boat", "runs", "in", "the", "rain", "at", "night", "sun"]
SHORT, LONG = "a red cat", "a big dog runs in the rain at night in the sun"
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def tokenizer(folder: Path, **options) -> None:
    """Words apart by blanks; "qwertz" gives no token at all."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.normalizer = normalizers.Replace("qwertz", "")
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, **options).save_pretrained(folder)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> Path:
    """Two towers, a tokenizer that gives input_ids only, texts of one length."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    side = {"hidden_size": 16, **SMALL}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 16, "pad_token_id": 0, **side}
    text |= {"bos_token_id": 0, "eos_token_id": 0}
    SiglipModel(
        SiglipConfig(text_config=text, vision_config={"image_size": 32, "patch_size": 16, **side})
    ).save_pretrained(folder)
    tokenizer(folder, pad_token="<pad>", unk_token="<unk>", model_max_length=16, model_input_names=["input_ids"])
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_a_tower_without_a_mask_sees_the_one_length_that_it_learnt(siglip) -> None:
    from transformers import SiglipTextModel

    encoder = HuggingFaceText(siglip)
    alone, beside = encoder([SHORT]).values[0], encoder([SHORT, LONG]).values[0]
    assert alone.shape == (16,)
    assert torch.allclose(alone, beside, atol=1e-6)
    ids = torch.tensor([[WORDS.index(word) for word in SHORT.split()] + [0] * 13])
    with torch.inference_mode():
        hidden = SiglipTextModel.from_pretrained(siglip).eval()(input_ids=ids).last_hidden_state[0]
    assert torch.allclose(alone, hidden[:3].mean(0), atol=1e-5)
    short = HuggingFaceText(siglip, max_length=2)  # fewer words, and still the same length
    ids[0, 2:] = 0
    with torch.inference_mode():
        hidden = SiglipTextModel.from_pretrained(siglip).eval()(input_ids=ids).last_hidden_state[0]
    assert torch.allclose(short([SHORT]).values[0], hidden[:2].mean(0), atol=1e-5)


def test_a_tower_without_a_class_token_refuses_to_give_one(siglip, tiny_vit, tmp_path) -> None:
    path = jpeg(tmp_path / "a.jpg")
    assert HuggingFaceImage(siglip)([path]).values.shape == (1, 16)
    with pytest.raises(ValueError, match="no class token"):
        HuggingFaceImage(siglip, "cls")([path])
    assert HuggingFaceImage(tiny_vit, "cls")([path]).present.all()


def test_positions_that_start_behind_the_paddings_are_fewer(tmp_path) -> None:
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=len(WORDS), hidden_size=16, max_position_embeddings=10, pad_token_id=1, **SMALL)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokenizer(tmp_path, pad_token="<unk>", unk_token="<unk>")  # says nothing of a maximal length
    encoder = HuggingFaceText(tmp_path)
    eight, more = encoder([" ".join(LONG.split()[:8]), LONG]).values  # positions 2 to 9 of 10
    assert torch.allclose(eight, more, atol=1e-6)
    assert not torch.allclose(eight, encoder([" ".join(LONG.split()[:7])]).values[0], atol=1e-4)


@pytest.mark.parametrize("pad", [{}, {"eos_token": "<unk>"}, {"pad_token": "<pad>", "padding_side": "left"}])
def test_decoders_without_padding_or_with_it_on_the_left(tmp_path, pad) -> None:
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=16)
    GPT2Model(config).save_pretrained(tmp_path)
    tokenizer(tmp_path, **pad)
    encoder = HuggingFaceText(tmp_path)
    texts = [SHORT, LONG, "boat"]
    together = encoder(texts).values
    for text, row in zip(texts, together, strict=True):
        assert torch.allclose(encoder([text]).values[0], row, atol=1e-5)
    ids = torch.tensor([[WORDS.index(word) for word in SHORT.split()]])
    with torch.inference_mode():
        expected = GPT2Model.from_pretrained(tmp_path).eval()(input_ids=ids).last_hidden_state[0].mean(0)
    assert torch.allclose(together[0], expected, atol=1e-5)


def test_a_text_without_a_token_is_missing_and_not_zero(siglip, tmp_path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, max_position_embeddings=16, **SMALL)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokenizer(tmp_path, pad_token="<pad>")
    encoder = HuggingFaceText(tmp_path)
    for texts in (["qwertz", SHORT], ["qwertz"]):
        assert encoder(texts).present.tolist() == [False, True][: len(texts)]


class Net:
    """Stands in for the hub: counts what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Exception) -> None:
        self.asked: list[str] = []

        def model_info(api, name, **options):
            self.asked.append(name)
            raise answer

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)


@pytest.mark.parametrize(
    "encoder", [HuggingFaceText, HuggingFaceImage, HuggingFaceAudio, HuggingFaceVideo], ids=lambda kind: kind.__name__
)
def test_a_mistyped_name_costs_one_question(monkeypatch, encoder) -> None:
    net = Net(monkeypatch, ConnectionError("no route"))
    with pytest.raises(
        ValueError, match=r"no folder org/mini-lm, and no such model in the local cache .*cannot be asked"
    ):
        encoder("org/mini-lm").key()
    assert net.asked == ["org/mini-lm"]


def test_a_model_the_hub_does_not_know_is_said_to_be_misspelt(monkeypatch) -> None:
    missing = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    net = Net(monkeypatch, missing)
    with pytest.raises(ValueError, match="or on the hub: check the spelling"):
        find_model("org/mini-lm")
    assert net.asked == ["org/mini-lm"]


@pytest.mark.parametrize("name", ["./models/x", "~/x", "/models/x", "a/b/c", "C:\\x", ".", "a b"])
def test_what_can_only_be_a_folder_is_never_looked_up(monkeypatch, tmp_path, name) -> None:
    net = Net(monkeypatch, ConnectionError())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"there is no folder|no config\.json"):
        find_model(name)
    with pytest.raises(ValueError, match="there is no folder"):
        find_model(Path("org/model"))
    assert net.asked == []


def test_a_cached_model_is_loaded_without_a_question(monkeypatch, tmp_path, siglip) -> None:
    net = Net(monkeypatch, ConnectionError())
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(siglip / file))
    assert find_model("org/siglip") == str(siglip)
    assert HuggingFaceText("org/siglip")([SHORT]).present.all()
    assert net.asked == []


def test_names_of_ours_that_are_mistyped_are_recognised(monkeypatch, tmp_path) -> None:
    net = Net(monkeypatch, ConnectionError())
    with pytest.raises(ValueError, match="no text encoder 'minlm': did you mean 'minilm'"):
        text_encoder("minlm")
    (tmp_path / "videos.csv").write_text("video_id,title\na,x\n")
    (tmp_path / "interactions.csv").write_text("user_id,video_id\nu,a\n")
    with pytest.raises(ValueError, match="did you mean 'efficientnet-lite0'"):
        encode_folder(tmp_path, image="efficientnet_lite0", progress=False)
    with pytest.raises(ValueError, match="did you mean 'mfcc'"):
        encode_folder(tmp_path, audio="mfc", progress=False)
    assert net.asked == []


def test_what_cannot_be_loaded_is_said_before_anything_is_encoded(monkeypatch, tmp_path) -> None:
    Net(monkeypatch, ConnectionError())
    (tmp_path / "videos.csv").write_text("video_id,title\na,x\n")
    (tmp_path / "interactions.csv").write_text("user_id,video_id\nu,a\n")
    with pytest.raises(ValueError, match="no folder org/whisper"):
        encode_folder(tmp_path, text="hash", audio="org/whisper", progress=False)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_code_of_a_checkpoint_is_neither_run_nor_asked_about(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n"
    (tmp_path / "own.py").write_text(code)
    own = {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.C", "AutoTokenizer": ["own.C", None]},
    }
    (tmp_path / "config.json").write_text(json.dumps(own))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": own["auto_map"]}))
    for kind in (HuggingFaceText, HuggingFaceImage, HuggingFaceAudio):
        with pytest.raises(ValueError, match=f"{tmp_path.name}.* code of its own, which is never run|cannot be loaded"):
            kind(tmp_path).key()
    with pytest.raises(ValueError, match="code of its own, which is never run"):
        HuggingFaceText(tmp_path).weights_hash()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "bert", "hidden_size": "x"}', "{}"])
def test_a_damaged_folder_is_named_in_our_words(tmp_path, content) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path.name}.* cannot be loaded as"):
        HuggingFaceText(tmp_path).key()
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        HuggingFaceText(tmp_path).key()


@pytest.mark.parametrize("device", ["gpu", "cuda:99x", "cuda"])
def test_a_device_that_is_not_there_is_named(tiny_vit, device) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    for encoder in (HuggingFaceImage(tiny_vit, device=device), EfficientNetLite0(device=device)):
        with pytest.raises(ValueError, match=f"device '{device}'"):
            encoder.key()


def test_a_model_of_another_medium_is_named(tiny_vit, siglip, tmp_path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, max_position_embeddings=16, **SMALL)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokenizer(tmp_path, pad_token="<pad>")
    for encoder, kind in ((HuggingFaceText(tiny_vit), "vision"), (HuggingFaceImage(tmp_path), "text")):
        with pytest.raises(ValueError, match=f"is a {kind} model .*, not one of"):
            encoder.key()
    with pytest.raises(ValueError, match="is no video model"):
        HuggingFaceVideo(tiny_vit).key()
