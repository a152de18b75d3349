"""The hash encoder."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmgraph.encoders import HashEncoder
from mmgraph.encoders.hashing import splitmix64, stable_projection


def test_the_hash_is_splitmix64() -> None:
    # Finaliser of splitmix64 on its first state after seed 0 gives the published first output.
    assert int(splitmix64(np.array([0x9E3779B97F4A7C15], dtype=np.uint64))[0]) == 0xE220A8397B1DCDAF


def test_another_process_gives_the_same_features() -> None:
    code = (
        "from mmgraph.encoders import HashEncoder;"
        "from mmgraph.encoders.hashing import stable_projection;"
        "print(HashEncoder(8)(['a cat', '一只猫']).values.numpy().tobytes().hex());"
        "print(stable_projection(3, 2, 'latent').tobytes().hex())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [
        HashEncoder(8)(["a cat", "一只猫"]).values.numpy().tobytes().hex(),
        stable_projection(3, 2, "latent").tobytes().hex(),
    ]


def test_texts_that_share_words_are_nearer_in_both_languages() -> None:
    texts = [
        "a red cat on a sofa",
        "a red cat on a bed",
        "quarterly profit fell",
        "一只红色的猫",
        "一只红色的狗",
    ]
    values = HashEncoder(512)(texts).values
    near = values @ values.T
    assert near[0, 1] > 0.6 > near[0, 2] + 0.2
    assert near[3, 4] > near[3, 2] + 0.2
    assert torch.allclose(values.norm(dim=1), torch.ones(5))


def test_files_are_hashed_by_their_bytes(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "b.jpg").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "empty.jpg").write_bytes(b"")
    encoded = HashEncoder(reads="image")([tmp_path / name for name in ("a.jpg", "b.jpg", "empty.jpg")])
    assert torch.equal(encoded.values[0], encoded.values[1])
    assert encoded.present.tolist() == [True, True, False]
    assert encoded.problems[0].reason == "the file is empty"


def test_projection_is_fixed_by_its_key_and_keeps_lengths() -> None:
    projection = stable_projection(400, 256, "latent")
    assert np.array_equal(projection, stable_projection(400, 256, "latent"))
    assert not np.array_equal(projection, stable_projection(400, 256, "noise"))
    x = np.random.default_rng(0).standard_normal(400)
    assert np.linalg.norm(x @ projection) == pytest.approx(np.linalg.norm(x), rel=0.2)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        HashEncoder(0)
