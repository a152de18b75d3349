"""The standardiser."""

from __future__ import annotations

import pytest
import torch

from mmgraph.features import Standardiser


def test_columns_of_present_rows_have_mean_0_and_deviation_1_and_absent_rows_are_0() -> None:
    values = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).double() * torch.tensor([1, 5, 0.1, 100])
    present = torch.arange(50) < 40
    values[~present] = 1e9
    standard = Standardiser.fit(values, present)
    out = standard(values, present)
    assert torch.allclose(out[:40].mean(0), torch.zeros(4).double(), atol=1e-12)
    assert torch.allclose(out[:40].square().mean(0), torch.ones(4).double())
    assert out[40:].eq(0).all()
    assert torch.allclose(standard(values, present, unit=True)[:40].norm(dim=1), torch.ones(40).double())
    assert torch.allclose((values[:40] - standard.mean) @ standard.matrix, out[:40])


def test_a_later_row_is_read_as_the_others_were() -> None:
    standard = Standardiser.fit(torch.tensor([[0.0, 10], [2, 30]]))
    assert standard(torch.tensor([[3.0, 20]])).tolist() == [[2.0, 0.0]]


def test_a_column_that_never_varies_is_0_however_large() -> None:
    values = torch.full((7, 2), 1234.567)
    values[:, 1] = torch.arange(7.0)
    assert Standardiser.fit(values)(values)[:, 0].eq(0).all()
    assert Standardiser.fit(values, whiten=True)(values).isfinite().all()


def test_whitening_makes_the_covariance_round() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(4000, 3, generator=generator).double() @ torch.randn(3, 3, generator=generator).double()
    standard = Standardiser.fit(values, whiten=True)
    out = standard(values)
    found = torch.linalg.eigvalsh(out.T @ out / 4000)
    size = torch.linalg.eigvalsh(torch.cov(values.T, correction=0))
    assert torch.allclose(found, (size / (size + size.max() / 100)).sort().values)
    assert torch.allclose((values - standard.mean) @ standard.matrix, out)


def test_no_rows_leave_values_as_they_are() -> None:
    values = torch.ones(2, 3)
    assert Standardiser.fit(values, torch.zeros(2, dtype=torch.bool))(values).equal(values)


def test_shapes_are_checked() -> None:
    standard = Standardiser.fit(torch.ones(3, 2))
    with pytest.raises(ValueError, match="width 3, but the standardiser was fit on 2"):
        standard(torch.ones(1, 3))
    with pytest.raises(ValueError, match="must be a matrix"):
        Standardiser.fit(torch.ones(3))
    with pytest.raises(ValueError, match="present must be bool"):
        Standardiser.fit(torch.ones(3, 2), torch.tensor([0, 1, 2]))
