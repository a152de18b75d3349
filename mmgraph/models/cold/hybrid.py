"""Hybrid: what co-watching says of known videos and what content says of all, weighed by imitating new videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.models.base import ALL, Embeddings, Rows, pad_rows
from mmgraph.models.clicks import ReadsClicks
from mmgraph.models.closed.ease import EASE
from mmgraph.models.closed.linear import LinearItemModel, clicks_of, interaction_matrix, ridge_map, sparse_clicks
from mmgraph.models.cold.content_mean import ContentMean
from mmgraph.models.cold.imitation import fit_weights, imitate
from mmgraph.ops import CSR

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

PARTS = ("watched", "carried", "together", "popular", "age", "new")
PRIOR = (0.5, 0.5, 0.5, 0.0, 0.0, 0.0)  # what the weights are without a click to learn them from


class Hybrid(ReadsClicks, LinearItemModel):
    """Where to start: content and co-watching on one scale, weighed by how they rank videos held back as if new.

    ŷ_uv = a_1 z(c_uv) + a_2 z(r_uv) + a_3 γ_v asinh z(e_uv) + a_4 p_v + a_5 t_v + (a_6 + b) [d_v = 0],

    - c the cosine of v's content x_v with the content that u watched (:class:`ContentMean`);
    - e the scores of :class:`EASE`, over the videos that somebody watched; γ_v = d_v / (d_v + κ), d_v how often; where
      few clicks make few scores stand far out, asinh tells them apart as logarithms do;
    - r = e carried over to content, x_vᵀ (XᵀX + λI)^-1 Xᵀ z(e_u), X the known videos' content, centred: the ridge
      regression of a user's co-watching scores on content, so that a new video gets the score that known videos like
      it have;
    - p the logarithm of d_v, t the logarithm of the days since v was first watched (0 where no times are known), both
      standardised over the known videos and 0 for new ones;
    - z(·) a user's scores less their mean over their deviation.

    The weights a are learned by imitation: the clicks of the last ``late`` share of the time (of a random share, where
    there are no times) are held back, and with them every click on a random share ``hide`` of the videos, which are
    new to the parts then; a minimises −Σ ln softmax of the clicks held back over the known videos, little data leaving
    it near a plain mean. The parts are then formed anew from everything. No step is taken on batches, nothing is random
    but by ``seed``; people who came after, and videos added by ``graph.with_videos``, are ranked at once.

    A video that is not out yet counts as new too, and clicks say that nobody watches it; b is yours, to show more of
    the new videos or fewer than what predicts the next clicks best. Memory: that of EASE, a dense [V, V].

    Args:
        graph: gives V and the features' widths.
        modalities: which; all of the graph's by default. Without any the parts of content are 0.
        weights: modality -> factor on its content.
        reg: of EASE.
        ridge: λ, in units of the mean of ‖x_v‖².
        known: κ.
        half_life: days in which a click loses half its weight in its user's row, where times are known; None keeps all.
        novelty: b.
        hide, late: as above.
        seed: of what is hidden.
    """

    together: EASE
    carry: Tensor
    mean: Tensor
    about: Tensor
    mix: Tensor

    def __init__(
        self,
        graph: MultimodalGraph,
        *,
        modalities: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        reg: float = 100.0,
        ridge: float = 10.0,
        known: float = 10.0,
        half_life: float | None = None,
        novelty: float = 0.0,
        hide: float = 0.1,
        late: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(graph)
        self.ridge, self.known, self.novelty, self.half_life = ridge, known, novelty, half_life
        self.hide, self.late, self.seed = hide, late, seed
        read = graph.modalities if modalities is None else modalities
        self.content = ContentMean(graph, modalities=read, weights=weights) if read else None
        self.together = EASE(graph, reg=reg)
        width = sum(self.content.content.dims.values()) if self.content else 0
        self.register_buffer("carry", torch.zeros(graph.num_videos, width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("about", torch.zeros(graph.num_videos, 3))  # d_v, p_v, t_v
        self.register_buffer("mix", torch.tensor(PRIOR))

    def solve(self, graph: MultimodalGraph) -> None:
        """The parts from what an imitation leaves, the weights from what it holds back, the parts from everything."""
        if self.content:
            self.content.solve(graph)
        held = imitate(graph, self.hide, self.late, self.seed)
        self._solve_parts(held.graph)
        self.mix.copy_(fit_weights(held, lambda users: self._parts(self.encode(held.graph), users), self.mix))
        self._solve_parts(graph)
        self.solved.fill_(True)

    def _solve_parts(self, graph: MultimodalGraph) -> None:
        self.together.solve(graph)
        self.about.copy_(_about(graph))
        content, warm = self._content(graph), self.about[:, 0] > 0
        rows = content[warm]
        self.mean.copy_(rows.mean(0) if len(rows) else self.mean.zero_())
        self.carry.zero_()
        self.carry[warm] = ridge_map(rows - self.mean, self.ridge).T

    def _content(self, graph: MultimodalGraph) -> Tensor:
        """Unit rows [V, ΣD_m]; of no width without features."""
        return self.content.encode(graph).video if self.content else self.mean.new_zeros(graph.num_videos, 0)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """user: X, CSR [U, V] (or rows of it, dense); video: content, unit rows, and d, p, t: [V, ΣD_m + 3]."""
        content = self._content(graph)
        video = torch.cat([content, pad_rows(self.about, graph.num_videos)], 1)
        clicks = interaction_matrix(graph) if self.half_life is None else _fading(graph, self.half_life)
        user = clicks if rows.user is None else clicks.select(rows.user)[0].dense()
        return Embeddings(user, rows.of_videos(video))  # type: ignore[arg-type]

    def of_clicks(self, graph: MultimodalGraph, clicks: CSR) -> Embeddings:
        """The clicks themselves are the row, all of one weight: exact, the scores of a known user of these clicks."""
        video = self.encode(graph).video
        return Embeddings(clicks.dense().clamp(max=1.0).to(video), video)

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """[B, V], or its columns ``videos`` [B, N]."""
        mix = self.mix.clone()
        mix[-1] += self.novelty
        first, *others = (weight * part for weight, part in zip(mix, self._parts(emb, users), strict=True))
        scores = sum(others, first)
        return scores if videos is None else scores.gather(1, videos)

    def _parts(self, emb: Embeddings, users: Tensor) -> list[Tensor]:
        """What the weights are of, in the order of ``PARTS``: [B, V], or [V] where all users share it."""
        content, (degree, popular, age) = emb.video[:, :-3], emb.video[:, -3:].T
        clicks, trained = clicks_of(emb, users).to(content), len(self.carry)
        warm = degree > 0
        near = sparse_clicks(clicks[:, :trained])
        rows = torch.arange(len(clicks), device=clicks.device)
        together = self.together.score(Embeddings(near, self.together.videos()), rows)  # type: ignore[arg-type]
        together = _scaled(together, warm[:trained]) * warm[:trained]
        carried = together @ self.carry @ (content - self.mean).T
        together = F.pad(together.asinh(), (0, len(warm) - trained)) * (degree / (degree + self.known))
        watched = F.normalize(clicks @ content, dim=1) @ content.T
        every = torch.ones_like(degree)
        return [_scaled(watched, every), _scaled(carried, every), together, popular, age, (~warm).to(content)]


def _fading(graph: MultimodalGraph, half_life: float) -> CSR:
    """X [U, V], a click worth 0.5^(its age/half-life), the newest of the graph 1; of repeated ones the last counts."""
    user, video = graph.interactions()
    store, shape = graph["user", "interacts", "video"], (graph.num_users, graph.num_videos)
    if "time" not in store or not len(user):
        return interaction_matrix(graph)
    weight = 0.5 ** ((store.time.double().max() - store.time.double()) / (86_400 * half_life))
    key, at = torch.unique(user * shape[1] + video, return_inverse=True)
    last = torch.zeros(len(key), dtype=weight.dtype, device=weight.device).scatter_reduce_(0, at, weight, "amax")
    return CSR.from_edges(key // shape[1], key % shape[1], shape, last.float())


def _about(graph: MultimodalGraph) -> Tensor:
    """[V, 3]: clicks d, their logarithm and that of the days since the first, standardised over the known; else 0."""
    _, video = graph.interactions()
    degree = graph.seen.transpose().degree().float()
    warm = degree > 0
    store, age = graph["user", "interacts", "video"], torch.zeros_like(degree)
    if "time" in store and len(video):
        time = store.time.double()
        first = time.max().expand(len(degree)).clone().scatter_reduce_(0, video, time, "amin")
        age = ((time.max() - first) / 86_400).log1p().float()
    popular, age = (_scaled(x.unsqueeze(0), warm)[0] * warm for x in (degree.clamp_min(1).log(), age))
    return torch.stack([degree, popular, age], 1)


def _scaled(scores: Tensor, among: Tensor) -> Tensor:
    """(s − mean)/deviation of each row, both over the columns ``among`` [V]; 0 in a row that does not vary there."""
    weight = among.to(scores)
    count = weight.sum().clamp_min(1)
    centred = scores - (scores @ weight).unsqueeze(1) / count
    spread = ((centred.square() @ weight) / count).sqrt().unsqueeze(1)
    return torch.where(spread > 1e-6, centred / spread.clamp_min(1e-6), 0.0)
