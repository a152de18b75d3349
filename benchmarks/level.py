"""How often ``compare`` finds a difference: where there is none, and where one was planted.

    python -m benchmarks.level --json benchmarks/results/level.jsonl

Simulated pairs of models: the difference of a user under a seed is shift + user + seed + rest, normal. ``effect`` is
the seeds' standard error in that of the users, ``rest`` the deviation of single users under single seeds in that of
users. The 5 % are asked of rows without a shift; of one seed only where seeds have no effect, for one tells nothing of
others. ``false`` and ``found_at_4_errors`` are the shares of pairs called better or worse without a shift and with one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.ops.rows import write
from mmgraph.experiment.paired import ALPHA, paired_test

SEEDS, EFFECTS, RESTS = (1, 2, 3, 5, 10), (0.0, 0.5, 1.0, 2.0), (0.3, 1.0, 2.0)
BLOCK = 500  # pairs at a time, so that memory stays small


def found(seeds: int, effect: float, rest: float, pairs: int, users: int, shift: float = 0.0) -> float:
    """The share of pairs that the test calls different.

    Args:
        seeds, users: of each pair.
        effect, rest: as above.
        pairs: simulated.
        shift: the true difference, in standard errors of the mean (users and seeds together).
    """
    random = np.random.default_rng([seeds, int(100 * effect), int(100 * rest), int(100 * shift)])
    error = ((1 + rest**2 / seeds) / users) ** 0.5
    true = shift * error * (1 + effect**2) ** 0.5
    hits = 0
    for start in range(0, pairs, BLOCK):
        size = min(BLOCK, pairs - start)
        d = random.standard_normal((size, 1, users)) + rest * random.standard_normal((size, seeds, users))
        d += true + effect * error * seeds**0.5 * random.standard_normal((size, seeds, 1))
        hits += int((paired_test(d).p < ALPHA).sum())
    return hits / pairs


def rows(pairs: int, users: int) -> list[dict[str, object]]:
    """Level and, for a shift of four standard errors, power at each setting."""
    out: list[dict[str, object]] = []
    for seeds in SEEDS:
        for effect in EFFECTS if seeds > 1 else (0.0,):
            for rest in RESTS:
                level = found(seeds, effect, rest, pairs, users)
                power = found(seeds, effect, rest, pairs, users, shift=4.0)
                row = {"seeds": seeds, "effect": effect, "rest": rest, "false": level, "found_at_4_errors": power}
                out.append({"bench": "level", **row, "pairs": pairs, "users": users})
                print(f"{seeds} seeds, effect {effect}, rest {rest}: false {level:.3f}, found {power:.3f}", flush=True)
    return out


def main(arguments: list[str] | None = None) -> None:
    """Reads the arguments, simulates and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--users", type=int, default=200)
    given = parser.parse_args(arguments)
    write(given.json, rows(given.pairs, given.users), "cpu")


if __name__ == "__main__":
    main()
