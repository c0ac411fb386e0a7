"""What this machine has: free memory and the instructions that decide the precision."""

from functools import cache
from pathlib import Path


def free_memory() -> int:
    """Bytes a process may still take: what the kernel calls available, or what a control group leaves."""
    free = [size for size in (_available(), _control_group()) if size is not None]
    return min(free, default=2 << 30)


@cache
def has_bf16() -> bool:
    """True where the processor multiplies bf16 matrices itself; elsewhere bf16 is emulated and slow."""
    return "amx_bf16" in _read("/proc/cpuinfo")


def _available() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _control_group() -> int | None:
    pairs = [
        ("memory.max", "memory.current"),  # version 2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # version 1
    ]
    for limit, usage in pairs:
        most, used = _read(f"/sys/fs/cgroup/{limit}").strip(), _read(f"/sys/fs/cgroup/{usage}").strip()
        if most.isdigit() and used.isdigit():
            return max(0, int(most) - int(used))
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
