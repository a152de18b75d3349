"""How long a 10,000-step history takes: search, full attention, self-attention, the last 50.

    python -m benchmarks.history            # appends a row to benchmarks/results/history.jsonl
    python -m benchmarks.history --dry --steps 2000 --users 20

One user at a time, as a service answers: the states of the user's steps [T, 64] and their multimodal keys [T, 128]
(unit rows) are at hand, and the user's interest in one candidate, then in each of 100 candidates, is asked for.

- ``search``: SearchInterest, the 50 most similar by the keys, attention over those.
- ``full``: attention over all steps: the same layer with K = T. Neither projects the steps, the projections are folded
  into the query, so this is far cheaper than attention as it is usually written:
- ``full, projected``: keys and values of all steps projected, then the same attention.
- ``self-attention``: CausalTransformer, 2 layers, over all steps (no candidate).
- ``last 50``: CausalTransformer, 2 layers, over the last 50 (no candidate).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgraph.experiment.result import environment
from mmgraph.nn import CausalTransformer, SearchInterest

RESULTS = Path(__file__).parent / "results" / "history.jsonl"
DIM, KEY_DIM, FOUND, RECENT = 64, 128, 50, 50


def projected(layer: SearchInterest, x: Tensor, query: Tensor) -> Tensor:
    """Target attention with every step's key and value projected, [1, N, D]."""
    key, value = layer.key(x), layer.value(x)
    return F.scaled_dot_product_attention(layer.q(query), key, value)


def milliseconds(ask: Callable[[], Tensor], times: int) -> dict[str, float]:
    """p50 and p99 of ``times`` calls after a tenth as many that do not count."""
    spent = []
    for i in range(times + max(times // 10, 2)):
        start = time.perf_counter()
        ask()
        if i >= max(times // 10, 2):
            spent.append(1000 * (time.perf_counter() - start))
    values = torch.tensor(spent)
    return {"p50_ms": round(values.quantile(0.5).item(), 3), "p99_ms": round(values.quantile(0.99).item(), 3)}


@torch.inference_mode()
def measure(steps: int, users: int, slow_users: int) -> dict[str, dict[str, float]]:
    """Name -> p50 and p99 in milliseconds a user."""
    torch.manual_seed(0)
    x, keys = torch.randn(1, steps, DIM), F.normalize(torch.randn(1, steps, KEY_DIM), dim=-1)
    mask, mask_recent = torch.ones(1, steps, dtype=torch.bool), torch.ones(1, min(RECENT, steps), dtype=torch.bool)
    search, full = SearchInterest(DIM, k=FOUND).eval(), SearchInterest(DIM, k=steps).eval()
    full.load_state_dict(search.state_dict())
    transformer = CausalTransformer(DIM, max_len=None).eval()
    out = {}
    for n in (1, 100):
        query, query_key = torch.randn(1, n, DIM), torch.randn(1, n, KEY_DIM)
        torch.testing.assert_close(full(x, mask, None, query), projected(full, x, query), atol=1e-4, rtol=1e-4)
        ways = {
            "search": lambda q=query, k=query_key: search(x, mask, None, q, keys, k),
            "full": lambda q=query: full(x, mask, None, q),
            "full, projected": lambda q=query: projected(full, x, q),
        }
        out |= {f"{name}, {n} candidates": milliseconds(ask, users) for name, ask in ways.items()}
    out["self-attention"] = milliseconds(lambda: transformer(x, mask), slow_users)
    out["last 50"] = milliseconds(lambda: transformer(x[:, -RECENT:], mask_recent), users)
    return out


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=300, help="calls each")
    parser.add_argument("--slow-users", type=int, default=10, help="calls of self-attention over everything")
    parser.add_argument("--threads", type=int, default=1, help="a service spends its cores on different users")
    parser.add_argument("--dry", action="store_true", help="print only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    row: dict[str, Any] = {
        "benchmark": "interest of one user in a long history",
        "steps": arguments.steps,
        "dim": DIM,
        "key_dim": KEY_DIM,
        "k": FOUND,
        "users": arguments.users,
        "threads": torch.get_num_threads(),
        "milliseconds": measure(arguments.steps, arguments.users, arguments.slow_users),
        "command": "python -m benchmarks.history " + shlex.join(sys.argv[1:]),
        "environment": environment(),
    }
    print(json.dumps(row["milliseconds"], indent=1))
    if not arguments.dry:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
