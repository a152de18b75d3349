"""The ledger of published numbers: what it takes, what it finds copied, and ours beside it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from benchmarks import claims
from mmgraph.cli import app
from mmgraph.config import SettingError
from mmgraph.experiment import Ledger, beside_claims, copied, near, quoted, read_ledger, table
from mmgraph.experiment.claims import Beside, Claim, ClaimTable, Detectable, Near
from tests.experiment.test_significance import stored

LEDGER = """
[dataset.Toy]
detectable = {"recall@5" = 0.01}
measured = "by hand"

[[table]]
paper = "First, WWW 2020"
place = "table 2"
dataset = "Toy"
protocol = "p"
by = "authors"
chosen = "on test"
metrics = ["recall@5", "ndcg@5"]
rows = [["A", 0.5012, 0.3021], ["B", 0.6, 0.4]]
ours = {A = "a", B = "b"}

[[table]]
paper = "Second, WWW 2021"
place = "table 3"
dataset = "Toy"
protocol = "p"
by = "others"
chosen = "not said"
metrics = ["ndcg@5", "recall@5"]
rows = [["A", 0.3021, 0.5012], ["B", 0.4, 0.61]]
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "claims.toml"
    file.write_text(LEDGER)
    return file


def test_rows_that_agree_to_the_last_digit_are_found_and_those_in_one_column_are_not(path):
    ledger = read_ledger(path)
    assert isinstance(ledger, Ledger)
    assert all(isinstance(claim, Claim) for claim in ledger.claims())
    pairs = copied(ledger.claims())
    assert [(a.name, b.name) for a, b in pairs] == [("A, First, WWW 2020", "A, Second, WWW 2021")]
    path.write_text(
        LEDGER.replace('dataset = "Toy"\nprotocol = "p"\nby = "others"', 'dataset = "X"\nprotocol = "q"\nby = "mixed"')
    )
    assert len(copied(read_ledger(path).claims())) == 1  # no model does alike on two datasets
    path.write_text(LEDGER.replace("0.3021, 0.5012", "0.3022, 0.5012"))
    assert copied(read_ledger(path).claims()) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("chosen", "chosn", "chosn"),
        ('"on test"', '"on luck"', "on test"),
        ("0.6, 0.4]", "0.6]", "a row is a model and 2 numbers"),
        ("0.6, 0.4]", "0.6, 40]", "between 0 and 1"),
        ('["B", 0.6', '["A", 0.6', r"\['A'\] come twice"),
        ('ours = {A = "a", B', 'ours = {A = "a", C', r"ours names \['C'\]"),
        ("[[table]]", "[[table", "no TOML"),
    ],
)
def test_a_ledger_that_is_wrong_says_where(path, before, after, message):
    path.write_text(LEDGER.replace(before, after, 1))
    with pytest.raises(SettingError, match=message):
        read_ledger(path)


def test_steps_between_neighbours_that_the_data_cannot_tell_are_counted(path):
    # the best of each model: A .5012, B .61; with C between them, .0012 above A
    rows = '["A", 0.5012, 0.3021], ["C", 0.5024, 0.3], ["B", 0.6, 0.4]'
    path.write_text(LEDGER.replace('["A", 0.5012, 0.3021], ["B", 0.6, 0.4]', rows))
    found = near(read_ledger(path))
    assert found == [Near("Toy", "p", "recall@5", 3, 1, ("B",))]
    path.write_text(path.read_text().replace('"recall@5" = 0.01', '"recall@5" = 0.108'))
    assert [(n.steps, n.top) for n in near(read_ledger(path))] == [(2, ("B", "C"))]


def test_ours_stands_beside_and_is_judged_by_what_the_data_can_tell(path, tmp_path):
    results = [
        *(stored(tmp_path, "a", seed, [0.5 + seed / 100], protocol="p-1") for seed in (0, 1)),
        stored(tmp_path, "b", 0, [0.7], protocol="q-1"),
    ]
    ledger = read_ledger(path)
    found = {(b.claim.model, b.metric): b for b in beside_claims(ledger, results)}
    assert all(isinstance(b, Beside) for b in found.values())
    a = found["A", "recall@5"]
    assert (a.ours, a.seeds, a.published, a.verdict) == (pytest.approx(0.505), 2, 0.5012, "not told apart")
    assert found["A", "ndcg@5"].verdict == "unknown"
    assert found["B", "recall@5"].verdict == "other protocol"
    told = [ledger.dataset | {"Toy": Detectable(detectable={"recall@5": least}, measured="x")} for least in (0.001, 1)]
    verdicts = [beside_claims(ledger.model_copy(update={"dataset": d}), results)[0].verdict for d in told]
    assert verdicts == ["above", "not told apart"]
    low = [stored(tmp_path, "low", 0, [0.4], protocol="p-1")]
    assert isinstance(ledger.table[0], ClaimTable)
    mine = ledger.table[0].model_copy(update={"ours": {"A": "low"}})
    assert beside_claims(Ledger(dataset=ledger.dataset, table=(mine,)), low)[0].verdict == "below"


def test_rows_of_a_ledger_join_the_table_of_their_protocol_with_their_mark(path, tmp_path):
    rows, chosen = quoted(read_ledger(path), "p-1234")
    assert chosen["A, First, WWW 2020"] == "on test"
    assert quoted(read_ledger(path), "pq-1234") == ({}, {})
    ours = stored(tmp_path / "runs", "a", 0, [0.5], protocol="p-1234")
    made = table([ours], ["recall@5"], published=rows, chosen=chosen)
    done = CliRunner().invoke(app, ["table", str(tmp_path / "runs"), "--metric", "recall@5", "--quoted", str(path)])
    assert done.stdout == made.markdown() + "\n"
    assert "| B, Second, WWW 2021 (quoted; chosen: not said) | .6100 | – |" in done.stdout
    shown = ["table", str(tmp_path / "runs"), "--metric", "recall@5", "--quoted", str(path), "--json"]
    told = json.loads(CliRunner().invoke(app, shown).stdout)["rows"]
    assert [row.get("chosen") for row in told] == ["on test", "on test", "not said", "not said", None]


def test_the_committed_ledger_holds_and_names_results_that_are_committed(path, tmp_path):
    ledger, results = read_ledger(claims.HERE / "claims.toml"), claims.committed(claims.HERE / "results")
    assert claims.missing(ledger, results) == []
    told = claims.report(ledger, results)
    assert told.startswith(f"{len(ledger.claims())} rows of ")
    ours = [r.metric("recall@20") for r in results if r.experiment == "tiktok-lightgcn-tuned"]
    line = next(line for line in told.splitlines() if line.startswith("| LightGCN | DiffMM"))
    assert line.split(" | ")[4:8] == ["0.0653", "on test", f"{sum(ours) / len(ours):.4f}", str(len(ours))]
    assert all(table.note or table.protocol != "tiktok-swapped" for table in ledger.table)
    with pytest.raises(SystemExit):  # an experiment that nobody ran
        claims.main(["--ledger", str(path), "--results", str(tmp_path)])
    assert "the same digits: A, First, WWW 2020 (Toy) = A, Second, WWW 2021 (Toy)" in claims.report(
        read_ledger(path), []
    )
