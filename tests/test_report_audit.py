"""The page of an audit, and the command that makes it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmgraph.audit import Audit, AuditConfig, EffectRow, FidelityRow, MissingRow
from mmgraph.audit.findings import Effect
from mmgraph.cli import app
from mmgraph.report import render_audit, write_audit

MADE_BY = """
import itertools
import numpy as np, polars as pl, torch
from mmgraph.data import Dataset, random_split
from mmgraph.evaluate import EvalConfig
from mmgraph.experiment import Experiment
from mmgraph.models import ContentKNN

def split():
    chance = np.random.default_rng(0)
    pairs = [(u, v) for u, v in itertools.product(range(30), range(40)) if (u + v) % 2 and chance.random() < 0.5]
    frame = pl.DataFrame(pairs, schema=["user_id", "video_id"], orient="row")
    told = (torch.arange(40)[:, None] % 2 + torch.arange(2)) % 2
    videos = pl.DataFrame({"video_id": np.arange(40)})
    features = {"look": told.float(), "<sound>": torch.randn(40, 3, generator=torch.Generator().manual_seed(0))}
    return random_split(Dataset.from_frames(frame, videos=videos, features=features, name="toy"), seed=0)

def content():
    return Experiment(name="content", split=split, model=ContentKNN, evaluate=EvalConfig(k=(5,), auc=False), seeds=(0,))
"""


def effect(mean: float, margin: float) -> Effect:
    return Effect(mean=mean, low=mean - margin, high=mean + margin, p=0.1, users=12)


def findings(**changes) -> Audit:
    rows = [
        EffectRow(group=g, kind=k, where=w, range=r, effect=effect(m, 0.1))
        for g, m in (("look", 0.3), ("<sound>", -0.4))
        for k in ("drop", "alone")
        for w, r in (("all", ""), ("activity", "1 to 3"), ("activity", "4 to 9"))
    ]
    lost = [
        MissingRow(group="every", how="random", rate=r, value=0.5 - r / 4, lost=effect(r / 4, 0.01)) for r in (0.1, 0.9)
    ]
    why = FidelityRow(reasons="look", explained=0.2, random=0.1, gap=effect(0.1, 0.2))
    base = {
        "experiment": "mine", "seed": 3, "identity": "ab", "protocol": "toy-1", "model": "VBPR", "stage": "valid",
        "metric": "recall@5", "refit": False, "full": 0.5, "none": 0.2,
        "groups": {"look": ("look",), "<sound>": ("<sound>",)}, "coverage": {"look": 1.0, "<sound>": 0.5},
        "effects": tuple(rows), "missing": tuple(lost), "fidelity": (why,), "notes": ("Mind <this>.",),
        "config": AuditConfig(),
    }  # fmt: skip
    return Audit.model_validate(base | changes)


class Tags(HTMLParser):
    """Checks that what is opened is closed, and collects ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        self.ids |= {told["id"]} if "id" in told else set()
        self.links += [told["href"]] if "href" in told else []
        if tag not in ("meta", "link", "br", "img", "polyline", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def test_the_page_is_whole_fetches_nothing_and_escapes_what_data_say():
    page = render_audit(findings())
    tags = Tags()
    tags.feed(re.sub(r"/>", ">", page))
    assert not tags.open
    assert {link[1:] for link in tags.links if link.startswith("#")} <= tags.ids
    assert "<sound>" not in page
    assert "&lt;sound&gt;" in page
    assert "Mind &lt;this&gt;." in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    assert "<script" not in page
    assert 'content="default-src &#39;none&#39;;' in page
    assert "prefers-color-scheme:dark" in page


def test_the_page_says_what_helps_what_harms_and_what_may_be_nothing():
    page = render_audit(findings())
    assert page.count("] helps") == 2
    assert page.count("] harms") == 2
    nothing = EffectRow(group="look", kind="drop", where="all", range="", effect=effect(0.01, 0.1))
    page = render_audit(findings(effects=(nothing,), missing=(), fidelity=()))
    assert page.count("] may be nothing") == 1
    assert 'id="missing"' not in page
    assert 'id="fidelity"' not in page
    # scale 0 stands where the interval says: -.09 … .11
    zero, left, width = (float(re.search(rf"--{name}:([\d.]+)%", page).group(1)) for name in "zlw")  # type: ignore[union-attr]
    assert left < zero < left + width


def test_curves_end_where_no_video_has_the_group():
    page = render_audit(findings())
    (line,) = re.findall(r'<polyline [^>]*points="([^"]+)"', page)
    ends = [tuple(map(float, point.split(","))) for point in line.split()]
    # axes: 58 to 344 for shares 0 to 1, 190 up to 32 for .2 (none) to .9 (the look left out would be .2, the sound .9)
    assert (ends[0][0], ends[-1][0]) == (58, 344)
    up = [(190 - y) / (190 - 32) for _, y in ends]
    share = (up[-1] - up[0]) / (up[2] - up[0])
    assert share == pytest.approx((0.2 - 0.5) / (0.5 - 0.9 / 4 - 0.5), rel=0.01)
    alone = MissingRow(group="look", how="random", rate=1.0, value=0.2, lost=effect(0.3, 0.1))
    (whole,) = re.findall(r'<polyline [^>]*points="([^"]+)"', render_audit(findings(missing=(alone,))))
    assert len(whole.split()) == 2, "a share of 1 that was asked for is not drawn twice"


def test_what_changed_for_nobody_and_what_shapley_values_add_up_to_are_said():
    rows = [
        EffectRow(group=g, kind=k, where=w, range=r, effect=effect(m, e))
        for g, k, m, e in (
            ("look", "shapley", 0.25, 0.1),
            ("<sound>", "shapley", 0.05, 0.1),
            ("look", "drop", 0.0, 0.0),
        )
        for w, r in (("all", ""), ("activity", "1 to 3"), ("activity", "4 to 9"))
    ]
    page = render_audit(findings(effects=tuple(rows)))
    assert "add up to +0.3000" in page
    assert page.count("the same for all") == 3
    assert "the same for all 12" in page
    assert "add up to" not in render_audit(findings())


def test_findings_are_read_back_as_they_were_written(tmp_path: Path):
    assert Audit.load(findings().save(tmp_path / "audit.json")) == findings()
    assert write_audit(findings(), tmp_path / "deep" / "page.html").read_text() == render_audit(findings())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("audited")
    (place / "made.py").write_text(MADE_BY)
    done = CliRunner().invoke(app, ["run", f"{place}/made.py:content", "--out", str(place / "runs"), "--seed", "0"])
    assert done.exit_code == 0, done.output
    return place


def test_the_command_writes_a_page_and_the_report_links_to_it(trained: Path):
    run, source = trained / "runs" / "content", f"{trained}/made.py:content"
    asked = ["audit", str(run), "--source", source, "--rates", "0.5", "--pairs", "1", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["refit"] is True, "a closed form is solved anew"
    found = Audit.load(run / "0" / "audit.json")
    assert found.effect("look", "drop").low > 0
    assert Path(told["page"]).read_text() == render_audit(found)
    shown = CliRunner().invoke(app, ["audit", str(run / "0"), "--source", source, "--rates", "0.5", "--pairs", "1"])
    assert "look" in shown.stdout
    assert "audit.html" in shown.stdout
    done = CliRunner().invoke(app, ["report", str(run), "--no-model"])
    assert done.exit_code == 0, done.output
    assert 'href="audit.html"' in (run / "0" / "report.html").read_text()
    (run / "0" / "audit.html").unlink()
    CliRunner().invoke(app, ["report", str(run), "--no-model"])
    assert "audit.html" not in (run / "0" / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "say which function made the run"),
        (["--source", "made.py:content", "--group", "x"], "write NAME=MODALITY"),
        (["--source", "made.py:content", "--rates", "half"], "write shares"),
        (["--source", "made.py:content", "--stage", "train"], "valid or test"),
    ],
)
def test_wrong_options_are_named(trained: Path, more: list[str], said: str, monkeypatch):
    monkeypatch.chdir(trained)
    done = CliRunner().invoke(app, ["audit", "runs/content", *more])
    assert done.exit_code == 1
    assert said in done.output
