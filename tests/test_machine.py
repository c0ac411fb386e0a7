"""What is asked of the machine, and of the C library."""

import platform
import subprocess
import sys

import pytest

REUSE = """
import resource
import numpy as np
from msrn.machine import keep_freed_memory

keep_freed_memory()
np.ones(40 << 20, np.uint8)  # larger than what glibc ever keeps by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(40 << 20, np.uint8)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc only")
def test_freed_memory_is_used_again():
    mapped = subprocess.run([sys.executable, "-c", REUSE], capture_output=True, text=True, check=True).stdout
    assert int(mapped) < 40 << 20  # not ten times that
