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

from msrn.errors import UsageError


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
    """Bytes this process may still take: what the system calls available, a control group and ``ulimit -v`` leave."""
    free = [size for size in (_available(read), _control_group(read), _address_space(read)) if size is not None]
    return min(free, default=2 << 30)


def check_address_space(limit: int | None = None) -> None:
    """Raise :class:`UsageError` where ``ulimit -v`` leaves a restoring process less than its libraries map.

    They cannot say so themselves: the runtime of their threads ends the process, or it crashes.

    Args:
        limit: bytes of address space; by default what this process has.
    """
    limit = _address_limit() if limit is None else limit
    needed = (700 << 20) + cores() * (72 << 20)  # for each thread its stack, and its part of the heap
    if limit is not None and limit < needed:
        raise UsageError(
            f"ulimit -v allows only {limit / 1e9:.1f} GB of address space here; {needed / 1e9:.1f} GB are needed"
        )


def confine_memory(more: int | None) -> None:
    """Let this process fill at most so many more bytes than now, by a limit of the system's; None lifts it.

    Does nothing but on Linux, which alone counts what libraries map for themselves (``RLIMIT_DATA``).
    """
    pages = read_system("/proc/self/statm").split()
    if pages:
        resource = import_module("resource")
        hardest = resource.getrlimit(resource.RLIMIT_DATA)[1]
        now = int(pages[5]) * os.sysconf("SC_PAGE_SIZE")
        most = hardest if more is None else now + more if hardest < 0 else min(now + more, hardest)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hardest))


BOUND = "MSRN_CORES"
"""Environment variable: cores that a process and those that it starts are to use at most."""


def bound() -> int:
    """How many cores this process has been told to use at most, by ``$MSRN_CORES``; 0 if it has not."""
    told = os.environ.get(BOUND, "")
    return int(told) if told.isdigit() else 0


def cores(read: Callable[[str], str] = read_system) -> int:
    """How many cores this process may use, a control group's share rounded up, and is to use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = min(allowed, bound() or allowed)
    for folder in _control_groups(read, "cpu"):
        older = (read(f"{folder}/cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        quota, period = (*(read(f"{folder}/cpu.max").split() or older), "", "")[:2]
        if quota.isdigit() and period.isdigit():
            allowed = min(allowed, -(-int(quota) // int(period)))
    return allowed


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


def _address_limit() -> int | None:
    """Bytes that this process may map, or None where there is no limit."""
    with suppress(ImportError):  # Windows
        resource = import_module("resource")
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return None if limit == resource.RLIM_INFINITY else limit
    return None


def _address_space(read: Callable[[str], str]) -> int | None:
    limit, pages = _address_limit(), read("/proc/self/statm").split()
    return max(0, limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")) if limit is not None and pages else None


def _control_group(read: Callable[[str], str]) -> int | None:
    free: list[int] = []
    for folder in _control_groups(read, "memory"):
        # Version 2, and version 1, whose counts for a group with all those within have a prefix.
        for limit, usage, whole in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            most, used = read(f"{folder}/{limit}").strip(), read(f"{folder}/{usage}").strip()
            if most.isdigit() and used.isdigit():
                # Files that were read count as used, and are dropped as soon as somebody needs the memory.
                counts = dict(line.split() for line in read(f"{folder}/memory.stat").splitlines() if " " in line)
                files = sum(int(counts.get(f"{whole}{kind}_file", 0)) for kind in ("active", "inactive"))
                free.append(max(0, int(most) - max(0, int(used) - files)))
    return min(free, default=None)


def _control_groups(read: Callable[[str], str], controller: str) -> list[str]:
    """Folders of this process's control group and of those around it, of both versions: each may set a limit."""
    folders: list[str] = []
    for line in ["0::/", f":{controller}:/", *read("/proc/self/cgroup").splitlines()]:
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = f"/sys/fs/cgroup/{controller}" if controllers else "/sys/fs/cgroup"
        parts = [part for part in group.split("/") if part]
        folders += ["/".join((root, *parts[:depth])) for depth in range(len(parts) + 1)]
    return list(dict.fromkeys(folders))
