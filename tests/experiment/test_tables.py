"""What is bold, what is said under a table, and ``mmgraph table`` and ``mmgraph compare`` on runs in a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from mmgraph.cli import app
from mmgraph.data.files import DamagedFile
from mmgraph.experiment import table
from tests.experiment.test_significance import stored

BASE = np.random.default_rng(0).random(400)


def noise(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(0, 0.1, 400)
    return drawn - drawn.mean()


def three(folder) -> list:
    """`high` ties with `near`, `low` is worse than both."""
    near = stored(folder, "near", 0, BASE + noise(1) - 0.001, opened=2)
    return [stored(folder, "low", 0, BASE - 0.1 + noise(2)), stored(folder, "high", 0, BASE, opened=5), near]


def bold(made) -> list[set[str]]:
    return [set(names) for names in made.best]


def test_those_that_tie_for_best_are_bold_together_and_never_without_one_that_is_worse(tmp_path):
    low, high, near = three(tmp_path)
    assert bold(table([low, high, near], ["recall@5"])) == [{"high", "near"}]
    assert bold(table([high, near], ["recall@5"])) == [set()]
    assert bold(table([high], ["recall@5"])) == [set()]
    assert bold(table([low, high], ["recall@5"])) == [{"high"}]


def test_identical_models_are_never_bold(tmp_path):
    twins = [stored(tmp_path, name, s, BASE + s / 10) for name in "ab" for s in (0, 1)]
    made = table(twins, ["recall@5"])
    assert bold(made) == [set()]
    assert "**" not in made.markdown()


def test_what_cannot_be_tested_is_not_bold(tmp_path):
    low, high, _ = three(tmp_path)
    assert bold(table([low, high], ["coverage@5", "recall@5"])) == [set(), {"high"}]  # no coverage of one user
    (tmp_path / "low" / "0" / "per_user.parquet").unlink()
    assert bold(table([low, high], ["recall@5"])) == [set()]
    (tmp_path / "low" / "0" / "per_user.parquet").write_bytes(b"no parquet")
    with pytest.raises(DamagedFile):
        table([low, high], ["recall@5"])


def test_seeds_that_only_one_row_has_are_left_out_of_the_test(tmp_path):
    a = [stored(tmp_path, "a", s, BASE + 0.1 + noise(s) / 10) for s in (0, 1, 2)]
    b = [stored(tmp_path, "b", s, BASE) for s in (1, 2, 3)]
    assert bold(table([*a, *b], ["recall@5"])) == [{"a"}]
    apart = [stored(tmp_path, "c", s, BASE) for s in (7, 8)]
    assert bold(table([*a, *apart], ["recall@5"])) == [set()]


def test_quoted_rows_say_how_they_were_chosen_and_ours_is_not_best_below_them(tmp_path):
    low, high, _ = three(tmp_path)
    quoted = {"paper": {"recall@5": 0.2}, "other": {"recall@5": 0.1}}
    made = table([low, high], ["recall@5"], published=quoted, chosen={"paper": "on test"})
    assert "paper (quoted; chosen: on test)" in made.markdown()
    assert "other (quoted; chosen: not said)" in made.latex()
    assert bold(made) == [{"high"}]
    assert bold(table([low, high], ["recall@5"], published={"paper": {"recall@5": 0.9}})) == [set()]
    with pytest.raises(ValueError, match=r"not published: \['papre'\]"):
        table([low, high], ["recall@5"], published=quoted, chosen={"papre": "on test"})
    with pytest.raises(ValueError, match=r"same names: \['high'\]"):
        table([low, high], ["recall@5"], published={"high": {"recall@5": 0.9}})


def test_every_form_tells_the_same_and_no_name_breaks_it(tmp_path):
    low = stored(tmp_path, "a|b<i>&$50%_{x}", 0, BASE - 0.1 + noise(2))
    high = stored(tmp_path, "[red]", 0, BASE, opened=5)
    made = table([low, high], ["recall@5"])
    page = ElementTree.fromstring(made.html())
    cells = [["".join(cell.itertext()) for cell in row] for row in page.iterfind("tbody/tr")]
    assert [row[0] for row in cells] == ["a|b<i>&$50%_{x}", "[red]"]
    assert [b.text for b in page.iter("strong")] == [f"{BASE.mean():.4f}"[1:]]
    assert r"a\|b<i>" in made.markdown()
    latex = made.latex()
    assert r"a\textbar{}b\textless{}i\textgreater{}\&\$50\%\_\{x\} & $" in latex
    assert latex.count(r"\mathbf") == made.markdown().count("**") / 2 == 1
    assert [c for c in ("toprule", "midrule", "bottomrule") if c in latex] == ["toprule", "midrule", "bottomrule"]
    assert list(made.rich().columns[0].cells)[1] == r"\[red]"
    for text in (made.html(), made.markdown(), latex):
        assert "had been opened 5 times" in text
        assert "Bold: " in text


def test_a_mix_of_protocols_is_refused_by_name(tmp_path):
    other = stored(tmp_path, "b", 0, BASE, protocol="p-2")
    with pytest.raises(ValueError, match="p-1: a; p-2: b"):
        table([stored(tmp_path, "a", 0, BASE), other], ["recall@5"])


def call(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_mmgraph_table_prints_each_form_and_refuses_two(tmp_path):
    made = table(sorted(three(tmp_path), key=lambda r: r.experiment), ["recall@5"])
    for option, text in {"--markdown": made.markdown(), "--latex": made.latex(), "--html": made.html()}.items():
        done = call("table", tmp_path, option, "--metric", "recall@5")
        assert (done.exit_code, done.stdout) == (0, text + "\n")
    told = json.loads(call("table", tmp_path / "low", tmp_path / "high" / "0", tmp_path, "--json").stdout)
    assert {row["experiment"]: row["recall@5"]["best"] for row in told["rows"]} == {
        "high": True,
        "low": False,
        "near": True,
    }
    assert told["opened"] == 5
    assert "give one of" in call("table", tmp_path, "--latex", "--html").stderr
    stored(tmp_path, "other", 0, BASE, protocol="p-2")
    refused = call("table", tmp_path)
    assert refused.exit_code == 1
    assert "one protocol" in refused.stderr
    assert call("table", tmp_path / "nowhere").exit_code == 1


def test_mmgraph_compare_gives_verdicts_of_a_family(tmp_path):
    three(tmp_path)
    done = call("compare", tmp_path / "high", tmp_path / "low", tmp_path / "near", "--json")
    told = {c["b"]: c for c in json.loads(done.stdout)["comparisons"]}
    assert {name: c["verdict"] for name, c in told.items()} == {"low": "better", "near": "tie"}
    assert told["low"]["p_adjusted"] == pytest.approx(2 * told["low"]["p"])
    shown = call("compare", tmp_path / "low", tmp_path / "high")
    assert shown.exit_code == 0, shown.output
    assert "worse" in shown.stdout
    assert "one seed" in shown.stdout
    for name, value in (("one", 0.5), ("two", 0.25)):
        stored(tmp_path / "alone", name, 0, [value])
    alone = call("compare", tmp_path / "alone" / "one", tmp_path / "alone" / "two")
    assert "1 user, against" in alone.stdout
    assert "one user says nothing of others" in alone.stdout
    assert "nan" not in alone.stdout
    assert "several experiments" in call("compare", tmp_path, tmp_path / "low").stderr
    assert "given twice" in call("compare", tmp_path / "low", tmp_path / "high", tmp_path / "high").stderr


def test_the_latex_of_a_suite_compiles(tmp_path):
    engine = shutil.which("pdflatex")
    styles = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False) if engine else None
    if engine is None or styles is None or styles.returncode:
        pytest.skip("no pdflatex with the booktabs package here (Debian: texlive-latex-recommended)")
    names = ("a|b<i>&$50%_{x}", r"back\slash~^", "quick-bprmf", "#1 model")
    runs = [stored(tmp_path / "runs", n, s, BASE - i / 10 + noise(s)) for i, n in enumerate(names) for s in (0, 1, 2)]
    quoted = {"LightGCN, SIGIR 2020 & others": {"recall@5": 0.1}, "no number": {}}
    made = table(runs, ["recall@5"], published=quoted, chosen={"no number": "on test, 100%"})
    (tmp_path / "table.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + made.latex() + "\n\\end{document}\n"
    )
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 1000
    assert "\n!" not in done.stdout
    assert "Missing character" not in done.stdout


def test_seconds_and_epochs_of_the_training_are_columns_that_are_never_bold(tmp_path):
    low, high, _ = three(tmp_path)
    timed = [r.model_copy(update={"training": {"seconds": s, "epochs": 3}}) for r, s in ((low, 20.0), (high, 120.0))]
    made = table(timed, ["recall@5", "seconds", "epochs"])
    assert bold(made) == [{"high"}, set(), set()]
    assert made.rows["high"][1].text() == "120"
    assert [cells[2].mean for cells in made.rows.values()] == [3, 3]
    with pytest.raises(KeyError, match="no metric 'seconds'"):
        table([low], ["seconds"])
