"""Freed memory is used again: counted in page faults, not in seconds."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from mmgraph.train import reuse_freed_memory
if sys.argv[1] == "reuse":
    assert reuse_freed_memory()
torch.set_num_threads(1)
pair = [torch.ones(4_000_000) for _ in range(2)]
del pair
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    a, b, c = (torch.ones(4_000_000) for _ in range(3))  # 16 MB each
    del a, b, c
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_page_faults_vanish():
    assert faults("reuse") * 3 < faults("default")


PILE = """
import torch
from mmgraph.train import return_unused_memory, reuse_freed_memory

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
