"""Files that no other user of this machine can have written: what is kept in a cache and run later."""

import os
from pathlib import Path


class SharedError(OSError):
    """A file or folder that another user can write to."""


def read_private(path: Path) -> bytes:
    """Read a file that is this user's and closed to others, as is its folder; links are not followed.

    On Windows, where profiles are closed to others, any file is read.

    Raises:
        FileNotFoundError: there is none.
        SharedError: somebody else could have written it; says what to do.
        OSError: it cannot be read.
    """
    if os.name != "posix":
        return path.read_bytes()
    folder = _open(path.parent, os.O_DIRECTORY)
    try:
        _require_private(folder, path.parent)
        with os.fdopen(_open(path.name, os.O_NONBLOCK, folder), "rb") as file:
            _require_private(file.fileno(), path)
            return file.read()
    finally:
        os.close(folder)


def private_folder(path: Path) -> Path:
    """Make a folder that is closed to others, unless it is there, and return it.

    Raises:
        SharedError: it is there, and others can write to it.
        OSError: it cannot be made, or is a link.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        folder = _open(path, os.O_DIRECTORY)
        try:
            _require_private(folder, path)
        finally:
            os.close(folder)
    return path


def _open(path: str | Path, flags: int, folder: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)


def _require_private(descriptor: int, path: Path) -> None:
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        raise SharedError(f"{path} is another user's; set MSRN_CACHE to a folder of your own")
    if found.st_mode & 0o022:
        raise SharedError(f"other users can write to {path}; chmod go-w it once you trust what is there")
