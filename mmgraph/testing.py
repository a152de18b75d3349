"""Contract tests: what every model must do, for models in this repository and outside it.

In a test file of one's own::

    from mmgraph.testing import ModelContract

    class TestMine(ModelContract):
        model = MyModel
        epochs, learning_rate = 60, 0.01        # how the checkerboard is trained

pytest finds the tests of the base class. Each builds its model on a tiny graph of known answers:
:func:`checkerboard` and :func:`twelve_nodes`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mmgraph.graph import (
    JoinKNN,
    ModalityKNN,
    RandomWalkNeighbours,
    Transform,
    UserCoInteraction,
    VideoCoInteraction,
)
from mmgraph.models import Recommender, Rows
from mmgraph.ops import CSR
from mmgraph.train import FitConfig, fit

if TYPE_CHECKING:
    from mmgraph.graph.multimodal import MultimodalGraph

WIDTHS = {"visual": 5, "audio": 3, "text": 4}


def make_graph(
    user: Tensor, video: Tensor, users: int, videos: int, present: dict[str, Tensor], seed: int = 0
) -> MultimodalGraph:
    """A graph of given interactions, with random features where ``present`` [V] of a modality says so."""
    from mmgraph.graph.multimodal import MultimodalGraph

    generator = torch.Generator().manual_seed(seed)
    graph = MultimodalGraph()
    graph["user"].num_nodes, graph["video"].num_nodes = users, videos
    graph["user", "interacts", "video"].edge_index = torch.stack([user, video])
    graph["video", "rev_interacts", "user"].edge_index = torch.stack([video, user])
    for name, here in present.items():
        rows = here.nonzero().flatten()
        graph[name].x = torch.randn(len(rows), WIDTHS[name], generator=generator)
        edges = torch.stack([rows, torch.arange(len(rows))])
        graph["video", "has", name].edge_index = edges
        graph[name, "rev_has", "video"].edge_index = edges.flip(0)
    return graph


def twelve_nodes(modalities: Sequence[str] = ("visual", "audio")) -> MultimodalGraph:
    """5 users and 7 videos: user 4 isolated, video 6 unseen; video 2 lacks the first modality, video 5 the second."""
    user = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3, 3])
    video = torch.tensor([0, 1, 2, 1, 3, 2, 4, 0, 4, 5])
    present = {name: torch.ones(7, dtype=torch.bool) for name in modalities}
    for name, missing in zip(modalities, (2, 5, 3), strict=False):
        present[name][missing] = False
    return make_graph(user, video, 5, 7, present)


def checkerboard(size: int = 24, modalities: Sequence[str] = ("visual", "audio")) -> MultimodalGraph:
    """Even users like even videos, odd users odd ones, all but the diagonal (u, u); features tell even from odd."""
    grid = torch.arange(size)
    user, video = torch.meshgrid(grid, grid, indexing="ij")
    keep = ((user + video) % 2 == 0) & (user != video)
    everything = torch.ones(size, dtype=torch.bool)
    graph = make_graph(user[keep], video[keep], size, size, dict.fromkeys(modalities, everything))
    for name in modalities:
        graph[name].x = 0.3 * graph[name].x + (grid % 2).unsqueeze(1).float()
    # each user's events a day apart in an order at random: order, which sequential models read, says nothing here
    chance = torch.rand(size, size // 2 - 1, generator=torch.Generator().manual_seed(0))
    graph["user", "interacts", "video"].time = 86_400 * chance.argsort(1).flatten().double()
    return graph


def alike(graph: MultimodalGraph) -> MultimodalGraph:
    """The graph with the edges that some models read: ``similar_…``, ``walked``, ``co_watched``, ``watched_with``."""
    for m in graph.modalities:
        graph = ModalityKNN(m, k=3, weight="binary", loops=True, share=1 / len(graph.modalities))(graph)
    joined = JoinKNN("max"), JoinKNN("agree", "agree")
    for transform in (*joined, RandomWalkNeighbours(5, 20), UserCoInteraction(3), VideoCoInteraction(3, least=1)):
        graph = transform(graph)
    return graph


def _dense(rows: Tensor | CSR) -> Tensor:
    return rows.dense() if isinstance(rows, CSR) else rows


class ModelContract:
    """Base of a model's tests; subclass it with a name that pytest collects.

    Attributes:
        model: the class, or any callable that takes the graph and keyword arguments.
        arguments: keyword arguments besides ``embedding_dim=16``, which is given where the class takes it.
        transform: applied to every graph before the model sees it.
        epoch_transforms: given to ``fit``.
        epochs, batch_size, learning_rate: how the checkerboard is trained.
        least: share of the held-out diagonal that must come first after training; 0 for models that cannot know it.
    """

    model: ClassVar[Callable[..., Recommender]]
    arguments: ClassVar[dict[str, Any]] = {}
    transform: ClassVar[Callable[..., Any]] = staticmethod(alike)
    epoch_transforms: ClassVar[Sequence[Transform]] = ()
    epochs: ClassVar[int] = 60
    batch_size: ClassVar[int] = 64
    learning_rate: ClassVar[float] = 0.01
    least: ClassVar[float] = 0.95

    def build(self, graph: MultimodalGraph) -> Recommender:
        """An untrained model under seed 0."""
        make = type(self).model
        torch.manual_seed(0)
        taken = make.arguments() if isinstance(make, type) else inspect.signature(make).parameters
        small = {"embedding_dim": 16} if "embedding_dim" in taken else {}
        return make(graph, **(small | self.arguments))

    def trained(self, graph: MultimodalGraph, epochs: int) -> Recommender:
        """A model trained, or solved, on the graph."""
        model = self.build(graph)
        config = FitConfig(epochs=epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        fit(model, graph, config=config, seed=1, epoch_transforms=self.epoch_transforms)
        return model

    def training_graph(self, graph: MultimodalGraph) -> MultimodalGraph:
        """The graph as an epoch of training sees it."""
        for transform in self.epoch_transforms:
            graph = transform(graph, torch.Generator().manual_seed(0))
        return graph

    def test_checkerboard(self) -> None:
        """The held-out diagonal comes first among the videos a user has not seen."""
        graph = type(self).transform(checkerboard())
        model = self.trained(graph, self.epochs)
        with torch.no_grad():
            scores = model.score(model.encode(graph), torch.arange(24)).clone()
        user, video = graph.interactions()
        scores[user, video] = -torch.inf
        right = float((scores.argmax(1) == torch.arange(24)).float().mean())
        assert right >= self.least, f"{right:.0%} of the diagonal comes first; {self.least:.0%} wanted"

    def test_rows_equal_everything(self) -> None:
        """``encode(graph, rows)`` gives the rows of ``encode(graph)``, isolated user and unseen video included."""
        graph = type(self).transform(twelve_nodes())
        model = self.build(graph)
        if model.closed_form:
            model.solve(graph)
        model.eval()
        rows = Rows(torch.tensor([4, 0, 2]), torch.tensor([6, 1, 5, 2]))
        with torch.no_grad():
            whole, part = model.encode(graph), model.encode(graph, rows)
            users, videos = model.encode(graph, Rows(user=rows.user)), model.encode(graph, Rows(video=rows.video))
            every = model.score(whole, rows.user)  # type: ignore[arg-type]
            chosen = torch.tensor([[0, 6], [1, 1], [5, 2]])
            some = model.score(whole, rows.user, chosen)  # type: ignore[arg-type]
        for got in (part, users):
            torch.testing.assert_close(_dense(got.user), _dense(whole.user)[rows.user], atol=1e-6, rtol=1e-5)
        for got in (part, videos):
            torch.testing.assert_close(_dense(got.video), _dense(whole.video)[rows.video], atol=1e-6, rtol=1e-5)
        assert every.shape == (3, 7)
        assert torch.isfinite(every).all()
        torch.testing.assert_close(some, every.gather(1, chosen), atol=1e-6, rtol=1e-5)

    def test_factors_rank_as_scores_do(self) -> None:
        """Where there are factors, their dot products order every list as the scores do."""
        graph = type(self).transform(twelve_nodes())
        model = self.build(graph)
        if model.closed_form:
            model.solve(graph)
        with torch.no_grad():
            emb = model.eval().encode(graph)
            factors = model.factors(emb)
            if factors is not None:
                scores = model.score(emb, torch.arange(5)).double()
                products = factors.user.double() @ factors.video.double().T
                slack = 1e-5 * scores.abs().max().clamp_min(1e-12)
                above = (scores.unsqueeze(2) - scores.unsqueeze(1)) > slack
                assert bool((products.unsqueeze(2) > products.unsqueeze(1))[above].all())

    def test_rows_give_the_same_gradients(self) -> None:
        """The gradient through ``rows`` equals the gradient through the full computation."""
        graph = type(self).transform(twelve_nodes())
        if self.build(graph).closed_form:
            return
        rows = Rows(torch.tensor([4, 0, 2]), torch.tensor([6, 1, 5, 2]))
        gradients = []
        for restricted in (False, True):
            model = self.build(graph).eval()
            emb = model.encode(graph, rows) if restricted else model.encode(graph)
            user, video = emb if restricted else (emb.user[rows.user], emb.video[rows.video])
            (user.square().sum() + (video * torch.arange(1.0, 5.0).unsqueeze(1)).sum()).backward()
            gradients.append({n: p.grad for n, p in model.named_parameters()})
        for name, full in gradients[0].items():
            if full is not None:
                torch.testing.assert_close(gradients[1][name], full, atol=1e-5, rtol=1e-4)

    def test_every_parameter_gets_a_gradient(self) -> None:
        """One epoch of batches reaches every parameter."""
        graph = type(self).transform(twelve_nodes())
        model = self.build(graph)
        if model.closed_form:
            return
        graph = self.training_graph(graph)
        for batch in model.sampler(graph, 8).epoch(0, 0):
            torch.stack(list(model.loss(graph, batch).values())).sum().backward()
        dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not dead, f"no gradient reaches {dead}"

    def test_same_seed_same_numbers(self) -> None:
        """Training is a function of the seed."""
        graph = type(self).transform(twelve_nodes())
        first, second = (self.trained(graph, 2).state_dict() for _ in range(2))
        different = [k for k in first if not torch.equal(first[k], second[k])]
        assert not different, f"{different} differ between two runs of one seed"

    def test_state_round_trip(self) -> None:
        """``state_dict`` holds all that scoring needs: another instance with it gives the same scores."""
        graph = type(self).transform(twelve_nodes())
        model = self.trained(graph, 1)
        torch.manual_seed(7)
        twin = self.build(graph)
        twin.load_state_dict(model.state_dict())
        with torch.no_grad():
            scores = [m.score(m.encode(graph), torch.arange(5)) for m in (model.eval(), twin.eval())]
        assert torch.equal(scores[0], scores[1])

    def test_one_two_and_three_modalities(self) -> None:
        """Any number of modalities, each missing from some video: a step gives finite terms, and scores are finite."""
        for names in (("visual",), ("visual", "audio"), ("visual", "audio", "text")):
            graph = type(self).transform(twelve_nodes(names))
            model = self.build(graph)
            if model.closed_form:
                model.solve(graph)
            else:
                batch = next(iter(model.sampler(graph, 8).epoch(0, 0)))
                terms = model.loss(self.training_graph(graph), batch)
                assert all(bool(t.isfinite()) for t in terms.values()), f"{names}: {terms}"
            with torch.no_grad():
                scores = model.eval().score(model.encode(graph), torch.arange(5))
            assert bool(scores.isfinite().all()), f"{names}: scores are not finite"

    def test_bf16_training_step(self) -> None:
        """A step under bf16 autocast gives finite terms near those of float32."""
        graph = type(self).transform(twelve_nodes())
        model = self.build(graph)
        if model.closed_form:
            return
        model.eval()  # dropout off: both see the same
        batch, graph = next(iter(model.sampler(graph, 8).epoch(0, 0))), self.training_graph(graph)
        totals = []
        for enabled in (False, True):
            torch.manual_seed(3)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                totals.append(torch.stack([t.float() for t in model.loss(graph, batch).values()]).sum())
        torch.testing.assert_close(totals[1], totals[0], atol=0.1, rtol=0.1)
