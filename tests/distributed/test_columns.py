"""Columns shared out: the numbers of one process, and the bytes that the formula says."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch

from mmgraph.distributed import (
    ColumnProducts,
    Columns,
    Wire,
    check_columns,
    column_step_bytes,
    read_parts,
    row_step_bytes,
)
from mmgraph.graph import ModalityKNN
from mmgraph.graph.samplers import PairSampler
from mmgraph.models import BPRMF, EASE, FREEDOM, NGCF, ByColumns, LayerGCN, LightGCN, Recommender, UltraGCN
from mmgraph.nn import CosineHead, NCFHead
from mmgraph.nn.heads import Products
from mmgraph.objectives import BPR, CosineContrastive, FullSoftmax, SampledSoftmax
from mmgraph.train import Callback, FitConfig, RowwiseAdagrad, fit, load_checkpoint
from mmgraph.train.together import Together
from tests.worlds import checkerboard, twelve_nodes

DIM, BATCH = 8, 16

# name -> the class and its arguments
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bpr-mf": (BPRMF, {"l2": 0.1}),
    "lightgcn": (LightGCN, {"num_layers": 2, "l2": 0.1}),
    "lightgcn, 3 negatives": (LightGCN, {"num_layers": 3, "objective": BPR(negatives=3)}),
    "lightgcn, in-batch": (LightGCN, {"num_layers": 2, "objective": SampledSoftmax(temperature=0.5, log_q=True)}),
    "lightgcn, cosine": (LightGCN, {"num_layers": 2, "objective": SampledSoftmax(temperature=0.2, cosine=True)}),
    "lightgcn, cosine head": (LightGCN, {"num_layers": 2, "head": CosineHead(0.2)}),
    "bpr-mf, contrastive": (BPRMF, {"objective": CosineContrastive(negatives=4, margin=0.1, weight=2.0)}),
    "ultragcn": (UltraGCN, {"negatives": 5, "negative_weight": 5.0, "neighbours": 3}),
    "freedom": (FREEDOM, {"num_layers": 2, "content": 0.1}),
}


def world(name: str):
    if name != "freedom":
        return checkerboard()
    graph = twelve_nodes()
    for modality in graph.modalities:
        graph = ModalityKNN(modality, 2)(graph, torch.Generator().manual_seed(0))
    return graph


def trained(together: Together, name: str, epochs: int = 2, folder=None, resume=False, **settings) -> dict[str, Any]:
    """Losses and validation of each epoch, and the weights."""
    graph = world(name)
    torch.manual_seed(0)
    kind, arguments = MODELS[name]
    model = kind(graph, embedding_dim=DIM, **arguments)
    judged = []

    def validate(judged_model: Recommender) -> dict[str, float]:
        judged.append([tuple(p.shape) for p in judged_model.parameters()])
        emb = judged_model.encode(graph)
        return {"recall@20": float(judged_model.score(emb, torch.arange(2)).square().sum())}

    config = FitConfig(epochs=epochs, batch_size=BATCH, learning_rate=0.02, **settings)
    report = fit(model, graph, validate, config, seed=3, directory=folder, resume=resume, together=together)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert all(seen == shapes for seen in judged), "what is judged is the whole model"
    keys = [k for k in report.history[0] if k.startswith("loss/")] + ["recall@20"]
    return {
        "rows": [[row[key] for key in keys] for row in report.history],
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
    }


def in_columns(wire: Wire, *arguments, **settings) -> dict[str, Any]:
    return trained(Columns(wire), *arguments, **settings)


def every_model(wire: Wire) -> dict[str, Any]:
    return {name: in_columns(wire, name) for name in MODELS} | {"clipped": in_columns(wire, "lightgcn", clip_norm=0.05)}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return {name: trained(Together(), name) for name in MODELS} | {
        "clipped": trained(Together(), "lightgcn", clip_norm=0.05)
    }


@pytest.mark.parametrize("size", [2, 4])
def test_losses_and_weights_are_those_of_one_process(crew, alone, size):
    for found in crew(every_model, size):
        for name, one in alone.items():
            torch.testing.assert_close(
                torch.tensor(found[name]["rows"]), torch.tensor(one["rows"]), rtol=1e-5, atol=1e-6
            )
            for key, value in one["weights"].items():
                assert found[name]["weights"][key].shape == value.shape
                torch.testing.assert_close(
                    found[name]["weights"][key], value, rtol=1e-3, atol=2e-5, msg=f"{name} {key}"
                )
    assert alone["clipped"]["rows"] != alone["lightgcn"]["rows"]


def gradients(wire: Wire) -> dict[str, float]:
    """Model -> the largest difference between its gradient on one batch and that of one process, over its size."""
    out = {}
    for name, (kind, arguments) in MODELS.items():
        graph, found = world(name), []
        for together in (Together(), Columns(wire)):
            torch.manual_seed(0)
            model: Recommender = kind(graph, embedding_dim=DIM, **arguments)
            together.divide(model)
            batch = next(iter(model.sampler(graph, BATCH).epoch(0, 0)))
            torch.stack(list(together.loss(model, graph, batch).values())).sum().backward()
            found.append({key: value.grad for key, value in model.named_parameters()})
        for key, dim in model.by_columns().tables.items():  # type: ignore[union-attr]
            whole, part = found[0][key], found[1][key]
            own = whole.chunk(wire.size, dim)[wire.rank]
            out[f"{name}: {key}"] = float((own - part).abs().max() / whole.abs().max())
    return out


def test_gradients_are_the_columns_of_those_of_one_process(crew):
    for found in crew(gradients, 2):
        assert len(found) >= len(MODELS)
        assert max(found.values()) < 1e-5, found


def step_bytes(wire: Wire, name: str) -> list[int]:
    """Of each step of one epoch: what the wire counted, and what the formula says."""
    graph = world(name)
    kind, arguments = MODELS[name]
    model: LightGCN = kind(graph, embedding_dim=DIM, **arguments)
    together = Columns(wire)
    together.divide(model)
    out = []
    for batch in PairSampler(graph, BATCH, model.objective.draws).epoch(0, 0):
        wire.sent.clear()
        torch.stack(list(together.loss(model, graph, batch).values())).sum().backward()
        videos = len(torch.cat([batch.positive, batch.negative.flatten()]).unique())
        cosine = name == "lightgcn, cosine"
        said = column_step_bytes(
            len(batch.user),
            batch.negative.shape[1],
            in_batch=None if batch.negative.numel() else videos,
            cosine_videos=videos if cosine else None,
        )
        out += [wire.sent.total() - said]
    return out


@pytest.mark.parametrize("name", ["lightgcn", "lightgcn, 3 negatives", "lightgcn, in-batch", "lightgcn, cosine"])
def test_a_step_sends_the_bytes_that_the_formula_says(crew, name):
    assert column_step_bytes(2048) == 16 * 1024 + 4
    assert column_step_bytes(2048) * 1000 < row_step_bytes(300_000, 64, 3, 2)
    for differences in crew(step_bytes, 2, name):
        assert len(differences) > 1
        assert set(differences) == {0}


def some_epochs(wire: Wire, folder: str, epochs: int) -> dict[str, Any]:
    return in_columns(wire, "lightgcn", epochs, folder, True, checkpoint_seconds=0)


def test_a_checkpoint_of_two_is_gone_on_with_by_four_and_by_one(crew, tmp_path):
    whole = trained(Together(), "lightgcn", 6)
    crew(some_epochs, 2, str(tmp_path), 2)
    two = read_parts(tmp_path / "checkpoint")
    assert two["epoch"] == 2
    assert two["last"]["embedding"].shape[1] == DIM
    assert two["optimizer"]["state"][0]["exp_avg"].shape == two["last"]["embedding"].shape
    crew(some_epochs, 4, str(tmp_path), 2)  # nothing to train: what four read is what two wrote
    four = read_parts(tmp_path / "checkpoint")
    for key in ("embedding",):
        assert torch.equal(four["last"][key], two["last"][key])
    for key in ("exp_avg", "exp_avg_sq", "step"):
        assert torch.equal(four["optimizer"]["state"][0][key], two["optimizer"]["state"][0][key])
    crew(some_epochs, 4, str(tmp_path), 4)
    last = crew(some_epochs, 1, str(tmp_path), 6)[0]
    torch.testing.assert_close(torch.tensor(last["rows"]), torch.tensor(whole["rows"]), rtol=1e-5, atol=1e-6)
    assert len(list((tmp_path / "checkpoint").iterdir())) == 2, "LATEST and what it names"
    with pytest.raises(ValueError, match="checkpoint of several processes: go on with --nproc"):
        trained(Together(), "lightgcn", 6, tmp_path, True)


def test_several_go_on_from_the_checkpoint_of_one(crew, tmp_path):
    whole = trained(Together(), "lightgcn", 4)
    trained(Together(), "lightgcn", 2, tmp_path)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 2
    found = crew(some_epochs, 2, str(tmp_path), 4)[0]
    torch.testing.assert_close(torch.tensor(found["rows"]), torch.tensor(whole["rows"]), rtol=1e-5, atol=1e-6)


class Stranger(LightGCN):
    """Mixes columns, and inherits from a model that does not."""

    def encode(self, graph, rows=None):
        return super().encode(graph)


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        (lambda g: LightGCN(g, embedding_dim=6), 4, "LightGCN.embedding has 6 columns, which 4 processes cannot share"),
        (lambda g: LightGCN(g, embedding_dim=6), 4, "take --nproc 2 or 3 or 6, or an embedding_dim that is a multiple"),
        (lambda g: NGCF(g, embedding_dim=8), 2, "NGCF does not say that its layers leave columns apart"),
        (lambda g: LayerGCN(g, embedding_dim=8), 2, "LayerGCN does not say"),
        (lambda g: Stranger(g, embedding_dim=8), 2, "Stranger does not say"),
        (lambda g: LightGCN(g, embedding_dim=8, head=NCFHead(8)), 2, "NCFHead reads whole rows"),
        (lambda g: LightGCN(g, embedding_dim=8, objective=FullSoftmax()), 2, "FullSoftmax reads whole rows"),
    ],
)
def test_what_mixes_columns_is_refused_with_what_to_do(model, size, said):
    with pytest.raises(ValueError, match=said):
        check_columns(model(checkerboard()), size)


class Alone(Wire):
    """A wire of one, without a group."""

    def __init__(self) -> None:
        self.rank, self.size, self.device = 0, 1, torch.device("cpu")


def test_an_optimiser_that_reads_rows_and_callbacks_are_refused():
    graph = checkerboard()
    model = LightGCN(graph, embedding_dim=8)
    with pytest.raises(ValueError, match="RowwiseAdagrad looks at whole rows"):
        fit(model, graph, config=FitConfig(optimizer=RowwiseAdagrad()), together=Columns(Alone()))
    with pytest.raises(ValueError, match="callbacks would see one process's columns"):
        fit(model, graph, callbacks=[Callback()], together=Columns(Alone()))
    assert model.by_columns() == ByColumns({"embedding": 1}, ("l2",), ((model.edge_types, "sym"),))
    assert BPRMF(graph).by_columns() == ByColumns({"embedding": 1}, ("l2",))
    assert EASE(graph).by_columns() is None
    assert isinstance(model.head.products, Products)
    assert not isinstance(model.head.products, ColumnProducts)


def stopped(wire: Wire, folder: str) -> bool:
    """Whether this process stopped, when process 1 alone is asked to, in its second epoch."""
    begun = []

    def ask(graph, generator):
        begun.append(1)
        if wire.rank == 1 and len(begun) == 2:
            signal.raise_signal(signal.SIGTERM)
        return graph

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    model = LightGCN(checkerboard(), embedding_dim=DIM)
    told = {"directory": folder, "epoch_transforms": (ask,), "together": Columns(wire)}
    try:
        fit(model, checkerboard(), config=FitConfig(epochs=9, batch_size=BATCH), **told)
    except KeyboardInterrupt:
        return len(begun) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    return False


def test_a_signal_to_one_stops_all_at_the_same_batch_with_a_checkpoint(crew, tmp_path):
    assert crew(stopped, 2, str(tmp_path)) == [True, True]
    assert read_parts(tmp_path / "checkpoint")["epoch"] == 2
