"""Programs side by side get cores of their own, and give them back however they end."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from msrn.system.own_cores import bind_to_own_cores

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="needs two cores, and Linux"
)
BEGIN = f"""
import os, subprocess, sys, threading
from msrn.system import own_cores

own_cores._NAME = "test-{os.getpid()}"  # other programs may have cores of this machine
os.sched_setaffinity(0, range(os.cpu_count()))  # whatever core this test has been given
before = os.sched_getaffinity(0)
"""
HOLD = (
    BEGIN
    + """
print(*own_cores.bind_to_own_cores(int(sys.argv[1]), os.cpu_count()), flush=True)
print(*os.sched_getaffinity(0), flush=True)
sys.stdin.read()
"""
)
INHERIT = (
    BEGIN
    + """
ended = threading.Event()
earlier = threading.Thread(target=ended.wait)
earlier.start()
cores = own_cores.bind_to_own_cores(1, len(before))
child = "import os; print(os.sched_getaffinity(0))"
later = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip()
print(len(cores), os.sched_getaffinity(earlier.native_id) == cores, later == str(cores))
ended.set()
"""
)
FORBIDDEN = (
    BEGIN
    + """
def refuse(process, cores):
    raise PermissionError

allowed, os.sched_setaffinity = os.sched_setaffinity, refuse
print(own_cores.bind_to_own_cores(1, len(before)), os.sched_getaffinity(0) == before)
os.sched_setaffinity = allowed
print(own_cores.bind_to_own_cores(len(before), len(before)) == before)  # no name was kept
"""
)


@contextmanager
def holding(count):
    """A running program that has asked for cores: those that it was told, and those that it has."""
    command = [sys.executable, "-c", HOLD, str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield tuple({int(core) for core in process.stdout.readline().split()} for _ in range(2))
    finally:
        process.kill()
        process.communicate()


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_two_programs_share_no_core_and_a_third_is_not_bound():
    count = os.cpu_count() // 2
    with holding(count) as (told, has), holding(count) as (other, others):
        assert len(told) == len(other) == count
        assert (told, other) == (has, others)
        assert not told & other
        with holding(count + 1) as (none, every):
            assert none == set()
            assert every >= told | other


def test_the_cores_of_a_killed_program_are_free_again():
    with holding(os.cpu_count()) as (first, _):
        assert len(first) == os.cpu_count()
    with holding(os.cpu_count()) as (again, _):
        assert again == first


def test_threads_that_run_and_programs_that_are_started_have_the_same_cores():
    assert said(INHERIT).split() == ["1", "True", "True"]


def test_where_binding_is_forbidden_all_is_as_before():
    assert said(FORBIDDEN).split() == ["set()", "True", "True"]


def test_where_the_system_cannot_bind_nothing_breaks(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity")
    assert bind_to_own_cores(1, os.cpu_count()) == set()


def test_a_part_of_a_machine_is_not_bound():
    assert said(BEGIN + "print(own_cores.bind_to_own_cores(1, len(before) - 1))").strip() == "set()"
