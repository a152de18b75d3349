"""What is called: constructors, ops, graph methods, readers, ranking and training, each with its arguments."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from benchmarks.fuzz.arguments import (
    Domain,
    flags,
    floats,
    generator,
    matrix,
    one_of,
    real,
    rows,
    whole,
    word,
)
from mmgraph import graph as graphs
from mmgraph import losses, models, nn, objectives, ops
from mmgraph.data import Dataset, Features, Vocabulary, global_time_split, random_split, read_csv
from mmgraph.evaluate import EvalConfig, SampledCandidates, evaluate
from mmgraph.features import Standardiser
from mmgraph.graph.multimodal import MultimodalGraph  # before the fork: its import takes seconds
from mmgraph.models.settings import AT_LEAST_ONE, AT_LEAST_ZERO, NOT_NEGATIVE, POSITIVE, SHARE
from mmgraph.recommend import Blocked, Constraint, explain, predict, recommend, similar
from mmgraph.testing import checkerboard, twelve_nodes
from mmgraph.train import Adam, Cosine, FitConfig, StepDecay, fit

N, M, D, E = 10, 7, 4, 6  # rows, columns, width, length of a list of rows


@dataclasses.dataclass(frozen=True)
class Target:
    """A call.

    Attributes:
        name: in the list of cases.
        call: takes the arguments by their names.
        arguments: what each may be.
        reference: what the result must equal, from the same arguments; None where there is none.
        things: further words that a message may call an argument by.
        optional: arguments that are left out half of the time.
    """

    name: str
    call: Callable[..., Any]
    arguments: Mapping[str, Domain]
    reference: Callable[..., Any] | None = None
    things: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    optional: frozenset[str] = frozenset()


def _setting(name: str, none: bool = False) -> Domain | None:
    """What a setting of a model or a layer may be, by its name: one meaning a name, see mmgraph.models.settings."""
    if name == "num_heads":
        return one_of([1, 2], [0, -1, 3, 2.5, True, "2"])
    if name in AT_LEAST_ONE:
        return one_of([4], [0, -1, 2.5, float("nan"), True, "4", [4]]) if "dim" in name else whole(1, 3)
    if name in AT_LEAST_ZERO:
        return whole(0, 2) if name != "num_layers" else one_of([1, 2], [-1, 1.5, True, "2"])
    if name in SHARE:
        return real(0, 0.9, beyond=(-0.1, 1.5))
    if name in POSITIVE:
        return real(0.05, 2, beyond=(0.0, -1.0), none=none)
    return real(0, 0.9, none=none) if name in NOT_NEGATIVE else None


SETTINGS_APART = {
    ("LightGCNPP", "beta"),
    ("XSimGCL", "layer"),
    ("TurboCF", "order"),
    ("SLIM", "alpha"),
    ("MENTOR", "hidden"),
    ("NeuMF", "hidden"),
}


TRANSFORMS = (
    graphs.ModalityKNN,
    graphs.TimeDecay,
    graphs.UserCoInteraction,
    graphs.RandomWalkNeighbours,
)


def complete() -> MultimodalGraph:
    """A small graph with every edge that a model reads."""
    graph = checkerboard(8)
    for transform in (
        graphs.ModalityKNN("visual", 2),
        graphs.ModalityKNN("audio", 2),
        graphs.UserCoInteraction(2),
        graphs.VideoCoInteraction(2),
    ):
        graph = transform(graph)
    walked = graphs.RandomWalkNeighbours(k=2, walks=4)(graphs.JoinKNN()(graph))
    return graphs.JoinKNN("agree", "agree")(walked)


def constructors() -> list[Target]:
    """Every model with its settings: by their names, so that a new model is called too."""
    out = []
    for name in models.__all__:
        kind = getattr(models, name)
        if not (isinstance(kind, type) and issubclass(kind, models.Recommender)) or kind is models.Recommender:
            continue
        given = kind.arguments()
        domains = {key: _setting(key, given[key].default is None) for key in given if (name, key) not in SETTINGS_APART}
        arguments = {key: domain for key, domain in domains.items() if domain}
        if "modalities" in given:
            arguments["modalities"] = one_of([None, ["visual"]], [["smell"], "visul", 3, [3]])
        if "norm" in given and given["norm"].default == "pre":
            arguments["norm"] = word("pre", "post")
        if "head" in given:
            arguments["head"] = one_of([None], ["dot", 3, nn.DotHead])
        if "objective" in given:
            arguments["objective"] = one_of([None], ["bpr", 3, objectives.BPR])

        def call(kind: Any = kind, **settings: Any) -> Any:
            torch.manual_seed(0)
            model = kind(complete(), **settings)
            for parameter in model.parameters():
                if not torch.isfinite(parameter).all():
                    raise AssertionError("a parameter is not finite")
            return None

        out.append(Target(name, call, arguments or {"graph": one_of([1], [1])}, optional=frozenset(arguments)))
    return [target for target in out if "graph" not in target.arguments]


def layers() -> list[Target]:
    """Heads, layers, objectives and transforms: what their constructors take."""
    dim = one_of([4], [0, -1, 2.5, True, "4", None])
    share = real(0, 0.9, beyond=(-0.1, 1.5))
    norm, positions, activation = word("pre", "post"), word("end", "start"), word("relu", "gelu")
    made: list[tuple[Any, dict[str, Domain]]] = [
        (nn.CosineHead, {"temperature": real(0.1, 1, beyond=(0.0, -1.0))}),
        (nn.MMoEHead, {"embedding_dim": dim, "experts": whole(1, 3), "expert_dim": whole(1, 3)}),
        (nn.NCFHead, {"embedding_dim": dim, "hidden": one_of([(4,), (4, 2)], [(0,), (-1,), ("4",), 3, (2.5,)])}),
        (nn.VAEHead, {"embedding_dim": dim, "beta": real(0, 1), "anneal_steps": whole(0, 3)}),
        (
            nn.CausalTransformer,
            {
                "dim": dim,
                "num_layers": whole(0, 2),
                "num_heads": one_of([1, 2], [0, 3, 1.5, True, "2"]),
                "dropout": share,
                "norm": norm,
            }
            | {"positions": positions, "activation": activation},
        ),
        (nn.RelativeTransformer, {"dim": dim, "num_layers": whole(0, 2), "max_interval": whole(1, 3), "norm": norm}),
        (nn.GRUEncoder, {"dim": dim, "num_layers": whole(1, 2), "dropout": share}),
        (nn.LSTMEncoder, {"dim": dim, "num_layers": whole(1, 2), "dropout": share}),
        (nn.SearchInterest, {"dim": dim, "k": whole(1, 3)}),
        (nn.TimeAttention, {"dim": dim, "unit": real(0.1, 1, beyond=(0.0, -1.0))}),
        (nn.TimeDecayProfile, {"half_life": real(0.1, 1, beyond=(0.0, -1.0), endless=True)}),
        (nn.GaussianLayer, {"in_dim": dim, "out_dim": dim}),
        (nn.ModalityConv, {"in_dim": dim, "out_dim": dim}),
        (objectives.BPR, {"negatives": whole(1, 3)}),
        (objectives.BCE, {"negatives": whole(1, 3)}),
        (objectives.MaxMargin, {"negatives": whole(1, 3), "margin": real(0.1, 1, beyond=())}),
        (objectives.SampledSoftmax, {"negatives": whole(0, 3), "temperature": real(0.1, 1, beyond=(0.0, -1.0))}),
        (objectives.FullSoftmax, {"temperature": real(0.1, 1, beyond=(0.0, -1.0))}),
        (objectives.AlignmentUniformity, {"gamma": real(0, 1)}),
        (
            objectives.CosineContrastive,
            {"negatives": whole(1, 3), "margin": real(0, 0.9, beyond=()), "weight": real(0, 3)},
        ),
        (graphs.ModalityKNN, {"modality": word("visual"), "k": whole(1, 3), "weight": word("cosine", "binary")}),
        (graphs.TimeDecay, {"half_life": real(0.1, 1, beyond=(0.0, -1.0))}),
        (graphs.EdgeDrop, {"rate": share}),
        (graphs.EdgeViews, {"rate": share, "count": whole(1, 3)}),
        (graphs.UserCoInteraction, {"k": whole(1, 3)}),
        (graphs.CoExposure, {"window": real(1, 100, beyond=(-1.0, 0.0), endless=True), "steps": whole(1, 3)}),
        (
            graphs.RandomWalkNeighbours,
            {"k": whole(1, 3), "walks": whole(1, 3), "length": whole(1, 3), "restart": share},
        ),
        (graphs.Draws, {"count": whole(0, 3), "power": real(0, 1)}),
        (graphs.VideoCoInteraction, {"k": whole(1, 3), "least": whole(1, 3)}),
        (
            nn.TemporalConv,
            {
                "frames": one_of([1, 2, 4], [0, -1, 3, 2.5, True, "2", None]),
                "in_dim": one_of([4], [0, -1, "4", True, None]),
                "out_dim": dim,
            },
        ),
        (SampledCandidates, {"negatives": whole(1, 3), "seed": whole(0, 3)}),
        (Blocked, {"rows": one_of([frozenset(), frozenset({1, 2}), None], [3, "12", [0.5]]), "version": whole(0, 2)}),
        (Cosine, {"warmup": real(0, 2), "floor": real(0, 1, beyond=(-1.0, 2.0))}),
        (StepDecay, {"gamma": one_of([0.5, 1], [0.0, 2.0, float("nan"), "half", []]), "every": whole(1, 3)}),
        (Adam, {"eps": real(0.1, 1, beyond=(0.0, -1.0))}),
    ]

    def called(kind: Any) -> Callable[..., None]:
        def call(**arguments: Any) -> None:
            made = kind(**arguments)
            if kind in TRANSFORMS:
                made(checkerboard(8))

        return call

    return [Target(kind.__name__, called(kind), arguments) for kind, arguments in made]


def op_targets() -> list[Target]:
    """The ops, with what dense arithmetic in float64 says."""

    def dense(a: Any) -> Tensor:
        return a.dense().double()

    def csr(row: Any, col: Any, shape: Any, values: Any = None) -> Tensor:
        return ops.CSR.from_edges(row, col, shape, values).dense()

    def csr_reference(row: Tensor, col: Tensor, shape: Any, values: Tensor | None = None) -> Tensor:
        out = torch.zeros(shape, dtype=torch.float64)
        return out.index_put(
            (row.long(), col.long()), torch.ones(E).double() if values is None else values.double(), True
        )

    def propagated(a: Any, x: Tensor, num_layers: int) -> Tensor:
        out = layer = x.double()
        for _ in range(num_layers):
            layer = dense(a) @ layer
            out = out + layer
        return out / (num_layers + 1)

    def best(user: Tensor, video: Tensor, k: int) -> Tensor:
        return (user.double() @ video.double().T).topk(k, 1).values

    def nearest(x: Tensor, k: int) -> Tensor:
        unit = torch.nn.functional.normalize(x.double(), dim=1)
        return (unit @ unit.T).fill_diagonal_(-9).topk(k, 1).values

    def softmaxed(a: Any, logits: Tensor) -> Tensor:
        scores = torch.full((N, a.num_edges), -torch.inf, dtype=torch.float64)
        scores[a.row_indices(), torch.arange(a.num_edges)] = logits.double()
        return scores.softmax(1)[a.row_indices(), torch.arange(a.num_edges)]

    def softmax(a: Any, logits: Any) -> Tensor:
        return ops.segment_softmax(a, logits)

    def attended(a: Any, scale: Any, x: Any) -> Tensor:
        return ops.attend(a, torch.ones(a.num_edges if isinstance(a, ops.CSR) else 3), x) * scale

    def drawn(seen: Any, users: Any, count: Any, alpha: Any, generator: Any) -> Any:
        out = ops.negatives(seen, users, count, alpha=alpha, generator=generator)
        if out.shape != (E, count) or bool(((out < 0) | (out >= seen.shape[1])).any()):
            raise AssertionError("negatives outside the table")
        return None

    square = matrix((N, N), weighted=True)
    big = one_of([(N, M)], [(N,), (-1, M), (0, 0), "10x7", None, (2.5, M), (True, M)])
    k = whole(0, 5)  # a list of none is a list
    return [
        Target(
            "CSR.from_edges",
            csr,
            {"row": rows(N, (E,)), "col": rows(M, (E,)), "shape": big, "values": floats(E)},
            csr_reference,
            {"shape": ("row", "col")},
            frozenset({"values"}),
        ),
        Target(
            "CSR.normalized",
            lambda a, norm: a.normalized(norm).dense(),
            {"a": square_good(), "norm": word("sym", "row")},
        ),
        Target(
            "CSR.select",
            lambda rows: fixed().select(rows)[0].dense(),
            {"rows": rows(N, (E,), free=True)},
            lambda rows: fixed().dense()[rows],
        ),
        Target("spmm", ops.spmm, {"a": square, "x": floats(N, D, free=(1,))}, lambda a, x: dense(a) @ x.double()),
        Target(
            "spmm rows",
            lambda x, rows: ops.spmm(fixed(), x, rows=rows),
            {"x": floats(N, D, free=(1,)), "rows": rows(N, (E,), free=True, none=True)},
            lambda x, rows: (dense(fixed()) @ x.double())[rows],
        ),
        Target(
            "edge_dot",
            lambda left, right: ops.edge_dot(fixed(), left, right),
            {"left": floats(N, D), "right": floats(N, D)},
        ),
        Target(
            "pair_dot",
            ops.pair_dot,
            {"left": floats(N, D), "right": floats(N, D), "places": rows(N, (N, 3))},
            lambda left, right, places: (left.double()[:, None] * right.double()[places.long()]).sum(2),
        ),
        Target(
            "propagate",
            ops.propagate,
            {"a": matrix((N, N), symmetric=True), "x": floats(N, D, free=(1,)), "num_layers": whole(0, 3)},
            propagated,
        ),
        Target(
            "topk",
            lambda user, video, k: ops.topk(user, video, k).score,
            {"user": floats(E, D, free=(0,)), "video": floats(N, D, free=(0,)), "k": k},
            best,
        ),
        Target(
            "topk seen",
            lambda users, seen, candidates: ops.topk(
                torch.ones(E, D), torch.ones(M, D), 3, seen=seen, users=users, candidates=candidates
            ),
            {"users": rows(N, (E,), none=True), "seen": matrix((N, M), none=True), "candidates": flags(M)},
        ),
        Target(
            "best_of",
            lambda scores, k: ops.best_of(scores, k).score,
            {"scores": floats(E, N, free=(0, 1)), "k": k},
            lambda scores, k: scores.topk(k, 1).values,
        ),
        Target("knn", lambda x, k: ops.knn(x, k).score, {"x": floats(N, D, free=(0, 1), ints=True), "k": k}, nearest),
        Target(
            "segment_softmax",
            lambda logits: softmax(fixed(), logits),
            {"logits": floats(fixed().num_edges)},
            lambda logits: softmaxed(fixed(), logits),
        ),
        Target("attend", lambda a, x: attended(a, 1.0, x), {"a": square, "x": floats(N, D, free=(1,))}),
        Target(
            "negatives",
            drawn,
            {
                "seen": matrix((N, M)),
                "users": rows(N, (E,)),
                "count": whole(0, 3),
                "alpha": real(0, 1, beyond=()),
                "generator": generator(),
            },
        ),
        Target(
            "random_walks",
            ops.random_walks,
            {
                "clicks": matrix((N, M)),
                "seeds": rows(M, (E,), free=True),
                "k": whole(1, 5),
                "num_walks": whole(1, 4),
                "length": whole(1, 3),
            }
            | {"restart": real(0, 0.9, beyond=(-0.5, 1.5)), "generator": generator()},
        ),
        Target(
            "sample_neighbours",
            ops.sample_neighbours,
            {"a": square, "rows": rows(N, (E,), free=True), "fanout": whole(-1, 3), "generator": generator()},
        ),
        Target(
            "k_hop",
            ops.k_hop,
            {
                "a": square,
                "seeds": one_of([[1, 4, 2], [7]], [[N], [-1], [0.5], "a", [True, False]]),
                "fanouts": one_of([(2,), (2, 3)], [(-2,), ("2",), 3, (2.5,)]),
                "generator": generator(),
            },
        ),
        Target("gram", lambda a: ops.gram(a).dense(), {"a": matrix((N, M))}, lambda a: dense(a).T @ dense(a)),
        Target(
            "log_q",
            lambda counts, videos: ops.log_q(counts, videos),
            {"counts": floats(M, low=1, high=5, free=(0,), ints=True), "videos": rows(M, (E,), free=True, dim=-1)},
        ),
    ]


def square_good() -> Domain:
    """A square matrix, always one."""
    return lambda chance, sense: matrix((N, N), weighted=True)(chance, "good")


def fixed() -> ops.CSR:
    """The same matrix each time."""
    generator = torch.Generator().manual_seed(1)
    row, col = (torch.randint(0, N, (25,), generator=generator) for _ in range(2))
    return ops.CSR.from_edges(row, col, (N, N), torch.rand(25, generator=generator))


def loss_targets() -> list[Target]:
    """The losses: a number that is finite, and equal to the formula where that is a line."""
    pair = {"positive": floats(E), "negative": floats(E, 3, free=(1,))}
    temperature = real(0.1, 1, beyond=(0.0, -1.0))
    soft = torch.nn.functional.softplus
    return [
        Target(
            "bpr",
            losses.bpr,
            pair,
            lambda positive, negative: soft(negative.double() - positive.double()[:, None]).mean(),
            optional=frozenset(),
        ),
        Target("bce", losses.bce, pair),
        Target(
            "info_nce", losses.info_nce, {"anchor": floats(E, D), "positive": floats(E, D), "temperature": temperature}
        ),
        Target("kl_gaussian", losses.kl_gaussian, {"mean": floats(E, D), "log_var": floats(E, D)}),
        Target("multinomial_nll", losses.multinomial_nll, {"logits": floats(E, M), "counts": floats(E, M, low=0)}),
        Target(
            "softmax_cross_entropy",
            losses.softmax_cross_entropy,
            {"state": floats(E, D), "table": floats(M, D, free=(0,)), "target": rows(M, (E,))},
        ),
        Target(
            "moment_alignment", losses.moment_alignment, {"a": floats(E, D, free=(0,)), "b": floats(E, D, free=(0,))}
        ),
    ]


def graph_targets() -> list[Target]:
    """Methods of a graph, and samplers."""

    def sampled(kind: Any) -> Callable[..., None]:
        def call(**arguments: Any) -> None:
            sampler = kind(checkerboard(8), **arguments)
            next(
                iter(sampler.batches(torch.Generator().manual_seed(0)) if hasattr(sampler, "batches") else iter(())),
                None,
            )

        return call

    def with_interactions(user: Any, video: Any, time: Any) -> Tensor:
        graph = checkerboard(8).with_interactions(user, video, time)
        return graph.seen.dense()

    def with_reference(user: Tensor, video: Tensor, time: Tensor) -> Tensor:
        return checkerboard(8).seen.dense().index_put((user.long(), video.long()), torch.ones(E), True)

    def with_videos(values: Any, present: Any, count: Any) -> None:
        graph = twelve_nodes().with_videos({"visual": Features(values, present)}, count)
        if graph.num_videos != 7 + len(present):
            raise AssertionError("another number of videos")

    batch = whole(1, 4)
    return [
        Target(
            "with_interactions",
            with_interactions,
            {"user": rows(8, (E,)), "video": rows(8, (E,)), "time": floats(E, low=0, high=9, nan=False, ints=True)},
            with_reference,
        ),
        Target(
            "with_videos",
            with_videos,
            {
                "values": floats(3, 5, ints=True),
                "present": flags(3, ints=True),
                "count": one_of([3, None], [-3, 2, 2.5, "3"]),
            },
            things={
                "values": ("visual", "features"),
                "present": ("visual", "features"),
                "count": ("visual", "features", "videos"),
            },
        ),
        Target(
            "with_videos count",
            lambda count: twelve_nodes().with_videos({}, count).num_videos,
            {"count": whole(0, 3, none=True)},
        ),
        Target(
            "histories",
            lambda before, max_len, users=None: checkerboard(8).histories(before, max_len, users),
            {
                "before": one_of([None, 1e9], ["now", [], float("nan")]),
                "max_len": whole(1, 3),
                "users": rows(8, (E,), free=True, none=True),
            },
            optional=frozenset({"users"}),
        ),
        Target(
            "adjacency",
            lambda edge_types, norm: twelve_nodes().adjacency(edge_types, norm).dense(),
            {
                "edge_types": one_of(["interacts", ["interacts", "rev_interacts"]], ["interact", 3, [], None, ["x"]]),
                "norm": word("sym", "row", None),
            },
            things={"edge_types": ("edge types", "edge type")},
        ),
        Target(
            "relation",
            lambda edge_type, norm: twelve_nodes().relation(edge_type, norm).dense(),
            {"edge_type": one_of(["interacts"], ["interact", 3, None, ("a", "b")]), "norm": word("sym", "row", None)},
            things={"edge_type": ("edge types", "edge type")},
        ),
        Target(
            "features",
            lambda modality: twelve_nodes().features(modality).values,
            {"modality": one_of(["visual"], ["smell", 3, None])},
        ),
        Target(
            "PairSampler",
            sampled(graphs.PairSampler),
            {"batch_size": batch, "draws": whole(0, 3)},
            things={"draws": ("count", "negatives")},
        ),
        Target("RowSampler", sampled(graphs.RowSampler), {"batch_size": batch}),
        Target("HistorySampler", sampled(graphs.HistorySampler), {"batch_size": batch, "max_len": whole(1, 3)}),
        Target("epoch_generator", graphs.epoch_generator, {"seed": whole(0, 5), "epoch": whole(0, 3)}),
    ]


def table(chance: random.Random, rows: int = 12) -> dict[str, list[Any]]:
    """A small table of clicks."""
    pairs = chance.sample([(u, v) for u in range(5) for v in range(6)], rows)
    return {
        "user": [p[0] for p in pairs],
        "video": [f"v{p[1]}" for p in pairs],
        "time": [1.6e9 + 3600 * i for i in range(rows)],
    }


def data_targets() -> list[Target]:
    """Vocabularies, tables, files and splits."""

    def from_frames(change: str) -> None:
        frame = table(random.Random(1))
        frame |= {
            "none": {},
            "null user": {"user": [None, *frame["user"][1:]]},
            "nan time": {"time": [float("nan"), *frame["time"][1:]]},
            "text time": {"time": ["soon", *map(str, frame["time"][1:])]},
            "short": {"video": frame["video"][:-1]},
            "nested": {"user": [[1]] * 12},
            "twice": {c: [v[1], *v[1:]] for c, v in frame.items()},
            "float user": {"user": [u + 0.5 for u in frame["user"]]},
        }[change]
        Dataset.from_frames(frame, time_unit="s")

    texts = {
        "plain": "user,video,time\n1,a,1600000000\n2,b,1600000100\n",
        "empty": "",
        "header only": "user,video,time\n",
        "ragged": "user,video,time\n1,a,1600000000\n2,b\n3,c,1,2,3\n",
        "no user": "person_nr,video,time\n1,a,1\n",
        "null": "user,video,time\n,a,1600000000\n",
        "bad time": "user,video,time\n1,a,soon\n2,b,1600000000\n",
        "open quote": 'user,video,time\n1,"a,1600000000\n2,b,1600000100\n',
        "binary": "\x00\x01\x02,\x00\n\x03",
        "doubled columns": "user,user,video\n1,2,a\n",
    }

    def read(text: str, **options: Any) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clicks.csv"
            path.write_text(texts[text])
            return len(read_csv(path, time_unit="s", **options).interactions)

    def split(kind: Any) -> Callable[..., None]:
        def call(**arguments: Any) -> None:
            kind(Dataset.from_frames(table(random.Random(2), 30), time_unit="s"), **arguments)

        return call

    ratios = one_of(
        [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (1, 1, 1)],  # shares are made to sum to one
        [(0.8, 0.1), (-0.1, 0.6, 0.5), "0.8", None, (float("nan"), 0.5, 0.5), 3],
    )
    ids = one_of(
        [["a", "b"], [1, 2], []], [["a", "a"], [None, "a"], 3, [[1], [2]], [1.5, float("nan")], [1, "a"], None]
    )
    damaged = ["empty", "ragged", "no user", "null", "bad time", "binary", "doubled columns"]
    anything = (
        "user",
        "video",
        "time",
        "column",
        "line",
        "row",
        "rows",
        "interactions",
        "values",
        "clicks",
        "table",
        "id",
        "ids",
        "duplicate",
    )
    return [
        Target("Vocabulary", lambda ids: Vocabulary(ids), {"ids": ids}, things={"ids": ("id",)}),
        Target(
            "Vocabulary.rows",
            lambda raw_ids: Vocabulary(["a", "b", "c"]).rows(raw_ids),
            {"raw_ids": one_of([["a"], ["c", "a"], []], [["z"], [1], [None], 3, [["a"]], None])},
            things={"raw_ids": ("id", "ids")},
        ),
        Target(
            "Vocabulary.raw",
            lambda rows: Vocabulary(["a", "b", "c"]).raw(rows),
            {"rows": one_of([[0], [2, 1], []], [[3], [-1], [0.5], ["a"], None, 3, [True], [2**70]])},
            things={"rows": ("row",)},
        ),
        Target(
            "Dataset.from_frames",
            from_frames,
            {
                "change": one_of(
                    ["none"], ["null user", "nan time", "text time", "short", "nested", "twice", "float user"]
                )
            },
            things={"change": anything},
        ),
        Target(
            "Dataset.from_frames options",
            lambda **options: Dataset.from_frames(table(random.Random(1)), **options) and None,
            {"user": one_of(["user"], ["usr", 3]), "time_unit": word("s", "ms"), "duplicates": word("error", "keep")},
            optional=frozenset({"user", "duplicates"}),
            things={"user": ("column",)},
        ),
        Target(
            "Dataset.from_frames frame",
            lambda interactions: Dataset.from_frames(interactions),
            {
                "interactions": one_of(
                    [{"user": [1], "video": [2]}], [None, 3, "clicks", [], {}, [[1, 2]], pl.DataFrame()]
                )
            },
            things={"interactions": ("user", "column", "table")},
        ),
        Target(
            "read_csv",
            read,
            {"text": one_of(["plain"], damaged, ["header only", "open quote"])},
            things={"text": ("clicks.csv",)},
        ),
        Target(
            "read_csv options",
            lambda **options: read("plain", **options),
            {
                "separator": one_of([",", None], ["", ";;", 3]),
                "encoding": one_of(["utf-8", None], ["utf-99", 3, ""]),
                "header": one_of([True, None], ["yes", 3]),
            },
            things={"separator": ("clicks.csv",), "encoding": ("clicks.csv",), "header": ("clicks.csv",)},
            optional=frozenset({"separator", "encoding", "header"}),
        ),
        Target(
            "random_split",
            split(random_split),
            {"ratios": ratios, "seed": one_of([0, 5], [None, "0", 1.5, True, -1])},
            optional=frozenset({"seed"}),
        ),
        Target("global_time_split", split(global_time_split), {"ratios": ratios}),
    ]


def use_targets() -> list[Target]:
    """Ranking, evaluation and training of a small model."""

    def explained(user: Any, video: Any, k: Any) -> None:
        explain(checkerboard(8), user, video, k)

    def constrained(num_videos: Any, allowed: Any, seen: Any) -> Tensor:
        return Constraint(num_videos, allowed, seen=seen).mask(torch.arange(N))

    def permitted(num_videos: Any, allowed: Tensor, seen: ops.CSR) -> Tensor:
        return allowed & (seen.dense() == 0)

    def standardised(values: Any, present: Any) -> Tensor:
        return Standardiser.fit(values, present)(values, present)

    def standard(values: Tensor, present: Tensor) -> Tensor:
        x = values.double()
        scale = x[present].std(0, correction=0).clamp_min(1e-6)
        return ((x - x[present].mean(0)) / scale) * present[:, None]

    row = one_of([0, 3, 7], [8, -1, 2.5, True, "3", None, [0]])

    def model(graph: Any) -> Any:
        torch.manual_seed(0)
        return models.BPRMF(graph, embedding_dim=4)

    def recommended(**arguments: Any) -> None:
        graph = checkerboard(8)
        recommend(model(graph), graph, **arguments)

    def predicted(users: Any, videos: Any) -> Tensor:
        graph = checkerboard(8)
        return predict(model(graph), graph, users, videos)

    def predicted_reference(users: Tensor, videos: Tensor) -> Tensor:
        graph = checkerboard(8)
        emb = model(graph).eval().encode(graph)
        return (emb.user[users.long()] * emb.video[videos.long()]).sum(1)

    def looks_like(videos: Any, k: Any, modality: Any = None) -> None:
        graph = checkerboard(8)
        similar(model(graph), graph, videos, k, modality=modality)

    def evaluated(user: Any, video: Any) -> None:
        graph = checkerboard(8)
        evaluate(model(graph), graph, pl.DataFrame({"user": user, "video": video}), EvalConfig(k=(2,)))

    def targets_of(targets: Any) -> None:
        graph = checkerboard(8)
        evaluate(model(graph), graph, targets, EvalConfig(k=(2,)))

    def trained(seed: Any, epoch_transforms: Any, callbacks: Any, validate: Any) -> None:
        graph = checkerboard(8)
        fit(
            model(graph),
            graph,
            validate,
            FitConfig(epochs=1, batch_size=16),
            seed=seed,
            epoch_transforms=epoch_transforms,
            callbacks=callbacks,
        )

    frame = pl.DataFrame({"user": [0], "video": [3]})
    k = whole(1, 3)
    config: dict[str, Domain] = {
        "epochs": whole(0, 3),
        "batch_size": whole(1, 3),
        "learning_rate": real(0.01, 1, beyond=(0.0, -1.0)),
        "weight_decay": real(0, 1),
        "patience": whole(1, 3),
        "eval_every": whole(1, 3),
        "precision": word("fp32", "bf16"),
        "device": one_of(["cpu"], ["gpu", "cpuu", "", 3]),
        "optimizer": one_of([Adam()], ["adm", 3, {"kind": "x"}]),
        "clip_norm": real(0.1, 1, beyond=(0.0, -1.0), none=True),
    }
    return [
        Target(
            "recommend",
            recommended,
            {
                "users": rows(8, (3,), free=True),
                "k": k,
                "candidates": rows(8, (5,), free=True, none=True),
                "exclude": rows(8, (2,), free=True, none=True),
            },
            optional=frozenset({"candidates", "exclude"}),
        ),
        Target("explain", explained, {"user": row, "video": row, "k": k}),
        Target(
            "Constraint",
            constrained,
            {
                "num_videos": one_of([M], [-1, 2.5, "7", True, None, 10**12]),
                "allowed": flags(M),
                "seen": matrix((N, M), none=True),
            },
            permitted,
            {"num_videos": ("allowed", "seen")},
        ),
        Target(
            "Standardiser",
            standardised,
            {"values": floats(N, D, free=(1,)), "present": flags(N)},
            standard,
            {"values": ("features",)},
        ),
        Target("predict", predicted, {"users": rows(8, (E,)), "videos": rows(8, (E,))}, predicted_reference),
        Target(
            "similar",
            looks_like,
            {"videos": rows(8, (3,), free=True), "k": k, "modality": one_of([None, "visual"], ["smell", 3])},
            optional=frozenset({"modality"}),
        ),
        Target(
            "evaluate",
            lambda video: evaluated([0, 2], video),
            {"video": one_of([[3, 5], [1, 0]], [[8, 1], [-1, 2], ["a", "b"], [0.5, 1.5], [None, 1], [True, False]])},
            things={"video": ("targets",)},
        ),
        Target(
            "evaluate targets",
            targets_of,
            {
                "targets": one_of(
                    [frame],
                    [
                        None,
                        3,
                        "targets",
                        {"user": [0], "video": [3]},
                        frame.rename({"user": "person"}),
                        frame.drop("video"),
                    ],
                    [frame[:0]],
                )
            },
        ),
        Target(
            "EvalConfig",
            EvalConfig,
            {
                "k": one_of([(5,), (1, 2)], [(), (0,), (-1,), ("a",), 3.5, (2.5,)]),
                "activity_groups": whole(2, 4),
                "block_size": whole(1, 3, none=True),
                "groups": one_of([("all",)], [("al",), 3]),
            },
        ),
        Target("FitConfig", FitConfig, config, optional=frozenset(config)),
        Target(
            "fit",
            trained,
            {
                "seed": one_of([0, 3], ["0", 1.5, None]),
                "epoch_transforms": one_of([()], [3, ["drop"]]),
                "callbacks": one_of([()], [3, ["log"]]),
                "validate": one_of([None], [3, "valid"]),
            },
        ),
    ]


def all_targets() -> list[Target]:
    """Every target, in one order."""
    return [
        *constructors(),
        *layers(),
        *op_targets(),
        *loss_targets(),
        *graph_targets(),
        *data_targets(),
        *use_targets(),
    ]
