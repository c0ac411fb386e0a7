"""Locks between processes, all of the ``filelock`` library's kind: the system lets go of them when a process dies."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from msrn.errors import MSRNError, OutputError

_NAME = ".msrn.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer, such as some on networks. Nothing is locked there."""


@contextmanager
def locked(folder: Path, message: str, error: type[MSRNError] = OutputError) -> Generator[None]:
    """A folder that one process at a time works in, as long as the ``with`` block lasts.

    The folder is made if it is missing, and removed at the end if nothing was put into it. The lock is a hidden file
    in the folder, which is removed as well; one that a killed process left is taken over.

    Args:
        folder: the folder to lock; those within are not locked.
        message: what to tell the user if another process has the folder.
        error: the kind of error for that.

    Raises:
        MSRNError: ``error(message)``; another process, or another block of this one, has the folder.
        OutputError: the folder cannot be made or written to.

    Example::

        with locked(Path("out"), "another run is writing to out; wait for it, or choose another folder"):
            ...
    """
    from filelock import FileLock, Timeout  # here, as decoding processes start faster without

    made_here = False
    # Whatever the umask: others who share the folder must be able to open what a killed process leaves.
    lock = FileLock(folder / _NAME, timeout=0, mode=0o666, thread_local=False, fallback_to_soft=False)
    try:
        try:
            made_here = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if _held_by_another_user(folder / _NAME):
                raise error(message)
            lock.acquire()
        except Timeout as held:
            raise error(message) from held
        except (OSError, ValueError) as failure:  # ValueError: a null byte in the name
            if getattr(failure, "errno", None) not in _NO_LOCKS:
                why = getattr(failure, "strerror", None) or failure
                why = "the link leads nowhere" if isinstance(failure, FileExistsError) and folder.is_symlink() else why
                raise OutputError(f"cannot write to {folder}: {why}") from failure
        yield
    finally:
        if lock.is_locked:
            # While it is held: whoever waits for the removed file sees that, and makes a new one. Windows removes no
            # open file; there, the library does so itself, afterwards.
            with suppress(OSError):
                (folder / _NAME).unlink()
            lock.release()
        if made_here:
            with suppress(OSError, ValueError):
                folder.rmdir()


def _held_by_another_user(path: Path) -> bool:
    """Whether a lock file that only another user may write to is held; one that was left is removed."""
    with suppress(OSError):
        if not os.access(path, os.W_OK):
            with path.open("rb") as file:
                if not lock_file(file):
                    return True
                path.unlink()
    return False


def lock_file(file: BinaryIO, wait: bool = False) -> bool:
    """Lock an open file until it is closed.

    Args:
        file: the file; closing it unlocks it.
        wait: wait until nobody else has locked it.

    Returns:
        False if another process has locked it, or if there are no locks here.
    """
    from filelock import lock_descriptor

    try:
        return lock_descriptor(file.fileno(), blocking=wait, poll_interval=0.001)
    except OSError:
        return False
