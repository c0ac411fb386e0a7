"""Locks between processes."""

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def lock(descriptor: int) -> bool:
    """Lock an open file or folder for this process until it is closed; False where another has locked it.

    Where there are no such locks (Windows, some network file systems) nothing is locked and the answer is True;
    Windows itself keeps open files from being removed.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
