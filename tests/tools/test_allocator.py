"""Passes that ask for the same memory again get it without page faults."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import resource
import torch
from tools.runtime.allocator import keep_freed_memory

keep_freed_memory()

def run():
    blocks = [torch.ones(2**19) for _ in range(20)]  # 2 MiB each
    while blocks:
        blocks.pop()  # from the end of the heap, which is what goes back to the system

run(), run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_PAGES = 5 * 20 * 2**19 * 4 // 4096  # written; without the call a fifth to all of them are faults


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the threshold is glibc's")
def test_freed_memory_is_used_again_without_page_faults():
    faults = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True).stdout
    assert int(faults) < _PAGES / 20
