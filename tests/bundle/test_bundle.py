"""A bundle ranks as the model does, without the code that trained it, and is read only as it was written."""

from __future__ import annotations

import ast
import contextlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import mmgraph.models as models
from mmgraph.bundle import (
    Bundle,
    BundleError,
    FileFacts,
    FoldIn,
    History,
    Ids,
    LogPlace,
    Manifest,
    Modality,
    RefusedModelError,
    Tower,
    TowerError,
    TowerFacts,
    export,
    load,
)
from mmgraph.bundle.bundle import HISTORY, TABLES, USERS, VIDEOS
from mmgraph.bundle.distil import content_tower
from mmgraph.bundle.folder import MANIFEST, read_manifest
from mmgraph.data import Dataset, Features
from mmgraph.graph.multimodal import MultimodalGraph
from mmgraph.recommend import recommend
from tests.worlds import checkerboard

SIZE = 24


def dataset_of(graph: MultimodalGraph) -> Dataset:
    user, video = graph.interactions()
    ids = list(range(SIZE))
    return Dataset.from_frames(
        {"user": user.numpy(), "video": video.numpy()},
        users={"user_id": ids},
        videos={"video_id": ids, "title": [f"title {i}" for i in ids], "year": [2000 + i for i in ids]},
        entities={"tag": pl.DataFrame({"video": ids, "tag": ["odd" if i % 2 else "even" for i in ids]})},
    )


@pytest.fixture(scope="module")
def graph() -> MultimodalGraph:
    return checkerboard(SIZE)


def trained(name: str, graph: MultimodalGraph) -> models.Recommender:
    torch.manual_seed(0)
    model = getattr(models, name)(graph)
    if model.closed_form:
        model.solve(graph)
    return model


@pytest.fixture(scope="module")
def content(graph: MultimodalGraph, tmp_path_factory: pytest.TempPathFactory) -> tuple[models.ContentVAE, Bundle]:
    """A model with a content path of its own, with ONNX."""
    pytest.importorskip("onnxscript", reason="ONNX towers need pip install 'mmgraph[export]'")
    model = trained("ContentVAE", graph)
    folder = tmp_path_factory.mktemp("content") / "bundle"
    return model, export(model, graph, dataset_of(graph), folder, onnx=True, metrics={"ndcg@20": 0.5})


@pytest.fixture
def copy(content: tuple[models.ContentVAE, Bundle], tmp_path: Path) -> Path:
    """A copy of that bundle to damage."""
    return Path(shutil.copytree(content[1].folder, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["ContentVAE", "LightGCN", "EASE"])
def test_a_bundle_gives_the_lists_of_the_model(name: str, graph: MultimodalGraph, content, tmp_path: Path):
    if name == "ContentVAE":
        model, bundle = content
    else:
        model = trained(name, graph)
        bundle = export(model, graph, dataset_of(graph), tmp_path / "b", distil=False)
    wanted = recommend(model, graph, list(range(SIZE)), k=5)
    found = bundle.rank([str(i) for i in range(SIZE)], k=5)
    assert torch.equal(found.video, wanted.video)
    assert torch.allclose(found.score, wanted.score, atol=1e-4)
    assert bundle.recommend(["3"], k=2) == {"3": [str(v) for v in wanted.video[3, :2].tolist()]}
    everything = bundle.rank(["3"], k=SIZE, exclude_seen=False)
    assert sorted(everything.video[0].tolist()) == list(range(SIZE)), "nothing seen is left out unless asked"


def test_the_manifest_says_what_it_is(content):
    _, bundle = content
    manifest = bundle.manifest
    assert isinstance(manifest, Manifest)
    assert (manifest.model, manifest.kind, manifest.users, manifest.videos) == ("ContentVAE", "factors", SIZE, SIZE)
    assert manifest.modalities == {"visual": Modality(dim=5), "audio": Modality(dim=3)}
    assert isinstance(manifest.cold, TowerFacts)
    assert manifest.cold.kind == "own"
    assert manifest.fold_in == FoldIn(method="ridge", reg=1.0, background=0.1)
    assert manifest.log == LogPlace(identity=None, seq=0)
    assert manifest.metrics == {"ndcg@20": 0.5}
    files = {TABLES, HISTORY, USERS, VIDEOS, *(f"towers/{n}.{e}" for n in ("cold", "user") for e in ("pt2", "onnx"))}
    assert set(manifest.files) == files
    assert all(isinstance(facts, FileFacts) for facts in manifest.files.values())
    assert bundle.id == read_manifest(bundle.folder).id
    assert bundle.columns.row(2) == ("2", "title 2", "2002", ["even"])
    past = bundle.history.of(0)
    assert set(past[0].tolist()) == set(range(2, SIZE, 2))
    assert (np.diff(past[1]) > 0).all(), "in order of time"
    assert len(bundle.history.of(SIZE)[0]) == 0
    # all events lie within days of each other, so a week's half-life leaves at least a quarter of each
    count = torch.bincount(torch.from_numpy(bundle.history.video).long(), minlength=SIZE)
    assert bool(((bundle.popularity <= count) & (bundle.popularity > 0.2 * count)).all())


def test_towers_equal_the_model_to_the_bit_and_onnx_to_1e_5(content, graph: MultimodalGraph):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, bundle = content
    generator = torch.Generator().manual_seed(1)
    session = onnxruntime.InferenceSession(bundle.folder / "towers/cold.onnx")
    for count in (1, 7, 64):
        features = {
            m: Features(torch.randn(count, d, generator=generator), torch.rand(count, generator=generator) < 0.7)
            for m, d in (("visual", 5), ("audio", 3))
        }
        inputs = [t for f in features.values() for t in (f.values, f.present)]
        with torch.no_grad():
            wanted = model.embed(features)
        assert torch.equal(bundle.cold(*inputs), wanted)
        names = [i.name for i in session.get_inputs()]
        found = session.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})[0]
        assert np.abs(found - wanted.numpy()).max() < 1e-5
        # what is absent does not count, whatever lies there
        inputs[0] = inputs[0].masked_fill(~inputs[1].unsqueeze(1), torch.nan)
        assert torch.equal(bundle.cold(*inputs), wanted)


def test_the_user_tower_is_fold_in(content, graph: MultimodalGraph, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = trained("BPRMF", graph)
    bundle = export(model, graph, dataset_of(graph), tmp_path / "b", distil=False, onnx=True)
    wanted = model.fold_in(graph, models.People(graph.seen)).user
    steps = graph.histories()
    videos = bundle.video[steps.video.clamp(min=0)]
    prior = torch.zeros(SIZE, bundle.manifest.dim)
    assert torch.allclose(bundle.tower(videos, steps.mask, prior), wanted, atol=1e-5)
    session = onnxruntime.InferenceSession(bundle.folder / "towers/user.onnx")
    names = [i.name for i in session.get_inputs()]
    found = session.run(None, {n: t.numpy() for n, t in zip(names, (videos, steps.mask, prior), strict=True)})[0]
    assert np.abs(found - wanted.numpy()).max() < 1e-5
    nobody = torch.zeros(1, 1, dtype=torch.bool)
    assert torch.allclose(bundle.tower(videos[:1, :1], nobody, bundle.user[:1]), bundle.user[:1], atol=1e-5), (
        "without new clicks a row stays as it was trained"
    )


def test_the_user_tower_of_a_sequential_model_is_its_own(graph: MultimodalGraph, tmp_path: Path):
    model = trained("SASRec", graph)
    bundle = export(model, graph, dataset_of(graph), tmp_path / "b", distil=False)
    assert bundle.manifest.fold_in == FoldIn(method="tower", steps=50), bundle.manifest.notes
    wanted = model.eval().encode(graph).user.detach()
    past = graph.histories(max_len=50)
    found = bundle.tower(bundle.video[past.video.clamp(min=0)], past.mask, past.time)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_layer_that_cannot_be_traced_is_said_and_ridge_takes_its_place(graph: MultimodalGraph, tmp_path: Path):
    bundle = export(trained("GRU4Rec", graph), graph, dataset_of(graph), tmp_path / "b", distil=False)
    assert bundle.manifest.fold_in.method == "ridge"
    assert "not as the model would" in " ".join(bundle.manifest.notes)


@pytest.mark.parametrize("name", ["DSSM", "MultVAE"])
def test_cosine_and_vae_heads_are_served_by_their_factors(name: str, graph: MultimodalGraph, tmp_path: Path):
    model = trained(name, graph).eval()
    bundle = export(model, graph, dataset_of(graph), tmp_path / "b", distil=False)
    wanted = recommend(model, graph, [0, 1, 5], k=5)
    assert torch.equal(bundle.rank(["0", "1", "5"], k=5).video, wanted.video)


def test_reading_and_ranking_loads_neither_pyg_nor_transformers_nor_training_code(content):
    heavy = ("torch_geometric", "transformers", "librosa", "ogb")
    ours = tuple(f"mmgraph.{part}" for part in ("models", "train", "nn", "graph", "encoders", "experiment"))
    code = (
        "import sys\nfrom mmgraph.bundle import load\n"
        f"print(load({str(content[1].folder)!r}).recommend(['3'], k=2))\n"
        f"print([n for n in sys.modules if n.split('.')[0] in {heavy} or n.startswith({ours})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lists, loaded = done.stdout.strip().splitlines()
    assert ast.literal_eval(lists) == content[1].recommend(["3"], k=2)
    assert ast.literal_eval(loaded) == []


def test_every_byte_counts(copy: Path):
    names = [p for p in copy.rglob("*") if p.is_file()]
    assert len(names) == 9
    for path in names:
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[len(broken) // 2] ^= 1
        path.write_bytes(broken)
        with pytest.raises(BundleError, match=path.name):
            load(copy)
        path.write_bytes(whole[:-1])
        with pytest.raises(BundleError, match=path.name):
            load(copy)
        path.unlink()
        with pytest.raises(BundleError, match=path.name):
            load(copy)
        path.write_bytes(whole)
    assert load(copy).recommend(["3"], k=2)
    (copy / "extra").write_text("x")
    with pytest.raises(BundleError, match="extra does not belong"):
        load(copy)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text.replace('"format": 1', '"format": 2'), "format 2"),
        (lambda text: text.replace('"kind": "factors"', '"kind": "magic"'), "kind"),
        (lambda text: text.replace('"users.parquet"', '"../users.parquet"'), "outside the folder"),
        (lambda text: text.replace('"users": 24', '"users": 25'), "user ids is 24, the manifest says 25"),
        (lambda text: "[]", "manifest.json"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(edit: Callable[[str], str], message: str, copy: Path):
    path = copy / MANIFEST
    changed = edit(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(BundleError):
        load(copy)
    with contextlib.suppress(ValueError):  # and one whose digest was made to fit
        manifest = Manifest.model_validate_json(changed)
        path.write_text(manifest.model_copy(update={"digest": manifest.digested()}).model_dump_json())
    with pytest.raises(BundleError, match=message):
        load(copy)


def test_a_bundle_is_written_whole_or_not_at_all(graph: MultimodalGraph, copy: Path, tmp_path: Path, monkeypatch):
    model, dataset = trained("Popularity", graph), dataset_of(graph)
    before = read_manifest(copy)
    with pytest.raises(BundleError, match="exists"):
        export(model, graph, dataset, copy)
    (tmp_path / "other").mkdir()
    with pytest.raises(BundleError, match="is no bundle"):
        export(model, graph, dataset, tmp_path / "other", replace=True)
    with monkeypatch.context() as patch:
        patch.setattr("mmgraph.bundle.exporting.seal", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            export(model, graph, dataset, copy, replace=True, distil=False)
        with pytest.raises(OSError, match="No space left"):
            export(model, graph, dataset, tmp_path / "fresh", distil=False)
    assert load(copy).id == before.id, "the old one is as it was"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "other"], "nothing half-written is left"
    done = export(model, graph, dataset, copy, replace=True, distil=False)
    assert load(copy).id == done.id != before.id
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "other"]


def test_a_head_that_is_no_product_is_refused_with_the_reason(graph: MultimodalGraph, tmp_path: Path):
    with pytest.raises(RefusedModelError, match="NCFHead, which is no dot product"):
        export(trained("NeuMF", graph), graph, dataset_of(graph), tmp_path / "b", distil=False)
    assert not list(tmp_path.iterdir())


def test_tables_that_do_not_rank_as_the_model_are_refused(graph: MultimodalGraph, tmp_path: Path):
    class Wrong(models.BPRMF):
        def factors(self, emb):
            return emb

        def score(self, emb, users, videos=None):
            return -super().score(emb, users, videos)

    with pytest.raises(RefusedModelError, match="rank alike"):
        export(Wrong(graph), graph, dataset_of(graph), tmp_path / "b")


def test_another_dataset_is_refused(graph: MultimodalGraph, tmp_path: Path):
    other = Dataset.from_frames({"user": [0, 1], "video": [0, 1]})
    with pytest.raises(ValueError, match="the dataset"):
        export(trained("Popularity", graph), graph, other, tmp_path / "b")


def test_a_distilled_tower_puts_new_videos_where_their_kind_is(graph: MultimodalGraph):
    # rows that are a linear function of the unit features: the tower must find that function
    features = [graph.features(m) for m in ("visual", "audio")]
    blank, _ = content_tower(graph, torch.zeros(SIZE, 4), ["visual", "audio"])
    inputs = [t for f in features for t in (f.values, f.present)]
    truth = torch.randn(10, 4, generator=torch.Generator().manual_seed(3))
    rows = blank.inputs(*inputs) @ truth + 1.0
    tower, about = content_tower(graph, rows, ["visual", "audio"])
    assert torch.nn.functional.cosine_similarity(tower(*inputs), rows).min() > 0.99
    assert "held-out rows 0.9" in about or "held-out rows 1.0" in about


def test_a_pickle_in_a_tower_is_refused(copy: Path):
    path = copy / "towers/cold.pt2"
    held = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(held) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            bad = info.filename.endswith("sample_inputs/model.pt")
            new.writestr(info, b"\x80\x02." if bad else old.read(info))
    with pytest.raises(TowerError, match="is a pickle"):
        Tower(path).load()
    path.write_bytes(b"no archive")
    with pytest.raises(TowerError, match=r"no \.pt2 archive"):
        Tower(path).load()


def test_ids_are_text_and_only_grow():
    ids = Ids(["7", "cat"])
    twin = ids.copy()
    assert (ids.find("7"), ids.find("x"), "cat" in ids, len(ids)) == (0, -1, True, 2)
    assert (ids.add("x"), ids.add("7"), ids.raw) == (2, 0, ["7", "cat", "x"])
    assert twin.raw == ["7", "cat"]
    assert ids.close("cats") == ["cat"]
    assert ids.close("cats", leave_out=["cat"]) == []
    with pytest.raises(ValueError, match="twice"):
        Ids(["a", "a"])


def test_a_history_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="offsets"):
        History(np.array([0, 3]), np.zeros(2, np.int32), np.zeros(2))
