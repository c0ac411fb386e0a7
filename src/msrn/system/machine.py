"""What this machine has: free memory and the instructions that decide the precision."""

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Where this program keeps what it can make or fetch again: ``$MSRN_CACHE``, or the system's place for that."""
    return Path(os.environ.get("MSRN_CACHE") or platformdirs.user_cache_path("msrn"))


def read_system(path: str) -> str:
    """Read a file by which the system tells about itself; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def free_memory(read: Callable[[str], str] = read_system) -> int:
    """Bytes a process may still take: what the system calls available, or what a control group leaves."""
    free = [size for size in (_available(read), _control_group(read)) if size is not None]
    return min(free, default=2 << 30)


def cores(read: Callable[[str], str] = read_system) -> int:
    """How many cores this process may use, a control group's share rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = read("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    return min(allowed, -(-int(quota) // int(period))) if quota.isdigit() and period.isdigit() else allowed


def may_have_accelerator() -> bool:
    """False where there is certainly nothing but a processor; True wherever only torch can tell."""
    drivers = ("nvidiactl", "nvidia0", "nvmap", "nvhost-gpu", "kfd", "dxg")  # desktop and embedded, AMD, WSL
    return sys.platform != "linux" or any(Path("/dev", driver).exists() for driver in drivers)


@cache
def keep_freed_memory() -> None:
    """Let this process reuse the memory it frees instead of returning it; for loops that ask for the same sizes again.

    The C library returns large blocks to the system at once, and every step pays for having the same pages mapped and
    cleared again: a third of the time of a small network's. From now on the process stays as large as it ever was.
    Does nothing where the C library is not glibc.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of mallopt's parameters
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        # Some versions take no more than 32 MiB. Without that, the other would only keep it from growing by itself.
        if mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 32 << 20):
            mallopt(trim_threshold, -1)


@cache
def instructions() -> frozenset[str]:
    """The names that the system has for what the processor can do; empty where it does not tell."""
    for line in read_system("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):  # x86, ARM
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def has_bf16() -> bool:
    """True where the processor multiplies bf16 itself (AMX, or AVX-512 BF16); elsewhere bf16 is emulated and slow."""
    return not instructions().isdisjoint({"amx_bf16", "avx512_bf16"})


@cache
def kind() -> str:
    """What the processor has for networks, in the words of docs/speed.md."""
    described = {
        "amx_bf16": "matrix tiles with bf16 (AMX)",
        "avx512_bf16": "AVX-512 with bf16 and VNNI, no matrix tiles",
        "avx512_vnni": "AVX-512 VNNI without bf16",
        "avx512f": "AVX-512 without VNNI",
        "avx2": "AVX2",
    }
    return next((text for name, text in described.items() if name in instructions()), platform.machine())


@cache
def processor() -> str:
    """The processor's name, as the system has it."""
    for line in read_system("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _available(read: Callable[[str], str]) -> int | None:
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    with suppress(ImportError):  # macOS and Windows, where it comes with the package
        return import_module("psutil").virtual_memory().available
    return None


def _control_group(read: Callable[[str], str]) -> int | None:
    versions = [
        ("memory.max", "memory.current", "memory.stat", ""),  # version 2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_"),  # version 1
    ]
    for limit, usage, stat, whole in versions:
        most, used = read(f"/sys/fs/cgroup/{limit}").strip(), read(f"/sys/fs/cgroup/{usage}").strip()
        if most.isdigit() and used.isdigit():
            # Files that were read count as used, and are dropped as soon as somebody needs the memory.
            counts = dict(line.split() for line in read(f"/sys/fs/cgroup/{stat}").splitlines() if " " in line)
            files = sum(int(counts.get(f"{whole}{kind}_file", 0)) for kind in ("active", "inactive"))
            return max(0, int(most) - max(0, int(used) - files))
    return None
