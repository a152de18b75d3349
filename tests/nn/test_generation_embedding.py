"""The trained embedding of generation metadata."""

from __future__ import annotations

import pytest
import torch

from mmgraph.encoders import GenerationTable
from mmgraph.nn.generation import GenerationEmbedding

RECORDS = [
    {"generator": "luma", "seed": 7, "guidance": 0.0, "steps": 20, "latent": [1.0, 2.0, 3.0]},
    {"generator": "sora", "seed": 8, "guidance": 8.0, "latent": [1.0, 0.0]},
    None,
    {"generator": "luma", "guidance": 4.0, "steps": 40, "latent": [0.0, 1.0]},
    {"generator": "kling", "noise": [1.0]},
]


@pytest.fixture
def table() -> GenerationTable:
    return GenerationTable.from_records(RECORDS)


@pytest.fixture
def layer(table) -> GenerationEmbedding:
    torch.manual_seed(0)
    return GenerationEmbedding(table, 8)


def test_it_is_the_normed_sum_of_its_parts(table, layer) -> None:
    row, known = 1, table.numbers_present[1]
    total = layer.categories[0](table.codes[row, 0])
    total = total + layer.identities[0](1 + table.identities[row, 0] % 1024)
    for column in range(2):
        part = table.numbers[row, column] * layer.slope[column] + layer.offset[column]
        total = total + (part if known[column] else layer.no_number[column])
    two = layer.vectors[layer.vector_keys.index("latent/2")]
    total = total + two(torch.tensor([1.0, 0.0])) + layer.no_vector[layer.fields.index("noise")]
    assert torch.allclose(layer(table)[row], layer.norm(total), atol=1e-6)


def test_a_video_of_which_nothing_is_known_is_the_sum_of_the_missing_parts(table, layer) -> None:
    total = layer.categories[0].weight[0] + layer.identities[0].weight[0]
    total = total + layer.no_number.sum(0) + layer.no_vector.sum(0)
    assert torch.allclose(layer(table)[2], layer.norm(total), atol=1e-6)


def test_missing_is_neither_zero_nor_unknown(table, layer) -> None:
    variants = [
        {"generator": "luma", "guidance": 4.0},
        {"generator": "luma", "guidance": 0.0},
        {"generator": "luma"},
        {"generator": "new"},
        {},
        {"latent": [0.0, 0.0]},
    ]
    values = layer(GenerationTable.from_records(variants, table.schema))
    distance = torch.cdist(values, values) + torch.eye(len(values))
    assert distance.min() > 0.05


def test_rows_are_those_of_the_whole(table, layer) -> None:
    rows = torch.tensor([4, 1, 1, 2])
    assert torch.allclose(layer(table, rows), layer(table)[rows], atol=1e-6)
    assert layer(table, torch.tensor([2])).shape == (1, 8)


def test_every_parameter_learns(table, layer) -> None:
    out = layer(table)
    assert out.shape == (5, 8)
    (out * torch.randn(5, 8)).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name
        assert parameter.grad.isfinite().all(), name


def test_other_fields_and_lengths_are_refused(table, layer) -> None:
    with pytest.raises(ValueError, match="make both from one schema"):
        layer(GenerationTable.from_records([{"steps": 3}]))
    with pytest.raises(ValueError, match="latent/5"):
        layer(GenerationTable.from_records([{"latent": [0.0] * 5}], table.schema))
