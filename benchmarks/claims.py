"""Checks the ledger of published numbers and puts ours beside it.

    python -m benchmarks.claims [--ledger benchmarks/claims.toml] [--results benchmarks/results]

Fails where a row does not fit, or names an experiment of ours that no committed result holds. Rows of one model that
agree to the last digit, by two sources or on two datasets, are named: nobody measures the same digits twice.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path

from mmgraph.experiment import Ledger, Result, beside_claims, copied, near, read_ledger

HERE = Path(__file__).parent


def committed(folder: Path) -> list[Result]:
    """The results among all committed rows."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    rows = [row for row in map(json.loads, lines) if "experiment" in row and "protocol" in row]
    for row in rows:
        for stage in ("valid", "test"):
            for metrics in row[stage].values():
                metrics.update({name: math.nan for name, number in metrics.items() if number is None})
    return [Result.model_validate(row) for row in rows]


def missing(ledger: Ledger, results: list[Result]) -> list[str]:
    """Experiments of ours that the ledger names and no result holds."""
    there = {result.experiment for result in results}
    return sorted({name for table in ledger.table for name in table.ours.values()} - there)


def report(ledger: Ledger, results: list[Result]) -> str:
    """Counts, copied rows and the table, in Markdown."""
    claims = ledger.claims()
    chosen = Counter(claim.table.chosen for claim in claims)
    counts = ", ".join(f"{count} chosen {how}" for how, count in chosen.most_common())
    recalled = sum(claim.table.recalled for claim in claims)
    lines = [
        f"{len(claims)} rows of {len({c.table.paper for c in claims})} sources: {counts}; {recalled} from memory",
        "",
    ]
    pairs = copied(claims)
    lines += [f"- the same digits: {a.name} ({a.table.dataset}) = {b.name} ({b.table.dataset})" for a, b in pairs]
    lines += [f"{len(pairs)} pairs of rows agree to the last digit", ""]
    for n in near(ledger):
        if n.models > 1:
            told = f"{n.steps} of {n.models - 1} steps between neighbours are below what the test can tell"
            lines.append(f"- {n.dataset} ({n.protocol}), {n.metric}: {told}; at the top {', '.join(n.top)}")
    lines += ["", "| model | source | dataset | metric | published | chosen | ours | seeds | detectable | ours is |"]
    lines += ["|---|---|---|---|---:|---|---:|---:|---:|---|"]
    for b in beside_claims(ledger, results):
        least = "–" if b.detectable is None else f"{b.detectable:.4f}"
        about = (b.claim.model, b.claim.table.paper, b.claim.table.dataset, b.metric)
        numbers = (f"{b.published:.4f}", b.claim.table.chosen, f"{b.ours:.4f}", str(b.seeds), least, b.verdict)
        lines.append("| " + " | ".join((*about, *numbers)) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Reads the arguments, checks and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ledger", type=Path, default=HERE / "claims.toml")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    given = parser.parse_args(arguments)
    ledger, results = read_ledger(given.ledger), committed(given.results)
    if unknown := missing(ledger, results):
        parser.exit(1, f"{given.ledger} names experiments that no result holds: {unknown}\n")
    print(report(ledger, results))


if __name__ == "__main__":
    main()
