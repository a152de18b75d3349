"""Students rank as their teacher does: closed forms of the parts, a teacher of known lists, towers to the bit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import mmgraph.models as models
from mmgraph.bundle import RefusedModelError, Rescore, export, load
from mmgraph.bundle.bundle import Pair
from mmgraph.bundle.distil import content_tower, distil
from mmgraph.bundle.listwise import Lists, listwise, teacher_lists, train_student
from mmgraph.bundle.students import ContentStudent, HistoryStudent
from mmgraph.data import Dataset
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.ops import CSR, TopK
from mmgraph.recommend import recommend
from mmgraph.serve.log import Event
from mmgraph.serve.state import State
from tests.worlds import checkerboard

SIZE = 60


@pytest.fixture(scope="module")
def graph() -> MultimodalGraph:
    return checkerboard(SIZE)


@pytest.fixture(scope="module")
def dataset(graph: MultimodalGraph) -> Dataset:
    user, video = graph.interactions()
    ids = list(range(SIZE))
    return Dataset.from_frames(
        {"user": user.numpy(), "video": video.numpy()}, users={"user_id": ids}, videos={"video_id": ids}
    )


def parity(users: torch.Tensor) -> torch.Tensor:
    """A teacher that no product of two narrow rows is: even users want even videos, of those the later ones more."""
    videos = torch.arange(SIZE)
    like = (users[:, None] % 2 == videos % 2).float()
    return 10 * torch.tanh(like) + 0.01 * videos


def test_the_divergence_is_that_of_the_two_softmaxes():
    score = torch.tensor([[math.log(3.0), 0.0, -math.inf]])
    lists = Lists(torch.tensor([0]), torch.tensor([[0, 1, 2]]), score, torch.tensor([2.0]))
    # teacher 3/4, 1/4; a student that cannot tell says 1/2, 1/2, whatever it says of what does not count
    wanted = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert listwise(torch.tensor([[5.0, 5.0, 99.0]]), lists, 1.0).item() == pytest.approx(wanted)
    # the same order on the teacher's scale (times the deviation), however shifted, is no loss
    assert listwise(2.0 * score + 7, lists, 1.0).item() == pytest.approx(0.0, abs=1e-6)
    # at temperature 1/2 the teacher's odds are 9 : 1
    wanted = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert listwise(torch.zeros(1, 3), lists, 0.5).item() == pytest.approx(wanted)
    nothing = lists._replace(score=torch.full((1, 3), -math.inf))
    assert listwise(torch.zeros(1, 3), nothing).item() == 0


def test_lists_hold_the_best_unseen_and_samples_and_nothing_that_is_not_allowed():
    seen = CSR.from_edges(torch.tensor([0, 0, 2]), torch.tensor([3, 4, 0]), (3, 5))
    table = torch.tensor([[0.0, 1, 2, 9, 8], [0.0, 0, 0, 0, 0], [7.0, 1, 2, 3, 4]])
    lists = teacher_lists(lambda users: table[users].clone(), seen, top=2, samples=3)
    assert lists.user.tolist() == [0, 2], "who saw nothing is not asked"
    assert lists.video[:, :2].tolist() == [[2, 1], [4, 3]]
    assert torch.allclose(lists.scale, table[[0, 2]].std(1))
    for row, user in enumerate((0, 2)):
        for video, score in zip(lists.video[row].tolist(), lists.score[row].tolist(), strict=True):
            hidden = (user, video) in {(0, 3), (0, 4), (2, 0)}
            wanted = -math.inf if hidden else table[user, video].item() / lists.scale[row].item()
            assert score == pytest.approx(wanted)
    only = teacher_lists(lambda u: table[u].clone(), seen, top=5, samples=9, allowed=torch.arange(5) < 2)
    assert set(only.video[only.score.isfinite()].tolist()) == {0, 1}
    assert len(teacher_lists(lambda u: table[u].clone(), seen, most=1).user) == 1


def test_a_history_is_pooled_by_count_and_by_recency():
    tower = HistoryStudent(2)
    with torch.no_grad():
        tower.linear.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]))
        tower.decay.fill_(math.log(2 - 1))  # softplus(0) = ln 2: each later event halves the weight
    videos = torch.tensor([[[1.0, 1], [3, 2], [90, 90]]])
    mask, time = torch.tensor([[True, True, False]]), torch.zeros(1, 3, dtype=torch.float64)
    # first: (1 + 3) / √2; second: (½ · 1 + 1 · 2) / (½ + 1)
    assert torch.allclose(tower(videos, mask, time), torch.tensor([[4 / math.sqrt(2), 2.5 / 1.5]]))
    assert torch.equal(tower(videos, torch.zeros_like(mask), time), torch.zeros(1, 2)), "nothing known, nothing said"


def test_training_stops_at_the_best_weights():
    student = torch.nn.Linear(1, 1, bias=False)
    x = torch.tensor([[-1.0, 0.0, 1.0]]).expand(40, 3)
    lists = Lists(torch.arange(40), torch.arange(3).expand(40, 3), 2 * x, torch.ones(40))
    before, after = train_student(
        student, lambda some: student(x[: len(some.user), :, None])[..., 0], lists, learning_rate=0.2
    )
    assert after < 1e-3 < before
    assert student.weight.item() == pytest.approx(2.0, abs=0.1)
    assert not student.training


def test_any_teacher_is_distilled_into_rows_that_rank_alike(graph: MultimodalGraph):
    made = distil(parity, graph, embedding_dim=8)
    scores = made.user @ made.video.T
    seen = graph.seen
    scores[seen.row_indices().long(), seen.indices.long()] = -torch.inf
    best = scores.argmax(1)
    # all but the diagonal of the own kind is seen, so that one video is left of it
    assert torch.equal(best, torch.arange(SIZE)), "the held-out diagonal comes first"
    past = graph.histories(users=torch.tensor([3, 4]))
    rows = made.history(made.video[past.video.clamp_min(0)], past.mask, past.time)
    assert torch.allclose(rows, made.user[[3, 4]], atol=1e-5), "a user's row is what the tower makes of the history"
    assert "divergence" in made.about


def test_a_head_that_is_no_product_re_scores_what_the_rows_find(
    graph: MultimodalGraph, dataset: Dataset, tmp_path: Path
):
    torch.manual_seed(0)
    model = models.NeuMF(graph)
    with pytest.raises(RefusedModelError, match="NCFHead, which is no dot product"):
        export(model, graph, dataset, tmp_path / "b", distil=False)
    model.train()
    bundle = export(model, graph, dataset, tmp_path / "b")
    assert all(layer.training for layer in model.modules()), "exporting leaves the model's mode"
    assert isinstance(bundle.manifest.rescore, Rescore)
    assert bundle.manifest.rescore.candidates >= SIZE
    assert "distilled" in " ".join(bundle.manifest.notes)
    # every video is a candidate here, so the lists are the model's own
    wanted = recommend(model, graph, list(range(SIZE)), k=5)
    found = load(bundle.folder).rank([str(i) for i in range(SIZE)], k=5)
    assert torch.equal(found.video, wanted.video)
    assert torch.allclose(found.score, wanted.score, atol=1e-5)
    # a video without a row keeps its place and takes the score above it; a user without one keeps the list
    pair = bundle.pair
    assert isinstance(pair, Pair)
    given = TopK(torch.tensor([[9.0, 8, 7, 6]] * 2), torch.tensor([[5, SIZE, 7, -1]] * 2))
    out = pair.best(torch.tensor([0, SIZE]), given, 4)
    scores = model.eval().score(model.encode(graph), torch.tensor([0]), torch.tensor([[5, 7]]))[0].tolist()
    first, last = (5, 7) if scores[0] > scores[1] else (7, 5)
    assert out.video.tolist() == [[first, SIZE, last, -1], [5, SIZE, 7, -1]]
    assert out.score[0].tolist() == pytest.approx([max(scores), max(scores), min(scores), -math.inf])
    assert out.score[1].tolist() == [9, 8, 7, 6]


def test_distilled_towers_equal_their_modules_to_the_bit_and_onnx_to_1e_5(
    graph: MultimodalGraph, dataset: Dataset, tmp_path: Path, monkeypatch
):
    onnxruntime = pytest.importorskip("onnxruntime")
    import mmgraph.bundle.making_towers as making

    made: dict[str, torch.nn.Module] = {}
    write = making.write_tower

    def keep(module, example, free, path, *rest, **more):
        made[path.name] = module
        return write(module, example, free, path, *rest, **more)

    monkeypatch.setattr(making, "write_tower", keep)
    torch.manual_seed(0)
    bundle = export(models.LightGCN(graph), graph, dataset, tmp_path / "b", onnx=True)
    assert (bundle.manifest.cold.kind, bundle.manifest.user.kind) == ("distilled", "distilled")
    assert bundle.manifest.fold_in.around
    generator = torch.Generator().manual_seed(1)
    dim = bundle.manifest.dim
    for count in (1, 7, 64):
        features = [torch.randn(count, d, generator=generator) for d in (5, 3)]
        flags = [torch.rand(count, generator=generator) < 0.7 for _ in features]
        cold = [t for pair in zip(features, flags, strict=True) for t in pair]
        mask = torch.arange(9) < torch.randint(1, 10, (count, 1), generator=generator)
        past = (torch.randn(count, 9, dim, generator=generator), mask, torch.zeros(count, 9, dtype=torch.float64))
        for name, tower, inputs in (("cold", bundle.cold, cold), ("user", bundle.tower, past)):
            with torch.no_grad():
                wanted = made[name](*inputs)
            assert torch.equal(tower(*inputs), wanted)
            session = onnxruntime.InferenceSession(bundle.folder / f"towers/{name}.onnx")
            given = {i.name: t.numpy() for i, t in zip(session.get_inputs(), inputs, strict=True)}
            assert np.abs(session.run(None, given)[0] - wanted.numpy()).max() < 1e-5


def test_content_is_read_as_far_as_it_is_there():
    tower = ContentStudent([torch.tensor([1.0, 1])], [torch.tensor([2.0, 1])], torch.eye(3), torch.tensor([0.0, 0, 5]))
    values = torch.tensor([[2.5, 5.0], [math.nan, math.nan]])
    # (2.5 − 1) · 2 = 3 and 5 − 1 = 4, to length one; the flag's 1 and the bias
    wanted = torch.tensor([[0.6, 0.8, 6.0], [0.0, 0.0, 5.0]])
    assert torch.allclose(tower(values, torch.tensor([True, False])), wanted)


def test_listwise_training_of_the_content_tower_ranks_held_out_videos_better(graph: MultimodalGraph):
    # rows that no linear map of the unit features gives: the sign of one of them, times a direction
    visual = graph.features("visual").values
    rows = torch.outer((visual[:, 0] * visual[:, 1]).sign(), torch.ones(4)) * 3
    user = torch.outer(torch.where(torch.arange(SIZE) % 2 == 0, 1.0, -1.0), torch.ones(4))
    _, plain = content_tower(graph, rows, ["visual"])
    tower, about = content_tower(graph, rows, ["visual"], user=user)
    assert "listwise" in about
    assert "listwise" not in plain
    before, after = (float(part) for part in about.split("held-out lists ")[1].split(",")[0].split(" -> "))
    assert after < before
    assert not tower.training


def test_a_server_moves_a_trained_row_by_what_the_tower_says_of_new_clicks(
    graph: MultimodalGraph, dataset: Dataset, tmp_path: Path
):
    torch.manual_seed(0)
    bundle = export(models.LightGCN(graph), graph, dataset, tmp_path / "b")
    state = State(bundle)
    assert torch.equal(state.profiles.of(3), bundle.user[3]), "without a click the row that was trained"
    for user in ("3", "new"):
        state.apply(Event(user, "click", 2e9, {"user": user, "video": "3"}))

    def tower(videos: list[int]) -> torch.Tensor:
        rows, one = bundle.video[videos][None], torch.ones(1, len(videos))
        return bundle.tower(rows, one.bool(), torch.arange(len(videos), dtype=torch.float64)[None])[0]

    before = bundle.history.of(3)[0].tolist()
    assert torch.allclose(state.profiles.of(3), bundle.user[3] + tower([*before, 3]) - tower(before), atol=1e-6)
    assert torch.allclose(state.profiles.of(state.users.find("new")), tower([3]), atol=1e-6)
