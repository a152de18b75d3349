"""The heterogeneous graph of users, videos and modality nodes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from mmgraph.data.dataset import Features
from mmgraph.graph.events import Histories, OrderedEvents, histories, order_events
from mmgraph.ops import CSR, checks
from mmgraph.ops.csr import Norm

EdgeType = tuple[str, str, str]
T = TypeVar("T")

INTERACTS: EdgeType = ("user", "interacts", "video")
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
        stores = [self[t] for t in types]

        def make() -> CSR:
            offsets = self.offsets(types)
            total = sum(int(self[t].num_nodes) for t in offsets)
            any_weight = weighted and any("weight" in s for s in stores)
            rows, cols, weights = [], [], []
            for (source, _, target), store in zip(types, stores, strict=True):
                col, row = store.edge_index[0] + offsets[source], store.edge_index[1] + offsets[target]
                weight = store.weight if "weight" in store and weighted else torch.ones_like(row, dtype=torch.float)
                both = source != target
                rows += [row, col] if both else [row]
                cols += [col, row] if both else [col]
                weights += [weight, weight] if both else [weight]
            symmetric = norm != "row" and all(s != t for s, _, t in types)
            values = torch.cat(weights) if any_weight else None
            raw = CSR.from_edges(torch.cat(rows), torch.cat(cols), (total, total), values, symmetric=symmetric)
            return raw.normalized(norm) if norm else raw

        return self._cached(key, sources, make)

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
        types = [self._edge_type(name) for name in _listed(edge_types)]
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

        def make() -> CSR:
            raw = CSR.from_edges(store.edge_index[1], store.edge_index[0], shape, weight)
            return raw.normalized(norm) if norm else raw

        return self._cached(("relation", kind, norm, weighted, shape), sources, make)

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
        old = self[INTERACTS]
        user = checks.rows(user, self.num_users, "user", like=old.edge_index)
        video = checks.rows(video, self.num_videos, "video", like=old.edge_index)
        if user.shape != video.shape:
            raise ValueError(f"user {list(user.shape)} and video {list(video.shape)} must both be [n]")
        if "time" in old and time is None:
            raise ValueError("this graph's edges have times: give `time` (UTC seconds) for the new ones")
        out = copy.copy(self)
        store = out[INTERACTS]
        store.edge_index = torch.cat([old.edge_index, torch.stack([user, video])], 1)
        if "time" in old and time is not None:
            new = _beside(time, user, "time")
            if bool(new.isnan().any()):
                raise ValueError("time must be seconds, got NaN")
            store.time = torch.cat([old.time, new.to(old.time)])
        if "weight" in old:
            new = torch.ones(len(user)) if weight is None else _beside(weight, user, "weight")
            store.weight = torch.cat([old.weight, new.to(old.weight)])
        given = {} if signals is None else signals
        known = [key for key in old if key not in ("edge_index", "time", "weight")]
        for name in given.keys() - set(known):
            raise KeyError(f"no signal {name!r} on this graph's interactions; there are {known}")
        for name in known:
            new = _beside(given.get(name, torch.full((len(user),), torch.nan)), user, f"signals[{name!r}]")
            store[name] = torch.cat([old[name].float(), new.to(old[name].device).float()])
        out["video", "rev_interacts", "user"].edge_index = store.edge_index.flip(0)
        return out

    def with_videos(self, features: Mapping[str, Features], count: int | None = None) -> MultimodalGraph:
        """A new graph with ``n`` further videos at rows V, V+1, …: no user edge, their modalities' ``has`` edges.

        Args:
            features: modality -> ``Features`` of the new videos, values [n, D] and present [n].
            count: n, needed only when ``features`` is empty.

        Raises:
            KeyError: a modality the graph does not have.
            ValueError: matrices of differing length, or a width other than the graph's.
        """
        if count is not None:
            checks.count(count, "count", 0)
        sizes = {m: len(f.values) for m, f in features.items()}
        n = count if count is not None else next(iter(sizes.values()), 0)
        if any(size != n for size in sizes.values()):
            raise ValueError(f"features of {n} new videos expected, got rows {sizes}")
        out = copy.copy(self)
        start = self.num_videos
        out["video"].num_nodes = start + n
        for modality, new in features.items():
            if modality not in self.modalities:
                raise KeyError(f"no modality {modality!r} in this graph; it has {self.modalities}")
            node, link = self[modality], self["video", "has", modality].edge_index
            if new.values.shape[1] != node.x.shape[1]:
                raise ValueError(f"{modality}: width {new.values.shape[1]}, but the graph's is {node.x.shape[1]}")
            present = checks.flags(new.present, n, f"features[{modality!r}].present")
            rows = present.nonzero().flatten()
            ids = torch.arange(len(rows), device=link.device) + node.x.shape[0]
            out[modality].x = torch.cat([node.x, new.values[rows].to(node.x)])
            edges = torch.cat([link, torch.stack([rows.to(link.device) + start, ids])], 1)
            out["video", "has", modality].edge_index = edges
            out[modality, "rev_has", "video"].edge_index = edges.flip(0)
        return out


def _beside(values: Any, rows: Tensor, name: str) -> Tensor:
    """One real number for each row."""
    if not isinstance(values, Tensor) or values.is_complex():
        raise TypeError(f"{name} must be a tensor of numbers, got {values!r}")
    if values.shape != rows.shape:
        raise ValueError(f"{name} must be [{len(rows)}], one for each of user, got {list(values.shape)}")
    return values.to(rows.device)


def _listed(edge_types: Sequence[EdgeType | str] | EdgeType | str) -> list[EdgeType | str]:
    """One edge type, as a name or a triple of names, or several of them: as a list."""
    if isinstance(edge_types, str):
        return [edge_types]
    if not isinstance(edge_types, Iterable):
        raise TypeError(f"edge_types must be a name or a list of names, got {edge_types!r}")
    edge_types = list(edge_types)
    if len(edge_types) == 3 and edge_types[0] in ("user", "video"):
        source, relation, target = map(str, edge_types)
        return [(source, relation, target)]
    return list(edge_types)
