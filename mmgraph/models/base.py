"""What every recommender is."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.config import did_you_mean
from mmgraph.data import Dataset, Split
from mmgraph.graph.samplers import PairBatch, PairSampler, Sampler
from mmgraph.models.fold_in import profile_rows, ridge_users
from mmgraph.models.settings import check_settings
from mmgraph.nn.heads import DotHead, Head
from mmgraph.objectives import BPR, Examples, Objective
from mmgraph.ops import CSR, checks
from mmgraph.ops.csr import Norm

if TYPE_CHECKING:
    from mmgraph.data.dataset import Features
    from mmgraph.graph.events import Histories
    from mmgraph.graph.multimodal import MultimodalGraph


class Embeddings(NamedTuple):
    """What a model makes of a graph; a value, never cached on a module. user [U, D], video [V, D]."""

    user: Tensor
    video: Tensor


class Rows(NamedTuple):
    """Which rows to compute: user [B_u] and video [B_v], int64; None means all of them, in their order.

    A model reads its tables through this value, so that it need not know whether it was asked for everything.
    """

    user: Tensor | None = None
    video: Tensor | None = None

    def of_users(self, table: Tensor) -> Tensor:
        """The wanted rows of a table of users [U, …]."""
        return _take(table, self.user)

    def of_videos(self, table: Tensor) -> Tensor:
        """The wanted rows of a table of videos [V, …]."""
        return (
            table if self.video is None else F.embedding(self.video, table) if table.dim() == 2 else table[self.video]
        )

    def of(self, user: Tensor, video: Tensor) -> Embeddings:
        """The wanted rows of a table of users and one of videos."""
        return Embeddings(self.of_users(user), self.of_videos(video))

    def stacked(self, graph: MultimodalGraph) -> Tensor | None:
        """Rows among the graph's stacked nodes, users first and videos after them; None when all are wanted."""
        if self.user is None and self.video is None:
            return None
        device = (self.user if self.user is not None else self.video).device  # type: ignore[union-attr]
        user = torch.arange(graph.num_users, device=device) if self.user is None else self.user
        video = torch.arange(graph.num_videos, device=device) if self.video is None else self.video
        return torch.cat([user, video + graph.num_users])

    def split(self, graph: MultimodalGraph, stacked: Tensor) -> Embeddings:
        """What was computed at :meth:`stacked` rows (or at all nodes), as users and videos."""
        users = graph.num_users if self.user is None else len(self.user)
        videos = graph.num_videos if self.video is None else len(self.video)
        return Embeddings(stacked[:users], stacked[users : users + videos])


def _take(table: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return table
    # the backward of a look-up is several times as fast as that of an index
    return F.embedding(rows, table) if table.dim() == 2 else table[rows]


ALL = Rows()


class ByColumns(NamedTuple):
    """What lets several processes hold some columns each of a model: between its tables and its head no column meets
    another one.

    Attributes:
        tables: name of each parameter -> the axis that its columns lie on: 1 of a table [n, D], 0 of the weight [D, n]
            of a linear layer into D columns.
        sums: the loss terms that are sums over columns, as an L2 of rows is; all others come from ``head.products``.
        matrices: (edge types, norm) of each :meth:`MultimodalGraph.adjacency` it reads: processes of a machine share
            one copy.
    """

    tables: dict[str, int]
    sums: tuple[str, ...] = ()
    matrices: tuple[tuple[Sequence[Any], Norm | None], ...] = ()


@dataclass(frozen=True, eq=False)
class People:
    """What is known of n people who came after training. Any part may be missing; a model reads what it can.

    Attributes:
        clicks: CSR [n, V], the videos each chose.
        histories: the same in order, with times (:class:`mmgraph.graph.Histories`).
        features: [n, F], profiles in the columns of ``graph["user"].x``.
    """

    clicks: CSR | None = None
    histories: Histories | None = None
    features: Tensor | None = None

    def __len__(self) -> int:
        """n.

        Raises:
            ValueError: nothing is known, or the parts are about different numbers of people.
        """
        parts = {
            "clicks": None if self.clicks is None else self.clicks.shape[0],
            "histories": None if self.histories is None else len(self.histories.length),
            "features": None if self.features is None else len(self.features),
        }
        sizes = {name: size for name, size in parts.items() if size is not None}
        if not sizes or len(set(sizes.values())) > 1:
            raise ValueError(f"people need clicks, histories or features of one number of people; got {sizes}")
        return next(iter(sizes.values()))

    def click_matrix(self, num_videos: int) -> CSR | None:
        """The clicks [n, V]; made from the histories where only those are given; None where there are none.

        Raises:
            ValueError: clicks over another number of videos.
        """
        clicks = self.clicks
        if clicks is None and self.histories is not None:
            person, step = self.histories.mask.nonzero(as_tuple=True)
            clicks = CSR.from_edges(person, self.histories.video[person, step], (len(self), num_videos))
        if clicks is not None and clicks.shape[1] != num_videos:
            raise ValueError(f"clicks over {clicks.shape[1]} videos, but the graph has {num_videos}")
        return clicks

    def clicks_for(self, reader: nn.Module, num_videos: int) -> CSR:
        """The same for a model that reads clicks and nothing else.

        Raises:
            ValueError: no clicks; the message names the model.
        """
        if (clicks := self.click_matrix(num_videos)) is None:
            raise ValueError(f"{type(reader).__name__} reads clicks: a profile alone is not enough")
        return clicks


def _each(names: Any) -> Sequence[Any]:
    return list(names) if isinstance(names, Iterable) else [names]


class Recommender(nn.Module):
    """The contract of every model: ``Model(graph, …)``, then ``encode``, ``score``, ``loss``.

    The constructor reads sizes and feature widths from the graph and keeps no reference to it: the same weights
    encode another graph of the same users and videos (later edges, dropped edges).

    - A trained model gives ``encode``; what its batches are (:meth:`sampler`) and what they cost (:meth:`loss`) follow
      from its objective, and it adds terms of its own by overriding :meth:`loss`.
    - A model with ``closed_form = True`` is fitted by :meth:`solve` alone.
    - A model with ``embeds_content = True`` makes a row of a video nobody has seen out of its content (:meth:`embed`).

    Args:
        head: how a user's and a video's rows become a score; the dot product by default.
        objective: how scores become loss terms; BPR by default.

    Raises:
        ValueError: an objective that this head cannot serve.
    """

    closed_form: ClassVar[bool] = False
    embeds_content: ClassVar[bool] = False
    head: Head
    objective: Objective
    made_with: dict[str, Any]
    _num_users: int

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Checks the arguments after the graph and keeps them as ``made_with``, which :func:`mmgraph.save` writes."""
        out = super().__new__(cls)
        names = list(inspect.signature(cls.__init__).parameters)[1:]  # the first is the graph, where there is one
        given, known = dict(zip(names, args, strict=False)) | kwargs, cls.arguments()
        cls._refuse(names, given, known)
        vars(out)["made_with"] = {name: value for name, value in given.items() if name not in names[:1]}
        vars(out)["_num_users"] = getattr(given.get(names[0]) if names else None, "num_users", 0)
        usual = {name: p.default for name, p in known.items() if p.default is not p.empty}
        check_settings(cls.__name__, out.made_with, usual)
        for name, kind in (("head", Head), ("objective", Objective)):
            value = out.made_with.get(name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{cls.__name__}: {name} must be an instance of {kind.__name__}, got {value!r}")
        wanted = out.made_with.get("modalities")
        if wanted is not None and (isinstance(wanted, str) or not all(isinstance(m, str) for m in _each(wanted))):
            raise TypeError(f"{cls.__name__}: modalities must be a list of names, got {wanted!r}")
        return out

    @classmethod
    def arguments(cls) -> dict[str, inspect.Parameter]:
        """What the class takes after the graph: name -> parameter.

        Where its ``__init__`` ends in ``**more``, the keyword arguments of the base that these are handed to are among
        them. A class that takes anything at all, for no base of its own, has a parameter of kind ``VAR_KEYWORD``.
        """
        out: dict[str, inspect.Parameter] = {}
        for kind in (kind for kind in cls.__mro__ if "__init__" in vars(kind)):
            if kind is Recommender and out:
                break
            given = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
            own = given[1:] if given and given[0].kind is given[0].POSITIONAL_OR_KEYWORD else given
            by_name = [p for p in own if p.kind is p.KEYWORD_ONLY or (not out and p.kind is p.POSITIONAL_OR_KEYWORD)]
            anything = [p for p in own if p.kind is p.VAR_KEYWORD]
            found = {n: p for n, p in out.items() if p.kind is not p.VAR_KEYWORD}
            out = found | {p.name: p for p in (*by_name, *anything) if p.name not in found}
            if not anything:
                break
        return out

    @classmethod
    def _refuse(cls, names: list[str], given: dict[str, Any], known: Mapping[str, inspect.Parameter]) -> None:
        """What is no graph where the graph goes, and a misspelt argument, in words that name the fix."""
        graph = given.get(names[0]) if names else None
        if isinstance(graph, (Split, Dataset)):
            fix = "build_graph(split)" if isinstance(graph, Split) else "build_graph(global_time_split(dataset))"
            raise TypeError(f"{cls.__name__} takes a graph, got a {type(graph).__name__}: give it {fix}")
        if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            for name in given:
                if name not in known and name not in names[:1]:
                    raise TypeError(f"{cls.__name__} has no argument {name!r}{did_you_mean(name, list(known))}")

    def __repr__(self) -> str:
        """The class, the arguments it was made with, and its size; `print(list(model.children()))` shows the layers."""
        told = ", ".join(f"{name}={_short(value)}" for name, value in self.made_with.items())
        return f"{type(self).__name__}({told}): {sum(p.numel() for p in self.parameters()):,} parameters"

    def __init__(self, head: Head | None = None, objective: Objective | None = None) -> None:
        super().__init__()
        self.head = DotHead() if head is None else head
        self.objective = BPR() if objective is None else objective
        self.objective.check(self.head)
        self.memory = self.objective.memory(self._num_users)

    def encode(self, graph: MultimodalGraph, rows: Rows = ALL) -> Embeddings:
        """Embeddings of all users and videos, or of ``rows`` only (the same numbers, less work).

        Args:
            graph: the graph to read.
            rows: rows to compute, in the order wanted back.

        Returns:
            Embeddings: user [U, D] and video [V, D], or [B_u, D] and [B_v, D].
        """
        raise NotImplementedError(f"{type(self).__name__} has no encode()")

    def score(self, emb: Embeddings, users: Tensor, videos: Tensor | None = None) -> Tensor:
        """Scores; higher is better.

        Args:
            emb: what :meth:`encode` gave.
            users: rows of ``emb.user``, [B].
            videos: rows of ``emb.video``, [B, N]; every video when None.

        Returns:
            [B, V], or [B, N] for given videos.
        """
        return self.head(F.embedding(users, emb.user), emb.video if videos is None else F.embedding(videos, emb.video))

    def factors(self, emb: Embeddings) -> Embeddings | None:
        """Rows whose dot products rank every list as :meth:`score` does; None where there are none.

        They are what ``ops.topk`` ranks without forming all scores, and what an index of a serving bundle holds.
        """
        found = self.head.factors(*emb) if type(self).score is Recommender.score else None
        return None if found is None else Embeddings(*found)

    def loss(self, graph: MultimodalGraph, batch) -> dict[str, Tensor]:
        """Named scalar terms of the loss on one batch; the trainer minimises their sum and logs each."""
        rows, at = batch_rows(batch, self.objective)
        return self.ranking_loss(graph, self.encode(graph, rows), rows, at)

    def ranking_loss(self, graph: MultimodalGraph, emb: Embeddings, rows: Rows, at: PairBatch) -> dict[str, Tensor]:
        """The objective's terms on a batch of pairs, and the head's own.

        Args:
            graph: gives how often each video was chosen, which some objectives correct for.
            emb: the embeddings of ``rows``.
            rows, at: as :func:`batch_rows` made them.
        """
        state, own = self.head.draw(emb.user)
        examples = Examples(
            F.embedding(at.user, state),
            emb.video,
            at.positive,
            at.negative,
            at.user if rows.user is None else rows.user[at.user],
            rows.video,
            self.memory,
        )
        return {**self.objective(self.head, examples, graph), **own}

    def by_columns(self) -> ByColumns | None:
        """How the model's columns may be shared out among processes; None where its layers mix them.

        Columns are independent where every layer is a product with a matrix of the graph, as LightGCN's.
        """
        return None

    def sampler(self, graph: MultimodalGraph, batch_size: int) -> Sampler:
        """What this model's batches are: pairs with the negatives that the objective asks for, unless overridden."""
        return PairSampler(graph, batch_size, self.objective.draws)

    def solve(self, graph: MultimodalGraph) -> None:
        """Fits a closed-form model to the graph; the result lies in buffers."""
        raise NotImplementedError(f"{type(self).__name__} has no closed form: train it with mmgraph.fit")

    @property
    def fitted(self) -> bool:
        """False for a closed-form model before :meth:`solve`, whose scores mean nothing."""
        return True

    def embed(self, features: Mapping[str, Features]) -> Tensor:
        """Rows [n, D] of videos never seen, comparable with ``encode(graph).video``; asked where ``embeds_content``.

        Args:
            features: modality -> features of the n videos; any subset of the model's modalities, and within one any
                subset of the videos.

        Raises:
            ValueError: no modality that the model reads, or one of another width.
            NotImplementedError: the model knows videos by their id alone.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no row out of content alone")

    @torch.no_grad()
    def fold_in(self, graph: MultimodalGraph, people: People) -> Embeddings:
        """Users who came after training: their rows [n, D] and all videos' rows, ready for :meth:`score`.

        By default, for models whose scores are dot products of :meth:`factors`:

        - clicks: ridge regression on the frozen videos (:func:`mmgraph.models.ridge_users`);
        - a profile alone: the ridge regression from the known users' profiles to their rows
          (:func:`mmgraph.models.profile_rows`).

        Raises:
            ValueError: the model cannot read what is given; the message says what it reads.
        """
        count, emb = len(people), self.encode(graph)
        factors = self.factors(emb)
        if factors is None or not self.head.compares_rows:
            raise ValueError(
                f"{type(self).__name__} with {type(self.head).__name__} has no closed form for people who came after "
                "training: use a head that compares rows (dot product, cosine), or train with these people"
            )
        clicks = people.click_matrix(graph.num_videos)
        if clicks is not None:
            user = ridge_users(factors.video, clicks)
            known = clicks.degree().to(user.device) > 0
        else:
            user = factors.user.new_zeros(count, factors.user.shape[1])
            known = torch.zeros(count, dtype=torch.bool, device=user.device)
        if people.features is not None and not bool(known.all()):
            user = torch.where(known.unsqueeze(1), user, profile_rows(graph, factors.user, people.features))
        return Embeddings(user, emb.video)


def batch_rows(batch: PairBatch, objective: Objective | None = None) -> tuple[Rows, PairBatch]:
    """The distinct rows of a batch, and the batch with positions in those rows in place of rows.

    So that ``encode(graph, rows)`` computes each row once, however often the batch reads it.

    Args:
        batch: pairs with their negatives, [B, N], or [N] where the batch shares them.
        objective: one that compares with every video makes ``rows.video`` None: all of them, in their order.
    """
    user, user_at = distinct(batch.user)
    if objective is not None and objective.every_video:
        return Rows(user, None), PairBatch(user_at, batch.positive, batch.negative)
    count = len(batch.positive)
    video, video_at = distinct(torch.cat([batch.positive, batch.negative.flatten()]))
    return Rows(user, video), PairBatch(user_at, video_at[:count], video_at[count:].view(batch.negative.shape))


def distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows [n] that a list names, ascending and each once, and the place in them of each that it names."""
    if checks.readable(rows) and rows.numel() and (size := int(rows.max()) + 1) < 2 * rows.numel():
        # a list that names most of a table: marked and counted sooner than sorted
        named = torch.zeros(size, dtype=torch.bool)
        named[rows] = True
        return named.nonzero().flatten(), (named.cumsum(0) - 1)[rows]
    return torch.unique(rows, return_inverse=True)  # pyright: ignore[reportReturnType]


def pad_rows(table: Tensor, count: int) -> Tensor:
    """A table of videos with rows of zeros for those that came after training."""
    return F.pad(table, (0, 0, 0, count - len(table))) if count > len(table) else table


def warm_videos(graph: MultimodalGraph) -> Tensor:
    """Which videos somebody interacted with, bool [V]."""
    return graph.seen.transpose().degree() > 0


def chosen_modalities(graph: MultimodalGraph, wanted: Sequence[str] | None) -> list[str]:
    """The modalities a model works with: those asked for, or all of the graph's.

    Raises:
        ValueError: none, or one that the graph does not have.
    """
    names = known_modalities(graph, wanted)
    if not names:
        raise ValueError(f"modalities {names} asked for, but this graph has {graph.modalities}")
    return names


def known_modalities(graph: MultimodalGraph, wanted: Sequence[str] | None) -> list[str]:
    """The same for a model that can do without any.

    Raises:
        ValueError: one that the graph does not have.
    """
    names = graph.modalities if wanted is None else list(wanted)
    if any(m not in graph.modalities for m in names):
        raise ValueError(f"modalities {names} asked for, but this graph has {graph.modalities}")
    return names


def _short(value: Any) -> str:
    text = f"tensor {list(value.shape)}" if isinstance(value, Tensor) else " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:59] + "…"
