"""What a process costs that only loads a bundle and ranks: packages, time, memory.

    python -m benchmarks.footprint BUNDLE [--repeats 5]

Times are medians over fresh processes with a warm file cache; memory is resident after the answer, and beside it that
of a process that imports torch and polars alone. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

_CODE = """
import json, sys, time
from pathlib import Path
began = time.perf_counter()
import torch, polars
bare = time.perf_counter() - began
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
before = resident()
began = time.perf_counter()
from mmgraph.bundle import load
imported = time.perf_counter() - began
began = time.perf_counter()
bundle = load(sys.argv[1])
read = time.perf_counter() - began
bundle.recommend([bundle.users.raw[0]], k=20)
ours = {name for name in sys.modules if name.startswith("mmgraph.")}
print(json.dumps({
    "torch_polars_s": bare, "import_s": imported, "load_s": read,
    "torch_polars_mib": before, "resident_mib": resident(),
    "packages": len({name.split(".")[0] for name in sys.modules}), "modules_of_mmgraph": len(ours),
    "rooms": sorted({name.split(".")[1] for name in ours}),
    "heavy": sorted({"torch_geometric", "transformers", "librosa", "ogb", "sklearn", "pandas"} & set(sys.modules)),
}))
"""


def footprint(bundle: Path, repeats: int) -> dict[str, object]:
    """Medians over fresh processes; what is not a number is the last one's."""
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", _CODE, str(bundle)], check=True, capture_output=True).stdout)
        for _ in range(repeats)
    ]
    return {
        name: round(statistics.median(run[name] for run in runs), 3) if isinstance(value, float) else value
        for name, value in runs[-1].items()
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(json.dumps(footprint(given.bundle, given.repeats)))


if __name__ == "__main__":
    main()
