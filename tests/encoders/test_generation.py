"""Generation metadata to one fixed vector."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
import torch

from mmgraph.encoders import GenerationEncoder, GenerationSchema, HashEncoder
from mmgraph.encoders.generation import plain_record
from mmgraph.features import FeatureStore, MediaError

RECORDS = [
    {
        "generator": "luma",
        "prompt": "a red cat",
        "seed": 7,
        "guidance": 0.0,
        "steps": 20,
        "latent": [1.0, 2.0, 3.0],
    },
    {"generator": "sora", "prompt": "a blue dog", "seed": 8, "guidance": 8.0, "latent": [1.0, 0.0]},
    None,
    {"generator": "luma", "guidance": 4.0, "steps": 40, "seed": None, "latent": np.array([0.0, 1.0])},
    {"generator": None, "guidance": float("nan")},
]


def test_the_schema_reads_each_field_as_what_it_is() -> None:
    schema = GenerationSchema.infer(RECORDS)
    assert schema.categorical == {"generator": ("luma", "sora")}
    assert schema.numeric["guidance"] == pytest.approx((4.0, np.std([0, 8, 4])))
    assert set(schema.numeric) == {"guidance", "steps"}
    assert (schema.identities, schema.texts, schema.vectors) == (("seed",), ("prompt",), ("latent",))
    with pytest.raises(ValueError, match="'steps' mixes number and word"):
        GenerationSchema.infer([{"steps": 3}, {"steps": "many"}])
    assert GenerationSchema.infer([{"m": v} for v in "aabbbc"], max_values=2).categorical == {"m": ("a", "b")}


def test_missing_is_neither_zero_nor_unknown_nor_the_mean() -> None:
    encoder = GenerationEncoder.fit(RECORDS)
    variants = [
        {"generator": "luma", "guidance": 4.0},  # the mean: standardised 0
        {"generator": "luma", "guidance": 0.0},
        {"generator": "luma"},
        {"generator": "new", "guidance": 4.0},
        {"guidance": 4.0},
    ]
    values = encoder(variants).values
    for one in range(5):
        for other in range(one):
            assert not torch.equal(values[one], values[other]), (variants[one], variants[other])


def test_parts_lie_where_the_schema_says() -> None:
    schema = GenerationSchema(categorical={"generator": ("luma", "sora")}, numeric={"guidance": (4.0, 2.0)})
    encoder = GenerationEncoder(schema)
    values = encoder([{"generator": "sora", "guidance": 8.0}, {"generator": "other"}]).values
    # unknown, luma, sora | guidance, has guidance
    assert values.tolist() == [[0, 0, 1, 2, 1], [1, 0, 0, 0, 0]]


def test_absent_records_are_absent_and_bad_ones_are_problems(tmp_path) -> None:
    encoder = GenerationEncoder.fit(RECORDS)
    bad = [
        *RECORDS,
        {"guidance": "high"},
        "no json",
        {"latent": ["x"]},
        {"guidance": float("inf")},
        json.dumps(RECORDS[1]),
    ]
    encoded = FeatureStore(tmp_path).encode(encoder, bad).encoded
    assert encoded.present.tolist() == [True, True, False, True, False, False, False, False, False, True]
    assert [problem.row for problem in encoded.problems] == [5, 6, 7, 8]
    assert "'guidance' is 'high', not a number" in encoded.problems[0].reason
    assert torch.equal(encoded.values[1], encoded.values[9])


def test_seeds_are_equal_or_not_and_never_near() -> None:
    encoder = GenerationEncoder(GenerationSchema(identities=("seed",)))
    seven, again, eight = encoder([{"seed": 7}, {"seed": 7.0}, {"seed": 8}]).values
    assert torch.equal(seven, again)
    assert (seven != eight).sum() >= 2
    assert seven[-1] == 1


def test_prompts_go_through_the_text_encoder() -> None:
    text = HashEncoder(32, seed=3)
    encoder = GenerationEncoder(GenerationSchema(texts=("prompt",)), text=text)
    encoded = encoder([{"prompt": "a cat"}, {"x": 1}])
    values = encoded.values
    assert torch.equal(values[0], torch.cat([text(["a cat"]).values[0], torch.ones(1)]))
    assert encoded.problems[0].reason == "generation metadata has no known field, only ['x']"
    assert GenerationEncoder(encoder.schema, text=HashEncoder(32)).key() != encoder.key()


def test_latents_of_any_length_keep_their_distances() -> None:
    encoder = GenerationEncoder(GenerationSchema(vectors=("latent",)), vector_dim=256)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 64))
    values = encoder([{"latent": a}, {"latent": b}, {"latent": rng.standard_normal(100)}]).values[:, :-1]
    assert float((values[0] - values[1]).norm()) == pytest.approx(np.linalg.norm(a - b), rel=0.2)


def test_records_are_plain_whatever_held_them() -> None:
    record = {"a": np.float32(1), "b": torch.ones(2), "c": date(2024, 1, 1), "d": None, "e": (1, 2), "f": ""}
    assert plain_record(record) == {"a": 1.0, "b": [1.0, 1.0], "c": "2024-01-01", "e": [1, 2]}
    with pytest.raises(MediaError, match="not a record"):
        plain_record(3)
