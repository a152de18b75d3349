"""Calls everything public with random arguments: ``python -m benchmarks.fuzz --cases 1000 --seed 0 --list``.

A case takes a target, draws its arguments, and makes at most one of them senseless. It **works** (and equals the
reference where there is one), is refused in **clear** words (a Value-, Type-, Key- or IndexError of ours that names the
argument), in **obscure** ones, was taken **silently** though it means nothing, or ended the process by a **signal** or
took too long. The last line printed is JSON with the counts. A case hangs on its seed and number alone:
``--only NUMBER`` runs it again.
"""

from __future__ import annotations

import argparse
import json
import logging

import torch

from benchmarks.fuzz.running import OUTCOMES, run


def main() -> None:
    """Reads the options, runs the cases, prints those that fall short and the counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=main.__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the one case of this number")
    parser.add_argument("--seconds", type=float, default=60.0, help="longest a case may take")
    parser.add_argument("--list", action="store_true", help="print each case that neither works nor is refused clearly")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a child forked beside threads would wait for them for ever
    logging.disable()
    counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
    numbers = range(options.cases) if options.only is None else range(options.only, options.only + 1)
    for number, case, outcome in run(numbers, options.seed, options.seconds):
        counts[outcome.kind] += 1
        if options.only is not None or (options.list and outcome.kind in OUTCOMES[2:]):
            said = outcome.said.replace("\n", " ")[:200]
            print(f"{outcome.kind}: {case}: {said} [--seed {options.seed} --only {number}]")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
