"""Cores that each of several programs side by side has for itself (Linux; elsewhere the system deals them out).

Bounded threads are not enough: decoders, encoders and libraries have others besides, and take the cores of the program
next to it. Who has a core is known by the name of a socket, which the kernel forgets when the program ends, however it
ends: no file is left behind, and programs of other users see it as well.
"""

import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

_NAME = "msrn-core"
_held = ExitStack()
"""The sockets, as long as this program runs."""


def bind_to_own_cores(count: int, dealt: int) -> set[int]:
    """Bind this process, with its threads and all that it will start, to cores that no other program has taken so.

    Args:
        count: how many cores.
        dealt: cores that all such programs of this machine get together. Nothing is bound unless that is what this
            process may use: in a container with a part of a larger machine's time, others whose names cannot be seen
            would bind themselves to the same cores.

    Returns:
        Their numbers. Empty if fewer are left, or if the system cannot bind: then all is as before.

    Example:
        >>> bind_to_own_cores(2, dealt=8)
        {4, 5}
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) != dealt:
        return set()
    with ExitStack() as names, suppress(OSError):
        taken = set[int]()
        for core in sorted(os.sched_getaffinity(0)):
            if len(taken) < count and _take(core, names):
                taken.add(core)
        if len(taken) == count:
            os.sched_setaffinity(0, taken)
            _held.push(names.pop_all())
            with suppress(OSError):
                for thread in Path("/proc/self/task").iterdir():  # those that others started here before
                    os.sched_setaffinity(int(thread.name), taken)
            return taken
    return set()


def _take(core: int, names: ExitStack) -> bool:
    """Give this process the name of a core; False if another one has it."""
    name = names.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    try:
        name.bind(f"\0{_NAME}-{core}")
    except OSError:
        return False
    return True
