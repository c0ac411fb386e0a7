"""A control group of this process's own, with less memory than the machine has."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


@contextlib.contextmanager
def control_group(limit):
    """A group within this process's own (version 1, or 2 where memory is given on); skips where none can be made."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = {controllers: group.lstrip("/") for _, controllers, group in lines}
    older = Path("/sys/fs/cgroup/memory", own.get("memory", ""))
    group = older if "memory" in own else Path("/sys/fs/cgroup", own.get("", ""))
    group /= f"msrn-test-{os.getpid()}"
    try:
        group.mkdir()
        try:
            (group / ("memory.limit_in_bytes" if "memory" in own else "memory.max")).write_text(str(limit))
            yield group
        finally:
            for _ in range(100):  # the last process may still be on its way out
                with contextlib.suppress(OSError):
                    group.rmdir()
                    break
                time.sleep(0.05)
    except (PermissionError, FileNotFoundError) as error:
        pytest.skip(f"no control group can be made: {error}")


def run_inside(group, *arguments):
    """Run Python in a group from its first moment."""

    def join():
        (group / "cgroup.procs").write_text("0")

    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, preexec_fn=join)
