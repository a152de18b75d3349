"""Cold start: content in, rows out; known scores unchanged; calibrated chances; new users without training."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from mmgraph.data.dataset import Features
from mmgraph.losses import kl_gaussian
from mmgraph.models import (
    BPRMF,
    EASE,
    CLCRec,
    ContentMean,
    ContentVAE,
    DropoutNet,
    ItemKNN,
    NeuMF,
    People,
    ridge_users,
)
from mmgraph.models.base import Rows
from mmgraph.models.cold import content_vae
from mmgraph.nn import ContentInput, Experts
from mmgraph.nn.content import hide_at_random
from mmgraph.ops import CSR
from mmgraph.recommend import ColdStart, Platt
from mmgraph.train import FitConfig, fit
from tests.worlds import checkerboard, twelve_nodes

CONTENT_MODELS = [ContentMean, ContentVAE, DropoutNet, CLCRec]


def new_videos(count: int = 3, seed: int = 0) -> dict[str, Features]:
    generator = torch.Generator().manual_seed(seed)
    audio = torch.ones(count, dtype=torch.bool)
    audio[0] = False
    return {
        "visual": Features(torch.randn(count, 5, generator=generator), torch.ones(count, dtype=torch.bool)),
        "audio": Features(torch.randn(count, 3, generator=generator), audio),
    }


def make(cls, graph, **more):
    torch.manual_seed(0)
    small = {} if cls is ContentMean else {"embedding_dim": 8}
    return cls(graph, **small, **more)


@pytest.mark.parametrize("cls", CONTENT_MODELS)
def test_known_scores_stay_the_same_to_the_bit(cls):
    graph = twelve_nodes()
    start = ColdStart(make(cls, graph), graph)
    users = torch.tensor([3, 0, 4])
    before = start.score(users)
    more = start.add(new_videos(3)).add(new_videos(300, 1))
    after = more.score(users)
    assert torch.equal(after[:, :7], before)
    assert after.shape == (3, 310)
    assert more.num_videos == 310
    assert torch.isfinite(after).all()
    assert start.num_videos == 7  # a value: the first one is unchanged


@pytest.mark.parametrize("cls", CONTENT_MODELS)
def test_embed_gives_what_the_graph_gives_a_video_without_users(cls):
    graph, new = twelve_nodes(), new_videos()
    model = make(cls, graph).eval()
    more = graph.with_videos(new)
    emb = model.encode(more)
    torch.testing.assert_close(model.embed(new), emb.video[7:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(emb.video[:7], model.encode(graph).video, atol=1e-6, rtol=1e-5)
    # video 6 was in the catalogue, but nobody watched it: its id was never trained and must not count
    unseen = model.embed({m: graph.features(m).take(torch.tensor([6])) for m in graph.modalities})
    torch.testing.assert_close(unseen, emb.video[6:7], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(emb.user, model.encode(graph).user, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cls", CONTENT_MODELS)
def test_a_new_video_ranks_by_its_content(cls):
    """The checkerboard with two new videos that look even and odd."""
    graph = checkerboard()
    model = make(cls, graph)
    fit(model, graph, config=FitConfig(epochs=30, batch_size=64, learning_rate=0.02), seed=1)
    parity = torch.tensor([[0.0], [1.0]])
    new = {"visual": Features(parity.expand(2, 5)), "audio": Features(parity.expand(2, 3))}
    scores = ColdStart(model, graph).add(new).score(torch.arange(24))[:, 24:]
    assert torch.equal(scores.argmax(1), torch.arange(24) % 2)


@pytest.mark.parametrize("cls", CONTENT_MODELS)
def test_any_subset_of_the_modalities_will_do(cls):
    graph, new = twelve_nodes(), new_videos()
    model = make(cls, graph).eval()
    only = model.embed({"visual": new["visual"]})
    nothing = torch.zeros(3, dtype=torch.bool)
    torch.testing.assert_close(
        only, model.embed({"visual": new["visual"], "audio": Features(torch.ones(3, 3), nothing)})
    )
    torch.testing.assert_close(only[0], model.embed(new)[0], atol=1e-6, rtol=1e-5)  # video 0 has no sound
    assert not torch.allclose(only[1], model.embed(new)[1])
    with pytest.raises(ValueError, match="features of \\['smell'\\] given"):
        model.embed({"smell": new["visual"]})
    with pytest.raises(ValueError, match="width 5, but the model was made for 3"):
        model.embed({"audio": new["visual"]})


def test_a_model_that_only_knows_ids_cannot_start_cold():
    graph = twelve_nodes()
    with pytest.raises(TypeError, match=r"BPRMF has no embed\(\)"):
        ColdStart(BPRMF(graph), graph)  # type: ignore[arg-type]


def test_content_mean_is_the_cosine_to_the_mean_by_hand():
    graph = twelve_nodes()
    model = ContentMean(graph, weights={"audio": 0.5}, power=0.5)
    model.solve(graph)
    warm = torch.arange(7) != 6
    parts = []
    for m, w in (("visual", 1.0), ("audio", 0.5)):
        f = graph.features(m)
        x = f.values[f.present & warm]
        unit = F.normalize((f.values - x.mean(0)) / x.std(0, correction=0), dim=1) * f.present[:, None]
        parts.append(w * unit)
    x = F.normalize(torch.cat(parts, 1), dim=1)
    degree = graph.seen.transpose().degree().clamp_min(1)
    profile = F.normalize(graph.seen.dense() @ (x / degree[:, None] ** 0.5), dim=1)
    emb = model.encode(graph)
    torch.testing.assert_close(model.score(emb, torch.arange(5)), profile @ x.T, atol=1e-6, rtol=1e-5)
    assert emb.user[4].abs().sum() == 0


def test_whitened_content_has_the_identity_for_its_covariance():
    graph = checkerboard()
    graph["visual"].x = graph["visual"].x @ torch.diag(torch.tensor([9.0, 1.0, 1.0, 1.0, 1.0]))
    content = ContentInput(graph, ["visual"], whiten=["visual"])
    x = (graph["visual"].x - content.get_buffer("mean_visual")) @ content.get_buffer("transform_visual")
    raw = graph["visual"].x - graph["visual"].x.mean(0)
    size = torch.linalg.eigvalsh(raw.T @ raw / 24)
    torch.testing.assert_close(x.T @ x / 24, torch.diag(size / (size + size[-1] / 100)), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="smell"):
        ContentInput(graph, ["smell"])


def test_experts_start_at_the_principal_coordinates():
    """Before training, inner products of z are those of the inputs, when z is as wide as they are."""
    graph = checkerboard()
    content = ContentInput(graph)
    torch.manual_seed(0)
    experts = Experts(graph, content, 8)
    x, present = content.of(graph)
    joined = torch.cat([v / v.shape[1] ** 0.5 for v in x.values()], 1)
    z = experts(x, present)[0].detach()
    torch.testing.assert_close(z @ z.T * 2 / 8, joined @ joined.T, atol=0.05, rtol=0.05)
    assert z.square().sum(1).mean().item() == pytest.approx(8, rel=0.05)


def vae_batch(graph, **more):
    model = make(ContentVAE, graph, modality_dropout=0.0, **more)
    return model, next(iter(model.sampler(graph, 8).epoch(0, 0)))


def test_content_vae_kl_is_that_of_posterior_and_prior_each_video_counted_once():
    graph = twelve_nodes()
    model, batch = vae_batch(graph, beta=0.7, anneal_steps=0)
    prior_mean, prior_log_var = model.prior({m: graph.features(m) for m in graph.modalities})
    _, residual = model._residuals(graph, Rows())
    log_var = model.spread(residual)
    each = torch.stack(
        [
            kl_gaussian(*(t[v : v + 1] for t in (prior_mean + residual, log_var, prior_mean, prior_log_var)))
            for v in range(7)
        ]
    )
    degree = graph.seen.transpose().degree().clamp_min(1)
    expected = 0.7 * (each / degree)[batch.positive].mean()
    torch.testing.assert_close(model.loss(graph, batch)["kl"], expected)


def test_the_profile_leaves_out_the_video_to_be_predicted(monkeypatch):
    """User 2 watched 2 and 4: predicting 2, its own content must not move the query."""
    graph = twelve_nodes()
    model, batch = vae_batch(graph)
    queries = []

    def keep(query, *_):
        queries.append(query[0])
        return query.sum() * 0

    monkeypatch.setattr(content_vae, "in_batch_nll", keep)
    changed = copy.copy(graph)
    changed["visual"].x = graph["visual"].x.clone()
    changed["visual"].x[graph.node_of("visual")[4]] *= -1
    for positive in (4, 2):
        one = type(batch)(torch.tensor([2, 0]), torch.tensor([positive, 1]), batch.negative[:2])
        queries.clear()
        model.loss(graph, one)
        model.loss(changed, one)
        assert torch.allclose(queries[0], queries[2]) == (positive == 4)


def test_content_vae_elbo_falls_while_beta_rises():
    graph = checkerboard()
    model = make(ContentVAE, graph, beta=1.0, anneal_steps=20)
    report = fit(model, graph, config=FitConfig(epochs=12, batch_size=64, learning_rate=0.01), seed=0)
    rows = report.history
    assert int(model.step) == 12 * 5
    assert rows[0]["loss/kl"] < rows[3]["loss/kl"]  # β rises
    late = [r["loss/nll"] + r["loss/kl"] for r in rows[4:]]  # β = 1: the negative ELBO
    assert sum(late[-3:]) < sum(late[:3])


def test_hidden_modalities_leave_each_video_one_that_it_has():
    graph = twelve_nodes()
    model = make(ContentVAE, graph, modality_dropout=0.9)
    _, present = model.content.of(graph)
    kept = hide_at_random(present, model.modality_dropout)
    assert all(bool((kept[m] <= present[m]).all()) for m in kept)
    assert (kept["visual"] | kept["audio"]).all()
    assert (kept["visual"] & kept["audio"]).sum() < (present["visual"] & present["audio"]).sum()


def test_rows_of_content_vae_in_training_equal_all():
    graph = twelve_nodes()
    model = make(ContentVAE, graph)
    rows = Rows(torch.tensor([1, 4]), torch.tensor([6, 0]))
    whole, part = model.encode(graph), model.encode(graph, rows)
    torch.testing.assert_close(part.user, whole.user[rows.user])
    torch.testing.assert_close(part.video, whole.video[rows.video])


def test_calibration_finds_the_planted_slope_and_shift():
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(200_000, generator=generator) + 5
    chance = torch.sigmoid(0.8 * scores - 4.5)
    labels = (torch.rand(len(scores), generator=generator) < chance).float()
    platt = Platt().fit(scores, labels)
    assert float(platt.slope) == pytest.approx(0.8, abs=0.02)
    assert float(platt.shift) == pytest.approx(-4.5, abs=0.1)
    found = platt(scores)
    for low in range(10):  # reliability: in each bin of chance, that share of labels
        inside = (found >= low / 10) & (found < (low + 1) / 10)
        assert labels[inside].mean().item() == pytest.approx(found[inside].mean().item(), abs=0.02)
    raw = torch.sigmoid(scores)
    assert (found - chance).abs().mean() < 0.1 * (raw - chance).abs().mean()


def test_temperature_scaling_has_no_shift():
    generator = torch.Generator().manual_seed(1)
    scores = 4 * torch.randn(50_000, generator=generator)
    labels = (torch.rand(50_000, generator=generator) < torch.sigmoid(scores / 2)).float()
    platt = Platt().fit(scores, labels, bias=False)
    assert float(platt.shift) == 0
    assert float(platt.slope) == pytest.approx(0.5, abs=0.02)


def test_calibration_refuses_what_it_cannot_fit():
    with pytest.raises(ValueError, match="both positives and negatives"):
        Platt().fit(torch.randn(5), torch.ones(5))
    with pytest.raises(ValueError, match="must agree"):
        Platt().fit(torch.randn(5), torch.ones(4))
    with pytest.raises(ValueError, match="fall where labels rise"):
        Platt().fit(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    platt = Platt().fit(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]))  # separable, yet finite
    assert torch.isfinite(platt.slope)


def test_chances_are_the_calibrated_scores_and_keep_their_order():
    graph = twelve_nodes()
    platt = Platt().fit(torch.tensor([0.0, 1.0, 2.0, 1.5]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    start = ColdStart(make(ContentVAE, graph), graph, platt).add(new_videos())
    users = torch.tensor([0, 1])
    torch.testing.assert_close(start.chance(users), torch.sigmoid(platt.slope * start.score(users) + platt.shift))
    with pytest.raises(ValueError, match="no calibration"):
        ColdStart(make(ContentVAE, graph), graph).chance(users)


@pytest.mark.parametrize("cls", [EASE, ItemKNN])
def test_folding_in_is_exact_for_linear_item_models(cls):
    graph = twelve_nodes()
    model = cls(graph)
    model.solve(graph)
    known = torch.tensor([3, 1])
    clicks, _ = graph.seen.select(known)
    emb = model.fold_in(graph, People(clicks))
    torch.testing.assert_close(model.score(emb, torch.arange(2)), model.score(model.encode(graph), known))


def test_folding_in_is_ridge_regression_on_frozen_videos():
    torch.manual_seed(0)
    video = torch.randn(30, 4, dtype=torch.float64)
    clicks = CSR.from_edges(torch.tensor([0, 0, 0, 1]), torch.tensor([3, 7, 9, 20]), (3, 30))
    users = ridge_users(video, clicks, reg=0.5, background=0.2)
    for row, mine in enumerate(([3, 7, 9], [20], [])):
        # the same as least squares over stacked rows: clicks → 1, every video × √b → 0, the ridge → 0
        rows = torch.cat([video[mine], 0.2**0.5 * video, 0.5**0.5 * torch.eye(4, dtype=torch.float64)])
        target = torch.cat([torch.ones(len(mine), dtype=torch.float64), torch.zeros(34, dtype=torch.float64)])
        torch.testing.assert_close(users[row], torch.linalg.lstsq(rows, target[:, None]).solution[:, 0])
    assert users[2].abs().sum() == 0


@pytest.mark.parametrize("cls", [BPRMF, ContentVAE, CLCRec])
def test_a_new_user_gets_their_taste_from_a_few_clicks(cls):
    graph = checkerboard()
    torch.manual_seed(0)
    model = cls(graph, embedding_dim=8)
    fit(model, graph, config=FitConfig(epochs=30, batch_size=64, learning_rate=0.02), seed=1)
    frozen = {k: v.clone() for k, v in model.state_dict().items()}
    clicks = CSR.from_edges(torch.tensor([0, 0, 1, 1]), torch.tensor([2, 8, 5, 11]), (2, 24))
    emb = model.fold_in(graph, People(clicks))
    scores = model.score(emb, torch.arange(2)).detach()
    even = torch.arange(24) % 2 == 0
    assert scores[0, even].mean() > scores[0, ~even].mean()
    assert scores[1, ~even].mean() > scores[1, even].mean()
    assert all(torch.equal(frozen[k], v) for k, v in model.state_dict().items())


def test_folding_in_refuses_what_has_no_closed_form():
    graph = twelve_nodes()
    none = CSR.from_edges(torch.tensor([0]), torch.tensor([0]), (1, 7))
    with pytest.raises(ValueError, match="NeuMF with NCFHead has no closed form"):
        NeuMF(graph).fold_in(graph, People(none))
    with pytest.raises(ValueError, match="histories or features"):
        BPRMF(graph).fold_in(graph, People())
    with pytest.raises(ValueError, match="clicks over 6 videos"):
        EASE(graph).fold_in(graph, People(CSR.from_edges(torch.tensor([0]), torch.tensor([0]), (1, 6))))
