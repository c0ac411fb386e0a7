"""What is asked of the machine, and of the C library."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
from PIL import Image
from tests.helpers.control_group import control_group, run_inside

from msrn.errors import UsageError
from msrn.system import machine

REUSE = """
import resource
from msrn.system.machine import keep_freed_memory

keep_freed_memory()
size = 40 << 20  # larger than what glibc ever keeps by itself
b"x" * size
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * size
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc only")
def test_freed_memory_is_used_again():
    mapped = subprocess.run([sys.executable, "-c", REUSE], capture_output=True, text=True, check=True).stdout
    assert int(mapped) < 40 << 20  # not ten times that


@pytest.mark.parametrize(
    ("limit", "usage", "stat", "whole"),
    [
        ("memory.max", "memory.current", "memory.stat", ""),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_"),
    ],
)
def test_files_that_were_read_take_no_memory_of_a_control_group(limit, usage, stat, whole):
    files = {limit: "1000", usage: "900", stat: f"anon 300\n{whole}inactive_file 500\n{whole}active_file 100\n"}
    assert machine.free_memory(lambda path: files.get(path.removeprefix("/sys/fs/cgroup/"), "")) == 700


@pytest.mark.parametrize(
    ("version", "own", "limit", "usage"),
    [
        ("0::", "", "memory.max", "memory.current"),
        ("4:memory:", "memory/", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_every_control_group_around_this_process_counts(version, own, limit, usage):
    files = {"/proc/self/cgroup": f"{version}/user/session\n"}
    for group, most in (("", "9000"), ("user/", "700"), ("user/session/", "5000")):
        files |= {f"/sys/fs/cgroup/{own}{group}{limit}": most, f"/sys/fs/cgroup/{own}{group}{usage}": "100"}
    assert machine.free_memory(lambda path: files.get(path, "")) == 600


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_a_real_control_group_leaves_what_it_says(tmp_path):
    Image.new("1", (9000, 6000)).save(tmp_path / "large.png")
    ask = "from msrn.system.machine import free_memory; print(free_memory())"
    with control_group(500 << 20) as group:
        free = run_inside(group, "-c", ask)
        assert 400 << 20 < int(free.stdout) <= 500 << 20
        words = ("-m", "msrn", "denoise", tmp_path / "large.png", "-o", tmp_path / "out.png")
        refused = run_inside(group, *words)
    assert refused.returncode == 3
    assert "memory to be decoded, of which 0.5 are free" in refused.stderr


def test_little_address_space_is_said_in_one_line():
    with pytest.raises(UsageError, match=r"^ulimit -v allows only 0\.7 GB of address space here"):
        machine.check_address_space(700 << 20)
    machine.check_address_space(1 << 40)


def test_cores_are_what_a_control_group_leaves(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for content, found in (("", 64), ("max 100000", 64), ("200000 100000", 2), ("150000 100000", 2), ("junk", 64)):
        files = {"/proc/self/cgroup": "0::/own\n", "/sys/fs/cgroup/own/cpu.max": content}
        assert machine.cores(lambda path, files=files: files.get(path, "")) == found
    older = {"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}
    assert machine.cores(lambda path: older.get(path.removeprefix("/sys/fs/cgroup/cpu/"), "")) == 3


def test_a_process_uses_no_more_cores_than_it_is_told(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for told, found in (("", 8), ("3", 3), ("64", 8), ("0", 8), ("-2", 8), ("many", 8)):
        monkeypatch.setenv(machine.BOUND, told)
        assert machine.cores(lambda path: "") == found


def test_free_memory_is_known_where_there_is_no_proc(monkeypatch):
    told = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=7 << 30))
    monkeypatch.setitem(sys.modules, "psutil", told)
    assert machine.free_memory(lambda path: "") == 7 << 30
