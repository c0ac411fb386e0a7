"""A file is written whole or not at all."""

import os
import struct
import uuid
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from msrn.errors import OutputError
from msrn.system.locks import lock_file

_POSIX = os.name == "posix"
"""Elsewhere, on Windows, files that are in use can be neither renamed nor removed, and need no lock against that."""


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], before_rename: Callable[[BinaryIO], object] | None = None
) -> None:
    """Write to a unique temporary file beside ``path``, flush it to disk, rename it.

    Args:
        path: the file.
        write: writes the content to the open file it is given.
        before_rename: called with the open file, at its start, when everything is on disk.

    Raises:
        OutputError: any step failed; ``path`` is as it was and the temporary file is gone.
    """
    # Not made from the file's own name, to which nothing can be added when it is as long as names may be.
    temporary = path.parent / f".msrn-{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open_new(temporary) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if before_rename is not None:
                file.seek(0)
                before_rename(file)
            if _POSIX:
                temporary.replace(path)  # while it is locked, or sweep() could take it
        if not _POSIX:
            temporary.replace(path)
    except (OSError, RuntimeError, ValueError, struct.error) as error:  # as encoders and torch.save have them
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        with suppress(OSError, ValueError):  # the folder itself is missing or is a file; the error above says so
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed program left in a folder, but none that is being written."""
    with suppress(OSError):
        for temporary in filter(Path.is_file, folder.glob(".msrn-*.tmp")):  # a pipe would be waited for
            with suppress(OSError), temporary.open("rb") if _POSIX else nullcontext() as file:
                if file is None or lock_file(file):
                    temporary.unlink(missing_ok=True)


def _open_new(path: Path) -> BinaryIO:
    while True:
        file = path.open("x+b")
        if _POSIX:
            lock_file(file, wait=True)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # swept in the moment before it was locked


def reason(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
