"""The Triton kernels compiled ahead of time, for GPUs that are not here: ``python -m benchmarks.ops.aot --json OUT``.

Every kernel × type × width × architecture is compiled by Triton and its ptxas, with what a launch would tell the
compiler: which widths, strides and pointers 16 divides. A row holds the registers a thread, the bytes it spills,
whether rows of tables are loaded 128 bits at a time, and the 32-bit products and sums of sizes in the IR, of which
there must be none: they overflow. ``--few`` compiles what the tests compile.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TARGETS = (80, 90, 100)
TYPES = {"float32": "fp32", "bfloat16": "bf16", "float64": "fp64", "float16": "fp16"}
WIDTHS = (16, 17, 48, 64, 128, 256)
# what the tests compile: each kernel, each type, odd and even widths, each architecture
FEW = {
    ("bfloat16", 64, 90),
    ("float32", 64, 80),
    ("float32", 17, 80),
    ("float32", 128, 100),
    ("float64", 48, 80),
    ("bfloat16", 16, 80),
}
# kernels that gather rows of tables: these have to be loaded 128 bits at a time
GATHER = {"_spmm", "_edge_dot", "_attend", "_attend_edges"}
# spills that are accepted, in bytes a thread: (kernel, type, panel of columns) -> at most
SPILLS: dict[tuple[str, str, int], int] = {
    ("_spmm", "float32", 32): 8,
    ("_spmm", "float32", 128): 8,
    ("_attend", "float64", 32): 8,
}


class Launch(NamedTuple):
    """How ``mmgraph.ops`` launches a kernel."""

    kernel: Any
    wide: set[str]
    """Arguments of the type that sums have."""
    constants: dict[str, Any]
    warps: int


def launches(dtype: str, width: int) -> Iterator[Launch]:
    """All kernels for rows of ``width`` numbers."""
    import torch
    import triton.language as tl

    from mmgraph.ops.segment_softmax import triton as attention
    from mmgraph.ops.spmm import triton as spmm

    kind = getattr(torch, dtype)
    acc = tl.float64 if dtype == "float64" else tl.float32
    columns, narrow = spmm.panel(width), spmm.dot_panel(width, kind)
    shared = {"SHARE": spmm.share(1 << 20), "WIDTH": columns, "ACC": acc}
    gather = shared | {"EDGES": spmm.in_flight(columns, kind.itemsize)}
    edges = {"EDGES": 32, "WIDTH": narrow, "ACC": acc}
    carried = {"CARRIES": spmm.CARRIES}
    parts = {"stats", "part_top", "part_mass", "part_sum"}
    four = spmm.warps(4, 32 * narrow, kind.itemsize)
    yield Launch(spmm._spmm, {"carry"}, gather | {"HAS": True}, 1)
    yield Launch(spmm._spmm, {"carry"}, gather | {"HAS": False}, 1)
    yield Launch(spmm._add_carries, {"carry"}, carried | {"WIDTH": columns, "ACC": acc}, 1)
    yield Launch(spmm._edge_dot, set(), edges, four)
    yield Launch(attention._attend, parts, gather, 1)
    yield Launch(attention._merge, parts, shared | carried, 1)
    yield Launch(attention._attend_edges, {"stats", "mean", "alpha"}, edges, four)


def compiled(launch: Launch, dtype: str, width: int, target: int) -> Any:
    """The kernel, compiled."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kind, wide = TYPES[dtype], "fp64" if dtype == "float64" else "fp32"
    signature, told = {}, {}
    for place, parameter in enumerate(launch.kernel.params):
        name = parameter.name
        if name in launch.constants:
            signature[name] = "constexpr"
            continue
        if name in ("rows", "edges", "programs", "width", "heads") or name.endswith("_stride"):
            signature[name] = "i32"
            # heads are few; a table's row, and a head's, is `width` numbers
            divisible = width % 16 == 0 and name != "heads"
        else:
            of = "i64" if name in ("indptr", "carry_row") else "i32" if name in ("row", "indices") else kind
            signature[name] = "*" + (wide if name in launch.wide else of)
            divisible = True  # torch's memory begins at multiples of 64 bytes
        if divisible and not parameter.do_not_specialize:
            told[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constexprs=launch.constants, attrs=told)
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": launch.warps})


def narrow_arithmetic(ttir: str) -> list[str]:
    """Products of sizes, and sums of two of them, that the IR makes in 32 bits."""
    sizes = set(re.findall(r"(%\w+): i32", ttir.split("{", 1)[0])) | set(re.findall(r"(%\w+): i32 ", ttir))
    found = []
    for line in ttir.splitlines():
        made = re.match(r"\s*(%\w+) = (?:tt\.splat|tt\.expand_dims|tt\.broadcast) (%\w+)", line)
        if made and made[2] in sizes:
            sizes.add(made[1])
        made = re.match(r"\s*%\w+ = arith\.(muli|addi) (%\w+), (%\w+) : (?:tensor<[\dx]*)?i32\b", line)
        if made and ((made[1] == "muli" and {made[2], made[3]} & sizes) or {made[2], made[3]} <= sizes):
            found.append(line.split(" loc(")[0].strip())
    return found


def resources(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of its stack, where spills go."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    registers, stack, local = (int(re.findall(rf"{name}:(\d+)", said.stdout)[-1]) for name in ("REG", "STACK", "LOCAL"))
    return registers, stack + local


def measure(launch: Launch, dtype: str, width: int, target: int) -> dict[str, Any]:
    """One row of the table."""
    made = compiled(launch, dtype, width, target)
    name = launch.kernel.fn.__name__
    registers, spilled = resources(made.asm["cubin"])
    wide = bool(re.search(r"ld\.global[^\s;]*\.(v4\.[bf]32|v2\.[bf]64|v8\.[bf]\d+|b128)", made.asm["ptx"]))
    narrow = narrow_arithmetic(made.asm["ttir"])
    needed = name in GATHER and width % 16 == 0
    allowed = SPILLS.get((name, dtype, launch.constants["WIDTH"]), 0)
    return {
        "kernel": name + ("" if launch.constants.get("HAS", True) else " (no weights)"),
        "dtype": dtype,
        "width": width,
        "target": f"sm_{target}",
        "registers": registers,
        "spilled": spilled,
        "loads_128": wide,
        "narrow": narrow,
        "holds": spilled <= allowed and (wide or not needed) and not narrow,
    }


def table(few: bool = False) -> Iterator[dict[str, Any]]:
    """All rows, or those that the tests compile."""
    for dtype in TYPES:
        for width in WIDTHS:
            for target in TARGETS:
                if not few or (dtype, width, target) in FEW:
                    yield from (measure(launch, dtype, width, target) for launch in launches(dtype, width))


def main() -> None:
    """Prints and writes the table; exits with 1 when a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--few", action="store_true", help="what the tests compile")
    options = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        sys.exit("TRITON_INTERPRET=1 is set: the kernels would be interpreted, not compiled. Unset it")
    rows = []
    for row in table(options.few):
        rows.append(row)
        print(
            f"{row['kernel']:20} {row['dtype']:9} {row['width']:4} {row['target']:7} {row['registers']:4} registers "
            f"{row['spilled']:4} spilled  128-bit loads: {'yes' if row['loads_128'] else 'no':4}"
            f"{'' if row['holds'] else '  DOES NOT HOLD ' + '; '.join(row['narrow'])}",
            flush=True,
        )
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    failed = sum(not row["holds"] for row in rows)
    print(json.dumps({"rows": len(rows), "failed": failed}))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
