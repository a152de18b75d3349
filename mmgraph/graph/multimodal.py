"""The heterogeneous graph of users, videos and modality nodes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from mmgraph.data.dataset import Features
from mmgraph.graph import growing
from mmgraph.graph.events import INTERACTS, Histories, OrderedEvents, histories, order_events
from mmgraph.graph.matrices import EdgeType, listed, related, stacked
from mmgraph.ops import CSR, checks
from mmgraph.ops.csr import Norm

T = TypeVar("T")

# Beginning of a relation's name -> the transform that adds such edges; for errors.
MADE_BY = {
    "similar_agree": 'JoinKNN("agree", "agree")',
    "similar_fused": "JoinKNN()",
    "similar_": "ModalityKNN",
    "co_watched": "UserCoInteraction",
    "watched_with": "VideoCoInteraction",
    "walked": "RandomWalkNeighbours",
    "view_": "EdgeViews, an epoch transform,",
}


class MultimodalGraph(HeteroData):
    """A PyG ``HeteroData`` of users, videos and modality nodes, with what a recommender needs.

    Node types: ``user`` [U], ``video`` [V], one per modality (``visual``, ``audio``, ``text``, ``generation``, …)
    with features ``x`` [n, D], and any entity type (``tag``, ``category``, …). Edge types:

    - ``(user, interacts, video)`` with ``edge_index`` [2, E] and, where the data has them, ``time`` [E]
      (UTC seconds), ``weight`` [E] and signals such as ``like`` [E];
    - ``(video, has, <modality>)``: a missing modality is a missing edge;
    - ``(user, exposed, video)``: what was shown, chosen or not, with ``position``, ``propensity``, … where known;
    - ``(video, belongs_to, <entity>)``; ``(video, similar_<modality>, video)`` once ``ModalityKNN`` ran;
    - ``rev_…`` of each of the first three, for PyG layers.

    Make one with :func:`mmgraph.graph.build_graph`. Treat it as a value: transforms and ``with_…`` return a new
    graph. Derived matrices are cached under the tensors they came from, so replacing or writing to a
    tensor never gives a stale one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        vars(self)["_derived"] = {}

    def __copy__(self) -> MultimodalGraph:
        out = super().__copy__()
        vars(out)["_derived"] = dict(vars(self)["_derived"])
        return out

    def __deepcopy__(self, memo: dict[int, Any]) -> MultimodalGraph:
        bare = copy.copy(self)
        vars(bare)["_derived"] = {}
        return super(MultimodalGraph, bare).__deepcopy__(memo)

    def _cached(self, name: tuple, sources: Sequence[Tensor], make: Callable[[], T]) -> T:
        versions = tuple((id(t), t._version) for t in sources)
        hit = vars(self)["_derived"].get(name)
        if hit is None or hit[0] != versions:
            hit = (versions, tuple(sources), make())  # holding the sources keeps their ids from being reused
            vars(self)["_derived"][name] = hit
        return hit[2]

    @property
    def num_users(self) -> int:
        """U, the number of users."""
        return int(self["user"].num_nodes)

    @property
    def num_videos(self) -> int:
        """V, the number of videos."""
        return int(self["video"].num_nodes)

    @property
    def modalities(self) -> list[str]:
        """The node types that ``has`` edges lead to, in the order they were added."""
        return [t for _, relation, t in self.edge_types if relation == "has"]

    @property
    def entity_types(self) -> list[str]:
        """The node types that ``belongs_to`` edges lead to."""
        return [t for _, relation, t in self.edge_types if relation == "belongs_to"]

    @property
    def feature_dims(self) -> dict[str, int]:
        """Width of each modality's features."""
        return {m: int(self[m].x.shape[1]) for m in self.modalities}

    def features(self, modality: str) -> Features:
        """The features of one modality, one row a video: values [V, D] (zero where absent), present [V].

        Raises:
            KeyError: the graph has no such modality.
        """
        if modality not in self.modalities:
            raise KeyError(f"no modality {modality!r} in this graph; it has {self.modalities}")
        x, edges = self[modality].x, self["video", "has", modality].edge_index

        def make() -> Features:
            values = x.new_zeros(self.num_videos, x.shape[1])
            values[edges[0]] = x[edges[1]]
            present = torch.zeros(self.num_videos, dtype=torch.bool, device=x.device)
            present[edges[0]] = True
            return Features(values, present)

        return self._cached(("features", modality, self.num_videos), (x, edges), make)

    def interactions(self) -> tuple[Tensor, Tensor]:
        """Rows of the users [E] and videos [E] of the ``interacts`` edges."""
        edges = self[INTERACTS].edge_index
        return edges[0], edges[1]

    @property
    def seen(self) -> CSR:
        """The videos each user interacted with, as a CSR [U, V] of ones: what a ranking masks."""
        edges = self[INTERACTS].edge_index
        shape = (self.num_users, self.num_videos)
        return self._cached(("seen", *shape), (edges,), lambda: CSR.from_edges(edges[0], edges[1], shape))

    def ordered_events(self) -> OrderedEvents:
        """The ``interacts`` edges sorted by (user, time, edge order), cached; see :class:`OrderedEvents`."""
        store = self[INTERACTS]
        time = store.time if "time" in store else None
        sources = [store.edge_index] if time is None else [store.edge_index, time]
        edges = store.edge_index
        return self._cached(
            ("ordered", self.num_users), sources, lambda: order_events(edges[0], edges[1], time, self.num_users)
        )

    def histories(
        self, before: Tensor | float | None = None, max_len: int = 50, users: Tensor | None = None
    ) -> Histories:
        """Each user's last ``max_len`` events before a time, oldest first; see :mod:`mmgraph.graph.events`."""
        return histories(self, before, max_len, users)

    def offsets(self, edge_types: Sequence[EdgeType | str]) -> dict[str, int]:
        """Where each node type starts among the stacked rows of :meth:`adjacency` of these edge types.

        The types are stacked in the graph's own order: users, videos, modalities, entities.
        """
        touched = {t for name in edge_types for t in self._edge_type(name)[::2]}
        offsets, start = {}, 0
        for node_type in self.node_types:
            if node_type in touched:
                offsets[node_type] = start
                start += int(self[node_type].num_nodes)
        return offsets

    def _edge_type(self, name: EdgeType | str) -> EdgeType:
        found = [t for t in self.edge_types if name in (t, t[1])]
        if len(found) != 1:
            relation = name[1] if isinstance(name, tuple) and len(name) == 3 else name if isinstance(name, str) else ""
            maker = next((what for start, what in MADE_BY.items() if str(relation).startswith(start)), "")
            fix = f"; apply {maker} first" if maker and not found else ""
            raise KeyError(f"{name!r} names {len(found)} edge types of this graph; it has {self.edge_types}{fix}")
        return found[0]

    def adjacency(
        self,
        edge_types: Sequence[EdgeType | str] | EdgeType | str = "interacts",
        norm: Norm | None = "sym",
        weighted: bool = True,
    ) -> CSR:
        """The adjacency matrix over the stacked nodes of some edge types, ready for ``ops.spmm``.

        Edges between two types count in both directions; edges within one type (``similar_…``) as they
        are stored: row = target, column = source, so ``A @ x`` sends messages along the edges.

        Args:
            edge_types: one or several, as the triple or, where that is unique, the relation's name.
            norm: ``"sym"`` D_r^-1/2 A D_c^-1/2, ``"row"`` D^-1 A (the mean over neighbours), or None.
                A node without edges gets a row of zeros, never NaN.
            weighted: use the edges' ``weight`` where they have one.

        Returns:
            CSR [N, N], N the sum of the node counts (see :meth:`offsets`); the same object each time.

        Raises:
            KeyError: an edge type the graph does not have.
        """
        types, sources, key = self._adjacency_key(edge_types, norm, weighted)
        return self._cached(key, sources, lambda: stacked(self, types, norm, weighted))

    def with_adjacency(
        self,
        matrix: CSR,
        edge_types: Sequence[EdgeType | str] | EdgeType | str = "interacts",
        norm: Norm | None = "sym",
        weighted: bool = True,
    ) -> MultimodalGraph:
        """A new graph that gives ``matrix`` as its :meth:`adjacency` of these edges: one that was made before, and lies
        on disk or in memory that processes share.

        Raises:
            ValueError: a matrix of another size.
        """
        types, sources, key = self._adjacency_key(edge_types, norm, weighted)
        nodes = sum(int(self[t].num_nodes) for t in self.offsets(types))
        if matrix.shape != (nodes, nodes):
            raise ValueError(f"these edges are over {nodes} nodes, but the matrix is {list(matrix.shape)}")
        out = copy.copy(self)
        vars(out)["_derived"].pop(key, None)
        out._cached(key, sources, lambda: matrix)
        return out

    def _adjacency_key(
        self, edge_types: Sequence[EdgeType | str] | EdgeType | str, norm: Norm | None, weighted: bool
    ) -> tuple[list[EdgeType], list[Tensor], tuple]:
        """The edge types' triples, the tensors that the matrix comes from, and the name it is cached under."""
        types = [self._edge_type(name) for name in listed(edge_types)]
        if not types:
            raise ValueError("edge_types is empty: name at least one")
        checks.word(norm, "norm", ("sym", "row", None))
        stores = [self[t] for t in types]
        sources = [s.edge_index for s in stores] + [s.weight for s in stores if weighted and "weight" in s]
        counts = tuple(int(self[t].num_nodes) for t in self.node_types)
        return types, sources, ("adjacency", tuple(types), norm, weighted, counts)

    def relation(self, edge_type: EdgeType | str, norm: Norm | None = "sym", weighted: bool = True) -> CSR:
        """One edge type as a rectangular CSR [n_target, n_source]: row = target, column = source.

        Args:
            edge_type: the triple or, where that is unique, the relation's name.
            norm: ``"sym"`` divides by sqrt(|N(target)| |N(source)|), ``"row"`` by |N(target)|; None leaves the weights.
            weighted: use the edges' ``weight`` where they have one.

        Its transpose (``.transpose()``) is the reverse relation with the same coefficients.
        """
        kind = self._edge_type(edge_type)
        checks.word(norm, "norm", ("sym", "row", None))
        store = self[kind]
        weight = store.weight if weighted and "weight" in store else None
        shape = (int(self[kind[2]].num_nodes), int(self[kind[0]].num_nodes))
        sources = [store.edge_index] if weight is None else [store.edge_index, weight]

        return self._cached(
            ("relation", kind, norm, weighted, shape), sources, lambda: related(store, shape, norm, weight)
        )

    def node_of(self, modality: str) -> Tensor:
        """The modality node of each video, [V] int64; -1 for a video without."""
        edges = self["video", "has", modality].edge_index

        def make() -> Tensor:
            return edges.new_full((self.num_videos,), -1).index_copy_(0, edges[0], edges[1])

        return self._cached(("node_of", modality, self.num_videos), (edges,), make)

    def with_interactions(
        self,
        user: Tensor,
        video: Tensor,
        time: Tensor | None = None,
        weight: Tensor | None = None,
        signals: Mapping[str, Tensor] | None = None,
    ) -> MultimodalGraph:
        """A new graph with further ``interacts`` edges (streaming); this one is unchanged.

        Args:
            user, video: rows [n] int64.
            time: [n] UTC seconds, needed when the graph's edges have times.
            weight: [n], 1 where left out and the graph's edges have weights.
            signals: name -> [n], NaN where left out and the graph's edges have that signal.

        Raises:
            KeyError: a signal that the graph's edges do not have.
            TypeError: rows that are not whole numbers, or no numbers beside them.
            ValueError: rows out of range, lengths that differ, or a time left out.
        """
        return growing.with_interactions(self, user, video, time, weight, signals)

    def with_videos(self, features: Mapping[str, Features], count: int | None = None) -> MultimodalGraph:
        """A new graph with ``n`` further videos at rows V, V+1, …: no user edge, their modalities' ``has`` edges.

        Args:
            features: modality -> ``Features`` of the new videos, values [n, D] and present [n].
            count: n, needed only when ``features`` is empty.

        Raises:
            KeyError: a modality the graph does not have.
            ValueError: matrices of differing length, or a width other than the graph's.
        """
        return growing.with_videos(self, features, count)
