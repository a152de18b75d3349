"""What the command sets for its whole process and the library leaves alone: counted in page faults, not in seconds."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from mmgraph.process import SPINS

CODE = """
import os, resource, sys, torch
from mmgraph.process import reuse_freed_memory
if sys.argv[1] == "reuse":
    assert reuse_freed_memory()
if sys.argv[1] == "fit":
    ours = lambda: {k: v for k, v in os.environ.items() if k.startswith(("OMP", "GOMP", "KMP", "MKL", "THP", "MALLOC"))}
    before = ours()
    from mmgraph.models import LightGCN
    from mmgraph.train import FitConfig, fit
    from tests.worlds import checkerboard
    fit(LightGCN(checkerboard(), embedding_dim=8), checkerboard(), config=FitConfig(epochs=1))
    assert ours() == before
torch.set_num_threads(1)
pair = [torch.ones(10_000_000) for _ in range(2)]
del pair
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    a, b, c = (torch.ones(10_000_000) for _ in range(3))  # 40 MB each: glibc keeps none by itself
    del a, b, c
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_page_faults_vanish_where_it_is_asked_for_and_training_does_not_ask():
    default = faults("default")
    assert faults("reuse") * 3 < default
    assert faults("fit") * 3 > default * 2


def prepared(before: str, **environment: str) -> tuple[dict[str, str], list[str], str]:
    """What a fresh process has in its environment after ``prepare_process()``, what that returned, and its stderr."""
    code = f"""
import json, os
{before}
from mmgraph.process import prepare_process
done = prepare_process()
names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")
print(json.dumps([{{n: os.environ[n] for n in names if n in os.environ}}, done]))
"""
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")
    base = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", code], env=base | environment, capture_output=True, text=True, check=True
    )
    return *json.loads(done.stdout), done.stderr


def test_threads_spin_a_little_unless_the_user_said_how_they_wait():
    found, done, told = prepared("")
    assert found == {"GOMP_SPINCOUNT": str(SPINS), "THP_MEM_ALLOC_ENABLE": "1"}
    assert done[:2] == [f"GOMP_SPINCOUNT={SPINS}", "THP_MEM_ALLOC_ENABLE=1"]
    assert told == ""
    found, done, _ = prepared("", OMP_WAIT_POLICY="active", THP_MEM_ALLOC_ENABLE="0")
    assert found == {"OMP_WAIT_POLICY": "active", "THP_MEM_ALLOC_ENABLE": "0"}
    assert not any("=" in line for line in done)
    assert prepared("", GOMP_SPINCOUNT="7")[0]["GOMP_SPINCOUNT"] == "7"


def test_it_says_when_it_comes_too_late():
    found, _, told = prepared("import torch")
    assert "call prepare_process() before `import torch`" in told
    assert found["GOMP_SPINCOUNT"] == str(SPINS)  # for the processes that this one starts


def test_the_command_prepares_its_process_before_torch_is_loaded():
    code = """
import os, sys
import mmgraph.cli
from typer.testing import CliRunner
mmgraph.cli.app.command("probe")(lambda: print("torch" in sys.modules, os.environ.get("GOMP_SPINCOUNT")))
print(CliRunner().invoke(mmgraph.cli.app, ["probe"]).output)
"""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP", "OMP"))}
    done = subprocess.run([sys.executable, "-c", code], env=base, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(SPINS)]


PILE = """
import torch
from mmgraph.process import return_unused_memory, reuse_freed_memory

def resident():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))) // 1024

assert reuse_freed_memory()
kept = []
pile = []
for _ in range(200):
    pile.append(torch.ones(262_144))  # 1 MiB
    kept.append(torch.ones(8))        # what lies between keeps the pile from being one block
before = resident()
del pile
assert resident() > before - 20
assert not return_unused_memory(beyond=1 << 30)
assert return_unused_memory(beyond=100 << 20)
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_what_is_kept_free_is_bounded():
    assert int(subprocess.run([sys.executable, "-c", PILE], capture_output=True, text=True, check=True).stdout) > 150
