"""Several modalities of one thing become one row: gates and softmax weights, over what is present."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgraph.nn.projection import FeatureLinear
from mmgraph.ops import CSR, spmm

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph


def present_softmax(scores: Tensor, present: Tensor) -> Tensor:
    """Softmax over the last axis of ``scores`` [n, M] where ``present`` [n, M]; 0 elsewhere, and in rows of nothing."""
    weights = scores.masked_fill(~present, -torch.inf).softmax(-1)
    return weights.masked_fill(~present, 0.0)  # also the NaN of a row of nothing


def present_weights(weight: Tensor | None, present: Tensor) -> Tensor:
    """A softmax of one scalar a modality, ``weight`` [M], over those a node has: [n, M] of presence [n, M].

    Of a single modality, which needs no weight, it is 1 where that is present.
    """
    scores = torch.zeros(present.shape[1], device=present.device) if weight is None else weight
    return present_softmax(scores.expand(len(present), -1), present)


class SoftmaxFusion(nn.Module):
    """Weights each modality of a node: α_m = softmax_m( qᵀ tanh(W h_m + b) ) over those present; Σ_m α_m h_m.

    Args:
        dim: width of h.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.query = nn.Linear(dim, 1, bias=False)

    def forward(self, views: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """[n, dim] from views [n, dim] and their presence, bool [n]; 0 where nothing is present."""
        scores = torch.cat([self.query(torch.tanh(self.hidden(h))) for h in views.values()], 1)
        weights = present_softmax(scores, torch.stack([present[m] for m in views], 1))
        return torch.stack([weights[:, i : i + 1] * h for i, h in enumerate(views.values())]).sum(0)


class ModalityAttention(nn.Module):
    """Each modality of a node looks at the others: multi-head attention over those present, heads concatenated.

    z_m = W [‖_h Σ_n softmax_n( (Q h_m)_hᵀ (K h_n)_h / sqrt(D/H) ) h_n ], then the mean of z_m over those present.
    MMSSL's dependency between modalities (WWW 2023, https://arxiv.org/abs/2302.10632), whose values are h_n itself; its
    public code overwrites K by Q.

    Args:
        dim: D, a multiple of ``num_heads``.
        num_heads: H.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} must be a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.query, self.key = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.join = nn.Linear(num_heads * dim, dim, bias=False)

    def forward(self, views: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """[n, dim] from views [n, dim] and their presence, bool [n]; 0 where nothing is present."""
        h, here = torch.stack(list(views.values()), 1), torch.stack([present[m] for m in views], 1)  # [n, M, dim]
        q, k = (layer(h).unflatten(2, (self.num_heads, -1)) for layer in (self.query, self.key))
        logits = torch.einsum("nahd,nbhd->nhab", q, k) / q.shape[-1] ** 0.5
        weights = present_softmax(logits, here[:, None, None].expand_as(logits))
        seen = torch.einsum("nhab,nbd->nahd", weights, h.to(weights.dtype)).flatten(2)
        count = here.sum(1, keepdim=True).clamp_min(1)
        return (self.join(seen) * here.unsqueeze(2)).sum(1) / count


class Purifier(nn.Module):
    """What a video's content says, seen through its id: id ⊙ σ(G P f), 0 where the modality is absent.

    MGCN's behaviour-guided purifier (Yu et al., ACM MM 2023, https://arxiv.org/abs/2308.03588).

    Args:
        in_dim: width of f.
        dim: width of the id.
        modality: whose f, for errors.
    """

    def __init__(self, in_dim: int, dim: int, modality: str = "content") -> None:
        super().__init__()
        self.project, self.gate = FeatureLinear(modality, in_dim, dim), nn.Linear(dim, dim)

    def forward(self, identity: Tensor, features: Tensor, present: Tensor) -> Tensor:
        """[V, dim] of ids [V, dim], features [V, in_dim] and presence, bool [V]."""
        return self.gated(identity, self.project(features), present)

    def gated(self, identity: Tensor, content: Tensor, present: Tensor) -> Tensor:
        """The same of content that is projected already, [V, dim]."""
        return identity * torch.sigmoid(self.gate(content)) * present.unsqueeze(1)


def similar(graph: MultimodalGraph, name: str) -> CSR:
    """The ``similar_<name>`` edges, CSR [V, V], weights as the transform normalised them.

    Raises:
        ValueError: the graph has none; the message names the transform.
    """
    if ("video", f"similar_{name}", "video") not in graph.edge_types:
        raise ValueError(f"'similar_{name}' edges are read, which this graph lacks: apply ModalityKNN or JoinKNN first")
    return graph.relation(("video", f"similar_{name}", "video"), norm=None)


def from_alike(graph: MultimodalGraph, names: Sequence[str], x: Tensor, rows: Tensor | None = None) -> Tensor:
    """Σ_m S_m x over the ``similar_<m>`` edges of some modalities, [V, D], or ``rows`` of it."""
    return torch.stack([spmm(similar(graph, m), x, rows=rows) for m in names]).sum(0)


def like_minded(graph: MultimodalGraph) -> CSR:
    """The ``co_watched`` edges, CSR [U, U], weights as the transform made them.

    Raises:
        ValueError: the graph has none; the message names the transform.
    """
    if ("user", "co_watched", "user") not in graph.edge_types:
        raise ValueError("'co_watched' edges are read, which this graph lacks: apply UserCoInteraction first")
    return graph.relation("co_watched", norm=None)


def users_of(graph: MultimodalGraph) -> CSR:
    """R̂, what a user gathers from the videos: D_u^-1/2 X D_v^-1/2, CSR [U, V]."""
    return graph.relation(("user", "interacts", "video"), norm="sym").transpose()


def user_presence(graph: MultimodalGraph, present: Tensor, rows: Tensor | None = None) -> Tensor:
    """Which users watched a video that has the modality, bool [U] (or of ``rows``)."""
    return spmm(graph.seen, present.float().unsqueeze(1), rows=rows).squeeze(1) > 0


def node_presence(graph: MultimodalGraph, present: Tensor) -> Tensor:
    """Which users and videos, stacked, a modality says something of, bool [U + V]: its videos and who watched them."""
    return torch.cat([user_presence(graph, present), present])


def unit_spectrum(x: Tensor) -> Tensor:
    """rfft over the width, orthonormal: [n, D] -> complex [n, D // 2 + 1]."""
    return torch.fft.rfft(x.float(), dim=1, norm="ortho")


def from_spectrum(spectrum: Tensor, dim: int) -> Tensor:
    """The inverse of :func:`unit_spectrum`."""
    return torch.fft.irfft(spectrum, n=dim, dim=1, norm="ortho")
