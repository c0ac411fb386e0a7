"""A file is written whole or not at all."""

import ctypes
import os
import struct
import time
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
    _write(path, write, before_rename or (lambda file: None), Path.replace)


def create_atomically(path: Path, write: Callable[[BinaryIO], object]) -> bool:
    """Write as :func:`write_atomically`, unless the file exists: of many that create it at once, one does.

    Args:
        path: the file; its folder may be one that several machines share.
        write: writes the content to the open file it is given.

    Returns:
        Whether it was created; False if it exists, which is left as it is.

    Raises:
        OutputError: any step failed, or the file system cannot create a file only if it is absent.

    Example:
        >>> create_atomically(Path("a.txt"), lambda file: file.write(b"first"))
        True
        >>> create_atomically(Path("a.txt"), lambda file: file.write(b"second"))
        False
    """
    if os.path.lexists(path):  # then nothing need be written
        return False
    try:
        _write(path, write, lambda file: None, _rename_to_absent)
    except OutputError as error:
        if isinstance(error.__cause__, FileExistsError) and os.path.lexists(path):
            return False
        raise
    return True


def _write(
    path: Path,
    write: Callable[[BinaryIO], object],
    before_rename: Callable[[BinaryIO], object],
    rename: Callable[[Path, Path], object],
) -> None:
    # Not made from the file's own name, to which nothing can be added when it is as long as names may be.
    temporary = path.parent / f".msrn-{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open_new(temporary) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            before_rename(file)
            if _POSIX:
                rename(temporary, path)  # while it is locked, or sweep() could take it
        if not _POSIX:
            rename(temporary, path)
    except (OSError, RuntimeError, ValueError, struct.error) as error:  # as encoders and torch.save have them
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        with suppress(OSError, ValueError):  # the folder itself is missing or is a file; the error above says so
            temporary.unlink(missing_ok=True)


def _rename_to_absent(temporary: Path, path: Path) -> None:
    """Give a file its name; raises FileExistsError if there is one of that name."""
    if not _POSIX:
        temporary.rename(path)  # Windows replaces nothing
        return
    try:
        os.link(temporary, path)  # the temporary name is removed afterwards
    except OSError as error:
        if isinstance(error, FileExistsError) or not _rename_without_links(temporary, path):
            raise


def _rename_without_links(temporary: Path, path: Path) -> bool:
    """Rename where files have one name only, as on memory cards; False where the system has no call for that."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # not Linux
        return False
    here, no_replace = -100, 1  # AT_FDCWD, RENAME_NOREPLACE
    if renameat2(here, os.fsencode(temporary), here, os.fsencode(path), no_replace) == 0:
        return True
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))  # of EEXIST, it makes a FileExistsError


def sweep(folder: Path, older_than: float = 0) -> None:
    """Remove the temporary files that a killed program left in a folder, but none that is being written.

    Args:
        folder: the folder.
        older_than: seconds since they were written; for folders that other machines write to, whose locks may not be
            seen here.
    """
    with suppress(OSError):
        for temporary in filter(Path.is_file, folder.glob(".msrn-*.tmp")):  # a pipe would be waited for
            with suppress(OSError), temporary.open("rb") if _POSIX else nullcontext() as file:
                if time.time() - temporary.stat().st_mtime >= older_than and (file is None or lock_file(file)):
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
