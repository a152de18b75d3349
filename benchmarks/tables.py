"""Prints the tables of finished runs: mean ± standard deviation over seeds, one table a protocol and group.

    python -m benchmarks.tables runs --metrics recall@20 ndcg@20 --latex
    python -m benchmarks.tables runs --against lightgcn

With ``--against NAME`` every other experiment is compared with it by paired tests, p-values corrected after Holm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmgraph.experiment import Result, compare, holm, table


def finished(out: Path) -> list[Result]:
    """Every finished run below a folder, by experiment and seed."""
    results = [Result.load(p.parent) for p in out.glob("*/*/result.json") if p.parent.name.isdigit()]
    return sorted(results, key=lambda r: (r.protocol, r.experiment, r.seed))


def comparisons(results: list[Result], against: str, metric: str, group: str) -> list[str]:
    """One line for each experiment other than ``against`` under the same protocol, Holm's correction over them."""
    members: dict[str, list[Result]] = {}
    for result in results:
        members.setdefault(result.experiment, []).append(result)
    if against not in members:
        return []
    others = [name for name in members if name != against]
    found = [compare(members[against], members[name], metric, group=group) for name in others]
    adjusted = holm([c.p_users for c in found])
    return [f"{against} - {name}: {c}; Holm p = {p:.2g}" for name, c, p in zip(others, found, adjusted, strict=True)]


def main(arguments: list[str] | None = None) -> None:
    """Reads the arguments and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs"))
    parser.add_argument("--metrics", nargs="+", default=["recall@20", "ndcg@20"])
    parser.add_argument("--groups", nargs="+", default=["all"])
    parser.add_argument("--stage", choices=["valid", "test"], default="test")
    parser.add_argument("--latex", action="store_true")
    parser.add_argument("--against", metavar="NAME")
    given = parser.parse_args(arguments)
    results = finished(given.out)
    if not results:
        parser.exit(1, f"no finished runs below {given.out}\n")
    for protocol in dict.fromkeys(r.protocol for r in results):
        mine = [r for r in results if r.protocol == protocol]
        for group in given.groups:
            shown = table(mine, given.metrics, group=group, stage=given.stage)
            print(f"\n{shown.title}\n")
            print(shown.latex() if given.latex else shown.markdown())
            for line in comparisons(mine, given.against, given.metrics[0], group) if given.against else []:
                print(line)


if __name__ == "__main__":
    main()
