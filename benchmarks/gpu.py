"""What a GPU has to show, in one go of under six minutes: ``python -m benchmarks.gpu --json OUT``.

Runs the tests of the ops on the GPU (the Triton kernels are then compiled, not interpreted), forward and backward
against the reference at the sizes that a test on CPU cannot have, then times the ops beside what else does them. Writes
the rows of ``python -m benchmarks.ops``. Without a GPU it says so, and exits with 0: there is nothing to show.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.ops.rows import write

OPS = ("spmm", "propagate", "segment_softmax", "pair_dot", "topk", "knn", "gram", "sample")
TESTS = (*(f"tests/ops/test_{op}.py" for op in OPS), "tests/train/test_cuda.py", "tests/evaluate/test_devices.py")
MODELS = ("tests/models/test_contract.py", "-k", "gpu")
SHAPES = (("tiktok", 64), ("gowalla", 64), ("amazon-book", 128))
SECONDS = 330  # for everything


def agreement(device: str) -> list[dict[str, Any]]:
    """How far the kernels are from the reference in float64, values and gradients, and in what a wrong address would
    touch: a table whose elements need more than 31 bits to count, where the memory holds it."""
    from mmgraph.ops import CSR, attend, knn, pair_dot, propagate, spmm, topk
    from mmgraph.ops.memory import available_bytes

    generator = torch.Generator().manual_seed(0)
    user, video = (torch.randint(0, n, (200_000,), generator=generator) for n in (5_000, 8_000))
    a = CSR.bipartite(user, video, (5_000, 8_000)).normalized("sym")
    exact = a.to(dtype=torch.float64)
    x = torch.randn(13_000, 64, generator=generator)
    logits = torch.randn(a.num_edges, 2, generator=generator)
    many = torch.randint(0, 13_000, (2_000, 100), generator=generator)
    ops = {
        "spmm": lambda a, x: spmm(a, x),
        "propagate": lambda a, x: propagate(a, x, 3, rows=torch.arange(0, 13_000, 7, device=x.device)),
        "attend": lambda a, x: attend(a, logits.to(x), x.view(-1, 2, 32)),
        "pair_dot": lambda a, x: pair_dot(x[:2_000], x, many.to(x.device)),
    }
    rows = []
    for name, op in ops.items():
        for dtype in (torch.float32, torch.bfloat16):
            ours = x.to(device=device, dtype=dtype).detach().clone().requires_grad_()
            truth = ours.detach().cpu().double().requires_grad_()
            out, wanted = op(a.to(device), ours), op(exact, truth)
            out.sum().backward()
            wanted.sum().backward()
            pairs_of = ((out.detach(), wanted.detach()), (ours.grad, truth.grad))
            apart = [float((o.cpu().double() - t).abs().max() / t.abs().max()) for o, t in pairs_of]  # pyright: ignore
            bar = 2e-2 if dtype == torch.bfloat16 else 1e-5
            row = {"op": name, "dtype": str(dtype)[6:], "values": apart[0], "gradients": apart[1]}
            rows.append(row | {"bar": bar, "holds": all(each <= bar for each in apart)})  # NaN does not
    there = x.to(device)
    lists = {
        "topk": lambda x: topk(x[:5_000], x[5_000:], 20).video,
        "knn": lambda x: knn(x, 10).index,
    }
    for name, op in lists.items():
        same = float((op(x) == op(there).cpu()).float().mean())  # sums in another order may swap what is all but equal
        rows.append({"op": name, "dtype": "float32", "same": same, "bar": 0.999, "holds": same >= 0.999})
    wide = 2**31 // 64 + 1000
    if device == "cuda" and available_bytes(device) > 3 * wide * 64 * 2:
        last = torch.tensor([wide - 1], device=device)
        one = CSR.from_edges(last, last, (wide, wide))
        table = torch.zeros(wide, 64, dtype=torch.bfloat16, device=device)
        table[-1] = 3.0
        out = spmm(one, table)
        holds = bool((out[-1] == 3).all()) and float(out[:-1].abs().max()) == 0
        rows.append({"op": "spmm", "dtype": "bfloat16", "elements": wide * 64, "holds": holds})
    return rows


def main() -> None:
    """Tests, agreement, speed; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="JSONL file to append to")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            "no GPU here: the kernels can only be compiled (python -m benchmarks.ops.aot) and interpreted (the tests)"
        )
        print(json.dumps({"gpu": None, "rows": 0, "failed": 0}))
        return
    start, root = time.monotonic(), Path(__file__).parents[1]
    codes = []
    for tests in (TESTS, MODELS):
        command = [sys.executable, "-m", "pytest", "-n", "auto", *tests]
        tested = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        codes.append(tested.returncode)
        print(tested.stdout[-2000:] if tested.returncode else tested.stdout.strip().splitlines()[-1], flush=True)
    rows = agreement("cuda")
    for row in rows:
        print(row, flush=True)
    write(options.json, rows, "cuda")
    for shape, dim in SHAPES:
        left = SECONDS - (time.monotonic() - start)
        if left < 40:
            print(f"{shape} left out: out of time")
            break
        timed = [sys.executable, "-m", "benchmarks.ops", "--ops", "spmm,attend,topk", "--shapes", shape]
        timed += ["--dims", str(dim), "--device", "cuda", "--rounds", "5", "--seconds", "8", "--untested"]
        timed += ["--json", str(options.json.resolve())] if options.json else []
        try:
            subprocess.run(timed, cwd=root, check=False, timeout=left)
        except subprocess.TimeoutExpired:
            print(f"{shape} stopped: out of time")
    failed = sum(not row["holds"] for row in rows) + sum(code != 0 for code in codes)
    print(json.dumps({"gpu": torch.cuda.get_device_name(), "rows": len(rows), "failed": failed}))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
