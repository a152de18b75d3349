"""Leading eigenvectors against a dense eigendecomposition."""

from __future__ import annotations

import pytest
import torch

from mmgraph.nn.eigen import leading_eigenvectors


def spectrum(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A symmetric matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator)).Q
    return axes @ torch.diag(values) @ axes.T


def start(size: int, width: int) -> torch.Tensor:
    return torch.randn(size, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("top", [1.0, 300.0])
def test_vectors_of_a_crowded_spectrum_are_those_of_a_dense_decomposition(top):
    values = torch.cat([torch.tensor([top]), torch.linspace(0.5, 0.0, 399)])  # neighbours differ by 0.3 %
    matrix = spectrum(values)
    products = 0

    def apply(x: torch.Tensor) -> torch.Tensor:
        nonlocal products
        products += 1
        return matrix @ x

    found = leading_eigenvectors(apply, start(400, 72), 40, tolerance=1e-4 / top)
    exact = torch.linalg.eigh(matrix).eigenvectors.flip(1)[:, :40]
    assert torch.allclose(found.T @ found, torch.eye(40), atol=1e-4)
    assert (exact.T @ found).pow(2).sum() > 39.9
    got = torch.linalg.vecdot(found, matrix @ found, dim=0)
    assert torch.allclose(got, values[:40], atol=2e-4 * top)
    assert products < 120
    if top == 1:  # as many plain products leave more of the last vectors out
        plain = start(400, 72)
        for _ in range(products):
            plain = torch.linalg.qr(matrix @ plain).Q
        plain = plain @ torch.linalg.eigh(plain.T @ matrix @ plain).eigenvectors.flip(1)
        assert 40 - (exact.T @ found).pow(2).sum() < (40 - (exact.T @ plain[:, :40]).pow(2).sum()) / 5


def test_a_whole_space_an_empty_operator_and_a_low_rank_are_no_trouble():
    matrix = spectrum(torch.tensor([3.0, 2.0, 1.0, 0.5]))
    whole = leading_eigenvectors(lambda x: matrix @ x, start(4, 4), 4)
    assert torch.allclose(whole @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5])) @ whole.T, matrix, atol=1e-5)
    nothing = leading_eigenvectors(lambda x: 0 * x, start(6, 3), 2)
    assert torch.isfinite(nothing).all()
    thin = spectrum(torch.tensor([1.0, 0.5] + [0.0] * 18))
    found = leading_eigenvectors(lambda x: thin @ x, start(20, 8), 2)
    assert torch.allclose(found @ torch.diag(torch.tensor([1.0, 0.5])) @ found.T, thin, atol=1e-5)
