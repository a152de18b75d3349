"""Towers as files: what lies in one, and nothing beside it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from mmgraph.bundle.towers import Tower, on_cpu, write_tower


class Solved(nn.Module):
    """x W + b with W as linalg.solve leaves it, column after column, and b cut from a larger tensor."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.linalg.solve(torch.eye(5) * 2, torch.randn(5, 4, generator=generator))
        self.weight, self.same = nn.Parameter(weight), nn.Parameter(torch.ones(4))
        self.register_buffer("bias", torch.randn(100_000, 4, generator=generator)[7])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight * self.same + self.get_buffer("bias")


def test_a_tower_holds_its_own_numbers_in_rows_and_nothing_of_what_they_were_cut_from(tmp_path: Path):
    module, example = Solved(), torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    assert not module.weight.is_contiguous()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="No complete tensor")
        write_tower(module, [example], [{0: "batch"}], tmp_path / "t", onnx=False)
    assert (tmp_path / "t.pt2").stat().st_size < 100_000, "4 numbers of the 400,000"
    many = torch.randn(9, 5)
    found = Tower(tmp_path / "t.pt2")(many)
    assert torch.equal(found, on_cpu(module)(many))
    assert torch.allclose(found, module(many), atol=1e-6)
    assert not module.weight.is_contiguous(), "the one given stays as it is"
    copy = on_cpu(module)
    assert copy.same.data_ptr() != module.same.data_ptr()
    assert type(copy.weight) is nn.Parameter
    assert torch.equal(copy.weight, module.weight)
