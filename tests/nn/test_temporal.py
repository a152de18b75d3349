"""Temporal layers: padding, leaks, masks, oracles."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from mmgraph.nn import (
    CausalTransformer,
    GRUEncoder,
    LSTMEncoder,
    RelativeTransformer,
    SearchInterest,
    TemporalLayer,
    TimeAttention,
    TimeDecayProfile,
)
from mmgraph.nn.temporal import CausalLayer, TimeEncoding
from mmgraph.nn.temporal.base import DAY, age, lengths, masked_softmax

D = 8
LAYERS = {
    "lstm": lambda: LSTMEncoder(D, 6),
    "gru": lambda: GRUEncoder(D, 6),
    "attention": lambda: TimeAttention(D, query=True),
    "decay": lambda: TimeDecayProfile(3.0, learned=True),
    "causal": lambda: CausalTransformer(D, dropout=0.0, max_len=12),
    "causal, post-norm": lambda: CausalTransformer(D, dropout=0.0, max_len=12, norm="post", positions="start"),
    "relative": lambda: RelativeTransformer(D, dropout=0.0, max_len=12, max_interval=5),
    "search": lambda: SearchInterest(D, k=3),
}
CAUSAL = [name for name, make in LAYERS.items() if isinstance(make(), CausalLayer)]


def make(name: str) -> TemporalLayer:
    torch.manual_seed(3)
    layer = LAYERS[name]().double()
    with torch.no_grad():  # far from the small initial values, under which every attention is nearly uniform
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return layer


def some_histories(batch: int = 5, steps: int = 7, seed: int = 0):
    """Steps, mask (lengths 7, 1, 4, 0, 6 …), increasing times in seconds, a query."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, D, generator=generator, dtype=torch.float64)
    length = torch.tensor([7, 1, 4, 0, 6])[:batch].clamp(max=steps)
    mask = torch.arange(steps) < length.unsqueeze(1)
    gaps = torch.rand(batch, steps, generator=generator, dtype=torch.float64) * 2 * DAY
    time = (1.7e9 + gaps.cumsum(1)) * mask
    return x, mask, time, torch.randn(batch, D, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("timed", [True, False], ids=["times", "no times"])
@pytest.mark.parametrize("name", LAYERS)
def test_padding_cannot_matter(name, timed):
    """Whatever stands in padded steps, and however many there are, the vectors are the same."""
    layer, (x, mask, time, query) = make(name), some_histories()
    out = layer(x, mask, time if timed else None, query)
    assert out.shape == (5, D)
    noisy = torch.where(mask.unsqueeze(-1), x, 100 * torch.randn_like(x))
    noisy_time = torch.where(mask, time, 3e9 * torch.rand_like(time))
    longer = torch.cat([noisy, torch.randn(5, 3, D, dtype=torch.float64)], 1)
    longer_mask = torch.cat([mask, torch.zeros(5, 3, dtype=torch.bool)], 1)
    longer_time = torch.cat([noisy_time, torch.rand(5, 3, dtype=torch.float64)], 1)
    torch.testing.assert_close(layer(noisy, mask, noisy_time if timed else None, query), out)
    torch.testing.assert_close(layer(longer, longer_mask, longer_time if timed else None, query), out)


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_is_the_same_in_any_batch(name):
    """Each history encoded alone, without any padding, gives its row."""
    layer, (x, mask, time, query) = make(name), some_histories()
    out = layer(x, mask, time, query)
    for i, n in enumerate(mask.sum(1).tolist()):
        if n:
            alone = layer(x[i : i + 1, :n], mask[i : i + 1, :n], time[i : i + 1, :n], query[i : i + 1])
            torch.testing.assert_close(alone[0], out[i])


@pytest.mark.parametrize("name", LAYERS)
def test_a_history_of_no_steps_gives_zero(name):
    layer, (x, mask, time, query) = make(name), some_histories()
    assert torch.equal(layer(x, mask, time, query)[3], torch.zeros(D, dtype=torch.float64))
    nothing = layer(x[:, :0], mask[:, :0], time[:, :0], query)
    assert torch.equal(nothing, torch.zeros(5, D, dtype=torch.float64))


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_gets_a_gradient(name):
    layer, (x, mask, time, query) = make(name), some_histories()
    layer(x, mask, time, query).square().sum().backward()
    used = [n for n, p in layer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 1e-12]
    assert used == [n for n, _ in layer.named_parameters()]
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("name", CAUSAL)
def test_a_state_reads_nothing_that_comes_after(name):
    """Replacing steps and times from t on changes no state before t."""
    layer, (x, mask, time, _) = make(name), some_histories()
    states = layer.states(x, mask, time)
    for t in range(1, 7):
        other, later = x.clone(), time.clone()
        other[:, t:] = torch.randn_like(other[:, t:])
        later[:, t:] = later[:, t - 1 : t] + 1e-3 * torch.rand_like(later[:, t:]).cumsum(1)
        changed = layer.states(other, mask, later)
        real = mask[:, :t]
        torch.testing.assert_close(changed[:, :t][real], states[:, :t][real])
        assert not torch.allclose(changed[0, t], states[0, t])


@pytest.mark.parametrize("name", ["lstm", "gru", "causal, post-norm"])
def test_the_state_at_a_step_is_the_vector_of_the_prefix(name):
    layer, (x, mask, time, _) = make(name), some_histories()
    states = layer.states(x, mask, time)
    for t in range(1, 8):
        torch.testing.assert_close(layer(x[:1, :t], mask[:1, :t], time[:1, :t]), states[:1, t - 1])


def test_layers_without_states_say_so():
    x, mask, _, _ = some_histories()
    with pytest.raises(NotImplementedError, match="TimeAttention"):
        TimeAttention(D).states(x, mask)
    with pytest.raises(NotImplementedError):
        TemporalLayer()(x, mask)


def test_padding_before_steps_is_refused():
    x, mask, _, _ = some_histories()
    for name in ("lstm", "causal"):
        with pytest.raises(ValueError, match="padding goes last"):
            make(name)(x, mask.flip(1))
    assert lengths(mask).tolist() == [7, 1, 4, 0, 6]


# -- recurrent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_packed_equals_a_loop_over_sequences(name):
    """Two layers of cells, step by step with the textbook gates, then linear on the last real step."""
    layer, (x, mask, _, _) = make(name), some_histories()
    rnn = layer.rnn

    def cell(k, inp, h, c):
        wi, wh = getattr(rnn, f"weight_ih_l{k}"), getattr(rnn, f"weight_hh_l{k}")
        bi, bh = getattr(rnn, f"bias_ih_l{k}"), getattr(rnn, f"bias_hh_l{k}")
        a, b = wi @ inp + bi, wh @ h + bh
        if name == "lstm":
            i, f, g, o = (a + b).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        (ar, az, an), (br, bz, bn) = a.chunk(3), b.chunk(3)
        r, z = (ar + br).sigmoid(), (az + bz).sigmoid()
        return (1 - z) * (an + r * bn).tanh() + z * h, c

    out = layer(x, mask)
    for i, n in enumerate(mask.sum(1).tolist()):
        state = [(torch.zeros(6, dtype=torch.float64),) * 2 for _ in range(rnn.num_layers)]
        for t in range(n):
            inp = x[i, t]
            for k in range(rnn.num_layers):
                state[k] = cell(k, inp, *state[k])
                inp = state[k][0]
        expected = layer.out(state[-1][0]) if n else torch.zeros(D, dtype=torch.float64)
        torch.testing.assert_close(out[i], expected)


def test_lstm_has_two_layers_by_default():
    assert LSTMEncoder(D).rnn.num_layers == 2
    assert GRUEncoder(D).rnn.num_layers == 1


# -- pooling ------------------------------------------------------------------------------------------------------


def test_time_attention_equals_the_formula():
    layer, (x, mask, time, query) = make("attention"), some_histories()
    weights, out = layer.weights(x, mask, time, query), layer(x, mask, time, query)
    p = layer.encoding(time, mask)
    for i, n in enumerate(mask.sum(1).tolist()):
        q = layer.q + layer.query.weight @ query[i]
        hidden = x[i, :n] @ layer.x.weight.T + layer.x.bias + p[i, :n].double() @ layer.p.weight.T
        e = (hidden.tanh() @ q).tolist()
        total = sum(math.exp(v) for v in e)
        alpha = torch.tensor([math.exp(v) / total for v in e], dtype=torch.float64)
        torch.testing.assert_close(weights[i, :n], alpha)
        torch.testing.assert_close(out[i], (alpha.unsqueeze(1) * x[i, :n]).sum(0))


@pytest.mark.parametrize("name", ["attention", "decay"])
def test_weights_sum_to_one_over_real_steps_and_to_zero_over_none(name):
    layer, (x, mask, time, query) = make(name), some_histories()
    weights = layer.weights(x, mask, time, query) if name == "attention" else layer.weights(mask, time)
    torch.testing.assert_close(weights.sum(1), mask.any(1).to(weights.dtype))
    assert (weights[~mask] == 0).all()
    assert (weights[mask] > 0).all()


def test_attention_reads_times_only_when_asked():
    x, mask, time, _ = some_histories()
    other = time.clone()
    other[:, 0] -= 400 * DAY
    with_time, without = TimeAttention(D).double(), TimeAttention(D, use_time=False).double()
    assert not torch.allclose(with_time.weights(x, mask, time), with_time.weights(x, mask, other))
    assert torch.equal(without.weights(x, mask, time), without.weights(x, mask, other))


def test_decay_halves_in_a_half_life():
    time = 1.7e9 + DAY * torch.tensor([[0.0, 7.0, 14.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False]])
    weights = TimeDecayProfile(7.0).weights(mask, time)
    torch.testing.assert_close(weights, torch.tensor([[1 / 7, 2 / 7, 4 / 7, 0.0]]))
    places = TimeDecayProfile(1.0, unit=1.0).weights(mask)  # without times: steps back, one unit each
    torch.testing.assert_close(places, torch.tensor([[1 / 7, 2 / 7, 4 / 7, 0.0]]))


def test_decay_neither_overflows_nor_forgets_the_newest():
    """Twenty years under a half-life of a minute: all weight on the newest step; without a half-life, the mean."""
    time = torch.tensor([[0.0, 6.3e8, 6.3e8]], dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert TimeDecayProfile(1 / 1440).weights(mask, time).tolist() == [[0.0, 0.5, 0.5]]
    torch.testing.assert_close(TimeDecayProfile(math.inf).weights(mask, time), torch.full((1, 3), 1 / 3))
    with pytest.raises(ValueError, match="half_life"):
        TimeDecayProfile(0.0)


def test_ages_keep_seconds_that_float32_would_lose():
    time = 1.7e9 + torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float64)
    assert age(time, torch.ones(1, 3, dtype=torch.bool), 1.0).tolist() == [[3.0, 2.0, 0.0]]


def test_time_encoding_formula():
    encoding = TimeEncoding(dim=5, unit=2.0, longest=100.0)
    out = encoding(torch.tensor([[10.0, 16.0]]), torch.ones(1, 2, dtype=torch.bool))
    a = 3.0
    angles = [2 * math.pi * a / period for period in (2, 100)]
    expected = [math.log(4), *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(out[0, 0], torch.tensor(expected), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="odd"):
        TimeEncoding(dim=4)


def test_masked_softmax_of_nothing_is_zero_with_a_finite_gradient():
    scores = torch.randn(2, 3, requires_grad=True)
    out = masked_softmax(scores, torch.tensor([[False] * 3, [True, False, True]]))
    assert out[0].tolist() == [0, 0, 0]
    out.square().sum().backward()
    assert scores.grad.isfinite().all()


# -- attention ----------------------------------------------------------------------------------------------------


def norm(x, layer):
    return F.layer_norm(x, (D,), layer.weight, layer.bias)


def naive_attention(block, x, relative=None):
    """One head at a time, one pair of steps at a time; `relative` gives (r, p^K, p^V, r^K, r^V) of TiSASRec."""
    attention, n, heads = block.attention, len(x), block.attention.heads
    width = D // heads
    qv = x @ attention.query_value.weight.T + attention.query_value.bias
    query, value, key = qv[:, :D], qv[:, D:], x @ attention.key.weight.T
    out = torch.zeros_like(x)
    for h in range(heads):
        at = slice(h * width, (h + 1) * width)
        for i in range(n):
            k, v = key[: i + 1, at], value[: i + 1, at]
            if relative is not None:
                r, place_key, place_value, interval_key, interval_value = relative
                k = k + place_key[: i + 1, at] + interval_key[r[i, : i + 1], at]
                v = v + place_value[: i + 1, at] + interval_value[r[i, : i + 1], at]
            out[i, at] = (k @ query[i, at] / math.sqrt(width)).softmax(0) @ v
    return out @ attention.out.weight.T + attention.out.bias


def naive_block(block, x, relative=None):
    first, second = block.norms
    lin1, _, lin2 = block.feed_forward
    feed = lambda y: F.gelu(y @ lin1.weight.T + lin1.bias) @ lin2.weight.T + lin2.bias  # noqa: E731
    if block.pre:
        x = x + naive_attention(block, norm(x, first), relative)
        return x + feed(norm(x, second))
    x = norm(x + naive_attention(block, x, relative), first)
    return norm(x + feed(x), second)


@pytest.mark.parametrize("name", ["causal", "causal, post-norm"])
def test_causal_transformer_equals_the_naive_form(name):
    layer, (x, mask, _, _) = make(name), some_histories()
    states = layer.states(x, mask)
    for i, n in enumerate(mask.sum(1).tolist()):
        if not n:
            continue
        places = torch.arange(n) if layer.positions == "start" else torch.arange(n).flip(0)
        y = x[i, :n] + layer.place[places]
        y = norm(y, layer.normalise) if layer.norm == "post" else y
        for block in layer.blocks:
            y = naive_block(block, y)
        y = norm(y, layer.normalise) if layer.norm == "pre" else y
        torch.testing.assert_close(states[i, :n], y)


@pytest.mark.parametrize("timed", [True, False], ids=["times", "no times"])
def test_relative_transformer_equals_the_naive_form(timed):
    layer, (x, mask, time, _) = make("relative"), some_histories()
    states = layer.states(x, mask, time if timed else None)
    for i, n in enumerate(mask.sum(1).tolist()):
        if not n:
            continue
        t = time[i, :n] if timed else torch.arange(n).double()
        r = torch.zeros(n, n, dtype=torch.int64)
        for a in range(n):
            unit = min((float(t[b + 1] - t[b]) for b in range(a)), default=1.0)
            for b in range(a):
                r[a, b] = min(int(float(t[a] - t[b]) / unit), 5)
        places = torch.arange(n).flip(0)
        relative = (r, layer.place_key[places], layer.place_value[places], layer.interval_key, layer.interval_value)
        y = x[i, :n]
        for block in layer.blocks:
            y = naive_block(block, y, relative)
        torch.testing.assert_close(states[i, :n], norm(y, layer.normalise))


def test_intervals_are_in_units_of_the_users_shortest_and_clipped():
    layer = RelativeTransformer(D, max_interval=10)
    time = torch.tensor([[100.0, 130.0, 130.0, 200.0, 9e9], [5.0, 5.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    r = layer.intervals(time, mask)
    assert r[0, 3].tolist() == [3, 2, 2, 0, 10]  # 100 s, 70 s, 70 s, 0 s in units of 30 s
    assert r[1, :2, :2].tolist() == [[0, 0], [0, 0]]


def test_a_history_longer_than_the_places_is_refused():
    x, mask, _, _ = some_histories()
    with pytest.raises(ValueError, match="max_len 4"):
        CausalTransformer(D, max_len=4).double()(x, mask)
    with pytest.raises(ValueError, match="num_heads"):
        CausalTransformer(D, num_heads=3)
    without = CausalTransformer(D, max_len=None).double()
    assert without(x, mask).shape == (5, D)


def test_dropout_acts_in_training_alone():
    x, mask, time, _ = some_histories()
    for layer in (CausalTransformer(D), RelativeTransformer(D), GRUEncoder(D, dropout=0.5)):
        layer = layer.double()
        assert not torch.equal(layer(x, mask, time), layer(x, mask, time))
        layer.eval()
        assert torch.equal(layer(x, mask, time), layer(x, mask, time))


# -- search -------------------------------------------------------------------------------------------------------


def full_attention(layer, x, mask, query):
    """Every step projected, one query at a time."""
    out = torch.zeros(len(x), D, dtype=torch.float64)
    for i, n in enumerate(mask.sum(1).tolist()):
        if n:
            key = x[i, :n] @ layer.key.weight.T
            value = x[i, :n] @ layer.value.weight.T + layer.value.bias
            q = layer.q.weight @ query[i] + layer.q.bias
            out[i] = (key @ q / math.sqrt(D)).softmax(0) @ value
    return out


@pytest.mark.parametrize("k", [7, 100])
def test_search_for_all_steps_is_full_attention(k):
    layer, (x, mask, _, query) = make("search"), some_histories()
    layer.k = k
    torch.testing.assert_close(layer(x, mask, None, query), full_attention(layer, x, mask, query))


def test_the_searching_path_with_as_many_as_real_steps_is_full_attention():
    """K = 6 of T = 7 searches; a history of 6 real steps is found whole."""
    layer, (x, mask, _, query) = make("search"), some_histories()
    layer.k = 6
    torch.testing.assert_close(layer(x, mask, None, query)[1:], full_attention(layer, x, mask, query)[1:])


def test_search_finds_the_most_similar_by_the_given_embedding():
    """Keys of another space (multimodal features) choose the steps; the attention is over those alone."""
    layer, (x, mask, _, query) = make("search"), some_histories()
    keys = F.normalize(torch.randn(5, 7, 3, dtype=torch.float64), dim=-1)
    sought = torch.randn(5, 3, dtype=torch.float64)
    out = layer(x, mask, None, query, keys, sought)
    cosine = F.cosine_similarity(keys, sought.unsqueeze(1), dim=-1).masked_fill(~mask, -9)
    best = cosine.argsort(dim=1, descending=True)[:, :3]
    row = torch.arange(5).unsqueeze(1)
    chosen, real = x[row, best], mask[row, best]
    order = (~real).long().argsort(dim=1, stable=True)
    expected = full_attention(layer, chosen[row, order], real[row, order], query)
    torch.testing.assert_close(out, expected)
    with pytest.raises(ValueError, match="both"):
        layer(x, mask, None, query, keys)


def test_many_candidates_at_once():
    layer, (x, mask, _, _) = make("search"), some_histories()
    queries = torch.randn(5, 4, D, dtype=torch.float64)
    for k in (3, 7):
        layer.k = k
        out = layer(x, mask, None, queries)
        assert out.shape == (5, 4, D)
        for n in range(4):
            torch.testing.assert_close(out[:, n], layer(x, mask, None, queries[:, n]))


def test_without_a_query_the_last_real_step_asks():
    layer, (x, mask, _, _) = make("search"), some_histories()
    last = torch.stack([x[i, n - 1] if n else torch.zeros(D).double() for i, n in enumerate(mask.sum(1).tolist())])
    torch.testing.assert_close(layer(x, mask), layer(x, mask, None, last))
