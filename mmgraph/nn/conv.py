"""Graph convolutions: modules that hold weights and call ``ops.spmm``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.ops import CSR, checks, spmm


class RelationConv(nn.Module):
    """Sum over relations of linear messages: out_v = W_0 x_v + Σ_r Σ_{u∈N_r(v)} a_vu^r W_r x_u.

    The linear map commutes with the sum over neighbours, so it is applied to the aggregated rows: only the rows
    asked for are multiplied. A node with no edge gets W_0 x_v alone (0 without ``self_loop``), never NaN.

    Args:
        in_dim, out_dim: widths.
        relations: names; each has its own W_r (Xavier uniform, no bias).
        self_loop: whether there is a W_0.
    """

    def __init__(self, in_dim: int, out_dim: int, relations: list[str], self_loop: bool = False) -> None:
        super().__init__()
        self.weight = nn.ParameterDict({r: nn.init.xavier_uniform_(torch.empty(in_dim, out_dim)) for r in relations})
        self.loop = nn.init.xavier_uniform_(nn.Parameter(torch.empty(in_dim, out_dim))) if self_loop else None

    def forward(
        self,
        x: Mapping[str, Tensor],
        adjacency: Mapping[str, CSR],
        own: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """One target node type's new states.

        Args:
            x: relation -> states of its sources [n_src, in_dim].
            adjacency: relation -> CSR [n_target, n_src] of the coefficients a_vu.
            own: the target nodes' states [n_target, in_dim] (with ``rows``: of those rows), for ``self_loop``.
            rows: target rows to compute; all when None.

        Returns:
            [n_target, out_dim] or [len(rows), out_dim].
        """
        near = [(spmm(a, x[r], rows=rows), self.weight[r]) for r, a in adjacency.items()]
        if self.loop is not None and own is not None:
            near.append((own, self.loop))
        out = near[0][0] @ near[0][1]
        for states, weight in near[1:]:
            out = torch.addmm(out, states, weight)
        return out


class ModalityConv(nn.Module):
    """One MMGCN layer on one modality's graph.

    h = LReLU(mean_{j∈N(i)} W_1 x_j);  x̂ = LReLU(W_2 x_i + b_2) + id_i;  x' = LReLU(W_3 h + b_3 + x̂), or with
    ``concat`` LReLU(W_3 [h ‖ x̂] + b_3). Wei et al., "MMGCN", ACM MM 2019, https://doi.org/10.1145/3343031.3351034.

    Args:
        in_dim, out_dim: widths of x and of x' (id has ``out_dim``).
        concat: combine by concatenation instead of addition.
    """

    def __init__(self, in_dim: int, out_dim: int, concat: bool = False) -> None:
        super().__init__()
        checks.count(in_dim, "in_dim")
        checks.count(out_dim, "out_dim")
        self.concat = concat
        self.conv = RelationConv(in_dim, in_dim, ["interacts"])
        self.own = nn.Linear(in_dim, out_dim)
        self.combine = nn.Linear(in_dim + out_dim if concat else in_dim, out_dim)
        for linear in (self.own, self.combine):
            nn.init.xavier_normal_(linear.weight)

    def forward(self, x: Tensor, identity: Tensor, adjacency: CSR, rows: Tensor | None = None) -> Tensor:
        """New states [N, out_dim], or [len(rows), out_dim].

        Args:
            x: states of all nodes, [N, in_dim].
            identity: id embeddings of all nodes, [N, out_dim].
            adjacency: CSR [N, N], rows normalised (mean over neighbours).
            rows: nodes to compute; all when None.
        """
        h = F.leaky_relu(self.conv({"interacts": x}, {"interacts": adjacency}, rows=rows), inplace=True)
        at, own_id = (x, identity) if rows is None else (F.embedding(rows, x), F.embedding(rows, identity))
        own = F.leaky_relu(self.own(at), inplace=True) + own_id
        if self.concat:
            return F.leaky_relu(self.combine(torch.cat([h, own], -1)), inplace=True)
        return F.leaky_relu(self.combine(h).add_(own), inplace=True)
